"""Pictures are SVG, the same for the same figures, say what they show, and cut and cover nothing."""

import re
import sys
from collections.abc import Callable
from itertools import combinations
from typing import Any
from xml.etree import ElementTree

import pytest

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.evaluation import pictures
from duplex_runtime.evaluation.pictures import COLOURS, SYSTEM_COLOURS, Point, Stage

NAN = float("nan")
T = "Ti<tle"
SYSTEMS = {"duplex": [0.3, 0.5, 0.4], "strict": [2.0, -9.0, 9.0], "barge-in": []}
PARTS = [Stage("append", 4.0, 9.0), Stage("decode", 40.0, 90.0), Stage("out", 0.0, 120.0)]
VALUES = {"duplex": {"L_R": (0.5, 0.4, 0.7), "R_R": (0.9, 0.8, 1.0)}, "strict": {"L_R": None}}
GROUPS = [("seconds", ["L_R"]), ("share", ["R_R"])]
POINTS = [Point("2 s", 1.0, 80.0, 0.5), Point("adaptive", 0.4, 82.0), Point("lost", NAN, 1.0)]
BARS = {"duplex": [0.5, None], "strict": [1.0, 0.0]}
COUNTS = {"duplex": [12, 0], "strict": [14, 9]}
LINES = {"slice": [(1, 20.0), (2, 30.0), (16, NAN)], "answer": []}
DRAWN: dict[str, Callable[[], str]] = {
    "stages": lambda: pictures.stages(T, PARTS, {"p50": 4, "p95": 99}),
    "intervals": lambda: pictures.intervals(T, GROUPS, VALUES),
    "distribution": lambda: pictures.distribution(T, "seconds", SYSTEMS, -1, 3),
    "trade_off": lambda: pictures.trade_off(T, "x", "y", POINTS, "false starts"),
    "lines": lambda: pictures.lines(T, "at once", "ms", LINES, 40),
    "bars": lambda: pictures.bars(T, "share", ["10 %", "30 %"], BARS, COUNTS),
}
LONG = "a name that somebody made much longer than there is room for <&> $x_1$ _y_ 长名字"
LONGS: dict[str, Callable[[], str]] = {
    "stages": lambda: pictures.stages(
        LONG * 3, [Stage(f"{LONG} {n}", n, 3 * n) for n in range(10)], {"p50": 4, "p95": 9}
    ),
    "intervals": lambda: pictures.intervals(
        LONG, [(LONG * 3, [LONG, "a"]), (LONG, ["b"])],
        {f"{LONG} {n}": {"a": (200, 100, 400), LONG: None} for n in range(5)},
    ),
    "distribution": lambda: pictures.distribution(LONG, LONG * 2, {f"{LONG} {n}": [n, n + 1] for n in range(5)}, 0, 9),
    "trade_off": lambda: pictures.trade_off(
        LONG, LONG * 2, LONG, [Point(f"{LONG} {n}", 1 + 0.01 * (n % 3), 80 + 0.01 * n) for n in range(6)], LONG
    ),
    "lines": lambda: pictures.lines(
        LONG, LONG, LONG, {f"{LONG} {n}": [(x, 1000.0 * x) for x in range(1, 200)] for n in range(3)}, 5.0
    ),
    "bars": lambda: pictures.bars(
        LONG, LONG, [f"{LONG} {n}" for n in range(6)], {f"{LONG} {n}": [1.0] * 6 for n in range(3)},
        {f"{LONG} {n}": [1234] * 6 for n in range(3)},
    ),
}  # fmt: skip


