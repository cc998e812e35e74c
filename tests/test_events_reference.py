"""docs/events.md is up to date, and true where a machine can tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from scripts.events_reference import TARGET, Described, described, fits, flat, page, their_events
from webapp.openai_events import OpenAI
from webapp.wire import CLIENT_EVENTS, SOUND_EVENTS, parse

CASES = [
    case
    for case in json.loads((Path(__file__).parent / "wire_cases.json").read_text(encoding="utf-8"))
    if not case.get("invalid")
]
EVENTS = {event.type: event for event in described()}


EXAMPLES = [pytest.param(case["direction"], case["event"], id=case["name"]) for case in CASES]
EXAMPLES += [pytest.param(event.side, event.example, id=event.type) for event in EVENTS.values()]


def test_the_page_is_up_to_date() -> None:
    assert TARGET.read_text(encoding="utf-8") == page(), "run scripts/events_reference.py"


@pytest.mark.parametrize(("side", "event"), EXAMPLES)
def test_every_event_is_what_the_page_says(side: str, event: dict[str, Any]) -> None:
    told = EVENTS[event["type"]]
    assert told.side == side
    known = {field.name.removesuffix("?"): field for field in told.fields}
    found = dict(flat(event))
    for name, value in found.items():
        if name != "type":
            assert fits(value, known[name].type), f"{name}: {value!r} is no {known[name].type}"
    assert not missing(told, found)


def missing(told: Described, found: dict[str, Any]) -> set[str]:
    """Fields that had to be there: those of an object that is there."""
    absent = set()
    for field in told.fields:
        inside = field.name.rpartition(".")[0].removesuffix("[]")
        needed = not inside or bool(found.get(inside))
        # the page's cases leave out what the page does not read
        if needed and not field.name.endswith("?") and field.name not in found and field.name not in UNREAD:
            absent.add(field.name)
    return absent


#: What the server sends and the case file leaves out.
UNREAD = {"event_id", "system"}


def test_every_event_of_the_wire_is_on_the_page() -> None:
    client = {name for name, event in EVENTS.items() if event.side == "client"}
    assert client == set(CLIENT_EVENTS)
    assert set(EVENTS) >= {*SOUND_EVENTS, *(case["event"]["type"] for case in CASES)}
    text = TARGET.read_text(encoding="utf-8")
    assert all(f"### `{name}`" in text for name in EVENTS)


@pytest.mark.parametrize("name", CLIENT_EVENTS)
def test_the_server_takes_the_examples_of_what_a_client_may_send(name: str) -> None:
    parse(json.dumps(EVENTS[name].example))


def test_every_event_of_theirs_is_on_the_page() -> None:
    sent, _ = their_events()
    assert {seen.type for seen in sent} == set(OpenAI._inward)


def test_what_their_clients_are_told_is_of_their_types() -> None:
    _, told = their_events()
    assert len(told) > 20
    for event in (event for seen in told for event in seen.events):
        TypeAdapter(RealtimeServerEvent).validate_python(event)


@pytest.mark.parametrize(
    ("value", "kind", "good"),
    [
        ("a", "text", True), (1, "text", False), (1, "number", True), (True, "number", False),
        (1.5, "whole number", False), (None, "text or null", True), ({}, "object", True),
        ("strict", '"strict" or "barge-in"', True), ("shy", '"strict" or "barge-in"', False),
        (["a"], "list of text", True), ([1], "list of text", False),
    ],
)  # fmt: skip
def test_types_in_words(value: Any, kind: str, good: bool) -> None:
    assert fits(value, kind) == good
