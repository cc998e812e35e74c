"""Messages that no client should send."""

import json
from collections import Counter
from random import Random

from duplex_runtime.errors import BadInput
from webapp.load.mutate import EVENTS, Mutator
from webapp.wire import parse


def messages(count: int, seed: int = 0) -> list[str | bytes]:
    mutator = Mutator(Random(seed))
    return [mutator.message() for _ in range(count)]


def kind(message: str | bytes) -> str:
    if isinstance(message, bytes):
        return "binary"
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        return "broken"
    return "proper" if value in EVENTS else "event" if isinstance(value, dict) else "no event"


def test_there_are_all_kinds_of_them() -> None:
    kinds = Counter(map(kind, messages(2000)))
    assert set(kinds) == {"binary", "broken", "proper", "event", "no event"}
    assert min(kinds.values()) > 20


def test_the_same_seed_gives_the_same_messages() -> None:
    assert messages(300, seed=4) == messages(300, seed=4)
    assert messages(300, seed=4) != messages(300, seed=5)


def test_every_text_can_be_sent() -> None:
    for message in messages(3000, seed=1):
        if isinstance(message, str):
            message.encode()


def test_some_are_larger_than_a_message_may_be_and_some_are_nested_deeply() -> None:
    made = messages(5000, seed=2)
    assert any(len(message) > 65_536 for message in made)
    assert any(message.count("[") > 20_000 for message in made if isinstance(message, str))


def test_what_comes_out_of_the_parser_is_an_event_or_bad_input() -> None:
    taken = 0
    for message in messages(2000, seed=3):
        try:
            parse(message if isinstance(message, str) else message.decode("utf-8", "replace"))
            taken += 1
        except BadInput:
            pass
    assert 100 < taken < 1900


def test_most_connections_ask_for_nothing_and_some_for_nonsense() -> None:
    mutator = Mutator(Random(0))
    queries = Counter(mutator.query() for _ in range(500))
    assert 250 < queries[""] < 450
    assert any(query.startswith("?resume=") for query in queries)
