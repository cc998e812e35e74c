"""What simulated participants are made of, and with it what an analysis of them should find.

    truth = Truth()
    truth.mean_difference(study, "overall", ("duplex", "strict"))       # of the ratings, 1 to 7, exactly
    truth.shift(study, "overall", ("duplex", "strict"))                 # what shift_of estimates

Opinions are those of the ordinal mixed model (ordinal.py): system + position + participant + noise, cut into 1 to 7.
Figures of ratings follow from the model's probabilities, without drawing anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from webapp.study.assignment import arms_of
from webapp.study.definition import Study

#: On each scale, how far opinions of duplex and of barge-in lie above those of strict.
_EFFECTS = {
    "responsiveness": (1.2, 0.7),
    "faithfulness": (-0.3, 0.0),
    "factuality": (0.0, 0.0),
    "human_likeness": (0.7, 0.3),
    "overall": (0.5, 0.3),
    "annoyance": (-0.4, -0.2),
    "speed": (0.9, 0.4),
}


def _effects() -> dict[str, dict[str, float]]:
    return {scale: {"duplex": d, "barge-in": b, "strict": 0.0} for scale, (d, b) in _EFFECTS.items()}


@dataclass(frozen=True)
class Truth:
    """Opinions are in standard deviations of the noise.

    effects: by scale and system. second: what each later position adds. sd: of the participants. cuts: the six borders
    between the seven steps. strengths: Bradley-Terry, log. right, wrong: shares of guesses, the rest is unsure.
    careless, withdraws, leaves, looks: shares of those who come; careless ones always choose the middle.
    """

    effects: Mapping[str, Mapping[str, float]] = field(default_factory=_effects)
    second: float = 0.15
    sd: float = 0.8
    cuts: tuple[float, ...] = (-1.8, -1.1, -0.5, 0.1, 0.8, 1.6)
    strengths: Mapping[str, float] = field(default_factory=lambda: {"duplex": 0.8, "barge-in": 0.3, "strict": 0.0})
    right: float = 0.5
    wrong: float = 0.3
    careless: float = 0.06
    withdraws: float = 0.05
    leaves: float = 0.06
    looks: float = 0.08

    def opinion(self, scale: str, system: str, position: int) -> float:
        """Of the average participant, position from 1."""
        return self.effects[scale][system] + self.second * (position - 1)

    def effect(self, scale: str, pair: tuple[str, str]) -> float:
        """What the mixed model estimates."""
        return self.effects[scale][pair[0]] - self.effects[scale][pair[1]]

    def mean_difference(self, study: Study, scale: str, pair: tuple[str, str]) -> float:
        """Of the ratings, in points."""
        steps, shares = self._differences(study, scale, pair)
        return float(steps @ shares)

    def shift(self, study: Study, scale: str, pair: tuple[str, str]) -> float:
        """The middle of the means of two participants' differences, drawn between half points as `shift_of` does."""
        import numpy as np

        _, shares = self._differences(study, scale, pair)
        of_means = np.convolve(shares, shares)
        below = of_means.cumsum() - of_means / 2
        largest = (len(of_means) - 1) / 4
        return float(np.interp(0.5, below, np.linspace(-largest, largest, len(of_means))))

    def strength(self, pair: tuple[str, str]) -> float:
        """Log strength of the first against the second."""
        return self.strengths[pair[0]] - self.strengths[pair[1]]

    def blinding(self, systems: int) -> float:
        """Bang's index."""
        return self.right - self.wrong / (systems - 1)

    def _differences(self, study: Study, scale: str, pair: tuple[str, str]) -> tuple[Any, Any]:
        """-6 … 6, and how often each is the difference of a participant's ratings, over all orders of the study."""
        import numpy as np
        from scipy.special import ndtr

        nodes, weights = np.polynomial.hermite_e.hermegauss(61)
        borders = np.array([-np.inf, *self.cuts, np.inf])

        def ratings(system: str, position: int) -> Any:
            above = ndtr(borders - (self.opinion(scale, system, position) + self.sd * nodes)[:, None])
            return np.diff(above, axis=1)  # nodes, steps

        size = len(borders) - 1
        shares = np.zeros(2 * size - 1)
        arms = arms_of(study)
        for arm in arms:
            first, second = (ratings(system, arm.index(system) + 1) for system in pair)
            both = np.einsum("n,ni,nj->ij", weights / weights.sum(), first, second)
            for difference in range(1 - size, size):
                shares[difference + size - 1] += both.trace(-difference) / len(arms)
        return np.arange(1 - size, size), shares
