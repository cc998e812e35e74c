"""One file that opens offline, and Markdown."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.report import results_of, write_report
from duplex_runtime.evaluation.results import Picture, Result, Table

PANEL = Result(
    "panel", "duplex bench panel --seeds 5", {"duplex": {}}, "About <the> panel.",
    (Table("Eight", ("", "duplex"), (("L_R", 0.5),)),), (Picture("eight", "Eight", '<svg role="img"></svg>'),),
    {"seeds": 5, "systems": ["duplex", "strict"]}, (), ("duplex talk 3: <b>broke</b>",), 61.0, {"torch": "2.13"},
)  # fmt: skip
OTHER = Result("extra", "duplex bench extra", {}, "More.", machine={"torch": "2.12"})


class Page(HTMLParser):
    """Open elements, and what was seen."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_everything_stands_in_one_file(tmp_path: Path) -> None:
    OTHER.save(tmp_path)
    PANEL.save(tmp_path)
    html, markdown = write_report(tmp_path)
    text, page = html.read_text(), Page()
    page.feed(text)
    assert page.open == []
    assert page.links == ["#panel", "#extra"]  # in this order, and nothing from elsewhere
    assert "script" not in page.tags and "b" not in page.tags
    assert "default-src 'none'" in text
    for part in (
        "About &lt;the&gt; panel.",
        "duplex bench panel --seeds 5",
        "systems: duplex, strict",
        "2.13; 2.12",
        "<svg",
    ):
        assert part in text
    assert "![Eight](panel-eight.svg)" in markdown.read_text()
    assert "| torch | 2.13; 2.12 |" in markdown.read_text()


def test_what_is_broken_is_named_and_the_rest_is_there(tmp_path: Path) -> None:
    PANEL.save(tmp_path)
    (tmp_path / "slices.json").write_text("{")
    results, broken = results_of(tmp_path)
    assert [r.name for r in results] == ["panel"]
    assert "slices.json" in broken[0]
    assert "slices.json" in write_report(tmp_path)[0].read_text()


def test_a_folder_without_results(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected results of benchmarks"):
        write_report(tmp_path / "none")


def test_the_same_results_are_the_same_report(tmp_path: Path) -> None:
    PANEL.save(tmp_path)
    assert write_report(tmp_path)[0].read_bytes() == write_report(tmp_path)[0].read_bytes()
