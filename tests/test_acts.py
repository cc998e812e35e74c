"""What real people meant, as far as it can be told."""

from duplex_runtime.evaluation.acts import Piece, guess_acts
from duplex_runtime.events import Edit, Enter, SpeechEnd, SpeechStart, UserText

ANSWER = [Piece(1.0, 9.0, " words", "d-1")]


def kinds(*inputs: tuple[float, object]) -> list[str]:
    return [a.kind for a in guess_acts(inputs, ANSWER)]  # type: ignore[arg-type]


def test_only_in_an_answer_a_word_is_a_backchannel_or_a_stop() -> None:
    assert kinds((2.0, UserText("okay"))) == ["backchannel"]
    assert kinds((20.0, UserText("okay"))) == ["turn"]
    assert kinds((2.0, UserText("stop please"))) == ["stop"]
    assert kinds((2.0, UserText("and wasps?"))) == ["turn"]


def test_gaps_and_enter_end_an_utterance() -> None:
    assert len(kinds((20.0, UserText("one ")), (21.9, UserText("two")))) == 1
    assert len(kinds((20.0, UserText("one ")), (22.1, UserText("two")))) == 2
    assert len(kinds((20.0, UserText("one ")), (20.1, Enter()), (20.2, UserText("two")))) == 2


def test_words_of_one_sound_are_one_utterance_however_late_they_come() -> None:
    first = [(1.1, SpeechStart()), (3.0, UserText("one ", True)), (5.0, UserText("two ", True)), (6.2, SpeechEnd(5.6))]
    again = [(8.0, SpeechStart()), (8.5, UserText("three ", True)), (9.4, SpeechEnd(8.6))]
    found = [(a.text, a.begin, a.end) for a in guess_acts([*first, *again], [])]
    assert found == [("one two", 1.1, 5.6), ("three", 8.0, 8.6)]


def test_what_was_taken_back_was_not_said() -> None:
    assert kinds((20.0, UserText("one")), (20.2, Edit(3))) == []
    assert kinds() == []
