"""The recorded talk that people watch while they wait: from a recording of the server to `static/replay.json`.

    python -m webapp.replay data/recordings/ID.jsonl > static/replay.json

The page plays it on its usual timeline, so it is made of what the page knows: the events of the wire, and its own about
what was typed, each with the second at which it came. Logs of `duplex play --record` of both systems, one after the
other in one file, are a recording as well.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.events import SYSTEMS
from duplex_runtime.recording import Log, read_log

#: Seconds after the last event that it goes on.
_END_SECONDS = 2.0

Moment = tuple[float, dict[str, Any]]


def replay_of(path: Path) -> dict[str, Any]:
    """The page's `Recording` (static/replay.js); raises BadInput for a file that is no typed talk with both systems."""
    logs = read_log(path)
    if set(logs) != set(SYSTEMS):
        raise BadInput(f"{path}: expected a recording of {' and '.join(SYSTEMS)}, got one of {', '.join(sorted(logs))}")
    header = logs["duplex"].header
    try:
        moments = [*_typed(logs["duplex"]), *(m for log in logs.values() for m in _told(log))]
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: a line is not of the format of recordings ({error!r})") from None
    moments = [(round(at, 3), event) for at, event in sorted(moments, key=lambda m: m[0])]  # of one moment, keys first
    session = {
        "id": "recording",
        "model": str(header.get("model")),
        "parameters": 0,
        "aligned": True,
        "slice_seconds": header.get("slice_seconds", "adaptive"),
        "tokens_per_second": 5,
        "baseline": logs["turns"].header.get("baseline", "strict"),
        "systems": list(SYSTEMS),
    }
    ends = [float(event.get("at", at)) for at, event in moments]
    return {"session": session, "seconds": round(max(ends, default=0.0) + _END_SECONDS, 2), "events": moments}


def _timed(log: Log) -> Iterator[Moment]:
    """Each line, and when it was written: an event is told at the time of what the conversation saw before it."""
    at = 0.0
    for line in log.lines:
        at = float(line.get("at", at))
        yield at, line


def _typed(log: Log) -> Iterator[Moment]:
    """What the page noted of the keys, and of what was sealed."""
    box = ""
    for at, line in _timed(log):
        match line:
            case {"kind": "input", "text": str(text)} if not line.get("spoken"):
                box += text
                yield _edit(at, 0, text, box)
            case {"kind": "input", "delete": int(count)}:
                box = box[: len(box) - min(count, len(box))]
                yield _edit(at, count, "", box)
            case {"kind": "input", "enter": True}:
                yield at, {"type": "client.enter", "at": round(at, 3)}
            case {"kind": "input", **rest} if "pace" not in rest:  # a slow moment of the server
                raise BadInput(f"expected a talk that was only typed, got {json.dumps(rest)[:80]}")
            case {"kind": "event", "event": {"type": "duplex.sealed", "characters": int(count)}}:
                yield at, {"type": "client.said", "text": box[:count]}
                box = box[count:]


def _edit(at: float, delete: int, insert: str, box: str) -> Moment:
    return at, {"type": "client.edit", "at": round(at, 3), "delete": delete, "insert": insert, "text": box}


def _told(log: Log) -> Iterator[Moment]:
    for at, line in _timed(log):
        if line["kind"] == "event":
            yield at, line["event"]


def main(arguments: Sequence[str]) -> int:
    """Write the replay of the recording that is named to standard output."""
    if len(arguments) != 1:
        raise BadInput("expected one recording: python -m webapp.replay FILE.jsonl > static/replay.json")
    found = replay_of(Path(arguments[0]))
    events = ",\n".join(json.dumps(event, ensure_ascii=False) for event in found["events"])
    head = json.dumps({"session": found["session"], "seconds": found["seconds"]}, ensure_ascii=False)
    print(f'{head[:-1]}, "events": [\n{events}\n]}}')
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except DuplexError as error:
        print(f"replay: {error}", file=sys.stderr)
        sys.exit(2)
