"""Pictures are SVG, the same for the same figures, and say what they show."""

import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from duplex_runtime.evaluation import pictures
from duplex_runtime.evaluation.pictures import Point, Stage

SYSTEMS = {"duplex": [0.3, 0.5, 0.4], "strict": [2.0], "barge-in": []}
PARTS = [Stage("append", 4.0, 9.0), Stage("out", 0.0, 120.0)]
VALUES = {"duplex": {"L_R": (0.5, 0.4, 0.7)}, "strict": {"L_R": None}}
POINTS = [Point("2 s", 1.0, 80.0, 0.5), Point("adaptive", 0.4, 82.0)]
BARS = {"duplex": [0.5, None], "strict": [1.0, 0.0]}
T = "Ti<tle"
DRAWN: dict[str, Callable[[], str]] = {
    "stages": lambda: pictures.stages(T, PARTS, {"p50": 4, "p95": 99}),
    "intervals": lambda: pictures.intervals(T, [("seconds", ["L_R"])], VALUES),
    "distribution": lambda: pictures.distribution(T, "seconds", SYSTEMS, -1, 3),
    "trade_off": lambda: pictures.trade_off(T, "x", "y", POINTS, "false starts"),
    "lines": lambda: pictures.lines(T, "at once", "ms", {"slice": [(1, 20.0), (2, 30.0)]}, 40),
    "bars": lambda: pictures.bars(T, "share", ["10 %", "30 %"], BARS),
}
EMPTY: list[Callable[[], str]] = [
    lambda: pictures.stages("t", [], {"p50": 0, "p95": 0}),
    lambda: pictures.distribution("t", "x", {"duplex": []}, 0, 1),
    lambda: pictures.trade_off("t", "x", "y", []),
    lambda: pictures.lines("t", "x", "y", {}),
    lambda: pictures.bars("t", "y", [], {}),
]


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture(name: str) -> None:
    svg = DRAWN[name]()
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"] == "Ti<tle"
    assert "prefers-color-scheme:dark" in svg
    assert "currentColor" in svg
    assert svg == DRAWN[name]()
    assert not re.search(r"https?://(?!www\.w3\.org)", svg)
    assert "NaN" not in svg


@pytest.mark.parametrize("draw", EMPTY)
def test_of_nothing_it_says_so(draw: Callable[[], str]) -> None:
    assert "nothing measured" in draw()


def test_names_stand_in_it() -> None:
    assert "strict" in DRAWN["distribution"]()
    assert "append: 4.0 / 9.0 ms" in DRAWN["stages"]()
    assert "2 s" in DRAWN["trade_off"]()
