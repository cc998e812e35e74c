"""The wire `/v1/realtime`: what a client may say, checked. Event names follow the OpenAI Realtime API.

What the server says are the events of `duplex_runtime.events`, `session.created` and `error`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.events import Edit, Enter, Input, UserText
from duplex_runtime.slices import Slicing

MAX_BYTES = 64 * 1024
CLIENT_EVENTS = ("session.update", "duplex.input.edit", "duplex.input.enter", "conversation.item.create")


@dataclass(frozen=True)
class SessionUpdate:
    """How the session shall cut time; takes effect when it is the first event."""

    slicing: Slicing
    slice_seconds: float | str


@dataclass(frozen=True)
class Typed:
    """What the person did, in order."""

    inputs: tuple[Input, ...]


def parse(text: str) -> SessionUpdate | Typed:
    """A client's message; raises BadInput that says what was expected and what came."""
    if (size := len(text.encode("utf-8", "surrogatepass"))) > MAX_BYTES:
        raise BadInput(f"a message has at most {MAX_BYTES} bytes, this one {size}: send long text in several edits")
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        raise BadInput(f"expected a JSON object, got {text[:40]!r}") from None
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise BadInput(f'expected a JSON object with a "type", one of {", ".join(CLIENT_EVENTS)}, got {text[:40]!r}')
    match event["type"]:
        case "session.update":
            return _session(event, text[:80])
        case "duplex.input.edit":
            return _edit(event, text[:80])
        case "duplex.input.enter":
            return Typed((Enter(),))
        case "conversation.item.create":
            return Typed((UserText(_message(event, text[:80])), Enter()))
        case other:
            raise BadInput(f"unknown event type {other[:60]!r}: expected one of " + ", ".join(CLIENT_EVENTS))


def _session(event: dict[str, Any], got: str) -> SessionUpdate:
    session = event.get("session")
    seconds = session.get("slice_seconds", "adaptive") if isinstance(session, dict) else None
    if seconds != "adaptive" and (isinstance(seconds, bool) or not isinstance(seconds, int | float)):
        raise BadInput(
            f'session.update: expected {{"session": {{"slice_seconds": "adaptive" or a number}}}}, got {got!r}'
        )
    return SessionUpdate(Slicing.parse(seconds), seconds)


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


def error_event(error: DuplexError) -> dict[str, Any]:
    """An `error` event."""
    return {"type": "error", "error": {"type": "invalid_request_error", "code": error.code, "message": str(error)}}
