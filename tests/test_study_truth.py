from pathlib import Path

import numpy as np
import pytest

from tests.study_files import THREE, study
from webapp.study.definition import SCALES, SYSTEMS
from webapp.study.frames import frames_of
from webapp.study.simulated import people_of
from webapp.study.statistics import differences_of, shift_of
from webapp.study.truth import Truth

BOTH = ("duplex", "strict")
CALM = Truth(careless=0, withdraws=0, leaves=0, looks=0)


def test_every_scale_and_system_has_an_effect() -> None:
    assert set(Truth().effects) == set(SCALES)
    assert all(set(effects) == set(SYSTEMS) for effects in Truth().effects.values())


def test_later_positions_are_liked_more() -> None:
    first, second, third = (Truth(second=0.4).opinion("overall", "strict", position) for position in (1, 2, 3))
    assert (second - first, third - first) == pytest.approx((0.4, 0.8))


def test_without_an_effect_nothing_differs(tmp_path: Path) -> None:
    made = study(tmp_path)
    assert Truth().mean_difference(made, "factuality", BOTH) == pytest.approx(0, abs=1e-9)
    assert Truth().shift(made, "factuality", BOTH) == pytest.approx(0, abs=1e-9)


def test_the_figures_are_those_of_very_many_simulated_people(tmp_path: Path) -> None:
    made = study(tmp_path)
    frames = frames_of(made, people_of(made, CALM, 1200, seed=3))
    for scale in ("responsiveness", "faithfulness"):
        found = differences_of(frames.ratings, scale, BOTH)
        error = float(found.std()) / len(found) ** 0.5
        assert found.mean() == pytest.approx(CALM.mean_difference(made, scale, BOTH), abs=3 * error)
        shift = shift_of(found.iloc[:400])
        assert shift and shift.low is not None and shift.high is not None
        assert shift.low - 0.05 < CALM.shift(made, scale, BOTH) < shift.high + 0.05
    assert (frames.preferences["preferred"] == "duplex").mean() == pytest.approx(1 / (1 + np.exp(-0.8)), abs=0.045)
    right, wrong = ((frames.guesses["outcome"] == outcome).mean() for outcome in ("right", "wrong"))
    assert right - wrong == pytest.approx(CALM.blinding(2), abs=0.08)


def test_differences_turn_with_the_pair(tmp_path: Path) -> None:
    made = study(tmp_path, *THREE)
    truth = Truth()
    forth, back = (
        truth.mean_difference(made, "overall", pair) for pair in (("duplex", "barge-in"), ("barge-in", "duplex"))
    )
    assert forth == pytest.approx(-back) and forth > 0
    assert truth.shift(made, "overall", ("barge-in", "duplex")) == pytest.approx(
        -truth.shift(made, "overall", ("duplex", "barge-in"))
    )
    assert truth.strength(("duplex", "barge-in")) == pytest.approx(0.5)
    assert truth.effect("overall", ("duplex", "barge-in")) == pytest.approx(0.2)
