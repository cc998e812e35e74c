from collections.abc import Callable
from random import Random

import pytest

from duplex_runtime.alignment.noise import as_typed, bare, informal, normal, typo

TEXT = "What is the capital of France, please?"


@pytest.mark.parametrize("change", [typo, informal, as_typed])
def test_the_same_dice_type_the_same(change: Callable[[str, Random], str]) -> None:
    assert [change(TEXT, Random(i)) for i in range(50)] == [change(TEXT, Random(i)) for i in range(50)]


def test_a_slip_changes_little_and_never_the_first_letter() -> None:
    for i in range(300):
        slipped = typo(TEXT, Random(i))
        assert abs(len(slipped) - len(TEXT)) <= 1
        assert len(slipped.split()) == len(TEXT.split())
        assert slipped[:1].lower() in ("w", "h")


@pytest.mark.parametrize("text", ["", "x", "?", "42", "a b"])
def test_text_with_no_room_for_a_slip_survives(text: str) -> None:
    for i in range(50):
        assert typo(text, Random(i)).split() or not text.strip()


def test_bare_text_has_no_marks_but_keeps_its_words() -> None:
    assert bare("What's that, please?") == "Whats that please"
    assert bare("No... really?!") == "No... really"
    assert bare("?!") == "?!"


def test_most_typing_is_unchanged_or_bare() -> None:
    typed = [as_typed(TEXT, Random(i)) for i in range(400)]
    kept = sum(normal(t) == normal(TEXT) for t in typed)
    assert kept > 200
    assert any(t == TEXT for t in typed)
    ended = sum(t.endswith("?") for t in typed)
    assert 0.4 <= ended / len(typed) <= 0.8


def test_typing_never_ends_up_empty_or_with_edges_of_space() -> None:
    for i in range(500):
        for text in (TEXT, "No.", "Hm?", "Stop."):
            typed = as_typed(text, Random(i))
            assert typed.strip() == typed != ""


def test_the_share_of_bare_typing_can_be_set() -> None:
    assert not any(as_typed("It is.", Random(i), 1.0).endswith(".") for i in range(100))
    assert all(as_typed("It is.", Random(i), 0.0).endswith(".") for i in range(100))


def test_sentences_are_compared_without_case_marks_and_extra_spaces() -> None:
    assert normal("  What's THIS,  then? ") == "whats this then"


@pytest.mark.parametrize("text", [",,,,", "'", "No.", "a"])
def test_something_is_typed_whatever_falls_away(text: str) -> None:
    assert all(as_typed(text, Random(seed)).strip() for seed in range(300))
