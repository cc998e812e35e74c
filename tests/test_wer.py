"""Word errors, counted."""

import pytest

from duplex_runtime.speech.wer import Errors, errors, total, word_error_rate


@pytest.mark.parametrize(
    ("said", "heard", "expected"),
    [
        ("tell me more", "tell me more", Errors(words=3)),
        ("tell me more", "tell us more", Errors(wrong=1, words=3)),
        ("tell me more", "tell more", Errors(missing=1, words=3)),
        ("tell me more", "tell me some more", Errors(added=1, words=3)),
        ("tell me more", "", Errors(missing=3, words=3)),
        ("", "uh", Errors(added=1)),
        ("a b c d", "b x d e", Errors(wrong=1, missing=1, added=1, words=4)),
    ],
)
def test_the_fewest_edits(said: str, heard: str, expected: Errors) -> None:
    assert errors(said, heard) == expected


def test_case_marks_and_digits_do_not_count() -> None:
    assert word_error_rate("What's 7 + 15?", "what's seven plus fifteen") == 0


def test_the_rate() -> None:
    assert word_error_rate("one two three four", "one two") == 0.5
    assert word_error_rate("stop", "please stop now") == 2.0
    assert word_error_rate("", "") == 0.0
    assert word_error_rate("", "uh") == 1.0


def test_long_sentences_weigh_more() -> None:
    assert total([("one two three four", "one two three four"), ("stop", "")]).rate == pytest.approx(1 / 5)
    assert total([]).rate == 0
