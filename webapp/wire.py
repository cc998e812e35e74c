"""The wire `/v1/realtime`: what a client may say, checked. Event names follow the OpenAI Realtime API.

message = opened(text)                  # its type, and its `seq` and `event_id` if it has them
event = event_of(message)               # SessionUpdate, Typed, Sound, Played or Ack
on_the_wire(Enter())                    # {"type": "duplex.input.enter"}: the other way round

What the server says are the events of `duplex_runtime.events`, `session.created` and `error`.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.events import SYSTEMS, Cancel, Edit, Enter, Input, UserText
from duplex_runtime.slices import Slicing

MAX_BYTES = 64 * 1024
CLIENT_EVENTS = (
    "session.update",
    "duplex.input.edit",
    "duplex.input.enter",
    "conversation.item.create",
    "response.cancel",
    "input_audio_buffer.append",
    "input_audio_buffer.commit",
    "duplex.audio.played",
    "duplex.ack",
)
#: The most characters of an `event_id`.
MAX_NAME = 512
#: What the server tells of sound, beside the events of `duplex_runtime.events`.
SOUND_EVENTS = (
    "session.updated",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "conversation.item.input_audio_transcription.delta",
    "duplex.hypothesis",
    "response.output_audio.delta",
    "response.output_audio.done",
    "duplex.audio.flush",
    "duplex.audio.problem",
)
#: Samples a second of sound that a client may send.
RATES = (16_000, 24_000)
BASELINES = ("strict", "barge-in")


@dataclass(frozen=True)
class AudioUpdate:
    """How sound shall be sent and made. `rate`: of what the client sends; `voice`: the id of one, None for silence;
    `system`: whose answers are spoken. What is not said stays (`voice_set`: it is said)."""

    rate: int | None = None
    voice: str | None = None
    voice_set: bool = False
    system: str | None = None


@dataclass(frozen=True)
class SessionUpdate:
    """How the session shall cut time (None: not said), which needs to be its first event; what the baseline does when
    the person begins to speak; and sound, which may change at any time. `model`: the only system that shall answer,
    None: all do; in the first event as well."""

    slicing: Slicing | None
    slice_seconds: float | str | None
    baseline: str | None = None
    audio: AudioUpdate | None = None
    model: str | None = None


@dataclass(frozen=True)
class Typed:
    """What the person did, in order."""

    inputs: tuple[Input, ...]


@dataclass(frozen=True)
class Sound:
    """PCM16 of the microphone; `None`: it was switched off."""

    data: bytes | None


@dataclass(frozen=True)
class Played:
    """So many samples of an answer came out of the loudspeaker; `playing`: more are on their way."""

    response_id: str
    samples: int
    playing: bool


@dataclass(frozen=True)
class Ack:
    """The client has all events up to number `after`: they need not be kept for a resume."""

    after: int


ClientEvent = SessionUpdate | Typed | Sound | Played | Ack


@dataclass(frozen=True)
class Message:
    """A client's message, its event not looked at yet. seq: its number, of those that the client counts; event_id: its
    name, which an error about it repeats; `start`: how it begins, for an error."""

    value: dict[str, Any]
    seq: int | None
    event_id: str | None
    start: str


class TooLong(BadInput):
    """A message of more than MAX_BYTES."""


def opened(text: str) -> Message:
    """What a client sent; raises BadInput, or TooLong."""
    if (size := len(text.encode("utf-8", "surrogatepass"))) > MAX_BYTES:
        raise TooLong(f"a message has at most {MAX_BYTES} bytes, this one {size}: send long text in several edits")
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        raise BadInput(f"expected a JSON object, got {text[:40]!r}") from None
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise BadInput(f'expected a JSON object with a "type", one of {", ".join(CLIENT_EVENTS)}, got {text[:40]!r}')
    seq, name = event.get("seq"), event.get("event_id")
    if seq is not None and (isinstance(seq, bool) or not isinstance(seq, int) or not 1 <= seq < 2**53):
        raise BadInput(f'expected "seq" to be a whole number, 1 to 2^53 - 1, got {text[:80]!r}')
    if name is not None and not (isinstance(name, str) and len(name) <= MAX_NAME):
        raise BadInput(f'expected "event_id" to be text of at most {MAX_NAME} characters, got {text[:80]!r}')
    return Message(event, seq, name if name is None else _whole(name), text[:80])


def parse(text: str) -> ClientEvent:
    """The event of a client's message; raises BadInput that says what was expected and what came."""
    return event_of(opened(text))


def event_of(message: Message) -> ClientEvent:
    """The event of a message; raises BadInput that says what was expected and what came."""
    event, got = message.value, message.start
    match event["type"]:
        case "session.update":
            return _session(event, got)
        case "duplex.input.edit":
            return _edit(event, got)
        case "duplex.input.enter":
            return Typed((Enter(),))
        case "conversation.item.create":
            return Typed((UserText(_message(event, got)), Enter()))
        case "response.cancel":
            return Typed((_cancel(event, got),))
        case "input_audio_buffer.append":
            return Sound(_sound(event))
        case "input_audio_buffer.commit":
            return Sound(None)
        case "duplex.audio.played":
            return _played(event, got)
        case "duplex.ack":
            return _ack(event, got)
        case other:
            raise BadInput(f"unknown event type {other[:60]!r}: expected one of " + ", ".join(CLIENT_EVENTS))


