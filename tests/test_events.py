import dataclasses
import json

import pytest

from duplex_runtime import events
from duplex_runtime.events import (
    Cut,
    Deaf,
    Delta,
    Event,
    Paced,
    Reaction,
    ResponseCreated,
    ResponseDone,
    Sealed,
    Slice,
    Yield,
)

EXAMPLES = [
    Slice("duplex", 3, 1.0, 2.0, "hi", True, 0.123456),
    ResponseCreated("duplex", "duplex-1", 1.0),
    Delta("turns", "turns-1", 2, " you", 1.0),
    Cut("duplex", "duplex-1", 4, 1.0, "unseen"),
    Yield("duplex", 1.0),
    ResponseDone("duplex", "duplex-1", "completed", 1.0),
    Reaction("duplex", 1.0, 1.24),
    Sealed("duplex", 5),
    Paced("duplex", 1.0, 2),
    Deaf("turns", 1.0, "x"),
]


def test_every_event_has_an_example_here() -> None:
    kinds = {c for c in vars(events).values() if isinstance(c, type) and issubclass(c, Event)}
    assert {type(e) for e in EXAMPLES} == kinds - {Event}


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda e: e.type)
def test_an_event_is_plain_json_with_type_and_system_first(event: Event) -> None:
    value = event.to_json()
    assert list(value)[:2] == ["type", "system"]
    assert value["type"] == event.type
    assert json.loads(json.dumps(value)) == value


def test_event_types_are_all_different() -> None:
    assert len({e.type for e in EXAMPLES}) == len(EXAMPLES)


def test_a_response_is_named_as_realtime_clients_expect() -> None:
    value = ResponseCreated("duplex", "duplex-1", 1.0).to_json()
    assert value["response"] == {"id": "duplex-1"}


def test_words_reserved_in_python_lose_their_underscore() -> None:
    value = Reaction("duplex", 1.0, 1.24).to_json()
    assert value == {"type": "duplex.reaction", "system": "duplex", "from": 1.0, "to": 1.24}


def test_times_and_probabilities_are_rounded() -> None:
    assert Slice("duplex", 0, 0.0, 1 / 3, "", True, 2 / 3).to_json()["p_idle"] == 0.6667


def test_events_are_values() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        EXAMPLES[0].system = "x"  # type: ignore[misc]
