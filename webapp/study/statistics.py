"""What ratings say: means, differences, tests. From scipy and statsmodels; nothing here knows where frames come from.

    rows = compare(frames.ratings, study.systems, study.ratings.scales)
    rows[0].mean, rows[0].shift, rows[0].model.system, rows[0].model_holm

Each scale is compared within participants: the ordinal mixed model first (ordinal.py), the Wilcoxon signed-rank test as
a check on it, both with Holm's correction over all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from webapp.study.ordinal import Fitted, fit
from webapp.study.steps import SCALE_HIGH, SCALE_LOW

if TYPE_CHECKING:
    import pandas as pd

#: Differences are taken from the earlier of these to the later.
FORWARD = ("duplex", "barge-in", "strict")


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval, None where there is too little to have one."""

    value: float
    low: float | None = None
    high: float | None = None

    def holds(self, truth: float) -> bool:
        """Is the truth in the interval?"""
        return self.low is not None and self.high is not None and self.low <= truth <= self.high


@dataclass(frozen=True)
class Described:
    """Ratings of a system on a scale. `counts`: how often each of 1 to 7 was given."""

    system: str
    scale: str
    n: int
    mean: Estimate | None
    sd: float | None
    median: float | None
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Comparison:
    """`first` minus `second` on a scale, of the `n` participants who rated both. mean: of the differences, t interval.
    shift: Hodges-Lehmann. wilcoxon_p: Pratt. model: ordinal mixed model, of all ratings. *_holm: p after Holm."""

    scale: str
    first: str
    second: str
    n: int
    mean: Estimate | None
    shift: Estimate | None
    wilcoxon_p: float | None
    model: Fitted
    wilcoxon_holm: float | None = None
    model_holm: float | None = None


@dataclass(frozen=True)
class OrderEffect:
    """Of a scale. means: at the first, second … position. position_p: of the mixed model, which takes the systems into
    account. sequence_p: Kruskal-Wallis, do the participants' means differ by the system that they began with?"""

    scale: str
    means: tuple[Estimate | None, ...]
    position_p: float | None
    sequence_p: float | None