def texts(svg: str) -> list[str]:
    return [e.text or "" for e in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def boxes(svg: str) -> list[tuple[str, float, float, float, float]]:
    """Left, top, right and bottom of each text that lies level, in a font that is wider than most."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    found = []
    for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        style, place = element.get("style", ""), element.get("transform", "")
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", place)]
        turned = numbers[0] if place.startswith("rotate") else numbers[2] if "rotate" in place else 0
        size = re.search(r"font-size: ([\d.]+)px", style)
        assert size and float(size[1]) * 4 / 3 >= 10.99  # px at natural size
        if turned or not (element.text or "").strip():
            continue
        font = FontProperties(family="DejaVu Sans", weight="bold" if "font-weight" in style else "normal")
        path = TextPath((0, 0), (element.text or "").replace("$", "S"), float(size[1]), prop=font)
        wide = path.get_extents().x1
        x, y = (float(element.get("x", 0)), float(element.get("y", 0))) if "x" in element.attrib else numbers[:2]
        left = x - (wide if "anchor: end" in style else wide / 2 if "anchor: middle" in style else 0)
        found.append((element.text or "", left, y - 0.73 * float(size[1]), left + wide, y))
    return found


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture(name: str) -> None:
    svg = DRAWN[name]()
    root = ElementTree.fromstring(svg)
    assert (root.get("role"), root.get("aria-label"), root.get("width")) == ("img", T, "760")
    assert root[0].text == T
    assert "@media (prefers-color-scheme:dark)" in svg and "currentColor" in svg
    assert "DejaVu" not in svg and "#123456" not in svg
    assert not re.search(r"https?://(?!www\.w3\.org)|<metadata|<script", svg)
    assert "nan" not in svg.lower()
    ids = re.findall(r'\sid="([^"]+)"', svg)
    assert sorted(ids) == sorted(set(ids))
    assert set(re.findall(r"#([\w]+)\)", svg)) <= set(ids)


@pytest.mark.parametrize("name", DRAWN)
def test_the_same_figures_are_the_same_bytes_whatever_somebody_has_set(name: str) -> None:
    import matplotlib as mpl

    svg = DRAWN[name]()
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert DRAWN[name]() == svg
        assert (mpl.rcParams["font.size"], mpl.rcParams["svg.fonttype"]) == (30, "path")
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.filterwarnings("ignore:Glyph .* missing")  # only this test looks at the letters themselves
@pytest.mark.parametrize("name", [*DRAWN, *(f"{name} long" for name in LONGS)])
def test_no_text_is_cut_or_covers_another(name: str) -> None:
    svg = LONGS[name.removesuffix(" long")]() if name.endswith(" long") else DRAWN[name]()
    _, _, width, height = map(float, ElementTree.fromstring(svg).get("viewBox", "").split())
    found = boxes(svg)
    assert len(found) > 6
    assert [box for box in found if box[1] < 0 or box[2] < 0 or box[3] > width or box[4] > height] == []
    over = [
        (a[0], b[0])
        for a, b in combinations(found, 2)
        if min(a[3], b[3]) - max(a[1], b[1]) > 0.5 and min(a[4], b[4]) - max(a[2], b[2]) > 0.5
    ]
    assert over == []


def test_what_stands_in_them() -> None:
    assert {"append: 4.0 / 9.0 ms", "out: 0 / 120 ms", "together 99 ms"} <= set(texts(DRAWN["stages"]()))
    assert {"seconds", "share", "L_R", "– strict: not measured"} <= set(texts(DRAWN["intervals"]()))
    assert {"duplex: median 0.4, n = 3", "barge-in: nothing measured"} <= set(texts(DRAWN["distribution"]()))
    trade_off = texts(DRAWN["trade_off"]())
    assert {"2 s", "adaptive", "a larger point: more false starts"} <= set(trade_off) and "lost" not in trade_off
    assert {"limit: 40", "answer: nothing measured", "1", "2"} <= set(texts(DRAWN["lines"]()))
    assert {"0.5 (n = 12)", "– not measured (n = 0)", "0 (n = 9)", "30 %"} <= set(texts(DRAWN["bars"]()))


def test_bars_are_as_long_as_their_figures() -> None:
    svg = pictures.bars("t", "share", ["a", "b"], {"duplex": [0.25, 1.0]})
    paths = re.findall(r'<path d="([^"]+)"[^>]*fill: ' + SYSTEM_COLOURS["duplex"], svg)
    xs = [[float(x) for x in re.findall(r"[ML] ([\d.]+)", path)] for path in paths]
    lengths = [max(x) - min(x) for x in xs[:2]]
    assert lengths[0] / lengths[1] == pytest.approx(0.25, rel=0.01)


def test_a_system_has_one_colour_everywhere_and_nothing_else_has_it() -> None:
    for name in ("intervals", "distribution", "bars"):
        assert SYSTEM_COLOURS["duplex"] in DRAWN[name]()
    for name in ("lines", "trade_off"):
        assert not set(SYSTEM_COLOURS.values()) & set(re.findall(r"#[0-9a-f]{6}", DRAWN[name]()))


@pytest.mark.parametrize("colour", COLOURS)
def test_colours_stand_out_on_white_and_on_black(colour: str) -> None:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [((c + 0.055) / 1.055) ** 2.4 for c in parts]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05
    assert 1.05 / light >= 3 and light / 0.057 >= 3  # WCAG 2.2, 1.4.11; 0.057: a page of #121212


@pytest.mark.parametrize(
    "draw",
    [
        lambda: pictures.stages("t", [], {"p50": 0, "p95": 0}),
        lambda: pictures.intervals("t", [], {}),
        lambda: pictures.intervals("t", [("a", [])], {"duplex": {}}),
        lambda: pictures.intervals("t", GROUPS, {"duplex": {"L_R": (NAN, 0, 1)}, "strict": {"L_R": None}}),
        lambda: pictures.distribution("t", "x", {"duplex": [], "strict": [NAN]}, 0, 1),
        lambda: pictures.trade_off("t", "x", "y", []),
        lambda: pictures.trade_off("t", "x", "y", [Point("a", 1, float("inf"))]),
        lambda: pictures.lines("t", "x", "y", {}),
        lambda: pictures.lines("t", "x", "y", {"a": [], "b": [(1, NAN)]}, 3),
        lambda: pictures.bars("t", "y", [], {}),
        lambda: pictures.bars("t", "y", ["a"], {"duplex": [None]}),
    ],
)
def test_of_nothing_it_says_so(draw: Callable[[], str]) -> None:
    assert texts(draw()) == ["t", "nothing measured"]


@pytest.mark.parametrize(
    "draw, why",
    [
        (
            lambda: pictures.stages("t", [Stage("a", -1, 2)], {}),
            "stage 'a': expected milliseconds from 0 on, got -1 and",
        ),
        (lambda: pictures.stages("t", [Stage("a", 1, NAN)], {}), "stage 'a': expected milliseconds"),
        (lambda: pictures.intervals("t", GROUPS, {"duplex": {"L_R": (1, 2, 1)}}), "L_R of duplex: expected value, low"),
        (lambda: pictures.intervals("t", GROUPS, {"duplex": {"L_R": (1, 2)}}), "L_R of duplex: expected value, low"),
        (lambda: pictures.distribution("t", "x", {}, 1, 1), "expected an axis from less to more, got 1 to 1"),
        (lambda: pictures.bars("t", "y", ["a"], {"duplex": [1, 2]}), "duplex: expected 1 figures, got 2"),
        (lambda: pictures.bars("t", "y", ["a"], {"duplex": [1]}, {"duplex": []}), "duplex: expected 1 figures, got 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw: Callable[[], str], why: str) -> None:
    with pytest.raises(BadInput, match=f"picture 't'(, |: ){why}"):
        draw()


def test_many_values_make_no_large_file() -> None:
    svg = pictures.distribution("t", "s", {"duplex": [n / 5000 for n in range(10_000)]}, 0, 2)
    assert "duplex: median 1, n = 10000" in texts(svg)
    assert len(svg) < 40_000


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    gone: Any = None
    monkeypatch.setitem(sys.modules, "matplotlib", gone)
    with pytest.raises(DuplexError, match=r"pip install -e \"\.\[bench\]\"") as raised:
        DRAWN["bars"]()
    assert raised.value.code == "no_pictures"
