from itertools import pairwise
from random import Random

import pytest

from duplex_runtime.alignment.corpus import load
from duplex_runtime.alignment.dialogues import Source, words
from duplex_runtime.alignment.noise import normal

KINDS = ("fact", "inner", "talk", "topic", "howto", "list", "sum", "count", "story", "unknown")


@pytest.fixture(scope="module")
def source() -> Source:
    return Source(load())


@pytest.mark.parametrize(
    ("number", "name"),
    [(0, "zero"), (13, "thirteen"), (20, "twenty"), (45, "forty five"), (99, "ninety nine"), (100, "one hundred")],
)
def test_numbers_in_words(number: int, name: str) -> None:
    assert words(number) == name


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_question_has_words_and_an_answer(source: Source, kind: str) -> None:
    for seed in range(50):
        question, exchange = getattr(source, kind)(Random(seed))
        assert question.strip()
        assert exchange.parts and all(p.strip() for p in exchange.parts)
        assert "{" not in question + exchange.answer
        assert "_" not in question + exchange.answer


@pytest.mark.parametrize("kind", [*KINDS, "draw", "short", "long"])
def test_the_same_dice_draw_the_same(source: Source, kind: str) -> None:
    def drawn() -> list[object]:
        return [getattr(source, kind)(Random(seed)) for seed in range(30)]

    assert drawn() == drawn()


def test_training_and_held_out_draws_share_no_wording() -> None:
    trained, held = Source(load()), Source(load(), held_out=True)
    for kind in ("fact", "inner", "talk", "topic", "howto", "list"):
        asked = [{(e.id, q) for q, e in (getattr(s, kind)(Random(i)) for i in range(300))} for s in (trained, held)]
        assert not asked[0] & asked[1]


def test_sums_are_right(source: Source) -> None:
    values = {words(i): i for i in range(101)}
    for seed in range(300):
        _, exchange = source.sum(Random(seed))
        left, result = exchange.answer.rstrip(".").lower().split(" is ")
        op = next(o for o in (" plus ", " minus ", " times ") if o in left)
        a, b = (values[part] for part in left.split(op))
        assert values[result] == {" plus ": a + b, " minus ": a - b, " times ": a * b}[op]


def test_counting_counts(source: Source) -> None:
    values = {words(i): i for i in range(101)}
    for seed in range(300):
        question, exchange = source.count(Random(seed))
        numbers = [values[p.rstrip(",.").lower()] for p in exchange.parts]
        steps = {b - a for a, b in pairwise(numbers)}
        down = any(word in question.lower() for word in ("down", "back", "reverse", "descending"))
        assert steps == ({-1} if down else {1}), question


def test_long_answers_take_several_slices(source: Source) -> None:
    assert all(len(source.long(Random(i))[1].parts) > 3 for i in range(100))


def test_unknown_questions_are_not_known_ones(source: Source) -> None:
    assert not {normal(source.unknown_question(Random(i))) for i in range(500)} & source.complete
