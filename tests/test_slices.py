import pytest

from duplex_runtime.errors import BadInput
from duplex_runtime.slices import (
    Slicing,
    clean,
    delimited,
    ends_sentence,
    in_slices,
    whole_words,
)


def test_adaptive_is_the_default_and_can_be_named() -> None:
    assert Slicing.parse("adaptive") == Slicing()
    assert Slicing().adaptive


@pytest.mark.parametrize("text", ["2", "2.0", 2, 2.0])
def test_a_number_is_a_fixed_period(text: str | float) -> None:
    assert Slicing.parse(text) == Slicing(period_seconds=2.0, adaptive=False)


@pytest.mark.parametrize("text", ["0.24", "10.1", "-1", "nan", "inf", "fast", "", "1e400", None, []])
def test_other_periods_are_refused_with_what_was_expected(text: object) -> None:
    with pytest.raises(BadInput, match=r"expected 'adaptive' or a number from 0\.25 to 10"):
        Slicing.parse(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(("period", "tokens"), [(0.25, 1), (1.0, 5), (2.0, 10), (4.0, 20)])
def test_the_model_speaks_at_one_rate_whatever_the_period(period: float, tokens: int) -> None:
    slicing = Slicing(period_seconds=period)
    assert slicing.model_tokens == tokens
    assert slicing.token_seconds * tokens == pytest.approx(period)


def test_control_characters_and_lone_surrogates_are_dropped() -> None:
    assert clean("a\x00b\x1b[31mc\x7f\x9b\ud83dd") == "ab[31mcd"


def test_white_space_of_every_kind_is_a_space_and_other_scripts_stay() -> None:
    assert clean("a\tb\nc\r\u00a0\u3000\u2028d 你好 🙂 é") == "a b c    d 你好 🙂 é"


def test_a_family_of_emoji_stays_whole() -> None:
    assert clean("👩‍👩‍👧 ❤️") == "👩‍👩‍👧 ❤️"


@pytest.mark.parametrize("text", ["", "one ", "one.", "one,", "one?", "好。", "one…", "(one)", "x:"])
def test_words_that_end_here(text: str) -> None:
    assert delimited(text)
    assert whole_words(text) == len(text)


@pytest.mark.parametrize(
    ("text", "whole"), [("one", ""), ("one two", "one "), ("a b'", "a "), ("one-", ""), ("3.5 m", "3.5 ")]
)
def test_a_word_that_may_go_on_is_not_whole(text: str, whole: str) -> None:
    assert not delimited(text)
    assert text[: whole_words(text)] == whole


@pytest.mark.parametrize(
    "text", ["Yes.", "Yes?", "Yes! ", "Well…", "好。", "好吗？", "好！", 'He said "no."', "(Yes.)", "yes.”"]
)
def test_end_marks_end_a_sentence_behind_closing_quotes_too(text: str) -> None:
    assert ends_sentence(text)


@pytest.mark.parametrize("text", ["", "yes", "yes,", "3.5", "e.g. this", "yes:"])
def test_other_text_does_not_end_a_sentence(text: str) -> None:
    assert not ends_sentence(text)


def test_up_to_twelve_words_are_one_slice() -> None:
    text = " ".join(f"w{i}" for i in range(12))
    assert in_slices(text) == [text]
    assert in_slices("") == [""]


def test_a_paste_is_cut_into_eight_words_and_nothing_is_lost() -> None:
    text = "  " + "  ".join(f"w{i}" for i in range(1000)) + " \t"
    pieces = in_slices(text)
    assert "".join(pieces) == text
    assert len(pieces) == 125
    assert {len(p.split()) for p in pieces} == {8}
