"""Which system people prefer, and whether they saw through the blinding.

strengths(frames.preferences, study.systems, seed=study.seed)    # Bradley-Terry, log strength against the last
blinding(frames.guesses, len(study.systems))                     # Bang's index, of all and by first system
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any

from webapp.study.statistics import FORWARD, Estimate, mean_of, pairs_of

if TYPE_CHECKING:
    import pandas as pd

ROUNDS = 2000


@dataclass(frozen=True)
class Shares:
    """How many of `n` prefer `first` to `second`: share with Wilson's interval, p of it being a half (exact binomial).

    by_strength: how many said slightly, more and much, for `first`, then for `second`.
    """

    first: str
    second: str
    n: int
    prefer_first: int
    share: Estimate | None
    p: float | None
    by_strength: tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Side:
    """Did it matter where a system stood? `count` of `n` preferred what stood there; p of a half (exact binomial)."""

    name: str
    n: int
    count: int
    share: Estimate | None
    p: float | None


@dataclass(frozen=True)
class Blinding:
    """Bang's index of those who began with `begins`, "" for all: 1 all are right, 0 as by chance, -1 all are wrong."""

    begins: str
    right: int
    wrong: int
    unsure: int
    index: Estimate | None


def reference_of(systems: Sequence[str]) -> str:
    """The system whose log strength is 0."""
    return sorted(systems, key=FORWARD.index)[-1]


def shares(preferences: pd.DataFrame, systems: Sequence[str]) -> list[Shares]:
    """Each pair of systems."""
    found = []
    for first, second in pairs_of(systems):
        rows = preferences[preferences["preferred"].isin((first, second))]
        rows = rows[(rows["first"] == min(first, second)) & (rows["second"] == max(first, second))]
        by_strength = tuple(
            tuple(int(((rows["preferred"] == system) & (rows["strength"] == s)).sum()) for s in (1, 2, 3))
            for system in (first, second)
        )
        count, n = sum(by_strength[0]), len(rows)
        share, p = _half(count, n)
        found.append(Shares(first, second, n, count, share, p, (by_strength[0], by_strength[1])))
    return found


def sides(preferences: pd.DataFrame) -> list[Side]:
    """Was what came earlier preferred more often, or what stood on the left of the page?"""
    found = []
    for name in ("earlier", "left"):
        count, n = int(preferences[name].astype(bool).sum()), len(preferences)
        found.append(Side(name, n, count, *_half(count, n)))
    return found


def _half(count: int, n: int) -> tuple[Estimate | None, float | None]:
    from scipy.stats import binomtest

    if not n:
        return None, None
    test = binomtest(count, n)
    interval = test.proportion_ci(method="wilson")
    return Estimate(count / n, float(interval.low), float(interval.high)), float(test.pvalue)


def strengths(
    preferences: pd.DataFrame, systems: Sequence[str], rounds: int = ROUNDS, seed: int = 0
) -> dict[str, Estimate]:
    """Log strengths after R. A. Bradley and M. E. Terry (Biometrika 39, 1952); the reference, which has 0, is left out.

    P(a is preferred to b) = 1 / (1 + exp(strength of b - strength of a)): a binomial model without a constant, by
    statsmodels. Half a preference is added to both sides of each pair, so that a unanimous one stays finite. Intervals:
    percentiles of `rounds` bootstrap samples of participants, each with all their preferences. Empty without any.
    """
    import numpy as np

    duels = list(permutations(systems, 2))  # preferred, other
    names = [system for system in sorted(systems, key=FORWARD.index) if system != reference_of(systems)]
    wins = _wins(preferences, duels)
    if not len(wins):
        return {}
    kinds, people = np.unique(wins, axis=0, return_counts=True)
    samples = np.random.default_rng(seed).multinomial(len(wins), people / len(wins), rounds) @ kinds
    fitted = _fitter(duels, names)
    value = fitted(wins.sum(axis=0))
    different, which = np.unique(samples, axis=0, return_inverse=True)
    drawn = np.array([fitted(sample) for sample in different])[which.ravel()]
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    return {name: Estimate(float(value[n]), float(low[n]), float(high[n])) for n, name in enumerate(names)}


def _wins(preferences: pd.DataFrame, duels: Sequence[tuple[str, str]]) -> Any:
    """How often each participant preferred one to the other: participants, duels."""
    import numpy as np

    counts: dict[str, list[int]] = {}
    for row in preferences.itertuples():
        other = row.second if row.preferred == row.first else row.first
        counts.setdefault(row.participant, [0] * len(duels))[duels.index((row.preferred, other))] += 1
    return np.array(list(counts.values()), dtype=int)


def _fitter(duels: Sequence[tuple[str, str]], names: Sequence[str]) -> Callable[[Any], Any]:
    """From counts of the duels to log strengths of the names."""
    import numpy as np
    from statsmodels.genmod.families import Binomial
    from statsmodels.genmod.generalized_linear_model import GLM

    pairs = [(a, b) for a, b in duels if duels.index((a, b)) < duels.index((b, a))]
    design = np.array([[float(name == a) - float(name == b) for name in names] for a, b in pairs])
    won, lost = ([duels.index(pair) for pair in way] for way in (pairs, [(b, a) for a, b in pairs]))
    outcomes, twice = np.repeat([1.0, 0.0], len(pairs)), np.vstack([design, design])

    def fitted(counts: Any) -> Any:
        weights = np.concatenate([counts[won], counts[lost]]) + 0.5
        return GLM(outcomes, twice, family=Binomial(), freq_weights=weights).fit().params

    return fitted


def blinding(guesses: pd.DataFrame, systems: int) -> list[Blinding]:
    """Of all, then of those who began with each system."""
    groups = [("", guesses)] + [
        (begins, guesses[guesses["begins"] == begins]) for begins in sorted(set(guesses["begins"]))
    ]
    found = []
    for begins, rows in groups:
        right, wrong, unsure = (int((rows["outcome"] == outcome).sum()) for outcome in ("right", "wrong", "unsure"))
        found.append(Blinding(begins, right, wrong, unsure, bang(right, wrong, unsure, systems)))
    return found


def bang(right: int, wrong: int, unsure: int, choices: int = 2) -> Estimate | None:
    """The index of H. Bang, L. Ni and C. E. Davis (Controlled Clinical Trials 25, 2004) with Student's interval.

    Each right guess counts 1, each wrong one -1 / (choices - 1), so that guessing gives 0 for any number of choices;
    the index is their mean. In groups of 24 the paper's normal interval holds the truth in about 93 %.
    """
    return mean_of([1.0] * right + [-1 / (choices - 1)] * wrong + [0.0] * unsure)
