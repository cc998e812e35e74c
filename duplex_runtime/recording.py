"""A conversation as a log that replays to the same token ids.

One JSON object a line, appended as it happens: a header, then `input`, `due`, `output` and `event` lines in the
order in which the conversation saw them. Only `input`, `due` and `output` times matter for a replay; events, and `act`
lines that say what a simulated person meant, are for people and for analysis.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

from duplex_runtime.engine.requests import Engine, Output, Sampling, SliceRequest
from duplex_runtime.errors import BadInput
from duplex_runtime.events import (
    SYSTEMS,
    Cancel,
    Edit,
    Enter,
    Event,
    Heard,
    Input,
    Pace,
    SpeechEnd,
    SpeechStart,
    UserText,
    Voiced,
)
from duplex_runtime.loop import Conversation
from duplex_runtime.strain import LEVELS

FORMAT = 1


def input_to_json(event: Input) -> dict[str, Any]:
    """A dict with one key that names what was done, and what belongs to it."""
    match event:
        case UserText(text, spoken):
            return {"text": text, "spoken": True} if spoken else {"text": text}
        case Edit(delete):
            return {"delete": delete}
        case Enter():
            return {"enter": True}
        case Cancel(response_id):
            return {"cancel": response_id}
        case Pace(level):
            return {"pace": level}
        case SpeechStart():
            return {"speech": True}
        case SpeechEnd(ended_at):
            return {"speech": False, "ended_at": ended_at}
        case Voiced(on):
            return {"voiced": on}
        case Heard(response_id, characters):
            return {"heard": characters, "response_id": response_id}


def input_from_json(value: dict[str, Any]) -> Input:
    """The reverse; raises BadInput."""
    match value:
        case {"text": str(text)}:
            return UserText(text, value.get("spoken") is True)
        case {"delete": int(delete)} if delete >= 0 and not isinstance(delete, bool):
            return Edit(delete)
        case {"enter": True}:
            return Enter()
        case {"cancel": None | str() as response_id}:
            return Cancel(response_id)
        case {"pace": int(level)} if 0 <= level < len(LEVELS) and not isinstance(level, bool):
            return Pace(level)
        case {"speech": True}:
            return SpeechStart()
        case {"speech": False, "ended_at": float() | int() as ended_at}:
            return SpeechEnd(ended_at)
        case {"voiced": bool(on)}:
            return Voiced(on)
        case {"heard": int(characters), "response_id": str(response_id)} if characters >= 0:
            return Heard(response_id, characters)
    known = '"text", "delete", "enter", "cancel", "pace", "speech", "voiced" or "heard"'
    raise BadInput(f"expected {known}, got {sorted(value)}")


class Recorder:
    """An observer of the loop that writes the log. Lines of several systems may share a file."""

    def __init__(self, file: IO[str], system: str) -> None:
        self._file, self._system = file, system

    def header(self, values: dict[str, Any]) -> None:
        """What is needed to set the conversation up again."""
        self._write("header", {"format": FORMAT, **values})

    def heard(self, event: Input, at: float) -> None:
        self._write("input", {"at": at, **input_to_json(event)})

    def asked(self, now: float, request: SliceRequest | None) -> None:
        self._write("due", {"at": now})

    def answered(self, output: Output, at: float) -> None:
        stopped = {"stopped": True} if output.stopped else {}
        self._write("output", {"at": at, "token": output.token, "done": output.done, **stopped})

    def happened(self, events: Sequence[Event]) -> None:
        for event in events:
            self._write("event", {"event": event.to_json()})

    def told(self, event: dict[str, Any]) -> None:
        """An event as it came over the wire, at a client."""
        self._write("event", {"event": event})

    def act(self, act: str, begin: float, end: float, text: str) -> None:
        """What the person meant by what they did from `begin` to `end`; known of simulated people."""
        # as exact as the times of events, with which they are compared
        self._write("act", {"act": act, "begin": round(begin, 4), "end": round(end, 4), "text": text})

    def _write(self, kind: str, values: dict[str, Any]) -> None:
        line = {"kind": kind, "system": self._system, **values}
        # half a surrogate pair cannot be written as UTF-8; as an escape it can
        text = json.dumps(line, ensure_ascii=False)
        self._file.write((text if text.isascii() or _writable(text) else json.dumps(line)) + "\n")
        self._file.flush()


def _writable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True)
class Log:
    """One system's part of a recording."""

    header: dict[str, Any]
    lines: list[dict[str, Any]]
    numbers: list[int]  # of the lines in the file


