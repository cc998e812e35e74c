"""Writes docs/events.md: every event of the WebSocket `/v1/realtime`, with its fields, their types and an example.

.venv/bin/python scripts/events_reference.py            # writes it
.venv/bin/python scripts/events_reference.py --check    # fails if it is not up to date

What a conversation does is described by the types of duplex_runtime/events.py, the other events by
scripts/events/table.toml, OpenAI's by what webapp/openai_events.py makes of scripts/events/openai_talk.json. Examples
are those of tests/wire_cases.json. All else that is on the page stands in scripts/events/page.md.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from duplex_runtime import events  # noqa: E402
from webapp.openai_events import OpenAI  # noqa: E402
from webapp.reference import PATHS  # noqa: E402

TARGET = ROOT / "docs" / "events.md"
SOURCES = ROOT / "scripts" / "events"
TYPES = {"str": "text", "int": "whole number", "float": "number", "bool": "flag", "float | None": "number or null"}
#: Types of duplex_runtime.events whose names OpenAI's server uses as well.
THEIRS = ("response.created", "response.output_text.delta", "response.done")


@dataclass(frozen=True)
class Field:
    """A field of an event: `name` with a `?` behind it if it may be missing, and dots for what is inside."""

    name: str
    type: str
    meaning: str


@dataclass(frozen=True)
class Described:
    """One event."""

    type: str
    side: str
    whose: str
    says: str
    fields: tuple[Field, ...]
    example: dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """An event of OpenAI's, and where it came up in a talk."""

    type: str
    events: list[dict[str, Any]]

    def fields(self) -> Iterator[tuple[str, str]]:
        """Each field with every type that it had."""
        kinds: dict[str, dict[str, None]] = {}
        for event in self.events:
            for name, value in flat(event):
                kinds.setdefault(name, {})[type_of(value)] = None
        for name, found in kinds.items():
            always = [kind for kind in found if kind != "null"] + [kind for kind in found if kind == "null"]
            if name != "type":
                yield name, " or ".join(always)


def described() -> list[Described]:
    """All events of our own wire, the client's first."""
    table = tomllib.loads((SOURCES / "table.toml").read_text(encoding="utf-8"))
    meanings = table.pop("meanings")
    cases = json.loads((ROOT / "tests" / "wire_cases.json").read_text(encoding="utf-8"))
    examples: dict[str, dict[str, Any]] = {}
    for case in cases:
        if not case.get("invalid"):
            examples.setdefault(case["event"]["type"], case["event"])
    found = [
        Described(
            name,
            entry["side"],
            entry.get("whose", "ours"),
            entry["says"],
            tuple(Field(*field) for field in [*_number(entry), *_expanded(entry, table)]),
            examples.get(name) or entry["example"],
        )
        for name, entry in table.items()
    ]
    for cls in _subclasses(events.Event):
        about = " ".join((inspect.getdoc(cls) or "").split())
        whose = "OpenAI's" if cls.type in THEIRS else "ours"
        found.append(Described(cls.type, "server", whose, about, tuple(_typed(cls, meanings)), examples[cls.type]))
    return sorted(found, key=lambda event: event.side)


def _expanded(entry: dict[str, Any], table: dict[str, Any]) -> Iterator[list[str]]:
    """The fields of an event; one of the type `= other event` has what is inside the other's field of that name."""
    for name, kind, meaning in entry["fields"]:
        if kind.startswith("= "):
            yield from (field for field in table[kind[2:]]["fields"] if field[0].startswith(name))
        else:
            yield [name, kind, meaning]


def _number(entry: dict[str, Any]) -> list[list[str]]:
    """The fields that every event of one side has."""
    if entry["side"] == "client":
        about = ["event_id?", "text", "an error about it repeats it"]
        return [["seq?", "whole number", "1, 2, 3 …: what was taken already is ignored"], about]
    return [["event_id", "text", "its number: `event_N`"]] if entry.get("numbered", True) else []


def _subclasses(cls: type[events.Event]) -> Iterator[type[events.Event]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)


def _typed(cls: type[events.Event], meanings: dict[str, str]) -> Iterator[Field]:
    """The fields of an event of the conversation."""
    yield Field("event_id", "text", "its number: `event_N`")
    for field in fields(cls):
        name = field.name.rstrip("_")
        if cls is events.ResponseCreated and name == "response_id":
            yield Field("response", "object", meanings["response"])
            yield Field("response.id", "text", meanings["response_id"])
        else:
            yield Field(name, TYPES[str(field.type)], meanings[name])


