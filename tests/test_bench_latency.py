"""Stages on one clock, and a real run of a few seconds."""

import math

import pytest
from web_fakes import save_tiny_model

from duplex_runtime.errors import BadInput
from webapp import bench_latency
from webapp.bench_latency import STAGES, Person, SliceTimes, Times, level_of, quantiles, run


def test_both_sides_are_brought_together() -> None:
    listening = SliceTimes(due=10.0, closed=10.01, laid=10.012, decided=10.02, done=10.02, index=0)
    speaking = SliceTimes(due=12.0, closed=12.0, laid=12.001, decided=12.011, done=12.051, index=1, tokens=10)
    server = Times([listening, speaking], heard=[11.501], told={0: 10.021, 1: 12.012})
    person = Person(keys=[11.5], asked=[(11.5, 12.02, 1), (13.0, math.nan, -1)], slices={0: 10.025, 1: 12.013})
    level = level_of([server], [person], period_seconds=2.0)
    assert level.first_token == [pytest.approx(520)]
    assert level.machine == [pytest.approx(20)]
    assert (level.listening, level.speaking) == ([pytest.approx(20)], [pytest.approx(51)])
    expected = {"text in": [1], "layout": [2, 1], "append": [8, 10], "decode": [40], "out": [4, 1]}
    assert level.stages == {stage: pytest.approx(values) for stage, values in expected.items()}
    assert level.late == [pytest.approx(10), pytest.approx(0)]
    assert (level.slices, level.overruns, level.halves) == (2, 0, 0)


def test_a_slice_that_takes_longer_than_its_period() -> None:
    slow = SliceTimes(due=0.0, closed=0.0, laid=0.0, decided=1.0, done=2.1, index=0, tokens=1)
    half = SliceTimes(due=3.0, closed=3.0, laid=3.0, decided=4.0, done=4.1, index=1, tokens=1)
    level = level_of([Times([slow, half], told={0: 1.0, 1: 4.0})], [Person()], 2.0)
    assert (level.overruns, level.halves, level.overrun_share) == (1, 2, 0.5)


def test_an_answer_before_the_last_key_is_no_reaction() -> None:
    level = level_of([Times()], [Person(asked=[(5.0, 4.0, 0)])], 2.0)
    assert level.first_token == []
    assert level.overrun_share is None


def test_quantiles_are_values_that_occurred() -> None:
    assert quantiles([float(n) for n in range(1, 101)]) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert quantiles([7.0]) == {"p50": 7.0, "p95": 7.0, "p99": 7.0}
    assert quantiles([]) == {"p50": None, "p95": None, "p99": None}


def test_a_real_run(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    model = str(save_tiny_model(tmp_path_factory.mktemp("latency") / "model"))
    monkeypatch.setattr(bench_latency, "_KEY", (0.0, 0.01))
    monkeypatch.setattr(bench_latency, "_THINK", (0.0, 0.1))
    monkeypatch.setattr(bench_latency, "_WHOLE", 2.0)
    result = run(model, conversations=1, seconds=1.0)
    assert set(result.figures["stages"]) == {stage.replace(" ", "_") for stage in STAGES}
    assert all(value["p50"] is None or value["p50"] >= 0 for value in result.figures["stages"].values())
    assert result.figures["machine_ms_p50"] <= result.figures["first_token_ms_p50"]
    assert result.comparable() == {}
    assert [p.name for p in result.pictures] == ["stages", "crowd"]


@pytest.mark.parametrize(("conversations", "seconds"), [(0, 10.0), (1, 0.0), (1, math.inf)])
def test_bad_numbers(conversations: int, seconds: float) -> None:
    with pytest.raises(BadInput, match="--conversations and --seconds"):
        run("embedded", conversations, seconds)
