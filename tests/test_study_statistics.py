import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon

from tests.study_people import ratings
from webapp.study.statistics import (
    Estimate,
    OrderEffect,
    compare,
    describe,
    differences_of,
    holm,
    mean_of,
    order_effects,
    pairs_of,
    shift_of,
    wilcoxon_p,
)

BOTH = ("duplex", "strict")


# — the Hodges-Lehmann shift —


def test_without_ties_it_is_the_median_of_the_walsh_averages() -> None:
    # 1, 2, 4, 9: averages 1 1.5 2 2.5 3 4 5 5.5 6.5 9, of which the fifth and the sixth are 3 and 4
    found = shift_of([9, 1, 4, 2])
    assert found == Estimate(3.5, None, None)  # four participants are too few for an interval


def test_of_an_odd_number_of_averages_it_is_the_middle_one() -> None:
    assert shift_of([1, 2]) == Estimate(1.5)  # 1 1.5 2
    assert shift_of([0, 1, 5]) == Estimate(1.75)  # 0 0.5 1 2.5 3 5: six again


def test_tied_averages_are_spread_between_half_points() -> None:
    # differences 0 0 1: averages 0 (3 times), 0.5 (twice), 1 (once). More lie below than above by -3 at 0, by 2 at 0.5:
    # the line between them is 0 at 0.5 * 3 / 5
    found = shift_of([0, 1, 0])
    assert found and found.value == pytest.approx(0.3)


def test_whole_differences_that_are_symmetric_have_their_middle() -> None:
    found = shift_of([-2, -1, 0, 0, 1, 2, 1, -1])
    assert found and found.value == 0 and found.low is not None and found.low == pytest.approx(-(found.high or 0))


@pytest.mark.parametrize("whole", [True, False])
def test_the_interval_leaves_out_what_the_test_rejects(whole: bool) -> None:
    """At every Walsh average, where the test says something new: inside, p is above 0.05, and outside below it."""
    rng = np.random.default_rng(4)
    for _ in range(20):
        differences = rng.normal(0.5, 1.4, 20)
        differences = np.round(differences) if whole else np.round(differences, 3)
        found = shift_of(differences)
        assert found and found.low is not None and found.high is not None
        for average in np.unique(np.round(np.add.outer(differences, differences) / 2, 9)):
            shifted = np.round(differences - average, 9)
            p = wilcoxon(shifted, zero_method="pratt", method="asymptotic").pvalue
            assert (found.low < average < found.high) == (p > 0.05)


def test_it_moves_with_the_differences() -> None:
    differences = np.array([0, 1, 1, 2, -1, 3, 0, 2, 1, 1])
    here, there = shift_of(differences), shift_of(differences + 2)
    assert here and there and here.low is not None and there.low is not None
    assert (there.value, there.low) == pytest.approx((here.value + 2, here.low + 2))


def test_degenerate_differences() -> None:
    assert shift_of([]) is None
    assert shift_of([2]) == shift_of([2, 2, 2]) == Estimate(2.0)
    assert shift_of([0, 0]) == Estimate(0.0)


# — tests and means —


def test_pratt_ranks_zeros_and_leaves_them_out() -> None:
    # 0 0 1 2 3: the zeros have the ranks 1 and 2, so 1 2 3 have 3 4 5, all above: W = 12, expected 6,
    # variance (5·6·11 - 2·3·5) / 24 = 12.5, z = 1.697, p = 0.0897
    assert wilcoxon_p([0, 1, 2, 3, 0]) == pytest.approx(0.08969, abs=1e-5)


def test_no_test_of_nothing() -> None:
    assert wilcoxon_p([]) is wilcoxon_p([1, 2]) is wilcoxon_p([0, 0, 0, 0]) is None


def test_holm_by_hand() -> None:
    # in order 0.01 0.02 0.03 0.04, times 4 3 2 1: 0.04 0.06 0.06 0.04, and none less than the one before
    assert holm([0.04, 0.01, None, 0.03, 0.02]) == [
        pytest.approx(0.06), pytest.approx(0.04), None, pytest.approx(0.06), pytest.approx(0.06)
    ]  # fmt: skip
    assert holm([0.5, 0.6]) == [pytest.approx(1.0), pytest.approx(1.0)]
    assert holm([None]) == [None] and holm([]) == []


def test_a_mean_by_hand() -> None:
    # 1 2 3: standard error 1 / sqrt(3), t of two degrees of freedom 4.3027
    found = mean_of([3, 1, 2])
    assert found and (found.value, found.low, found.high) == pytest.approx((2, 2 - 2.4841, 2 + 2.4841), abs=1e-3)
    assert mean_of([]) is None and mean_of([4]) == mean_of([4, 4]) == Estimate(4.0)


def test_a_mean_does_not_depend_on_the_order_of_the_values() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert mean_of(values.tolist()) == mean_of(values[::-1].tolist()) == mean_of(np.sort(values).tolist())


def test_holds_needs_an_interval() -> None:
    assert Estimate(1, 0, 2).holds(2) and not Estimate(1, 0, 2).holds(2.1) and not Estimate(1).holds(1)


