"""What a simulated person does, given what they see."""

import pytest

from duplex_runtime.evaluation.person import PATIENCE_SECONDS, QUIET_SECONDS, Person, Utterance
from duplex_runtime.evaluation.scenarios import parse_scenario
from duplex_runtime.events import Cut, Delta
from duplex_runtime.slices import Slicing


def person(*steps: str, seed: int = 0) -> Person:
    return Person(parse_scenario("p.txt", ["situation  test", *steps]), seed, Slicing())


def word(at: float, text: str = " word", answer: str = "duplex-1") -> Delta:
    return Delta("duplex", answer, 0, text, at)


def speaks(someone: Person, at: float, seconds: float = 1.0) -> Utterance:
    utterance = someone.speak(at)
    assert utterance
    someone.said(utterance, at, at + seconds)
    return utterance


TURN = "0.5 s  turn  Tell me about bees."


def test_they_begin_when_the_scenario_says() -> None:
    someone = person(TURN)
    assert someone.due() == 0.5
    assert speaks(someone, 0.5).parts[0].text == "Tell me about bees."
    assert [(a.kind, a.begin, a.end) for a in someone.acts] == [("turn", 0.5, 1.5)]


def test_they_break_in_after_the_answer_has_begun() -> None:
    someone = person(TURN, "answer 2 s  stop  Stop.")
    speaks(someone, 0.5)
    assert someone.due() == 1.5 + PATIENCE_SECONDS  # no answer yet
    someone.happened([word(1.9), word(2.1), word(3.9)])
    assert someone.due() == 1.9 + 2.0


def test_nobody_says_mm_hm_to_silence() -> None:
    someone = person(TURN, "answer 5 s  backchannel  mm-hm")
    speaks(someone, 0.5)
    someone.happened([word(2.0)])
    assert someone.due() == 7.0
    assert someone.speak(7.0) is None
    assert someone.skipped == [3]


def test_they_wait_until_it_is_done() -> None:
    someone = person(TURN, "done 1 s  turn  And wasps?")
    speaks(someone, 0.5)
    someone.happened([word(2.0), word(2.2)])
    assert someone.due() == pytest.approx(3.4)
    someone.happened([word(2.4)])  # it goes on
    assert someone.due() == pytest.approx(3.6)


def test_who_gets_no_answer_asks_once_more_and_gives_up() -> None:
    someone = person(TURN, "done 1 s  turn  And wasps?")
    speaks(someone, 0.5)
    again = speaks(someone, 1.5 + PATIENCE_SECONDS)
    assert again.again
    assert again.parts[0].text == "Tell me about bees."
    later = someone.due()
    assert later == 10.5 + PATIENCE_SECONDS
    assert someone.speak(later) is None
    assert speaks(someone, someone.due() or 0).parts[0].text == "And wasps?"


def test_an_answer_that_was_cut_was_not_seen() -> None:
    someone = person(TURN, "done 1 s  turn  And wasps?")
    speaks(someone, 0.5)
    someone.happened([word(2.0), word(4.0), Cut("duplex", "duplex-1", 0, 3.0, " word")])
    assert someone.due() == pytest.approx(3.2)


def test_words_of_another_answer_are_the_answer_even_while_they_type() -> None:
    someone = person(TURN, "answer 1 s  stop  Stop.")
    speaks(someone, 0.5, seconds=4.0)
    someone.happened([word(2.0)])
    assert someone.due() == 4.5  # not before they have finished


def test_silence_is_kept_and_then_they_leave() -> None:
    someone = person(TURN, "20 s  silence")
    speaks(someone, 0.5)
    someone.happened([word(2.0)])
    assert someone.due() == 21.5
    assert someone.speak(21.5) is None
    assert someone.due() == 21.5 + QUIET_SECONDS
    assert someone.speak(26.5) is None
    assert someone.finished
    assert someone.due() is None


def test_the_same_seed_is_the_same_person() -> None:
    steps = ("0.5-3 s  turn  Tell me about {bees|ants|owls}.",)
    first, second, third = person(*steps), person(*steps), person(*steps, seed=1)
    assert first.due() == second.due() != third.due()
    assert speaks(first, 1).parts == speaks(second, 1).parts


def test_asides_want_no_answer() -> None:
    someone = person("0.5 s  aside  Not now, Anna.")
    utterance = speaks(someone, 0.5)
    assert not utterance.meant
    assert someone.due() == 1.5 + QUIET_SECONDS
