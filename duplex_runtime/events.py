"""Everything that happens in a conversation, declared once: what the person did, and what followed.

The same events travel over the WebSocket, stand in a recording and are printed by `duplex play`. All times are
seconds on the session's clock; `system` is `duplex` or `turns`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

#: Who takes part beside the person: the one that listens while it speaks, and the one that waits for its turn.
SYSTEMS = ("duplex", "turns")

# — what the person does —


@dataclass(frozen=True)
class UserText:
    """Characters typed, behind everything before; or words spoken, which no `Edit` takes back, nor what was typed
    before them."""

    text: str
    spoken: bool = False


@dataclass(frozen=True)
class Edit:
    """The last `delete` characters are taken back."""

    delete: int


@dataclass(frozen=True)
class Enter:
    """The Enter key: the person is done."""


@dataclass(frozen=True)
class Pace:
    """Not the person but the server: how far it has to slow down, a level of `strain.LEVELS`."""

    level: int


@dataclass(frozen=True)
class SpeechStart:
    """The person begins to speak; their words come as `UserText` once they are certain."""


@dataclass(frozen=True)
class SpeechEnd:
    """The person stopped speaking at `ended_at`, which was noticed later."""

    ended_at: float


@dataclass(frozen=True)
class Cancel:
    """The answer in progress shall stop, though nothing was said; with `response_id` only that one. What was not seen
    or heard of it by now is forgotten. Without an answer in progress it is nothing."""

    response_id: str | None = None


@dataclass(frozen=True)
class Voiced:
    """Whether answers are spoken aloud from now on: then what counts is what was heard."""

    on: bool


@dataclass(frozen=True)
class Heard:
    """So many characters of an answer have been heard by now."""

    response_id: str
    characters: int


Input = UserText | Edit | Enter | Cancel | Pace | SpeechStart | SpeechEnd | Voiced | Heard

# — what the conversation does —


@dataclass(frozen=True)
class Event:
    """Something that a conversation tells; `type` is its name on the wire."""

    type: ClassVar[str]
    system: str

    def to_json(self) -> dict[str, Any]:
        """A plain dict, `type` first; a trailing underscore of a field's name is dropped."""
        values = {f.name.rstrip("_"): _plain(getattr(self, f.name)) for f in fields(self)}
        return {"type": self.type, **values}


def _plain(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


@dataclass(frozen=True)
class Slice(Event):
    """The person's slice (`opened_at` to `at`) closed with the words `user`; the model decided `idle` or to speak.

    `p_idle`: probability of `<idle>` at the decision; None for a system that does not decide.
    """

    type: ClassVar[str] = "duplex.slice"
    index: int
    opened_at: float
    at: float
    user: str
    idle: bool
    p_idle: float | None


@dataclass(frozen=True)
class ResponseCreated(Event):
    """An answer begins."""

    type: ClassVar[str] = "response.created"
    response_id: str
    at: float

    def to_json(self) -> dict[str, Any]:
        return {"type": self.type, "system": self.system, "response": {"id": self.response_id}, "at": _plain(self.at)}


@dataclass(frozen=True)
class Delta(Event):
    """Text of an answer, to be shown at `at` (which may be up to a slice ahead)."""

    type: ClassVar[str] = "response.output_text.delta"
    response_id: str
    slice: int
    delta: str
    at: float


@dataclass(frozen=True)
class Cut(Event):
    """What of the answer was to be shown after `at` is dropped: nobody saw it, the model forgets it."""

    type: ClassVar[str] = "duplex.cut"
    response_id: str
    slice: int
    at: float
    unheard: str


@dataclass(frozen=True)
class Yield(Event):
    """The model stopped because of the person."""

    type: ClassVar[str] = "duplex.yield"
    at: float


@dataclass(frozen=True)
class ResponseDone(Event):
    """An answer ended: `completed`, or `cancelled` where the model yielded or was told to stop."""

    type: ClassVar[str] = "response.done"
    response_id: str
    status: str
    at: float


@dataclass(frozen=True)
class Reaction(Event):
    """From the person's last key to the first word of the answer."""

    type: ClassVar[str] = "duplex.reaction"
    from_: float
    to: float


@dataclass(frozen=True)
class Sealed(Event):
    """The first `characters` of the text typed since the last seal can no longer be edited."""

    type: ClassVar[str] = "duplex.sealed"
    characters: int


@dataclass(frozen=True)
class Paced(Event):
    """From `at` on the conversation runs at another level of `strain.LEVELS`: 0 is on time."""

    type: ClassVar[str] = "duplex.pace"
    at: float
    level: int


@dataclass(frozen=True)
class Deaf(Event):
    """What the person typed while the turn-based system spoke: it was not heard."""

    type: ClassVar[str] = "duplex.deaf"
    at: float
    text: str
