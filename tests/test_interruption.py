"""What is made of an interruption, and the whole experiment on the real small model."""

import re
from typing import Any

import pytest
from talk_fakes import act, says, talk_with

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation import interruption
from duplex_runtime.evaluation.interruption import BREAKS, Case, examine, run

#: The answer, heard to its end: words w0 to w39 from 1.0 s to 9.0 s.
FIRST = talk_with([act("turn", 0.0, 0.8)], says(1.0, 40))


def case(breaks: str, right: str | None = None) -> Case:
    return Case(breaks, 0.5, "keys", "q", "text", re.compile(right) if right else None)


def taken(breaks: str, acts: list[Any], pieces: list[Any], right: str | None = None, **values: Any) -> Any:
    return examine(case(breaks, right), talk_with([act("turn", 0.0, 0.8), *acts], pieces, **values), FIRST)


def test_a_stop_that_is_obeyed() -> None:
    got = taken("stop", [act("stop", 5.0, 6.0)], says(1.0, 23), yields=(5.6,), slices=((5.5, "stop"),))
    assert (got.yielded, got.slices, got.late, got.zombie, got.deaf) == (True, 1, 0, False, False)
    assert (got.from_begin, got.from_end) == (pytest.approx(0.6), 0.0)


def test_words_after_the_last_key_are_late() -> None:
    got = taken("stop", [act("stop", 5.0, 6.0)], says(1.0, 29), yields=(6.75,))
    assert got.late == 3  # at 6.2, 6.4 and 6.6
    assert got.from_end == pytest.approx(0.75)


def test_deaf_is_who_goes_on_as_if_nothing_had_been() -> None:
    got = taken("stop", [act("stop", 5.0, 6.0)], says(1.0, 40))
    assert (got.yielded, got.deaf, got.zombie, got.resumed) == (False, True, None, None)


def test_an_old_answer_that_comes_back_unasked_is_a_zombie() -> None:
    pieces = [*says(1.0, 20), *says(6.4, 3, "d-2", first=90), *says(8.0, 8, "d-2", first=20)]
    assert taken("change", [act("turn", 5.0, 6.0)], pieces, yields=(5.2,)).zombie is True
    assert taken("change", [act("turn", 5.0, 6.0)], pieces[:23], yields=(5.2,)).zombie is False


def test_after_a_question_coming_back_is_wanted() -> None:
    pieces = [*says(1.0, 20), *says(6.4, 3, "d-2", first=90), *says(8.0, 8, "d-2", first=20)]
    got = taken("question", [act("question", 5.0, 6.0)], pieces, "w90 w91 w92", yields=(5.2,))
    assert (got.answered, got.resumed, got.zombie) == (True, True, None)
    got = taken("question", [act("question", 5.0, 6.0)], pieces[:23], "w90 w91 w99", yields=(5.2,))
    assert (got.answered, got.resumed) == (False, False)


def test_what_was_asked_to_go_on_goes_on() -> None:
    acts = [act("stop", 5.0, 6.0), act("resume", 12.0, 13.0)]
    got = taken("stop", acts, [*says(1.0, 20), *says(14.0, 8, "d-2", first=20)], yields=(5.2,))
    assert (got.resumed, got.zombie) == (True, False)
    assert taken("stop", acts, says(1.0, 20), yields=(5.2,)).resumed is False


def test_a_backchannel_asks_for_nothing() -> None:
    got = taken("backchannel", [act("backchannel", 5.0, 5.4)], says(1.0, 40))
    assert (got.went_on, got.deaf) == (True, None)
    assert taken("backchannel", [act("backchannel", 5.0, 5.4)], says(1.0, 23), yields=(5.5,)).went_on is False


def test_nothing_to_break_into_is_no_case() -> None:
    assert taken("stop", [act("stop", 12.0, 13.0)], says(1.0, 40)) is None
    assert taken("stop", [], says(1.0, 40)) is None
    assert taken("stop", [act("stop", 8.5, 9.5)], says(1.0, 40)) is None  # it would have been over by then


def test_gaps_into_which_nobody_spoke() -> None:
    assert taken("backchannel", [act("backchannel", 5.0, 5.2)], [*says(1.0, 10), *says(3.6, 27, first=10)]).choppy == 1


def test_the_whole_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "POINTS", (0.2, 0.4))
    monkeypatch.setattr(interruption, "WAYS", ("keys",))
    result = run("embedded", questions=1, workers=1)
    for system in ("duplex", "strict", "barge-in"):
        assert all(result.figures[system][breaks]["n"] for breaks in BREAKS)
    assert result.figures["strict"]["stop"]["yields"] == 0
    assert result.figures["barge-in"]["stop"]["yields"] == 1
    assert result.figures["barge-in"]["backchannel"]["goes_on"] == 0
    assert result.missing == ()


def test_bad_numbers() -> None:
    with pytest.raises(BadInput, match="expected 1 to 100, got 0"):
        run("embedded", questions=0)
