"""Pictures of figures as SVG, readable on light and on dark: drawn by matplotlib, the same bytes for the same figures.

svg = stages("From the last key to the first word, ms", [Stage("append", 4.1, 9.0)], {"p50": 11.0, "p95": 20.0})

What is None or no number was not measured: it is left out, or the picture says so. They are 760 px wide.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
import threading
import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.evaluation.results import in_html, one_line, shown

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Contrast of 3 and more on white and on black. Any two differ by 14 and more (CIE 1976 ΔE), the first three by 24 and
#: more, also for those who lack one kind of cone (simulated after Machado et al., 2009).
COLOURS = ("#2266dd", "#cc6e11", "#1fa37c", "#d8479c", "#94924d", "#9a5fc4", "#336f82", "#885b1c")
SYSTEM_COLOURS = dict(zip(("duplex", "strict", "barge-in"), COLOURS, strict=False))
_OTHERS = COLOURS[len(SYSTEM_COLOURS) :]
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
#: 760 px of CSS, in inches; 12 px in points; what 12 px letters of the widest usual fonts need, in inches.
_WIDTH, _POINTS, _LETTER, _LINE = 760 / 96, 9.0, 0.074, 0.17
#: Drawn in this colour, shown in that of the text around it or of the scheme.
_INK = "#123456"
_STYLE = (
    "<style>.drawn{color:#222}@media (prefers-color-scheme:dark){.drawn{color:#ddd}}"
    ".drawn *{stroke-linejoin:round}</style>"
)
# matplotlib keeps its settings in one place for all threads
_one_at_a_time = threading.Lock()


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


def stages(title: str, parts: Sequence[Stage], totals: Mapping[str, float]) -> str:
    """A bar for the median of each stage and one for its 95th percentile.

    totals: `p50` and `p95` of all stages together, which are less than their sums. Raises BadInput for a stage that
    takes less than no time.
    """
    for part in parts:
        if not all(math.isfinite(value) and value >= 0 for value in (part.p50, part.p95)):
            raise BadInput(
                f"picture {title!r}, stage {part.name!r}: expected milliseconds from 0 on, "
                f"got {part.p50} and {part.p95}; leave out what was not measured"
            )

    def draw(figure: Figure) -> None:
        if not parts:
            return _nothing(figure)
        axes = _axes(figure, 1.5)
        whole = max(1e-9, *(sum(getattr(part, kind) for part in parts) for kind in ("p50", "p95")))
        for y, kind in enumerate(("p50", "p95")):
            left = 0.0
            for number, part in enumerate(parts):
                value, colour = getattr(part, kind), _colour("", number, COLOURS)
                axes.barh(y, value - min(0.002 * whole, value / 2), 0.62, left, color=colour)
                if value > 0.055 * whole:
                    inside: Any = {"ha": "center", "va": "center", "color": _on(colour), "fontweight": "bold"}
                    axes.text(left + value / 2, y, _ms(value), **inside)
                left += value
        names = [f"{name}\ntogether {_ms(totals[kind])} ms" for name, kind in _QUANTILES]
        axes.set_yticks([0, 1], names)
        axes.set_ylim(1.45, -0.45)
        axes.set_xlim(0, 1.02 * whole)
        _name_axes(figure, axes, "milliseconds")
        axes.grid(axis="x")
        labels = [f"{part.name}: {_ms(part.p50)} / {_ms(part.p95)} ms" for part in parts]
        _legend(figure, [_patch(_colour("", n, COLOURS)) for n in range(len(parts))], labels)

    return _drawn(title, draw)


_QUANTILES = (("median", "p50"), ("95th percentile", "p95"))


def intervals(
    title: str, groups: Sequence[tuple[str, Sequence[str]]], series: Mapping[str, Mapping[str, Sequence[float] | None]]
) -> str:
    """A point with its interval for each figure and system, figures of one kind on one axis, from 0 to 1 at least.

    groups: title of the axis and the names of the figures on it. series: system → figure → value, low, high; None where
    there are too few events: a dash stands there. Raises BadInput for an interval that ends before it begins.
    """
    groups = [(label, names) for label, names in groups if names]
    known = [(s, n, v) for s, values in series.items() for n, v in values.items() if v is not None and _numbers(v)]
    for system, name, value in known:
        if len(value) != 3 or value[1] > value[2]:
            raise BadInput(f"picture {title!r}, {name} of {system}: expected value, low, high, got {tuple(value)}")

    def draw(figure: Figure) -> None:
        if not groups or not known:
            return _nothing(figure)
        heights = [_rows_height(names, len(series)) for _, names in groups]
        _grow(figure, sum(heights) + 0.55 * len(groups))
        all_axes = figure.subplots(len(groups), 1, height_ratios=heights, squeeze=False)[:, 0]
        for axes, (label, names) in zip(all_axes, groups, strict=True):
            mine = {(s, n): v for s, n, v in known if n in names}
            for place, (system, colour, marker) in enumerate(_looks(series)):
                for row, name in enumerate(names):
                    y = row + _shift(place, len(series))
                    if not (value := mine.get((system, name))):
                        text = f"– {one_line(system)}: not measured"
                        axes.text(0.006, y, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8.25)
                        continue
                    axes.plot(value[1:], [y, y], "-|", color=colour, markersize=6, clip_on=False)
                    axes.plot(value[:1], [y], marker, color=colour, markersize=5.5, clip_on=False)
            _name_rows(axes, names)
            axes.set_xlim(min([0.0, *(v[1] for v in mine.values())]), max([1.0, *(v[2] for v in mine.values())]))
            axes.set_title(_wrap(label, 80), loc="left")
            _grow(figure, _LINE * _wrap(label, 80).count("\n"))
        _legend(figure, [_mark(colour, marker) for _, colour, marker in _looks(series)], list(series))

    return _drawn(title, draw)


def distribution(title: str, x_name: str, series: Mapping[str, Sequence[float]], low: float, high: float) -> str:
    """How many values of each series lie below x, from `low` to `high`; zero and the medians are marked."""
    if not low < high:
        raise BadInput(f"picture {title!r}: expected an axis from less to more, got {low} to {high}")
    measured = {name: sorted(v for v in values if math.isfinite(v)) for name, values in series.items()}

    def draw(figure: Figure) -> None:
        if not any(measured.values()):
            return _nothing(figure)
        axes = _axes(figure, 2.6)
        labels = []
        for (_, colour, marker), (name, values) in zip(_looks(measured), measured.items(), strict=True):
            if not values:
                labels.append(f"{name}: nothing measured")
                continue
            middle = _quantile(values, 0.5)
            labels.append(f"{name}: median {shown(float(middle))}, n = {len(values)}")
            # a pixel is half a per cent
            shares = (
                [n / 200 for n in range(201)]
                if len(values) > 200
                else [n / len(values) for n in range(1, len(values) + 1)]
            )
            xs, ys = [_quantile(values, share) for share in shares], [100 * share for share in shares]
            axes.step([min(low, xs[0]), *xs, max(high, xs[-1])], [0.0, *ys, 100.0], where="post", color=colour)
            axes.plot([middle], [50], marker, color=colour, markersize=7)
        if low < 0 < high:
            axes.axvline(0, color=_INK, linewidth=1, linestyle=":")
        axes.set_xlim(low, high)
        axes.set_ylim(0, 102)
        _name_axes(figure, axes, x_name, "per cent of them")
        axes.grid()
        _legend(figure, [_mark(colour, marker, "-") for _, colour, marker in _looks(measured)], labels)

    return _drawn(title, draw)


def trade_off(title: str, x_name: str, y_name: str, points: Sequence[Point], size_name: str = "") -> str:
    """Points with their names; size_name: of what a larger point has more."""
    known = [point for point in points if _numbers((point.x, point.y, point.size))]

    def draw(figure: Figure) -> None:
        if not known:
            return _nothing(figure)
        axes = _axes(figure, 3.0)
        for point in known:
            colour = SYSTEM_COLOURS.get(point.name, _OTHERS[0])
            axes.scatter([point.x], [point.y], s=(2 * _radius(point)) ** 2, color=colour, alpha=0.8)
        axes.margins(0.12)
        _name_axes(figure, axes, x_name, y_name, f"a larger point: more {size_name}" if size_name else "")
        axes.grid()
        _name_points(figure, axes, known)

    return _drawn(title, draw)


def lines(
    title: str,
    x_name: str,
    y_name: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    limit: float | None = None,
) -> str:
    """A line for each series of x and y; limit: a horizontal line that should not be crossed.

    Where x grows eightfold and more, its axis is logarithmic.
    """
    known = {name: sorted(p for p in points if _numbers(p)) for name, points in series.items()}

    def draw(figure: Figure) -> None:
        if not any(known.values()):
            return _nothing(figure)
        axes = _axes(figure, 2.6)
        handles, labels = [], [name if points else f"{name}: nothing measured" for name, points in known.items()]
        for (_, colour, marker), points in zip(_looks(known), known.values(), strict=True):
            axes.plot([x for x, _ in points], [y for _, y in points], "-" + marker, color=colour)
            handles.append(_mark(colour, marker, "-"))
        if limit is not None:
            axes.axhline(limit, color=_INK, linestyle="--", linewidth=1)
            handles.append(_mark(_INK, "", "--"))
            labels.append(f"limit: {shown(float(limit))}")
        _number_x(axes, sorted({x for points in known.values() for x, _ in points}))
        axes.set_ylim(bottom=1.05 * min([0.0, *(y for points in known.values() for _, y in points)]))
        _name_axes(figure, axes, x_name, y_name)
        axes.grid()
        _legend(figure, handles, labels)

    return _drawn(title, draw)


def bars(
    title: str,
    x_name: str,
    names: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    counts: Mapping[str, Sequence[int]] | None = None,
) -> str:
    """Groups of bars that lie: for each name one of each series, with its figure; a dash for None.

    counts: of how many each figure is. Raises BadInput where a series has another number of figures than there are
    names.
    """
    counts = counts or {}
    for kind in (series, counts):
        for name, values in kind.items():
            if len(values) != len(names):
                raise BadInput(f"picture {title!r}, {name}: expected {len(names)} figures, got {len(values)}")
    known = [v for values in series.values() for v in values if v is not None and math.isfinite(v)]

    def draw(figure: Figure) -> None:
        if not known:
            return _nothing(figure)
        axes = _axes(figure, _rows_height(names, len(series)))
        for place, (name, colour, _) in enumerate(_looks(series)):
            for row, value in enumerate(series[name]):
                y, of = row + _shift(place, len(series)), f" (n = {counts[name][row]})" if name in counts else ""
                measured = value is not None and math.isfinite(value)
                length = float(value) if value is not None and measured else 0.0
                axes.barh(y, length, 0.72 / len(series), color=colour)
                text = (shown(length) if measured else "– not measured") + of
                axes.annotate(text, (max(0.0, length), y), (4, 0), textcoords="offset points", va="center")
        _name_rows(axes, names)
        low, high = min(0.0, *known), max(1e-9, *known)
        shares = low == 0 and 0.2 < high <= 1
        if shares:
            axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
        axes.set_xlim(1.05 * low, (1.0 if shares else high) * (1.17 if counts else 1.07))
        _name_axes(figure, axes, x_name)
        _legend(figure, [_patch(colour) for _, colour, _ in _looks(series)], list(series))

    return _drawn(title, draw)


# — what they share —


def _drawn(title: str, draw: Callable[[Figure], None]) -> str:
    """The SVG of what `draw` puts on a figure, which it makes as high as it needs."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise DuplexError("no_pictures", 'pictures need matplotlib: pip install -e ".[bench]"') from None
    style: Any = {  # matplotlib types every key
        "svg.hashsalt": "duplex", "svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans"], "font.size": _POINTS,
        "text.parse_math": False, "figure.dpi": 72, "legend.fontsize": _POINTS, "legend.frameon": False,
        "axes.titlesize": _POINTS, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
        "text.color": _INK, "axes.edgecolor": _INK, "axes.labelcolor": _INK, "xtick.color": _INK, "ytick.color": _INK,
        "axes.facecolor": "none", "grid.color": "#888888", "grid.alpha": 0.3, "patch.linewidth": 0,
        "xtick.labelsize": _POINTS, "ytick.labelsize": _POINTS, "axes.labelsize": _POINTS, "axes.unicode_minus": True,
    }  # fmt: skip
    head = _wrap(title, 74)
    with _one_at_a_time, mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the reader's font has it
        mpl.rcdefaults()  # not what somebody set in a matplotlibrc
        mpl.rcParams.update(style)
        figure = Figure(figsize=(_WIDTH, 0.15 + 0.22 * (head.count("\n") + 1)), layout="constrained")
        figure.patch.set_visible(False)
        figure.suptitle(head, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
        draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        height = figure.get_figheight()
    return _finished(file.getvalue(), title, height)


def _finished(svg: str, title: str, height: float) -> str:
    """As matplotlib wrote it, but with a root, a style and colours of our own, and without names that nothing uses."""
    svg = svg[svg.index("<g ") :].replace(_INK, "currentColor")
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", svg)
    name = in_html(title)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" class="drawn" role="img" '
        f'aria-label="{name}" width="760" height="{96 * height:.0f}" viewBox="0 0 {72 * _WIDTH:g} {72 * height:g}">'
        f"<title>{name}</title>{_STYLE}\n{svg}"
    )


