"""Both sides on one clock: the arithmetic."""

import math
from dataclasses import replace

import pytest

from webapp.latency.level import level_of, quantiles
from webapp.latency.people import Person
from webapp.latency.times import SliceTimes, Times

LISTENING = SliceTimes(due=10.0, closed=10.01, laid=10.012, decided=10.02, done=10.02, index=0)
SPEAKING = SliceTimes(due=12.0, closed=12.0, laid=12.001, decided=12.011, done=12.051, index=1, tokens=10)


def test_both_sides_are_brought_together() -> None:
    server = Times([LISTENING, SPEAKING], heard=[11.501], told={0: 10.021, 1: 12.012})
    person = Person(keys=[11.5], asked=[(11.5, 12.02, 1), (13.0, math.nan, -1)], slices={0: 10.025, 1: 12.013})
    level = level_of([server], [person], period_seconds=2.0)
    assert level.first_token == [pytest.approx(520)]
    assert level.machine == [pytest.approx(20)]
    assert level.listening == [pytest.approx(20)]
    assert level.speaking == [pytest.approx(51)]
    expected = {"text in": [1], "layout": [2, 1], "append": [8, 10], "decode": [40], "out": [4, 1]}
    assert level.stages == {stage: pytest.approx(values) for stage, values in expected.items()}
    assert level.late == [pytest.approx(10), pytest.approx(0)]
    assert level.whole == [pytest.approx(1 + 51 + 1)]  # the key before it, the slice, its way to the client
    assert (level.asked, level.slices, level.overruns, level.halves) == (2, 2, 0, 0)


@pytest.mark.parametrize(
    "each", [LISTENING, SPEAKING, replace(SPEAKING, closed=12.5, laid=12.6, decided=13, done=14.1)]
)
def test_the_stages_add_up_to_the_whole_slice(each: SliceTimes) -> None:
    level = level_of([Times([each])], [Person()], 2.0)
    within = (level.late, *(level.stages[stage] for stage in ("layout", "append", "decode")))
    assert math.fsum(map(math.fsum, within)) == pytest.approx(1000 * (each.done - each.due))
    assert level.all_slices == [pytest.approx(1000 * (each.done - each.due))]


def test_a_slice_that_takes_longer_than_its_period() -> None:
    slow = SliceTimes(due=0.0, closed=0.0, laid=0.0, decided=1.0, done=2.1, index=0, tokens=1)
    half = SliceTimes(due=3.0, closed=3.0, laid=3.0, decided=4.0, done=4.1, index=1, tokens=1)
    level = level_of([Times([slow, half], told={0: 1.0, 1: 4.0})], [Person()], 2.0)
    assert (level.overruns, level.halves, level.overrun_share, level.half_share) == (1, 2, 0.5, 1.0)


def test_what_is_not_over_and_what_nobody_was_told_is_not_counted() -> None:
    unfinished = SliceTimes(due=0.0, closed=0.0, laid=0.0, index=3)
    renewed = SliceTimes(due=0.0, closed=0.0, laid=0.0, decided=1.0, done=1.0)
    level = level_of([Times([unfinished, renewed])], [Person()], 2.0)
    assert (level.slices, level.overrun_share, level.half_share) == (0, None, None)


def test_an_answer_before_the_last_key_is_no_reaction() -> None:
    assert level_of([Times()], [Person(asked=[(5.0, 4.0, 0)])], 2.0).first_token == []


def test_who_never_reached_the_server_has_no_conversation_there() -> None:
    here = Person(keys=[1.0], asked=[(1.0, 1.5, 0)])
    server = Times([SliceTimes(due=1.3, closed=1.3, laid=1.3, decided=1.4, done=1.4, index=0)], heard=[1.002])
    level = level_of([server], [Person(unreached=True, cut_off="no way"), here], 2.0)
    assert (level.conversations, level.cut_off, level.refused) == (2, ["no way"], True)
    assert level.stages["text in"] == [pytest.approx(2)]
    assert level.machine == [pytest.approx(200)]


def test_quantiles_are_values_that_occurred() -> None:
    assert quantiles([float(n) for n in range(1, 101)]) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert quantiles([7.0]) == {"p50": 7.0, "p95": 7.0, "p99": 7.0}
    assert quantiles([2.0, 1.0]) == {"p50": 1.0, "p95": 2.0, "p99": 2.0}
    assert quantiles([]) == {"p50": None, "p95": None, "p99": None}