def test_pairs_go_from_duplex_to_strict() -> None:
    assert pairs_of(("strict", "duplex")) == (("duplex", "strict"),)
    every = (("duplex", "barge-in"), ("duplex", "strict"), ("barge-in", "strict"))
    assert pairs_of(("strict", "barge-in", "duplex")) == every


# — frames —


def test_descriptions_count_every_step() -> None:
    duplex, strict = describe(ratings((7, 1), (5, 1), (6, 2)), BOTH, ["overall"])
    assert (duplex.n, duplex.median, duplex.counts) == (3, 6.0, (0, 0, 0, 0, 1, 1, 1))
    assert duplex.mean and duplex.mean.value == 6 and duplex.sd == pytest.approx(1.0)
    assert strict.counts == (2, 1, 0, 0, 0, 0, 0)


def test_only_who_rated_both_has_a_difference() -> None:
    frame = ratings((7, 1), (5, 4), (6, 2))
    found = differences_of(frame[:-1], "overall", BOTH)
    assert found.tolist() == [6.0, 1.0]


def simulated(effects: dict[str, float], second: float, people: int = 80) -> pd.DataFrame:
    rng, frames = np.random.default_rng(8), []
    for scale, effect in effects.items():
        own = rng.normal(size=people)
        first = np.arange(people) % 2  # who begins with duplex

        def rated(system: float, later: np.ndarray, own: np.ndarray = own) -> list[int]:
            return np.clip(np.round(4 + own + system + second * later + rng.normal(size=people)), 1, 7).astype(int)

        frames.append(ratings(*zip(rated(effect, 1 - first), rated(0, first), strict=True), scale=scale))
    return pd.concat(frames)


def orders(frame: pd.DataFrame, systems: tuple[str, ...], scales: list[str]) -> list[OrderEffect]:
    return order_effects(frame, systems, compare(frame, systems, scales))


def test_known_differences_are_found_and_holm_is_over_the_scales() -> None:
    effects = {"responsiveness": 1.5, "overall": 0.0, "factuality": -1.0}
    rows = compare(simulated(effects, 0.0), BOTH, list(effects))
    assert [row.scale for row in rows] == list(effects)
    for row in rows:
        assert (row.first, row.second, row.n) == ("duplex", "strict", 80)
        assert row.mean and row.mean.value == pytest.approx(effects[row.scale], abs=0.5)
        assert row.shift and row.shift.value == pytest.approx(row.mean.value, abs=0.25)
        assert row.model.system and np.sign(row.model.system.value) == np.sign(row.mean.value)
    by = {row.scale: row for row in rows}
    assert (by["responsiveness"].model_holm or 1) < 0.001 and (by["overall"].model_holm or 0) > 0.05
    least = by["responsiveness"].wilcoxon_p or 0
    assert by["responsiveness"].wilcoxon_holm == pytest.approx(3 * least)


def test_the_order_of_the_rows_does_not_matter() -> None:
    frame = simulated({"overall": 0.6}, 0.3)
    turned = frame.sample(frac=1, random_state=1)
    for function in (compare, describe, orders):
        assert function(turned, BOTH, ["overall"]) == function(frame, BOTH, ["overall"])


def test_a_scale_that_nobody_answered_and_one_without_difference() -> None:
    frame = ratings((4, 4), (4, 4), (4, 4), (4, 4))
    same, never = compare(frame, BOTH, ["overall", "speed"])
    assert same.mean == same.shift == Estimate(0.0)
    assert same.wilcoxon_p is same.wilcoxon_holm is same.model_holm is None
    assert same.model.why == "all ratings are the same"
    assert never.n == 0 and never.mean is never.shift is never.wilcoxon_p is None
    assert never.model.why == "no ratings of both systems"
    described = describe(frame, BOTH, ["speed"])
    assert [d.mean for d in described] == [None, None] and described[0].counts == (0,) * 7


def test_one_participant_and_none() -> None:
    row = compare(ratings((6, 3)), BOTH, ["overall"])[0]
    assert row.mean == row.shift == Estimate(3.0) and row.wilcoxon_p is None
    for frame in (ratings((6, 3)), ratings()):
        effect = orders(frame, BOTH, ["overall"])[0]
        assert effect.position_p is effect.sequence_p is None
        assert len(effect.means) == 2


def test_an_effect_of_position_is_found_beside_one_of_the_system() -> None:
    strong = orders(simulated({"overall": 1.0}, 1.2), BOTH, ["overall"])[0]
    first, second = strong.means
    assert first and second and second.value - first.value == pytest.approx(1.2, abs=0.4)
    assert (strong.position_p or 1) < 0.001
    none = orders(simulated({"overall": 1.0}, 0.0), BOTH, ["overall"])[0]
    assert (none.position_p or 0) > 0.05


def test_an_effect_of_the_sequence_is_found() -> None:
    # who began with duplex is content with everything
    pairs = [(6 + n % 2, 5 + n % 2) if n % 2 else (2 + n % 3, 1 + n % 3) for n in range(20)]
    assert (orders(ratings(*pairs), BOTH, ["overall"])[0].sequence_p or 1) < 0.001
