"""Text as it is spoken."""

import pytest

from duplex_runtime.speech.words import number_words, spoken


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("What's the capital of France?", "what's the capital of france"),
        ("Well, I don’t know!", "well i don't know"),
        ("7 + 15 * 2", "seven plus fifteen times two"),
        ("3 × 4 = 12", "three times four equals twelve"),
        ("12-5 and 12 − 5", "twelve minus five and twelve minus five"),
        ("a twenty-five year old", "a twenty five year old"),
        ("1,250 m", "one thousand two hundred fifty m"),
        ("3.14", "three point one four"),
        ("007", "zero zero seven"),
        ("café au lait", "cafe au lait"),
        ("the boys' toys 'quoted'", "the boys toys quoted"),
        ("(coughs) ...", "coughs"),
        ("... !?", ""),
    ],
)
def test_spoken(text: str, words: str) -> None:
    assert " ".join(spoken(text)) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "zero"), (13, "thirteen"), (40, "forty"), (99, "ninety nine"), (100, "one hundred"),
     (2026, "two thousand twenty six"), (1_000_000, "one million")],
)  # fmt: skip
def test_numbers(number: int, words: str) -> None:
    assert " ".join(number_words(number)) == words