def pairs_of(systems: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Every two systems, in the direction in which differences are taken."""
    return tuple(combinations(sorted(systems, key=FORWARD.index), 2))


def mean_of(values: Sequence[float]) -> Estimate | None:
    """The mean with Student's interval; no interval for fewer than two values, or all the same."""
    from statsmodels.stats.weightstats import DescrStatsW

    if not len(values):
        return None
    described = DescrStatsW(sorted(values))  # sums of floats depend on their order
    if len(set(values)) < 2:
        return Estimate(float(described.mean))
    low, high = described.tconfint_mean()
    return Estimate(float(described.mean), float(low), float(high))


def shift_of(differences: Sequence[float]) -> Estimate | None:
    """The Hodges-Lehmann shift and the shifts that the Wilcoxon test (Pratt) does not reject.

    scipy gives the test's z for any shift; here it is inverted (J. L. Hodges and E. L. Lehmann, Annals of Mathematical
    Statistics 34, 1963). z changes only at the means of two differences, the Walsh averages, which lie half a point
    apart for whole ratings. Between them z is drawn as a line, as for the median of grouped data: else an interval
    could only grow by half points and would hold the truth in 99 % of studies. Where no two Walsh averages are alike
    the value is their median. The interval needs about six participants.
    """
    import numpy as np
    from scipy.stats import norm, wilcoxon

    if not len(differences):
        return None
    ordered = np.sort(np.asarray(differences, dtype=float))
    every = np.add.outer(ordered, ordered)[np.triu_indices(len(ordered))] / 2
    averages, counts = np.unique(np.round(every, 9), return_counts=True)
    if len(averages) == 1:
        return Estimate(float(averages[0]))
    more_below = 2 * counts.cumsum() - counts - len(every)
    value = float(np.interp(0, more_below, averages))
    shifted = np.round(ordered - averages[:, None], 9)
    z = wilcoxon(shifted, zero_method="pratt", alternative="greater", method="asymptotic", axis=1).zstatistic
    falling = np.minimum.accumulate(z)

    edge = float(norm.ppf(0.975))
    if falling[0] < edge or falling[-1] > -edge:
        return Estimate(value)
    low, high = np.interp([-edge, edge], -falling, averages)
    return Estimate(value, float(low), float(high))


def wilcoxon_p(differences: Sequence[float]) -> float | None:
    """Two-sided, zeros after Pratt, normal approximation with ties; None for fewer than three, or if all are 0."""
    import numpy as np
    from scipy.stats import wilcoxon

    if len(differences) < 3 or not np.any(differences):
        return None
    return float(wilcoxon(np.sort(differences), zero_method="pratt", method="asymptotic").pvalue)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Holm's correction over those that are there."""
    from statsmodels.stats.multitest import multipletests

    there = [p for p in ps if p is not None]
    corrected = iter(multipletests(there, method="holm")[1] if there else [])
    return [None if p is None else float(next(corrected)) for p in ps]


def differences_of(ratings: pd.DataFrame, scale: str, pair: tuple[str, str]) -> Any:
    """First minus second, by participant, of those who rated both."""
    rows = ratings[ratings["scale"] == scale]
    table = rows.pivot(index="participant", columns="system", values="value").reindex(columns=list(pair)).dropna()
    return (table[pair[0]] - table[pair[1]]).sort_index().astype(float)


def describe(ratings: pd.DataFrame, systems: Sequence[str], scales: Sequence[str]) -> list[Described]:
    """Each scale, each system, in the order given."""
    found = []
    for scale in scales:
        for system in systems:
            rows = ratings[(ratings["scale"] == scale) & (ratings["system"] == system)]
            values = rows["value"].astype(float).sort_values()  # sums of floats depend on their order
            sd = float(values.std()) if len(values) > 1 else None
            median = float(values.median()) if len(values) else None
            counts = tuple(int((values == step).sum()) for step in range(SCALE_LOW, SCALE_HIGH + 1))
            found.append(Described(system, scale, len(values), mean_of(values.tolist()), sd, median, counts))
    return found


def compare(ratings: pd.DataFrame, systems: Sequence[str], scales: Sequence[str]) -> list[Comparison]:
    """Every pair of systems on every scale."""
    rows = []
    for pair in pairs_of(systems):
        for scale in scales:
            found = differences_of(ratings, scale, pair).tolist()
            model = fit(ratings[ratings["scale"] == scale], pair)
            test = wilcoxon_p(found)
            rows.append(Comparison(scale, *pair, len(found), mean_of(found), shift_of(found), test, model))
    of_test = holm([row.wilcoxon_p for row in rows])
    of_model = holm([row.model.system.p if row.model.system else None for row in rows])
    return [replace(row, wilcoxon_holm=w, model_holm=m) for row, w, m in zip(rows, of_test, of_model, strict=True)]


def order_effects(
    ratings: pd.DataFrame, systems: Sequence[str], comparisons: Sequence[Comparison]
) -> list[OrderEffect]:
    """Of each scale that was compared."""
    from scipy.stats import kruskal

    found = []
    position_p = {row.scale: row.model.position_p for row in comparisons}
    for scale in position_p:
        rows = ratings[ratings["scale"] == scale].sort_values(["participant", "position"])
        means = [
            mean_of([float(v) for v in rows["value"][rows["position"] == position]])
            for position in range(1, len(systems) + 1)
        ]
        began = rows[rows["position"] == 1].set_index("participant")["system"]
        means_of_people = rows.groupby("participant")["value"].mean()
        groups = [
            sorted(means_of_people[means_of_people.index.map(began) == system].astype(float)) for system in systems
        ]
        groups = [group for group in groups if group]
        told_apart = len(groups) > 1 and len({value for group in groups for value in group}) > 1
        sequence_p = float(kruskal(*groups).pvalue) if told_apart else None
        found.append(OrderEffect(scale, tuple(means), position_p[scale], sequence_p))
    return found
