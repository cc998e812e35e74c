"""Numbers of a load test: quantiles, a slope, and tables for people.

spread([0.1, 0.2, 0.9], "reaction_s")   # {"reaction_s_p50": 0.2, "reaction_s_p90": 0.9, …}
slope([(0.0, 100.0), (60.0, 160.0)])    # 1.0: so much more each second
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

QUANTILES = (0.5, 0.9, 0.95, 0.99)


def quantile(values: Sequence[float], share: float) -> float | None:
    """Nearest rank: the smallest value with at least `share` of all at or under it. None of nothing."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def spread(values: Sequence[float], name: str, digits: int = 4) -> dict[str, float | None]:
    """p50, p90, p95 and p99 as `NAME_p50` …; None of nothing."""
    ordered = sorted(values)
    found = {f"{name}_p{round(100 * share)}": quantile(ordered, share) for share in QUANTILES}
    return {key: None if value is None else round(value, digits) for key, value in found.items()}


def slope(points: Iterable[tuple[float, float]]) -> float | None:
    """How much y grows with x, by least squares; None of fewer than two different x."""
    known = list(points)
    if not known:
        return None
    mean_x = math.fsum(x for x, _ in known) / len(known)
    mean_y = math.fsum(y for _, y in known) / len(known)
    wide = math.fsum((x - mean_x) ** 2 for x, _ in known)
    return math.fsum((x - mean_x) * (y - mean_y) for x, y in known) / wide if wide else None


def shown(title: str, figures: Mapping[str, Any]) -> str:
    """A table of two columns."""
    width = max(map(len, figures), default=0)
    lines = [title]
    for key, value in figures.items():
        if isinstance(value, dict):
            value = ", ".join(f"{why}: {count}" for why, count in value.items()) or "none"
        lines.append(f"  {key:{width}}  {'–' if value is None else value}")
    return "\n".join(lines)
