from xml.etree import ElementTree

import pytest

from webapp.stages_picture import WIDTH, Stage, picture

STAGES = [Stage("noticed", 400, 450.4), Stage("words & more", 0, 5), Stage("sound", 500, 900)]


def test_the_picture_is_an_svg_with_a_bar_for_each_stage() -> None:
    root = ElementTree.fromstring(picture("a < b", STAGES, {"p50": 905, "p95": 1200}))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a < b", "together 905 ms", "together 1200 ms", "words & more: 0 / 5 ms"} <= set(texts)
    bars = [e for e in root.iter("{http://www.w3.org/2000/svg}rect") if e.get("class") == "edge"]
    assert len(bars) == 2 * len(STAGES)
    for bar in bars:
        assert 0 <= float(bar.get("x", "-1")) + float(bar.get("width", "-1")) <= WIDTH
    widths = [float(bar.get("width", "")) for bar in bars]
    assert widths[0] / widths[2] == pytest.approx(400 / 500, rel=0.01)


def test_it_is_readable_on_light_and_dark() -> None:
    assert "prefers-color-scheme: dark" in picture("t", STAGES, {"p50": 1, "p95": 1})


def test_nothing_measured_is_a_picture_too() -> None:
    ElementTree.fromstring(picture("t", [Stage("noticed", 0, 0)], {"p50": 0, "p95": 0}))
