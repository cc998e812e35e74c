"""Ways to forget, on a tiny random model: what is kept, and that a cache turned back is what it should be."""

import pytest

from duplex_runtime.duplex import Memory
from duplex_runtime.evaluation.memory import WAYS, Talk, compare
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.models.load import LoadedModel
from tests.web_fakes import tiny_loaded


@pytest.fixture(scope="module")
def tiny(one_thread: None) -> LoadedModel:
    return tiny_loaded(Memory(limit=300, keep=120))  # type: ignore[no-any-return]


def talked(model: LoadedModel, way: str) -> Talk:
    """A talk in which it is time to forget."""
    talk = Talk(model, way, 500)
    while len(talk.stream) + 80 <= model.memory.limit:
        talk.ask("what is the capital of france?")
    return talk


def test_the_stream_begins_anew_with_whole_units(tiny: LoadedModel) -> None:
    talk = talked(tiny, "anew")
    before = list(talk.stream)
    assert talk.forget()
    assert talk.stream[0] == EMBEDDED.bos
    assert before[-len(talk.stream) + 1 :] == talk.stream[1:]
    assert len(talk.stream) <= tiny.memory.keep + 1
    assert talk.stream[talk.units[0]] == EMBEDDED.user_marker[0]
    assert talk._divergence() < 1e-6


def test_rotation_keeps_the_first_unit_and_turns_the_keys_of_the_rest(tiny: LoadedModel) -> None:
    talk = talked(tiny, "rotated")
    first = talk.stream[: talk.units[1]]
    assert talk.forget()
    assert talk.stream[: talk.units[1]] == first
    cached = talk._cached
    assert cached == len(talk.stream)
    talk._divergence()  # fills slot 1 with a cold encoding of the same ids
    keys = talk.network.cache.layers[0][:, 0, :, :cached]
    # the first layer's keys depend on nothing but token and position: rotated ones are those of a cold encoding
    assert (keys[0] - keys[1]).abs().max() < 1e-4 * keys[1].abs().max()


def test_without_forgetting_the_stream_just_grows(tiny: LoadedModel) -> None:
    talk = talked(tiny, "nothing")
    length = len(talk.stream)
    assert not talk.forget()
    assert len(talk.stream) == length


def test_every_question_is_counted_once(tiny: LoadedModel) -> None:
    outcomes = compare(tiny, questions=8, talks=1)
    assert list(outcomes) == list(WAYS)
    for outcome in outcomes.values():
        assert sum(asked for _, asked in outcome.right.values()) == 8
    assert outcomes["anew"].divergence
    assert max(outcomes["anew"].divergence) < 1e-6
    assert outcomes["anew"].longest <= tiny.memory.limit
