"""OpenAI's Realtime events, for clients made for their server: one of our systems is the model that they talk to.

    async with understood(socket, kit) as inner:    # what the server hears are our own events
        ...

With their Python client (2.54) it is:

    client = AsyncOpenAI(base_url="http://127.0.0.1:7860/v1", api_key="none")
    async with client.realtime.connect(model="duplex") as connection:
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        ...

Which client is one of theirs: `?model=duplex` or `?model=turns` in the address, then its session begins at once; or
`"type": "realtime"` in the session object of its first event. What their objects and events look like was read in
their client's types, `openai.types.realtime`. Beyond those:

- `conversation.item.create` is typed text, of the role `user`. The model that listens while it speaks may answer it
  without a `response.create`, or be interrupted by it. `response.create` is the Enter key. If the model stays silent
  then, an empty response ends the wait.
- Speech is heard while it arrives. `commit` ends what is being said; `clear` does too: what was heard stays heard.
- What nobody heard is taken back: `conversation.item.truncated` says at which millisecond, and the text of the `done`
  events lacks it.
- `response.cancel` stops the model: what was not seen or heard by then is taken back from it as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

from starlette.websockets import WebSocket

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.events import UserText
from duplex_runtime.speech.kit import Kit
from webapp.dialect import Relay, Translated
from webapp.openai_objects import Answer, item_of, response_of, truncated
from webapp.openai_session import RATE, Wishes, changed, described, opening, system_of
from webapp.openai_speech import Items, Speech
from webapp.wire import Typed, error_event, opened, parse

#: Seconds of silence after which a response that was asked for is an empty one, and no more sound is waited for.
PATIENCE_SECONDS = 4.0
#: Responses that the client may still speak of, beside the last one.
MOST_ANSWERS = 8

Given = dict[str, Any]


def understood(socket: WebSocket, kit: Kit) -> Translated:
    """The socket as our server hears it: translated for a client of theirs, as it is for one of ours."""
    voices = tuple(voice["id"] for voice in kit.about()["voices"])
    system = socket.query_params.get("model")
    if system:
        return Translated(socket, OpenAI(system, voices))
    return Translated(socket, choose=lambda first: OpenAI(None, voices) if _theirs(first) else None)


def _theirs(first: str) -> bool:
    """Is a connection's first message that of one of their clients?"""
    try:
        event = opened(first).value
    except BadInput:
        return False
    session = event.get("session")
    return event["type"] == "session.update" and isinstance(session, dict) and session.get("type") == "realtime"


