"""What the recordings say of the talks that people rated: the interaction panel, and figures of each participant.

    measured = measured_of(frames.talks, study.recordings)
    measured.panels["duplex"].values()                      # L_R, L_Y, …; intervals by bootstrap over participants
    correlations(frames.ratings, measured.each, study.systems, study.ratings.scales, seed=0)

The panel is that of `duplex bench panel`. What a real person meant is told from their words: S_VT and S_ND stay empty.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duplex_runtime.errors import BadInput
from webapp.study.statistics import Estimate, differences_of, pairs_of

if TYPE_CHECKING:
    import pandas as pd

    from duplex_runtime.evaluation.interaction import Panel

#: Figures of a participant with a system, and the scales that are looked at beside them.
FIGURES = {"answer_s": "end of a turn to the answer, s", "yield_s": "interruption to silence, s"}
FELT = ("responsiveness", "overall")
#: Fewer participants than these have no correlation.
FEWEST = 6
ROUNDS = 1000


@dataclass(frozen=True)
class Measured:
    """panels: by system. each: participant, system, answer_s (median), yield_s (mean), NaN where there was none.
    missing: recordings that could not be read, and why."""

    panels: dict[str, Panel]
    each: pd.DataFrame
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Correlation:
    """Spearman's, across `n` participants. `of`: a system, or a difference of two."""

    figure: str
    scale: str
    of: str
    n: int
    rho: Estimate | None


def measured_of(talks: pd.DataFrame, folder: Path) -> Measured:
    """Read every recording that the talks name."""
    import pandas as pd

    from duplex_runtime.evaluation.interaction import Counts, count, panel
    from duplex_runtime.evaluation.talks import talk_of
    from duplex_runtime.recording import read_log

    read, missing = [], []
    counts: dict[tuple[str, str], list[Counts]] = defaultdict(list)
    rows = talks[talks["recording"] != ""].sort_values(["participant", "position", "session", "recording"])
    for row in rows.itertuples():
        try:
            for log in read_log(folder / row.recording).values():
                talk = replace(talk_of(log, row.recording), system=row.system, scenario=row.participant)
                read.append(talk)
                counts[row.participant, row.system].append(count(talk))
        except BadInput as error:
            missing.append(str(error).replace(str(folder / row.recording), row.recording))
    each = [(*key, *_figures(theirs)) for key, theirs in counts.items()]
    columns = ["participant", "system", *FIGURES]
    return Measured(panel(read), pd.DataFrame(each, columns=columns), tuple(missing))


def _figures(counts: Sequence[Any]) -> tuple[float, float]:
    from statistics import median

    offsets = [offset for each in counts for offset in each.offsets]
    seconds, yields = (sum(each.of["L_Y"][k] for each in counts) for k in (0, 1))
    return median(offsets) if offsets else float("nan"), seconds / yields if yields else float("nan")


def correlations(
    ratings: pd.DataFrame, each: pd.DataFrame, systems: Sequence[str], scales: Sequence[str], seed: int
) -> list[Correlation]:
    """Every figure with every scale of FELT, for each system and for each difference of two systems."""
    import pandas as pd

    found = []
    for figure in FIGURES:
        long = each[["participant", "system", figure]].rename(columns={figure: "value"}).assign(scale=figure)
        for scale in [scale for scale in FELT if scale in scales]:
            both = pd.concat([ratings[["participant", "system", "scale", "value"]], long])
            for of, values in _series(both, systems):
                table = pd.DataFrame({"felt": values(scale), "measured": values(figure)}).dropna()
                pairs = sorted(zip(table["felt"], table["measured"], strict=True))
                found.append(Correlation(figure, scale, of, len(pairs), _spearman(pairs, seed)))
    return [row for row in found if row.n]


def _series(long: pd.DataFrame, systems: Sequence[str]) -> list[tuple[str, Callable[[str], Any]]]:
    """Names, and functions from a scale or figure to the values by participant."""

    def of_one(system: str) -> Callable[[str], Any]:
        rows = long[long["system"] == system]
        return lambda scale: rows[rows["scale"] == scale].set_index("participant")["value"].astype(float)

    def of_two(pair: tuple[str, str]) -> Callable[[str], Any]:
        return lambda scale: differences_of(long, scale, pair)

    return [*((s, of_one(s)) for s in systems), *((" - ".join(p), of_two(p)) for p in pairs_of(systems))]


def _spearman(pairs: Sequence[tuple[float, float]], seed: int) -> Estimate | None:
    """With the percentile interval of a bootstrap of participants; None for too few, or where one side is all alike."""
    import warnings

    import numpy as np
    from scipy.stats import ConstantInputWarning, pearsonr, rankdata

    values = np.array(pairs)
    if len(values) < FEWEST or not np.ptp(values, axis=0).all():
        return None
    drawn = values[np.random.default_rng(seed).integers(len(values), size=(ROUNDS, len(values)))]
    ranks = rankdata(np.concatenate([values[None], drawn]), axis=1)  # samples, participants, 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)  # a sample may have drawn but one value: it is left out
        rho = pearsonr(ranks[..., 0], ranks[..., 1], axis=1).statistic
    low, high = np.nanquantile(rho[1:], (0.025, 0.975))
    return Estimate(float(rho[0]), float(low), float(high))