def read_log(path: Path) -> dict[str, Log]:
    """The logs in a file by system; raises BadInput with the line for what is not of the format.

    A last line that was cut off (the machine went down) is dropped.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such log file")
    return parse_log(path.read_bytes(), str(path))


def parse_log(data: bytes, path: str) -> dict[str, Log]:
    """The same of a file's contents; `path` names it in messages."""
    logs: dict[str, Log] = {}
    lines = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            kind, system = value["kind"], str(value["system"])
        except (ValueError, TypeError, KeyError, RecursionError):
            if number == len(lines):
                break
            raise BadInput(f"{path} line {number}: expected a JSON object with kind and system") from None
        if kind == "header":
            if value.get("format") != FORMAT or system not in SYSTEMS:
                raise BadInput(
                    f"{path} line {number}: expected a header of format {FORMAT} and a system of "
                    f"{', '.join(SYSTEMS)}, got format {value.get('format')!r} and system {system[:40]!r}"
                )
            logs[system] = Log(value, [], [])
        elif system not in logs:
            raise BadInput(f"{path} line {number}: {kind} of {system!r} before its header")
        else:
            logs[system].lines.append(value)
            logs[system].numbers.append(number)
    if not logs:
        raise BadInput(f"{path}: expected a log with a header line, found none")
    return logs


@dataclass(frozen=True)
class Difference:
    """Where a replay left the recording."""

    line: int
    expected: Any
    got: Any


def sampling_from(header: dict[str, Any]) -> Sampling:
    """The sampling that a header names; raises BadInput."""
    known = {f.name: f.type for f in fields(Sampling)}
    values = header.get("sampling")
    if not isinstance(values, dict) or not set(values) <= set(known):
        raise BadInput(f"header: expected sampling with some of {', '.join(known)}, got {values!r}")
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values.values()):
        raise BadInput(f"header: expected numbers in sampling, got {values!r}")
    return Sampling(**values)


def header_of(model: str, sampling: Sampling, settings: dict[str, Any]) -> dict[str, Any]:
    """Header values: which model, how tokens were drawn, how time was cut."""
    return {"model": model, "sampling": asdict(sampling), **settings}


def replay(log: Log, conversation: Conversation, engine: Engine) -> Iterator[Difference]:
    """Drive `conversation` as the log says; yields where its tokens differ (nothing: all the same)."""
    slot = engine.open(sampling_from(log.header))
    outputs: list[Output] = []
    try:
        for number, line in zip(log.numbers, log.lines, strict=True):
            try:
                match line["kind"]:
                    case "input":
                        conversation.hear(input_from_json(line), line["at"])
                    case "due":
                        if request := conversation.due(line["at"]):
                            engine.submit(slot, request)
                    case "output":
                        if line.get("stopped"):
                            engine.stop(slot)
                        if not outputs and engine.busy:
                            outputs = list(engine.step())
                        got = outputs.pop(0) if outputs else None
                        expected = (line["token"], line["done"])
                        if got is None or (got.token, got.done) != expected:
                            yield Difference(number, expected, got and (got.token, got.done))
                            return
                        conversation.apply(got, line["at"])
            except (KeyError, TypeError, ValueError) as error:
                raise BadInput(f"log line {number} of {log.header.get('system')}: {error!r}") from None
    finally:
        engine.close(slot)