class OpenAI:
    """See the module. `system`: `duplex` or `turns`; None: the first session.update says so."""

    def __init__(self, system: str | None, voices: tuple[str, ...] = ()) -> None:
        self.system = system
        self._wishes = Wishes(voices)
        self._ignored: tuple[str, ...] = ()
        self._opened = self._begun = False  # a session was asked for, and is there
        self._session: Given = {}
        self._number = 0  # of the last event
        self._items = Items()
        self._speech = Speech(self._items)
        self._responses = 0  # of ours: empty ones
        self._answers: list[Answer] = []
        self._asked = False  # a response was asked for and has not begun
        self._fresh = False  # something was said since the response began
        self._sound = False  # was sent since the last commit

    @property
    def wait_seconds(self) -> float | None:
        held = self._answer and self._answer.status and not self._answer.told
        return PATIENCE_SECONDS if self._asked or held else None

    def opening(self) -> tuple[Given, ...]:
        if not self.system:
            return ()
        self._opened = True
        return (self._update(opening(self.system, self._wishes)),)

    def waited(self) -> Relay:
        """The model chose silence, or its sound does not come."""
        told = self._finish()
        if self._asked:
            self._asked = False
            self._responses += 1
            for status in ("in_progress", "completed"):
                kind = "response.created" if status == "in_progress" else "response.done"
                aloud = self._wishes.heard is not None
                told.append({"type": kind, "response": response_of(f"silence-{self._responses}", status, [], aloud)})
        return self._relay(*told)

    # — what the client says —

    def inward(self, text: str) -> Relay:
        """Our events, and what is answered at once."""
        event_id: str | None = None
        try:
            message = opened(text)
            event, event_id = message.value, message.event_id
            if (does := self._inward.get(event["type"])) is None:
                known = ", ".join(self._inward)
                raise BadInput(f"unknown event type {event['type'][:60]!r}: expected one of {known}")
            return does(self, event)
        except DuplexError as error:
            return replace(self._relay(error_event(error, event_id)), refused=True)

    def _update(self, session: Given, event_id: Any = None) -> Given:
        event = {"type": "session.update", "session": session}
        return event | ({"event_id": event_id} if isinstance(event_id, str) else {})

    def _change(self, event: Given) -> Relay:
        session = event.get("session")
        if not isinstance(session, dict):
            raise BadInput(
                f'session.update: expected {{"session": {{"type": "realtime", …}}}}, got {str(event)[:80]!r}'
            )
        rest = {name: value for name, value in session.items() if name != "model"}
        if not self._opened:
            system = system_of({"model": session.get("model", self.system or "duplex")})
            wishes, ours, ignored = changed(self._wishes, rest)
            self.system, self._wishes, self._ignored, self._opened = system, wishes, ignored, True
            return Relay((self._update(opening(system, wishes) | {k: ours[k] for k in ours if k != "audio"}),))
        self._wishes, ours, self._ignored = changed(self._wishes, rest)
        if session.get("model", self.system) != self.system:
            self._ignored = ("model", *self._ignored)
        return Relay((self._update(ours, event.get("event_id")),))

    def _create_item(self, event: Given) -> Relay:
        item = event.get("item")
        if isinstance(item, dict) and (item.get("type", "message"), item.get("role", "user")) != ("message", "user"):
            got = str(item.get("role") or item.get("type"))[:40]
            expected = "conversation.item.create: expected a message of the role user, for these models hear a person"
            raise DuplexError("not_supported", f"{expected}; got {got!r}")
        typed = parse(json.dumps(event))
        assert isinstance(typed, Typed) and isinstance(typed.inputs[0], UserText)
        text = typed.inputs[0].text
        self._fresh = True
        name = item.get("id") if isinstance(item, dict) else None
        name = name if isinstance(name, str) else self._items.name()
        made, previous = item_of(name, "user", [{"type": "input_text", "text": text}]), self._items.follow(name)
        kinds = ("conversation.item.added", "conversation.item.done")
        told = [{"type": kind, "previous_item_id": previous, "item": made} for kind in kinds]
        # the space: the next item begins a new word
        edit = {"type": "duplex.input.edit", "delete": 0, "insert": text + " "}
        return self._relay(*told, server=(edit | _id_of(event),))

    def _create_response(self, event: Given) -> Relay:
        wanted = event.get("response")
        if isinstance(wanted, dict) and (wanted.get("input") is not None or wanted.get("conversation") == "none"):
            expected = "response.create: expected a response in the conversation"
            raise DuplexError(
                "not_supported", f'{expected}, got "input" or conversation "none": create an item instead'
            )
        if self._speaking and not self._fresh:
            raise DuplexError("conversation_already_has_active_response", "response.create: the model speaks already: "
                              "wait for response.done, or say something to interrupt it")  # fmt: skip
        self._asked = True
        return Relay(({"type": "duplex.input.enter"} | _id_of(event),))

    def _cancel(self, event: Given) -> Relay:
        answer = self._answer
        if not self._speaking or answer is None or event.get("response_id") not in (None, answer.id):
            raise DuplexError(
                "response_cancel_not_active", "response.cancel: expected a response in progress, got none"
            )
        answer.reason = "client_cancelled"
        if answer.status:  # only its sound was still to come
            answer.status = "cancelled"
        ours = {"type": "response.cancel", "response_id": answer.source} | _id_of(event)
        return self._relay(*self._finish(), server=(ours,))

    def _append(self, event: Given) -> Relay:
        self._sound = self._fresh = True
        return Relay((event,))

    def _commit(self, event: Given) -> Relay:
        if not self._sound:
            raise DuplexError(
                "input_audio_buffer_commit_empty", "input_audio_buffer.commit: expected sound first, got none"
            )
        self._sound = False
        return self._relay(*self._speech.commit(), server=({"type": "input_audio_buffer.commit"} | _id_of(event),))

    def _clear(self, event: Given) -> Relay:
        self._sound = False
        return self._relay({"type": "input_audio_buffer.cleared"}, server=({"type": "input_audio_buffer.commit"},))

    def _truncate(self, event: Given) -> Relay:
        name, ms = event.get("item_id"), event.get("audio_end_ms")
        answer = next((answer for answer in self._answers if answer.item_id == name), None)
        if answer is None or not isinstance(ms, int) or ms < 0:
            expected = "conversation.item.truncate: expected item_id of a recent response and audio_end_ms (0 or more)"
            raise BadInput(f"{expected}, got {str(name)[:40]!r} and {str(ms)[:20]}")
        samples = (answer.since or 0) + ms * RATE // 1000
        played = {"type": "duplex.audio.played", "response_id": answer.source, "samples": samples, "playing": False}
        return self._relay(truncated(answer.item_id, ms), server=(played | _id_of(event),))

    _inward: ClassVar[dict[str, Callable[[OpenAI, Given], Relay]]] = {
        "session.update": _change,
        "conversation.item.create": _create_item,
        "conversation.item.truncate": _truncate,
        "response.create": _create_response,
        "response.cancel": _cancel,
        "input_audio_buffer.append": _append,
        "input_audio_buffer.commit": _commit,
        "input_audio_buffer.clear": _clear,
    }

    # — what the server says —

    def outward(self, event: Given) -> Relay:
        """Theirs. Events that they do not have are left out: some clients fail at one that they do not know."""
        does = self._outward.get(event["type"])
        return self._relay(*does(self, event)) if does else Relay()

    def _created(self, event: Given) -> list[Given]:
        self._begun = True
        return self._describe(event)

    def _describe(self, event: Given) -> list[Given]:
        self._session |= event["session"]
        session = described(str(self.system), self._session) | {"ignored": list(self._ignored)}
        return [{"type": event["type"], "session": session}]

    def _begins(self, event: Given) -> list[Given]:
        return self._begin(event["response"]["id"])

    def _begin(self, source: str) -> list[Given]:
        told = self._finish()
        self._asked = self._fresh = False
        parts = sum(answer.source == source for answer in self._answers)
        aloud = bool((self._session.get("audio") or {}).get("voice"))
        answer = Answer(f"{source}-{parts + 1}" if parts else source, source, aloud)
        self._answers = [*self._answers[-MOST_ANSWERS:], answer]
        answer.previous = self._items.follow(answer.item_id)
        return [
            *told,
            {"type": "response.created", "response": answer.response},
            {"type": "response.output_item.added", "response_id": answer.id, "output_index": 0, "item": answer.item},
            {"type": "conversation.item.added", "previous_item_id": answer.previous, "item": answer.item},
            {"type": "response.content_part.added", **answer.place, "part": answer.part},
        ]

    def _decided(self, event: Given) -> list[Given]:
        """The model answers words that came while it spoke in the same response. Theirs is a new one where the client
        asked for it."""
        answer = self._answer
        if answer is None or answer.status is not None or not self._asked or event["idle"] or not event["user"]:
            return []
        answer.status, answer.reason = "cancelled", "turn_detected"
        return self._begin(answer.source)

    def _writes(self, event: Given) -> list[Given]:
        if (answer := self._open(event)) is None:
            return []
        answer.text += event["delta"]
        kind = "response.output_audio_transcript.delta" if answer.aloud else "response.output_text.delta"
        return [{"type": kind, **answer.place, "delta": event["delta"]}]

    def _cut(self, event: Given) -> list[Given]:
        if answer := self._open(event):
            answer.text = answer.text.removesuffix(event["unheard"])
        return []

    def _sounds(self, event: Given) -> list[Given]:
        if (answer := self._open(event)) is None or not answer.aloud:
            return []
        answer.since = event["start"] if answer.since is None else answer.since
        return [{"type": event["type"], **answer.place, "delta": event["delta"]}]

    def _sounded(self, event: Given) -> list[Given]:
        if (answer := self._open(event)) is None:
            return []
        answer.sounded = True
        return self._finish() if answer.status else []

    def _flushed(self, event: Given) -> list[Given]:
        answer = self._open(event)
        if answer is None or answer.since is None:
            return []
        return [truncated(answer.item_id, max(0, event["samples"] - answer.since) * 1000 // RATE)]

    def _ends(self, event: Given) -> list[Given]:
        if (answer := self._open(event)) is None:
            return []
        answer.status = event["status"]
        answer.reason = (answer.reason or "turn_detected") if answer.status == "cancelled" else None
        self._asked &= answer.status == "cancelled"  # what was asked for meanwhile was answered as well
        return self._finish() if answer.sounded or not answer.aloud else []

    def _finish(self) -> list[Given]:
        """The end of the response that is over, once."""
        answer = self._answer
        if answer is None or answer.status is None or answer.told:
            return []
        answer.told = True
        place = answer.place
        if answer.aloud:
            ends = [{"type": "response.output_audio.done", **place},
                    {"type": "response.output_audio_transcript.done", **place, "transcript": answer.text}]  # fmt: skip
        else:
            ends = [{"type": "response.output_text.done", **place, "text": answer.text}]
        return [
            *ends,
            {"type": "response.content_part.done", **place, "part": answer.part},
            {"type": "response.output_item.done", "response_id": answer.id, "output_index": 0, "item": answer.item},
            {"type": "conversation.item.done", "previous_item_id": answer.previous, "item": answer.item},
            {"type": "response.done", "response": answer.response},
        ]

    def _open(self, event: Given) -> Answer | None:
        """The response that the event belongs to, unless the client was told that it is over."""
        answer = self._answer
        return answer if answer and answer.source == event["response_id"] and not answer.told else None

    @property
    def _answer(self) -> Answer | None:
        """The last one."""
        return self._answers[-1] if self._answers else None

    @property
    def _speaking(self) -> bool:
        return self._answer is not None and not self._answer.told

    def _speech_started(self, event: Given) -> list[Given]:
        self._fresh = True
        return self._speech.started(event)

    def _transcribed(self, event: Given) -> list[Given]:
        return self._speech.transcribed(event)

    def _speech_stopped(self, event: Given) -> list[Given]:
        return self._speech.stopped(event)

    def _deaf(self, event: Given) -> list[Given]:
        text = event["text"][:200]
        told = f"{text!r} was not heard: this system hears nothing while it speaks; say it after response.done"
        return [error_event(DuplexError("deaf", told))]

    def _problem(self, event: Given) -> list[Given]:
        told = error_event(DuplexError("audio_problem", event["message"]))
        told["error"]["type"] = "server_error"
        if event["where"] == "mouth" and self._answer:
            self._answer.sounded = True
            return [told, *self._finish()]
        return [told]

    def _ended(self, event: Given) -> list[Given]:
        return [error_event(DuplexError("session_expired", f"the server ends this session: {event['why']}"))]

    def _failed(self, event: Given) -> list[Given]:
        self._opened &= self._begun  # else the next session.update tries again
        return [{name: value for name, value in event.items() if name != "event_id"}]

    _outward: ClassVar[dict[str, Callable[[OpenAI, Given], list[Given]]]] = {
        "session.created": _created,
        "session.updated": _describe,
        "response.created": _begins,
        "duplex.slice": _decided,
        "response.output_text.delta": _writes,
        "duplex.cut": _cut,
        "response.output_audio.delta": _sounds,
        "response.output_audio.done": _sounded,
        "duplex.audio.flush": _flushed,
        "response.done": _ends,
        "input_audio_buffer.speech_started": _speech_started,
        "conversation.item.input_audio_transcription.delta": _transcribed,
        "input_audio_buffer.speech_stopped": _speech_stopped,
        "duplex.deaf": _deaf,
        "duplex.audio.problem": _problem,
        "duplex.ended": _ended,
        "error": _failed,
    }

    # — small things —

    def _relay(self, *told: Given, server: tuple[Given, ...] = ()) -> Relay:
        texts = []
        for event in told:
            self._number += 1
            texts.append(json.dumps({"event_id": f"event_{self._number}", **event}, ensure_ascii=False))
        return Relay(server, tuple(texts))


def _id_of(event: Given) -> Given:
    return {"event_id": event["event_id"]} if isinstance(event.get("event_id"), str) else {}
