"""A talk as the panel sees it: what the person did, what they saw or heard of the system, and when.

talk = talk_of(read_log(path)["duplex"])      # from any recording
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: What the person does, and what it asks of the system:
#: `turn` an answer · `stop` silence · `question` an answer in the middle of another, which then goes on ·
#: `resume` that the answer which was stopped goes on · `backchannel`, `tic`, `aside` nothing at all.
KINDS = ("turn", "stop", "question", "resume", "backchannel", "tic", "aside")
#: Those that want an answer.
ASKING = ("turn", "question", "resume")


@dataclass(frozen=True)
class Act:
    """One thing that the person did: from its first key or sound to its last, pauses inside it included, in seconds.

    guessed: a recording of a real person does not say what they meant; it was told from the words.
    """

    kind: str
    begin: float
    end: float
    text: str
    guessed: bool = False


@dataclass(frozen=True)
class Piece:
    """Text of the system that was seen or heard, from `at` to `until` (seconds)."""

    at: float
    until: float
    text: str
    response_id: str


@dataclass(frozen=True)
class Talk:
    """One talk with one system.

    system: `duplex`, `strict` or `barge-in`. way: `keys` or `speech`. pieces: in order, without what was cut.
    unheard: what was cut, with the time and the answer. yields: when the system stopped because of the person.
    deaf: what it did not hear. answers: response id → how it ended (`completed`, `cancelled`), missing if it did not.
    """

    system: str
    scenario: str
    situation: str
    seed: int
    way: str
    acts: tuple[Act, ...]
    pieces: tuple[Piece, ...]
    unheard: tuple[tuple[float, str, str], ...] = ()
    yields: tuple[float, ...] = ()
    deaf: tuple[tuple[float, str], ...] = ()
    answers: dict[str, str] = field(default_factory=dict)
    ended_at: float = 0.0