def _axes(figure: Figure, height: float) -> Axes:
    """The only axes of a figure, with room for their numbers; inches."""
    _grow(figure, height + 0.45)
    return figure.subplots()


def _grow(figure: Figure, inches: float) -> None:
    figure.set_figheight(figure.get_figheight() + inches)


def _name_axes(figure: Figure, axes: Axes, x_name: str, y_name: str = "", more: str = "") -> None:
    """more: a line of its own below the name of x."""
    below = "\n".join(_wrap(text, 84) for text in (x_name, more) if text)
    axes.set_xlabel(below)
    axes.set_ylabel(_wrap(y_name, 34))
    _grow(figure, _LINE * below.count("\n"))


def _nothing(figure: Figure) -> None:
    _grow(figure, 0.5)
    figure.text(0.5, 0.3, "nothing measured", ha="center", va="center")


def _legend(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """Below everything, in as many columns as there is room for."""
    texts = [_wrap(label, 92) for label in labels]
    longest = max(max(map(len, text.splitlines())) for text in texts)
    columns = max(1, min(len(texts), int(_WIDTH / (_LETTER * longest + 0.65))))
    rows = [max(text.count("\n") + 1 for text in texts[n::1][:columns]) for n in range(0, len(texts), columns)]
    _grow(figure, 1.15 * _LINE * sum(rows) + 0.15)
    figure.legend(list(handles), texts, loc="outside lower left", ncols=columns)


def _mark(colour: str, marker: str, line: Any = "none") -> Artist:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, marker=marker, linestyle=line, markersize=5.5)


