"""Findings of a study as pictures.

drawn, missing = pictures_of(findings)        # missing: why there are none
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from duplex_runtime.errors import DuplexError
from duplex_runtime.evaluation import pictures
from duplex_runtime.evaluation.results import Picture
from webapp.study.analysis import Findings
from webapp.study.preference import Shares
from webapp.study.statistics import Estimate, pairs_of
from webapp.study.steps import SCALE_HIGH, SCALE_LOW
from webapp.study.tables import named


def pictures_of(findings: Findings) -> tuple[list[Picture], tuple[str, ...]]:
    """All that the findings allow."""
    if not findings.n:
        return [], ()
    try:
        return list(_pictures(findings)), ()
    except DuplexError as error:  # matplotlib is not there: the tables are worth a report
        return [], (str(error),)


def _pictures(findings: Findings) -> Iterator[Picture]:
    scales = [named(scale) for scale in findings.study.ratings.scales]
    means = {
        system: {named(d.scale): _triple(d.mean) for d in findings.described if d.system == system}
        for system in findings.study.systems
    }
    yield _intervals("means", "Mean ratings with 95 % intervals", f"{SCALE_LOW} to {SCALE_HIGH}", scales, means)
    for first, second in pairs_of(findings.study.systems):
        rows = [c for c in findings.comparisons if (c.first, c.second) == (first, second)]
        name = f"{first} minus {second}"
        found = {name: {named(c.scale): _triple(c.mean) for c in rows}}
        yield _intervals(f"{first}-{second}", f"{name}: mean differences", "points", scales, found)
    for scale in findings.study.ratings.scales:
        yield _distribution(findings, scale)
    for row in findings.shares:
        if row.n:
            yield _preference(row)
    offsets = {system: panel.offsets() for system, panel in findings.measured.panels.items()}
    if any(offsets.values()):
        title = "From the end of a turn to the answer (left of 0: it began before the end)"
        yield Picture("offsets", title, pictures.distribution(title, "seconds", offsets, -3, 6))


def _triple(estimate: Estimate | None) -> tuple[float, float, float] | None:
    if estimate is None or estimate.low is None or estimate.high is None:
        return None
    return estimate.value, estimate.low, estimate.high


def _intervals(
    name: str,
    title: str,
    axis: str,
    scales: Sequence[str],
    series: dict[str, dict[str, tuple[float, float, float] | None]],
) -> Picture:
    return Picture(name, title, pictures.intervals(title, [(axis, scales)], series))


def _distribution(findings: Findings, scale: str) -> Picture:
    steps = [str(step) for step in range(SCALE_LOW, SCALE_HIGH + 1)]
    counts = {d.system: [float(count) for count in d.counts] for d in findings.described if d.scale == scale}
    title = f"Ratings: {named(scale)}"
    return Picture(f"ratings-{scale}", title, pictures.bars(title, "participants", steps, counts))


def _preference(row: Shares) -> Picture:
    title = f"Preference: {row.first} or {row.second}"
    strengths = ("slightly", "more", "much")
    names = [f"{row.first}, {how}" for how in reversed(strengths)] + [f"{row.second}, {how}" for how in strengths]
    counts = [*reversed(row.by_strength[0]), *row.by_strength[1]]
    drawn = pictures.bars(title, "participants", names, {"participants": [float(count) for count in counts]})
    return Picture(f"preference-{row.first}-{row.second}", title, drawn)