def fits(value: Any, wanted: str) -> bool:
    """Is a JSON value of a type in the words of the table?"""
    for kind in wanted.split(" or "):
        match kind:
            case "text" | "flag" | "object" | "null":
                good = isinstance(value, {"text": str, "flag": bool, "object": dict, "null": type(None)}[kind])
            case "number" | "whole number":
                numbers = (int, float) if kind == "number" else (int,)
                good = isinstance(value, numbers) and not isinstance(value, bool)
            case _ if kind.startswith("list of "):
                good = isinstance(value, list) and all(fits(item, kind.removeprefix("list of ")) for item in value)
            case _:
                good = kind == json.dumps(value)
        if good:
            return True
    return False


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of an event as the table names them, objects and lists of objects beside what is in them."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from ((path, leaf) for path, leaf in [(_join(name, key), inner), *flat(inner, _join(name, key))])
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                yield from flat(item, f"{name}[]")


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def type_of(value: Any) -> str:
    """The type of a value, in the words of the table."""
    for kind in ("null", "flag", "whole number", "number", "text", "object"):
        if fits(value, kind):
            return kind
    return f"list of {type_of(value[0])}" if value else "list"


def their_events() -> tuple[list[Seen], list[Seen]]:
    """Everything that OpenAI's clients may send, and everything that they are told, as seen in two short talks of
    theirs that go through their dialect, one in text and one aloud."""
    sent: dict[str, list[dict[str, Any]]] = {}
    told: dict[str, list[dict[str, Any]]] = {}
    for step in json.loads((SOURCES / "openai_talk.json").read_text(encoding="utf-8")):
        if "voices" in step:
            dialect = OpenAI("duplex", tuple(step["voices"]))
            dialect.opening()
            continue
        if "client" in step:
            sent.setdefault(step["client"]["type"], []).append(step["client"])
            relay = dialect.inward(json.dumps(step["client"]))
        else:
            relay = dialect.outward(step["server"])
        for text in relay.client:
            event = json.loads(text)
            told.setdefault(event["type"], []).append(event)
    return [Seen(name, events) for name, events in sent.items()], [Seen(name, events) for name, events in told.items()]


def page() -> str:
    """The whole document."""
    found = described()
    sent, told = their_events()
    text = (SOURCES / "page.md").read_text(encoding="utf-8")
    for mark, parts in {
        "paths": [" and ".join(f"`{path}`" for path in PATHS)],
        "contents": [_contents(found)],
        "client": [_section(event) for event in found if event.side == "client"],
        "server": [_section(event) for event in found if event.side == "server"],
        "sent": [_theirs(event) for event in sent],
        "told": [_theirs(event) for event in told],
    }.items():
        text = text.replace(f"{{{mark}}}", "\n".join(parts).rstrip())
    return text


def _contents(found: list[Described]) -> str:
    rows = [f"| `{e.type}` | {_arrow(e.side)} | {e.whose} |" for e in found]
    return "\n".join(["| event | direction | name |", "|---|---|---|", *rows])


def _arrow(side: str) -> str:
    return "client → server" if side == "client" else "server → client"


def _section(event: Described) -> str:
    rows = [(f.name, f.type, f.meaning) for f in event.fields]
    table = _table(("field", "type", "meaning"), rows) if rows else "No fields beside `type`.\n"
    name = f"{event.whose} name" if event.whose != "ours" else "our name"
    numbered = event.fields and event.fields[0].name == "event_id"
    example = {"type": event.type, "event_id": "event_17", **event.example} if numbered else event.example
    return f"### `{event.type}`\n\n{_arrow(event.side)} · {name}\n\n{event.says}\n\n{table}\n{_json(example)}"


def _theirs(seen: Seen) -> str:
    rows = [(name, kind, "") for name, kind in seen.fields()]
    table = _table(("field", "type"), rows) if rows else "No fields beside `type`.\n"
    return f"#### OpenAI's `{seen.type}`\n\n{table}\n{_json(seen.events[0])}"


def _table(head: tuple[str, ...], rows: list[tuple[str, str, str]]) -> str:
    lines = [head, ("---",) * len(head)]
    for name, kind, meaning in rows:
        optional = " (optional)" if name.endswith("?") else ""
        lines.append((f"`{name.removesuffix('?')}`{optional}", kind.replace('"', "`"), meaning)[: len(head)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _json(event: dict[str, Any]) -> str:
    return f"```json\n{json.dumps(event, ensure_ascii=False)}\n```\n"


def main() -> int:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--check", action="store_true", help="write nothing; fail if the file is not up to date")
    text = page()
    if not arguments.parse_args().check:
        TARGET.write_text(text, encoding="utf-8")
    elif text != TARGET.read_text(encoding="utf-8"):
        print(f"{TARGET}: not up to date: run {Path(__file__).relative_to(ROOT)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
