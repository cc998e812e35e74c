from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from duplex_runtime.alignment.corpus import load
from duplex_runtime.alignment.noise import normal
from duplex_runtime.alignment.sources import Dialogue, Turn
from duplex_runtime.alignment.weave import IDLE, KINDS, Plan, WordTable, make_row
from duplex_runtime.errors import BadInput


def dialogue(number: int, turns: int = 3) -> Dialogue:
    return Dialogue(
        tuple(
            Turn(
                f"Please tell me the facts of part {t} in talk {number}?",
                " ".join(f"Fact {s} of part {t} in talk {number} is quite long." for s in range(5)),
            )
            for t in range(turns)
        )
    )


DIALOGUES = [dialogue(i, 2 + i % 3) for i in range(12)]


@pytest.fixture(scope="module")
def phrases() -> Mapping[str, Sequence[str]]:
    corpus = load()
    return {**corpus.phrases, **corpus.manners}


def table() -> WordTable:
    return WordTable(lambda word: 1 + len(word) // 6)


def row(kind: str, index: int, phrases: Mapping[str, Sequence[str]], periods: tuple[float, ...] = (2.0,)) -> Any:
    plan = Plan(shares=((kind, 1.0),), periods=periods)
    return make_row(index, index % len(DIALOGUES), DIALOGUES, plan, phrases, table())


def users(row: Any) -> list[str]:
    return [m["content"] for m in row["output"][::2]]


def models(row: Any) -> list[str]:
    return [m["content"] for m in row["output"][1::2]]


def said(row: Any) -> str:
    return " ".join(m for m in models(row) if m != IDLE)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_makes_whole_pairs_of_the_right_size(kind: str, phrases: Mapping[str, Sequence[str]]) -> None:
    words = table()
    for index in range(40):
        made = row(kind, index, phrases)
        assert made["kind"] == kind
        assert [m["role"] for m in made["output"]] == ["user", "assistant"] * (len(made["output"]) // 2)
        assert len(made["weights"]) == len(made["ends"]) == len(models(made))
        for text in models(made):
            assert text == IDLE or words.tokens(words.encode(text)) <= 10
        # four to six words, and fewer where a sentence or a phrase ends; a backchannel is said whole
        assert max(len(u.split()) for u in users(made)) <= 6
        assert any(m == IDLE for m in models(made)) and said(made)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_depends_on_its_number_alone(kind: str, phrases: Mapping[str, Sequence[str]]) -> None:
    assert [row(kind, i, phrases) for i in range(5)] == [row(kind, i, phrases) for i in range(5)]
    assert row(kind, 1, phrases) != row(kind, 13, phrases)  # the same dialogue


def test_uninterrupted_both_say_everything_and_wait(phrases: Mapping[str, Sequence[str]]) -> None:
    made = row("uninterrupted", 4, phrases)
    talk = DIALOGUES[4]
    assert said(made) == " ".join(t.assistant for t in talk.turns)
    assert " ".join(u for u in users(made) if u != IDLE) == " ".join(t.user for t in talk.turns)
    assert made["ends"].count(True) == len(talk.turns)
    for user, model in zip(users(made), models(made), strict=True):
        assert user == IDLE or model == IDLE or user.endswith("?")


def test_interlaced_dialogues_keep_their_own_order(phrases: Mapping[str, Sequence[str]]) -> None:
    talks = set[int]()
    for index in range(20):
        made = row("interweaving", index, phrases)
        answered = [s for s in said(made).replace(".", "").split("Fact 0 of ")[1:]]
        parts = [(int(a.split()[4]), int(a.split()[1])) for a in answered]
        talks.add(len({number for number, _ in parts}))
        for number in {n for n, _ in parts}:
            own = [part for n, part in parts if n == number]
            assert own == sorted(own)
    assert talks <= {2, 3, 4, 5} and max(talks) >= 4


def test_a_terminated_answer_is_over_and_the_next_question_is_answered(phrases: Mapping[str, Sequence[str]]) -> None:
    for index in range(20):
        made, talk = row("termination", index, phrases), DIALOGUES[index % len(DIALOGUES)]
        assert talk.turns[0].assistant not in said(made)
        assert talk.turns[1].assistant in said(made)


def test_a_corrected_question_gets_its_answer(phrases: Mapping[str, Sequence[str]]) -> None:
    for index in range(20):
        made, talk = row("regeneration", index, phrases), DIALOGUES[index % len(DIALOGUES)]
        assert said(made).endswith(talk.turns[-1].assistant)
        assert talk.turns[0].assistant in said(made)


def test_a_reset_breaks_off_four_dialogues(phrases: Mapping[str, Sequence[str]]) -> None:
    for index in range(20):
        made = row("reset", index, phrases)
        assert said(made).count("Fact 0 of part 0") >= 3
        assert made["ends"].count(True) == len(DIALOGUES[index % len(DIALOGUES)].turns)


def test_back_on_topic_the_rest_of_the_answer_follows(phrases: Mapping[str, Sequence[str]]) -> None:
    for index in range(20):
        made = row("back_on_topic", index, phrases)
        text, number = said(made), index % len(DIALOGUES)
        assert text.index(f"Fact 0 of part 1 in talk {number}") < text.rindex(f"Fact 4 of part 0 in talk {number}")


def test_through_backchannels_an_answer_is_said_once_and_whole(phrases: Mapping[str, Sequence[str]]) -> None:
    heard = Counter[str]()
    known = {normal(b) for b in phrases["backchannels"]}
    for index in range(40):
        made = row("backchannel", index, phrases)
        assert DIALOGUES[index % len(DIALOGUES)].turns[0].assistant in said(made)
        heard.update(normal(u) for u in users(made))
    assert sum(heard[b] for b in known) > 20


def test_shares_are_kept(phrases: Mapping[str, Sequence[str]]) -> None:
    plan = Plan(shares=(("reset", 1.0), ("stop", 3.0)), periods=(2.0,))
    words = table()
    kinds = Counter(make_row(i, i % 12, DIALOGUES, plan, phrases, words)["kind"] for i in range(400))
    assert set(kinds) == {"reset", "stop"}
    assert 260 <= kinds["stop"] <= 340


def test_the_papers_six_have_the_papers_proportions_by_default() -> None:
    papers = {name: (paper, own) for name, (_, paper, own) in KINDS.items() if paper}
    assert sum(paper for paper, _ in papers.values()) == pytest.approx(100.0)
    whole = sum(own for _, own in papers.values())
    for paper, own in papers.values():
        assert 100 * own / whole == pytest.approx(paper, abs=0.3)


@pytest.mark.parametrize(("period", "most"), [(0.5, 2), (1.0, 3), (4.0, 11)])  # the questions have eleven words
def test_slices_grow_with_their_period(period: float, most: int, phrases: Mapping[str, Sequence[str]]) -> None:
    longest = max(len(u.split()) for i in range(30) for u in users(row("uninterrupted", i, phrases, (period,))))
    assert longest == most


def test_no_word_is_cut_and_a_long_one_is_a_slice_by_itself() -> None:
    words = WordTable(len)
    numbers = words.encode("a bb ccc Donaudampfschiff e")
    assert [words.fit(numbers[i:], 5) for i in range(5)] == [2, 2, 1, 1, 1]
    assert words.fit(numbers, 0) == 0
    assert words.decode(numbers) == "a bb ccc Donaudampfschiff e"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((0, "stop=x", "2", "4-6", 10), "expected --kinds like"),
        ((0, "nod=1", "2", "4-6", 10), "expected shares of uninterrupted"),
        ((0, "stop=0", "2", "4-6", 10), "expected shares"),
        ((0, None, "0.1", "4-6", 10), "expected adaptive or seconds"),
        ((0, None, "two", "4-6", 10), "--periods like"),
        ((0, None, "2", "6-4", 10), "at least one word"),
        ((0, None, "2", "4-6", 0), "one token"),
    ],
)
def test_a_plan_that_is_none_is_refused(given: tuple[Any, ...], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Plan.parse(*given)


def test_a_plan_is_read() -> None:
    plan = Plan.parse(3, "stop=1, reset=2", "adaptive,0.5", "3", 12)
    assert plan == Plan(3, (("stop", 1.0), ("reset", 2.0)), (0.0, 0.5), (3, 3), 12)