def _patch(colour: str) -> Artist:
    from matplotlib.patches import Patch

    return Patch(color=colour)


def _looks(names: Sequence[str] | Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, colour and marker of each series."""
    return [(name, _colour(name, n, _OTHERS), _MARKERS[n % len(_MARKERS)]) for n, name in enumerate(names)]


def _colour(name: str, number: int, others: Sequence[str]) -> str:
    return SYSTEM_COLOURS.get(name) or others[number % len(others)]


def _on(colour: str) -> str:
    """Black or white, whichever has the greater contrast on it (luminance after WCAG 2)."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return "#000000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else "#ffffff"


def _wrap(text: str, letters: int) -> str:
    """Lines of so many letters; those of East Asia are twice as wide."""
    wide = any(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return "\n".join(textwrap.wrap(one_line(text), letters // 2 if wide else letters))


def _numbers(values: Sequence[float]) -> bool:
    return all(math.isfinite(value) for value in values)


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _ms(value: float) -> str:
    return shown(float(value), 0 if value >= 10 or not value else 1 if value >= 0.1 else None)


def _rows_height(names: Sequence[str], series: int) -> float:
    """Inches of rows with `series` things in each, and a name of perhaps several lines."""
    longest = max(_wrap(name, 30).count("\n") + 1 for name in names)
    return len(names) * max(_LINE * series + 0.12, _LINE * longest + 0.1)


def _shift(place: int, of: int) -> float:
    """Where in a row of height 1 the thing stands."""
    return (place - (of - 1) / 2) * 0.76 / of


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_wrap(name, 30) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _number_x(axes: Axes, values: Sequence[float]) -> None:
    """Numbers at the values themselves, as far as there is room."""
    if values[0] > 0 and values[-1] >= 8 * values[0]:
        axes.set_xscale("log")
    places = axes.transLimits.transform(axes.transScale.transform([(x, 1.0) for x in values]))[:, 0]
    kept: dict[float, str] = {}
    free = 0.0
    for value, place in zip(values, places, strict=True):
        if place >= free:
            kept[value] = shown(float(value))
            free = place + 0.02 + 0.012 * len(kept[value])
    axes.set_xticks(list(kept), list(kept.values()))
    axes.minorticks_off()


def _radius(point: Point) -> float:
    """In points of 1/72 inch; the area grows with the size."""
    return math.sqrt(12 + 130 * min(1.0, max(0.0, point.size)))


#: Where a name may stand beside its point, the best first.
_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), *product((0.8, -0.8), (0.8, -0.8)))
_Place = tuple[float, float]
#: Left, bottom, right, top.
_Box = tuple[float, float, float, float]


def _name_points(figure: Figure, axes: Axes, points: Sequence[Point]) -> None:
    """Each name beside its point, or else at the nearest free place with a line to it: it covers no point or name."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.draw_without_rendering()  # now it is known where the axes are
    renderer = FigureCanvasAgg(figure).get_renderer()
    centres = [axes.transData.transform((point.x, point.y)).tolist() for point in points]
    taken = [_box((x, y), (_radius(p), _radius(p))) for (x, y), p in zip(centres, points, strict=True)]
    for point, (x, y) in zip(points, centres, strict=True):
        name, away = _wrap(point.name, 40), _radius(point) + 2
        probe = axes.text(0, 0, name)
        extent = probe.get_window_extent(renderer)
        probe.remove()
        half = (extent.width / 2 + 2, extent.height / 2 + 2)
        beside = [(x + side * (away + half[0]), y + up * (away + half[1])) for side, up in _SIDES]
        place = _free_place((x, y), half, beside, taken, axes.bbox.extents)
        taken.append(_box(place, half))
        arrow = {"arrowstyle": "-", "color": _INK, "linewidth": 0.6, "shrinkA": 0, "shrinkB": away - 2}
        axes.annotate(
            name, (point.x, point.y), (place[0] - x, place[1] - y), textcoords="offset points",
            ha="center", va="center", arrowprops=None if place in beside else arrow,
        ).set_in_layout(False)  # fmt: skip


def _free_place(point: _Place, half: _Place, beside: Sequence[_Place], taken: Sequence[_Box], within: _Box) -> _Place:
    """The middle of a box of twice `half` that covers nothing, or the least; near the point, in points of 1/72 inch."""

    def inside(box: _Box) -> bool:
        return box[0] > within[0] and box[1] > within[1] and box[2] < within[2] and box[3] < within[3]

    def covered(place: _Place) -> float:
        a = _box(place, half)
        sides = ((min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])) for b in taken)
        return sum(wide * high for wide, high in sides if wide > 0 and high > 0)

    columns, rows = range(int(within[0]), int(within[2]), 6), range(int(within[1]), int(within[3]), 6)
    anywhere = sorted(product(columns, rows), key=lambda place: math.dist(place, point))
    places = [place for place in (*beside, *anywhere) if inside(_box(place, half))] or beside
    return next((place for place in places if not covered(place)), None) or min(places, key=covered)


def _box(middle: _Place, half: _Place) -> _Box:
    return middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1]
