from random import Random

import pytest

from duplex_runtime.alignment.corpus import Exchange, load
from duplex_runtime.alignment.dialogues import Source
from duplex_runtime.evaluation.questions import answer_of, ask, ask_unknown, known_sentences, right, said, sentences
from duplex_runtime.evaluation.scripts import Watch
from duplex_runtime.events import Delta, Enter, UserText


@pytest.fixture(scope="module")
def source() -> Source:
    return Source(load(), held_out=True)


def watched(*answers: str) -> Watch:
    watch = Watch()
    for number, answer in enumerate(answers):
        watch.deltas += [Delta("duplex", f"r{number}", number, f" {w}", 0.0) for w in answer.split()]
    return watch


def test_questions_are_of_all_kinds_and_have_one_answer(source: Source) -> None:
    asked = ask(source, Random(1), 400)
    kinds = {q.kind for q in asked}
    assert {"fact", "inner", "talk", "topic", "howto", "list", "sum", "word", "count", "story", "memory"} <= kinds
    assert "unknown" not in kinds
    bare = sum(q.text[-1] not in ".?!" for q in asked) / len(asked)
    assert 0.4 < bare < 0.6


def test_the_same_seed_asks_the_same(source: Source) -> None:
    assert ask(source, Random(3), 20) == ask(source, Random(3), 20)
    assert ask(source, Random(3), 20) != ask(source, Random(4), 20)


def test_only_the_whole_answer_is_right(source: Source) -> None:
    question = next(q for q in ask(source, Random(1), 50) if q.kind == "fact")
    answer = question.right.pattern.replace("\\", "")
    assert right(question, watched(answer))
    assert not right(question, watched(answer[:-2]))
    assert not right(question, watched(f"{answer} And more."))
    assert not right(question, watched(answer, answer))
    assert not right(question, watched())


def test_something_told_is_asked_for_later(source: Source) -> None:
    question = next(q for q in ask(source, Random(1), 200) if q.kind == "memory")
    answer = question.right.pattern.split("|")[0].replace("\\", "")
    assert right(question, watched("Nice.", answer)) and right(question, watched(answer))
    whole = question.whole()
    assert [type(e) for _, e in whole] == [UserText, Enter, UserText, Enter]
    typed = question.typed(Random(1))
    assert not any(isinstance(e, Enter) for _, e in typed)
    text = "".join(e.text for _, e in typed if isinstance(e, UserText))
    assert text.split()[-1] == question.text.split()[-1]
    assert [at for at, _ in typed] == sorted(at for at, _ in typed)


def test_a_story_is_right_if_the_corpus_can_tell_it(source: Source) -> None:
    for seed in range(30):
        _, exchange = source.story(Random(seed))
        pattern = answer_of(source, exchange)
        assert pattern.fullmatch(exchange.answer), exchange.answer
        assert not pattern.fullmatch(" ".join(exchange.parts[:-1]))
    assert not answer_of(source, Exchange("a", "fact", ("q",), ("Yes.",))).fullmatch("No.")


def test_unknown_questions_are_admitted_with_any_honest_answer(source: Source) -> None:
    question = ask_unknown(source, Random(1), 1)[0]
    answers = source.corpus.unknown["answers"]
    assert all(right(question, watched(answer)) for answer in answers)
    assert not right(question, watched("Paris is the capital of France."))
    assert "Paris is the capital of France." in known_sentences(source)


def test_answers_are_told_apart() -> None:
    assert said(watched("One two.", "Three.")) == ["One two.", "Three."]
    assert sentences("One. Two! Three") == ["One.", "Two!", "Three"]