def _session(event: dict[str, Any], got: str) -> SessionUpdate:
    session = event.get("session")
    if not isinstance(session, dict):
        raise BadInput(
            f'session.update: expected {{"session": {{"slice_seconds": "adaptive" or a number}}}}, got {got!r}'
        )
    seconds, baseline = session.get("slice_seconds"), session.get("baseline")
    given = "slice_seconds" in session
    if given and seconds != "adaptive" and (isinstance(seconds, bool) or not isinstance(seconds, int | float)):
        raise BadInput(f'session.update: expected slice_seconds "adaptive" or a number, got {got!r}')
    if baseline not in (None, *BASELINES):
        raise BadInput(f"session.update: expected baseline {' or '.join(BASELINES)}, got {str(baseline)[:40]!r}")
    if (model := session.get("model")) not in (None, *SYSTEMS):
        raise BadInput(f"session.update: expected model {' or '.join(SYSTEMS)}, got {str(model)[:40]!r}")
    audio = _audio(session["audio"], got) if session.get("audio") is not None else None
    return SessionUpdate(Slicing.parse(session["slice_seconds"]) if given else None, seconds, baseline, audio, model)


def _audio(audio: Any, got: str) -> AudioUpdate:
    if isinstance(audio, dict):
        source, output = audio.get("input") or {}, audio.get("output") or {}
        if isinstance(source, dict) and isinstance(output, dict):
            form = source.get("format") or {}
            kind, rate = (form.get("type", "audio/pcm"), form.get("rate")) if isinstance(form, dict) else (None, None)
            voice, system = output.get("voice"), output.get("system")
            good = kind == "audio/pcm" and rate in (None, *RATES) and not isinstance(rate, bool)
            if good and (voice is None or isinstance(voice, str)) and system in (None, *SYSTEMS):
                return AudioUpdate(rate, voice, "voice" in output, system)
    expected = (
        f'{{"input": {{"format": {{"type": "audio/pcm", "rate": {" or ".join(map(str, RATES))}}}}}, '
        f'"output": {{"voice": an id or null, "system": {" or ".join(SYSTEMS)}}}}}'
    )
    raise BadInput(f"session.update: expected audio {expected}, got {got!r}")


def _sound(event: dict[str, Any]) -> bytes:
    audio = event.get("audio")
    try:
        data = base64.b64decode(audio, validate=True) if isinstance(audio, str) else b""
    except (binascii.Error, ValueError):
        data = b""
    if not data or len(data) % 2:
        raise BadInput("input_audio_buffer.append: expected audio, 16-bit samples (little endian, mono) in base64, "
                       f"got {str(audio)[:20]!r}")  # fmt: skip
    return data


def _played(event: dict[str, Any], got: str) -> Played:
    match event:
        case {"response_id": str(name), "samples": int(samples), "playing": bool(playing)} if samples >= 0:
            return Played(name, samples, playing)
    raise BadInput(f"duplex.audio.played: expected response_id, samples (0 or more) and playing, got {got!r}")


def _cancel(event: dict[str, Any], got: str) -> Cancel:
    if isinstance(name := event.get("response_id"), str | None):
        return Cancel(name)
    raise BadInput(f"response.cancel: expected response_id to be text or left out, got {got!r}")


def _ack(event: dict[str, Any], got: str) -> Ack:
    match event:
        case {"after": int(after)} if after >= 0 and not isinstance(after, bool):
            return Ack(after)
    raise BadInput(f"duplex.ack: expected after, the number of an event (0 or more), got {got!r}")


def _edit(event: dict[str, Any], got: str) -> Typed:
    delete, insert = event.get("delete"), event.get("insert")
    if isinstance(delete, bool) or not isinstance(delete, int) or delete < 0 or not isinstance(insert, str):
        raise BadInput(f'duplex.input.edit: expected "delete" (characters, 0 or more) and "insert" (text), got {got!r}')
    inputs: list[Input] = []
    if delete:
        inputs.append(Edit(delete))
    if text := _whole(insert):
        inputs.append(UserText(text))
    return Typed(tuple(inputs))


def _message(event: dict[str, Any], got: str) -> str:
    item = event.get("item")
    content = item.get("content") if isinstance(item, dict) else None
    if isinstance(content, list):
        parts = [c for c in content if isinstance(c, dict) and c.get("type") == "input_text"]
        texts = [c["text"] for c in parts if isinstance(c.get("text"), str)]
        if texts and len(texts) == len(parts):
            return _whole(" ".join(texts))
    expected = '{"item": {"content": [{"type": "input_text", "text": …}]}}'
    raise BadInput(f"conversation.item.create: expected {expected}, got {got!r}")


def _whole(text: str) -> str:
    """Without lone surrogates: a recording cannot hold them, and its replay would differ."""
    return text.encode("utf-8", "ignore").decode()


def on_the_wire(done: Input) -> dict[str, Any]:
    """What a client sends for it; raises BadInput for what cannot be typed."""
    match done:
        case UserText(text):
            return {"type": "duplex.input.edit", "delete": 0, "insert": text}
        case Edit(delete):
            return {"type": "duplex.input.edit", "delete": delete, "insert": ""}
        case Enter():
            return {"type": "duplex.input.enter"}
        case Cancel(None):
            return {"type": "response.cancel"}
        case Cancel(name):
            return {"type": "response.cancel", "response_id": name}
    raise BadInput(f"expected something typed, got {type(done).__name__}")


def error_event(error: DuplexError, event_id: str | None = None) -> dict[str, Any]:
    """An `error` event; `event_id`: what the client called the event that it is about."""
    about = {"type": "invalid_request_error", "code": error.code, "message": str(error)}
    return {"type": "error", "error": about if event_id is None else {**about, "event_id": event_id}}
