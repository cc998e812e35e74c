"""One file that opens offline, and Markdown: whatever stands in the results."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation import report
from duplex_runtime.evaluation.report import Section, page_html, page_markdown, results_of, write_report
from duplex_runtime.evaluation.results import Picture, Result, Table

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img">'
    '<path id="p1"></path><use xlink:href="#p1"></use><g clip-path="url(#p1)"></g></svg>'
)
PANEL = Result(
    "panel", "duplex bench panel --seeds 5", {"duplex": {}}, "About <the> panel.",
    (Table("Eight", ("", "duplex"), (("L_R", 0.5),)),), (Picture("eight", "Eight", SVG),),
    {"seeds": 5, "systems": ["duplex", "strict"]}, (), ("duplex talk 3: <b>broke</b>",), 61.0,
    {"torch": "2.13", "Python": "3.11"}, "duplex answers <sooner>.",
)  # fmt: skip
OTHER = Result("extra", "duplex bench extra", {}, "More.", machine={"torch": "2.12", "Python": "3.11"})
EVIL = "</title></style><script>alert(1)</script><img src=x onerror=alert(1)> \" ' & | `` [a](javascript:b) \x1b"


class Page(HTMLParser):
    """Open elements, and what was seen."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_decl(self, decl: str) -> None:
        assert decl == "doctype html"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_everything_stands_in_one_file(tmp_path: Path) -> None:
    OTHER.save(tmp_path)
    PANEL.save(tmp_path)
    html, _ = write_report(tmp_path)
    text = html.read_text()
    page = Page(text)
    contents = page.links[: page.links.index("#again") + 1]
    assert contents == ["#in-short", "#missing", "#panel", "#extra", "#again"]
    assert all(link.removeprefix("#") in page.ids for link in page.links)
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    assert not {"script", "link", "img", "iframe", "b", "the", "sooner"} & set(page.tags)
    for part in (
        "Duplex Arena: measured",
        "duplex answers <sooner>.",
        "About <the> panel.",
        "duplex bench panel --seeds 5\nduplex bench extra",
        "seeds: 5; systems: duplex, strict. It took 61 s.",
        "duplex talk 3: <b>broke</b>",
        "2.13 (panel); 2.12 (extra)",
    ):
        assert part in page.text


def test_it_may_load_nothing(tmp_path: Path) -> None:
    PANEL.save(tmp_path)
    text = write_report(tmp_path)[0].read_text()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    assert policy and policy[1].split("; ") == [
        "default-src 'none'", "style-src 'unsafe-inline'", "base-uri 'none'", "form-action 'none'",
    ]  # fmt: skip
    assert text.index("Content-Security-Policy") < text.index("<style>")
    assert "url(" not in text[text.index("<style>") : text.index("</style>")]
    assert "color-scheme: light dark" in text and "@media print" in text and "width=device-width" in text


def test_pictures_share_no_names(tmp_path: Path) -> None:
    PANEL.save(tmp_path)
    replace(PANEL, name="panel-live", pictures=(*PANEL.pictures, Picture("other", "Other", SVG))).save(tmp_path)
    page = Page(write_report(tmp_path)[0].read_text())
    assert sorted(page.ids) == sorted(set(page.ids))
    assert {"panel-eight-p1", "panel-live-eight-p1", "panel-live-other-p1"} <= set(page.ids)
    assert "#panel-live-other-p1" in page.links


def test_markdown_has_the_pictures_beside_it(tmp_path: Path) -> None:
    PANEL.save(tmp_path)
    OTHER.save(tmp_path)
    text = write_report(tmp_path)[1].read_text()
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [
        "In short", "What is missing", "Who speaks when", "Extra", "How to get it again",
    ]  # fmt: skip
    assert "![Eight](panel-eight.svg)" in text and (tmp_path / "panel-eight.svg").is_file()
    assert "| L_R | 0.5 |" in text
    assert "| torch | 2.13 (panel); 2.12 (extra) |\n| Python | 3.11 |" in text
    assert "```sh\nduplex bench panel --seeds 5\nduplex bench extra\n```" in text
    assert "- duplex talk 3: &lt;b>broke&lt;/b>" in text


def test_what_people_put_into_it_stays_text(tmp_path: Path) -> None:
    Result(
        "evil", EVIL, {}, EVIL, (Table(EVIL, (EVIL, EVIL), ((EVIL, EVIL),), EVIL),), (Picture("p", EVIL, SVG),),
        {EVIL: EVIL}, (), (EVIL,), 0.0, {EVIL: EVIL}, EVIL,
    ).save(tmp_path)  # fmt: skip
    html, markdown = write_report(tmp_path)
    page = Page(html.read_text())
    assert not {"script", "img"} & set(page.tags)
    assert page.text.count("<script>alert(1)</script>") >= 10
    assert "\x1b" not in html.read_text() + markdown.read_text()
    outside = re.sub(r"```sh\n.*?\n```", "", markdown.read_text(), flags=re.DOTALL)
    assert "<script" not in outside and "](javascript" not in outside.replace("\\](", "")


def test_without_headlines_and_with_nothing_missing_these_parts_are_left_out(tmp_path: Path) -> None:
    OTHER.save(tmp_path)
    page = Page(write_report(tmp_path)[0].read_text())
    assert page.links == ["#extra", "#again"]


def test_results_stand_in_order(tmp_path: Path) -> None:
    for name in ("zebra", "latency", "slices", "apple", "interruption", "panel"):
        replace(OTHER, name=name).save(tmp_path)
    names = [result.name for result in results_of(tmp_path)[0]]
    assert names == ["panel", "interruption", "slices", "latency", "apple", "zebra"]


def test_what_is_broken_is_named_and_the_rest_is_there(tmp_path: Path) -> None:
    PANEL.save(tmp_path)
    (tmp_path / "slices.json").write_text("{")
    results, broken = results_of(tmp_path)
    assert [r.name for r in results] == ["panel"]
    assert broken[0].startswith("slices.json: expected results")
    html, markdown = write_report(tmp_path)
    for text in (Page(html.read_text()).text, markdown.read_text()):
        assert "slices.json: expected results" in text
        assert str(tmp_path) not in text  # where it lies concerns nobody else


@pytest.mark.parametrize("files", [{}, {"slices.json": "{"}])
def test_a_folder_without_results(tmp_path: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match=r"expected results of benchmarks, found none that can be read; (run|slices)"):
        write_report(tmp_path)
    assert not list(tmp_path.glob("report.*"))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected results of benchmarks"):
        write_report(tmp_path / "none")


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    PANEL.save(tmp_path)
    monkeypatch.setattr(report, "write_whole", full)
    with pytest.raises(BadInput, match="expected a folder to write to, got No space left"):
        write_report(tmp_path)


def test_the_same_results_are_the_same_report(tmp_path: Path) -> None:
    PANEL.save(tmp_path)
    first = [path.read_bytes() for path in write_report(tmp_path)]
    assert [path.read_bytes() for path in write_report(tmp_path)] == first


def test_other_reports_look_the_same() -> None:
    sections = [Section("flow", "Who <took> part", "<p>48</p>", "48")]
    page = Page(page_html("A study", sections))
    assert page.links == ["#flow"] and "Who <took> part" in page.text and "A study" in page.text
    assert page_markdown("A study", sections) == "# A study\n\n## Who &lt;took> part\n\n48\n"
