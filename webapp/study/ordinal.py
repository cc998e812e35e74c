"""The ordinal mixed model: a cumulative probit with an effect of each participant, for ratings in few steps.

    fitted = fit(rows, ("duplex", "strict"))      # columns participant, system, position, value
    fitted.system                                 # duplex against strict: Effect(value=0.62, low=0.31, high=0.93, p=…)

A rating is the step of the scale into which an opinion falls: opinion = system + position + participant + noise, with
noise ~ N(0, 1) and participant ~ N(0, sd^2). statsmodels 0.15 has ordinal models without participants (OrderedModel)
and mixed models of numbers and of two answers. This is its OrderedModel with the participant integrated out by
Gauss-Hermite quadrature; maximum likelihood, Wald intervals (D. Hedeker and R. D. Gibbons, Biometrics 50, 1994).
What it is not: the effect of a system is the same for all participants, participants are normal, the steps mean the
same to all of them, and intervals are those of large samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

#: Points of the quadrature. With 15 the effects of a study of 48 agree with those of 41 to 0.001.
NODES = 15
#: An effect or a standard error beyond this is one that the ratings do not bound.
UNBOUNDED = 6.0


@dataclass(frozen=True)
class Effect:
    """In standard deviations of the opinion within a person, with its 95 % interval and the p of there being none."""

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Fitted:
    """`system`: of `pair[0]` against `pair[1]`. `position_p`: of all positions being alike. `sd`: of the participants.
    `why`: why nothing could be estimated, or ""."""

    system: Effect | None = None
    position_p: float | None = None
    sd: float | None = None
    why: str = ""


def fit(rows: pd.DataFrame, pair: tuple[str, str]) -> Fitted:
    """The model of one scale; the ratings of all systems of the study help to place the steps."""
    import numpy as np

    rows = rows.sort_values(["participant", "position", "system"])
    values, people = rows["value"].to_numpy(), rows["participant"].to_numpy()
    others = sorted(set(rows["system"]) - {pair[1]}, key=lambda system: (system != pair[0], system))
    if pair[0] not in others or pair[1] not in set(rows["system"]):
        return Fitted(why="no ratings of both systems")
    if len(set(people)) < 3:
        return Fitted(why="fewer than three participants")
    if len(set(values)) < 2:
        return Fitted(why="all ratings are the same")
    positions = sorted(set(rows["position"]))[1:]
    columns = [rows["system"] == system for system in others] + [rows["position"] == p for p in positions]
    design = np.column_stack([np.asarray(column, dtype=float) for column in columns])
    if np.linalg.matrix_rank(np.column_stack([np.ones(len(design)), design])) <= design.shape[1]:
        return Fitted(why="system and position cannot be told apart")
    model = _model_class()(values, design, people)
    try:
        found = model.fit(method="bfgs", disp=0, maxiter=200, gtol=1e-6, warn_convergence=False, skip_hessian=True)
        covariance = np.linalg.inv(-model.hessian(found.params))
    except np.linalg.LinAlgError:
        return Fitted(why="the ratings do not bound the effect")
    return _read(found.params, covariance, len(others), len(positions))


def _read(estimates: Any, covariance: Any, systems: int, positions: int) -> Fitted:
    """estimates: effects of systems, then of positions, then sd, then the steps."""
    import numpy as np
    from scipy.stats import chi2, norm

    variance = covariance[0, 0]
    bounded = np.isfinite(variance) and 0 < variance < UNBOUNDED**2 and abs(estimates[0]) < UNBOUNDED
    if not bounded:
        return Fitted(why="the ratings do not bound the effect")
    value, error = float(estimates[0]), float(np.sqrt(variance))
    half = float(norm.ppf(0.975)) * error
    effect = Effect(value, value - half, value + half, float(2 * norm.sf(abs(value) / error)))
    of_position = slice(systems, systems + positions)
    shift = estimates[of_position]
    wald = shift @ np.linalg.solve(covariance[of_position, of_position], shift) if positions else 0.0
    p = float(chi2.sf(wald, positions)) if positions and wald >= 0 else None
    return Fitted(effect, p, abs(float(estimates[systems + positions])))


@cache
def _model_class() -> Any:
    """statsmodels is there only when something is fitted."""
    import numpy as np
    from scipy.special import ndtr
    from statsmodels.miscmodels.ordinal_model import OrderedModel
    from statsmodels.tools.numdiff import approx_fprime

    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    log_weights = np.log(weights / weights.sum())[:, None]

    class WithParticipants(OrderedModel):  # type: ignore[misc]
        """Every rating stands once for each node; the node is the last column, and its coefficient the sd. The ratings
        of a participant follow each other.

        The sd may come out negative, which is the same model: so its least value is no border.
        """

        def __init__(self, values: Any, design: Any, people: Any) -> None:
            self._ratings = len(values)
            self._firsts, self._counts = np.unique(people, return_index=True, return_counts=True)[1:]
            every = np.column_stack([np.tile(design, (NODES, 1)), np.repeat(nodes, len(values))])
            super().__init__(np.tile(values, NODES), every)
            self.nobs = len(values)  # by which the optimiser's tolerance is measured

        def cdf(self, x: Any) -> Any:
            return ndtr(x)

        @property
        def start_params(self) -> Any:
            start = super().start_params.copy()
            start[self.k_vars - 1] = 0.7  # at 0 the slope is 0, whatever the ratings are
            return start

        def _joint(self, params: Any) -> Any:
            """Log likelihood of each person's ratings and of the node: nodes, people."""
            each = self.loglikeobs(params).reshape(NODES, self._ratings)
            return np.add.reduceat(each, self._firsts, axis=1) + log_weights

        def loglike(self, params: Any) -> Any:
            return np.logaddexp.reduce(self._joint(params), axis=0).sum()

        def score(self, params: Any) -> Any:
            joint = self._joint(params)
            share = np.repeat(np.exp(joint - np.logaddexp.reduce(joint, axis=0)), self._counts, axis=1)
            low, high = self._bounds(params)
            by_rating = share.ravel() / (self.prob(low, high) + 1e-20)
            of_low, of_high = by_rating * self.pdf(low), by_rating * self.pdf(high)
            steps = np.bincount(self.endog, of_high, self.k_levels) - np.append(
                np.bincount(self.endog, of_low, self.k_levels)[1:], 0.0
            )
            later = np.cumsum(steps[-2::-1])[::-1]  # what follows when a step and all above it move
            later[1:] *= np.exp(params[-(self.k_levels - 1) :][1:])
            return np.concatenate([(of_low - of_high) @ self.exog, later])

        def hessian(self, params: Any) -> Any:
            found = approx_fprime(params, self.score, centered=True)
            return (found + found.T) / 2

    return WithParticipants
