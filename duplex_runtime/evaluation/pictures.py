"""Pictures of figures as SVG, readable on light and on dark: drawn by matplotlib, the same bytes for the same figures.

svg = stages("From the last key to the first word, ms", [Stage("append", 4.1, 9.0)], {"p50": 11.0, "p95": 20.0})
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from duplex_runtime.errors import DuplexError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Told apart on white and on black, and by those who see fewer colours (after Paul Tol's sets).
COLOURS = ("#4477cc", "#ee7733", "#22998a", "#cc4477", "#999933", "#66aadd", "#aa88cc", "#888888")
SYSTEM_COLOURS = {"duplex": COLOURS[0], "strict": COLOURS[1], "barge-in": COLOURS[2]}
_WIDTH = 7.6  # inches at 100 a picture
#: Drawn in this colour, shown in that of the page's text.
_INK = "#123456"
_STYLE = (
    "<style>:root{color:#222}@media (prefers-color-scheme:dark){:root{color:#ddd}}"
    "text{font-family:system-ui,sans-serif}</style>"
)


@dataclass(frozen=True)
class Stage:
    """`name` for people, and milliseconds: the median and the 95th percentile."""

    name: str
    p50: float
    p95: float


@dataclass(frozen=True)
class Point:
    """A system or a setting with two figures; size is relative, 0 to 1."""

    name: str
    x: float
    y: float
    size: float = 0.3


def _drawn(title: str, height: float, draw: Callable[[Figure], None]) -> str:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise DuplexError("no_pictures", 'pictures need matplotlib: pip install -e ".[bench]"') from None
    style: Any = {  # matplotlib types every key
       
        "svg.hashsalt": "duplex", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9.0,
        "text.color": _INK, "axes.edgecolor": _INK, "axes.labelcolor": _INK, "xtick.color": _INK, "ytick.color": _INK,
        "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 9.5, "legend.frameon": False,
        "axes.axisbelow": True, "grid.color": "#888888", "grid.alpha": 0.25, "patch.linewidth": 0,
    }  # fmt: skip
    with mpl.rc_context(style):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
        draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    head, _, rest = svg.partition(">")
    return f'{head} role="img" aria-label="{escape(title)}">{_STYLE}{rest}'


def _nothing(axes: Axes) -> None:
    axes.text(0.5, 0.5, "nothing measured", ha="center", va="center", transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])


def stages(title: str, parts: Sequence[Stage], totals: Mapping[str, float]) -> str:
    """A bar for the median of each stage and one for its 95th percentile.

    totals: `p50` and `p95` of all stages together, which are less than their sums.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        if not parts:
            _nothing(axes)
            return
        rows = (("median", "p50"), ("95th percentile", "p95"))
        for y, (_, kind) in enumerate(rows):
            left = 0.0
            whole = sum(getattr(p, kind) for p in parts)
            for number, part in enumerate(parts):
                value = getattr(part, kind)
                label = f"{part.name}: {_ms(part.p50)} / {_ms(part.p95)} ms" if not y else None
                axes.barh(y, value, 0.6, left, color=COLOURS[number % len(COLOURS)], label=label)
                if value > 0.06 * max(whole, 1e-9):
                    axes.text(
                        left + value / 2, y, _ms(value), ha="center", va="center", color="white", fontweight="bold"
                    )
                left += value
        axes.set_yticks([0, 1], [f"{name}\ntogether {_ms(totals[kind])} ms" for name, kind in rows])
        axes.invert_yaxis()
        axes.set_xlabel("milliseconds")
        axes.grid(axis="x")
        figure.legend(loc="outside lower left", ncols=2)

    return _drawn(title, 2.4 + 0.22 * -(-len(parts) // 2), draw)


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def intervals(
    title: str, groups: Sequence[tuple[str, Sequence[str]]], series: Mapping[str, Mapping[str, Sequence[float] | None]]
) -> str:
    """A point with its interval for each figure and system.

    groups: title of the axis and the names of the figures on it. series: system → figure → value, low, high; None where
    there are too few events.
    """

    def draw(figure: Figure) -> None:
        all_axes = figure.subplots(1, len(groups), width_ratios=[len(names) for _, names in groups], squeeze=False)[0]
        for axes, (label, names) in zip(all_axes, groups, strict=True):
            for number, (system, values) in enumerate(series.items()):
                shift = (number - (len(series) - 1) / 2) * 0.22
                places = [(x + shift, v) for x, name in enumerate(names) if (v := values.get(name)) is not None]
                xs, ys = [x for x, _ in places], [v[0] for _, v in places]
                spread = [[max(0.0, v[0] - v[1]) for _, v in places], [max(0.0, v[2] - v[0]) for _, v in places]]
                colour = SYSTEM_COLOURS.get(system, COLOURS[number % len(COLOURS)])
                axes.errorbar(
                    xs, ys, spread, fmt="o", color=colour, capsize=3, label=system if axes is all_axes[0] else None
                )
            axes.set_xticks(range(len(names)), names)
            axes.set_xlim(-0.5, len(names) - 0.5)
            axes.set_title(label, loc="left")
            axes.set_ylim(bottom=0)
            axes.grid(axis="y")
        figure.legend(loc="outside lower left", ncols=len(series))

    return _drawn(title, 3.2, draw)


def distribution(title: str, x_name: str, series: Mapping[str, Sequence[float]], low: float, high: float) -> str:
    """How many values of each series lie below x, from `low` to `high`; the median is marked."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        if not any(series.values()):
            _nothing(axes)
            return
        for number, (name, given) in enumerate(series.items()):
            values = sorted(given)
            if not values:
                continue
            colour = SYSTEM_COLOURS.get(name, COLOURS[number % len(COLOURS)])
            shares = [100 * (n + 1) / len(values) for n in range(len(values))]
            axes.step([low, *values, high], [0.0, *shares, 100.0], where="post", color=colour, label=name)
            axes.plot([values[len(values) // 2]], [50], "o", color=colour)
        axes.axvline(0, color=_INK, linewidth=0.8, linestyle=":")
        axes.set_xlim(low, high)
        axes.set_ylim(0, 102)
        axes.set_xlabel(x_name)
        axes.set_ylabel("per cent of turns")
        axes.grid()
        axes.legend(loc="lower right")

    return _drawn(title, 3.2, draw)


def trade_off(title: str, x_name: str, y_name: str, points: Sequence[Point], size_name: str = "") -> str:
    """Points with their names; size_name: what their size says."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        if not points:
            _nothing(axes)
            return
        for number, point in enumerate(points):
            colour = COLOURS[number % len(COLOURS)]
            axes.scatter([point.x], [point.y], s=40 + 600 * max(0.0, point.size), color=colour, alpha=0.75)
            axes.annotate(
                point.name, (point.x, point.y), xytext=(12, 10 if number % 2 else -14), textcoords="offset points"
            )
        axes.margins(0.2)
        axes.set_xlabel(x_name)
        axes.set_ylabel(y_name + (f"\n(size: {size_name})" if size_name else ""))
        axes.grid()

    return _drawn(title, 3.6, draw)


def lines(
    title: str,
    x_name: str,
    y_name: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    limit: float | None = None,
) -> str:
    """A line for each series; limit: a horizontal line that should not be crossed."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        if not any(series.values()):
            _nothing(axes)
            return
        for number, (name, points) in enumerate(series.items()):
            axes.plot(*zip(*points, strict=True), "o-", color=COLOURS[number % len(COLOURS)], label=name)
        if limit is not None:
            axes.axhline(limit, color=COLOURS[3], linestyle="--", linewidth=1)
        axes.set_xticks(sorted({x for points in series.values() for x, _ in points}))
        axes.set_ylim(bottom=0)
        axes.set_xlabel(x_name)
        axes.set_ylabel(y_name)
        axes.grid()
        axes.legend(loc="upper left")

    return _drawn(title, 3.2, draw)


def bars(title: str, y_name: str, names: Sequence[str], series: Mapping[str, Sequence[float | None]]) -> str:
    """Groups of bars: for each name one of each series; None leaves a gap."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        if not names or not series:
            _nothing(axes)
            return
        width = 0.8 / len(series)
        for number, (name, values) in enumerate(series.items()):
            places = [(x - 0.4 + (number + 0.5) * width, v) for x, v in enumerate(values) if v is not None]
            colour = SYSTEM_COLOURS.get(name, COLOURS[number % len(COLOURS)])
            drawn = axes.bar([x for x, _ in places], [v for _, v in places], width * 0.92, color=colour, label=name)
            axes.bar_label(drawn, [f"{v:.2g}" if v < 10 else f"{v:.0f}" for _, v in places], fontsize=7.5)
        axes.set_xticks(range(len(names)), names)
        axes.set_ylabel(y_name)
        axes.grid(axis="y")
        figure.legend(loc="outside lower left", ncols=len(series))

    return _drawn(title, 3.2, draw)
