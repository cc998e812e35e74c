"""`duplex study power`: how many people do I need? Answered by simulation.

    power = powers(difference=0.5, sd=1.5, participants=(14, 48, 96))
    power[0].alone, power[0].first_of_many        # shares of simulated studies that find the difference
    needed(0.5, 1.5)                              # 74: the fewest with 80 %

People rate both systems in whole points from 1 to 7; their opinions are normal, with the given mean and standard
deviation of the differences after rounding. The test is the Wilcoxon signed-rank test of the report, at 5 %. With
several scales Holm's correction begins with 5 % / scales: `first_of_many` is the power for a difference on one scale
alone, the least that a study of so many scales has.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.results import Table
from webapp.study.steps import SCALE_HIGH, SCALE_LOW

ALPHA, ENOUGH = 0.05, 0.8
#: Simulated studies for each number of participants.
RUNS = 2000
#: Most participants that `needed` looks at.
MOST = 2000
#: Standard deviation between people, in points: what both of their ratings have in common.
BETWEEN = 1.0


@dataclass(frozen=True)
class Power:
    """Shares of simulated studies with `participants` in which the test finds the difference."""

    participants: int
    alone: float
    first_of_many: float


def powers(
    difference: float,
    sd: float,
    participants: Sequence[int],
    scales: int = 5,
    runs: int = RUNS,
    seed: int = 0,
) -> list[Power]:
    """For each number of participants; difference and sd in points. Raises BadInput where no ratings are like that."""
    for number in participants:
        if not 3 <= number <= MOST:
            raise BadInput(f"--participants: expected numbers from 3 to {MOST}, got {number}")
    drawn = _differences(difference, sd, max(participants, default=3), runs, seed)
    return [_power(drawn[:, :number], scales) for number in participants]


def needed(difference: float, sd: float, scales: int = 1, runs: int = RUNS, seed: int = 0) -> int | None:
    """The fewest participants with a power of 80 %, to within what `runs` tell; None for more than MOST."""
    drawn = _differences(difference, sd, MOST, runs, seed)
    low, high = 3, 4
    while high <= MOST and _power(drawn[:, :high], scales).first_of_many < ENOUGH:
        low, high = high, 2 * high
    if high > MOST:
        low, high = low, MOST
        if _power(drawn, scales).first_of_many < ENOUGH:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        enough = _power(drawn[:, :middle], scales).first_of_many >= ENOUGH
        low, high = (low, middle) if enough else (middle, high)
    return high


def _power(differences: Any, scales: int) -> Power:
    """differences: studies, participants."""
    import numpy as np
    from scipy.stats import wilcoxon

    there = differences[np.any(differences, axis=1)]  # a study without any difference finds none
    p = wilcoxon(there, zero_method="pratt", method="asymptotic", axis=1).pvalue
    shares = [float((p <= ALPHA / tests).sum()) / len(differences) for tests in (1, scales)]
    return Power(differences.shape[1], *shares)


def _differences(difference: float, sd: float, participants: int, runs: int, seed: int) -> Any:
    """Differences of ratings, drawn: runs, participants. The first of more participants are those of fewer."""
    import numpy as np

    values, shares = _shares(difference, sd)
    rng = np.random.default_rng(seed)
    return rng.choice(values, size=(participants, runs), p=shares).T.astype(float)


def _shares(difference: float, sd: float) -> tuple[Any, Any]:
    """-6 … 6, and how often each is the difference of a person's two ratings."""
    import numpy as np
    from scipy.optimize import least_squares
    from scipy.special import ndtr

    if not (0 < sd <= 4 and abs(difference) <= 4):
        raise BadInput(
            f"--difference, --sd: expected points of a scale from 1 to 7, at most 4, got {difference} and {sd}"
        )
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    middle, size = (SCALE_LOW + SCALE_HIGH) / 2, SCALE_HIGH - SCALE_LOW + 1
    borders = np.array([-np.inf, *np.arange(SCALE_LOW + 0.5, SCALE_HIGH), np.inf])
    values = np.arange(1 - size, size)

    def shares(apart: float, noise: float) -> Any:
        first, second = (
            np.diff(ndtr((borders - middle - way * apart / 2 - BETWEEN * nodes[:, None]) / noise), axis=1)
            for way in (1, -1)
        )
        both = np.einsum("n,ni,nj->ij", weights / weights.sum(), first, second)
        return np.array([both.trace(-value) for value in values])

    def off(given: Any) -> list[float]:
        found = shares(*given)
        mean = values @ found
        return [mean - difference, (values**2 @ found - mean**2) ** 0.5 - sd]

    solved = least_squares(off, (difference, max(sd, 0.5) / 2**0.5), bounds=([-12, 0.05], [12, 12]))
    if max(map(abs, off(solved.x))) > 0.01:
        raise BadInput(
            f"--difference, --sd: no ratings from 1 to 7 differ by {difference} with a standard deviation of {sd}; "
            "a usual one is 1.5"
        )
    found = shares(*solved.x)
    return values, found / found.sum()


def run(difference: float, sd: float, participants: Sequence[int], scales: int, runs: int, seed: int) -> int:
    """Print a table, the number that is needed, and one line of JSON."""
    found = powers(difference, sd, participants, scales, runs, seed)
    enough = {tests: needed(difference, sd, tests, runs, seed) for tests in dict.fromkeys((1, scales))}
    rows = tuple((p.participants, 100 * p.alone, 100 * p.first_of_many) for p in found)
    title = f"Power to find {difference:g} points, standard deviation of differences {sd:g}"
    columns = ("participants", "one scale, %", f"one of {scales} scales, after Holm, %")
    print(Table(title, columns, rows, f"Of {runs} simulated studies each; Wilcoxon signed-rank test at 5 %.").text())
    for tests, number in enough.items():
        of = "one scale" if tests == 1 else f"one of {tests} scales, after Holm"
        print(f"80 % power for {of}: {f'{number} participants' if number else f'more than {MOST} participants'}")
    figures = {"difference": difference, "sd": sd, "seed": seed, "runs": runs, "scales": scales}
    shares = {str(p.participants): [round(p.alone, 4), round(p.first_of_many, 4)] for p in found}
    print(json.dumps(figures | {"power": shares, "needed": enough}))
    return 0
