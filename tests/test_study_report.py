import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.report import page_html, page_markdown
from tests.study_files import study
from tests.study_people import person
from webapp.study.analysis import Findings, findings_of
from webapp.study.database import Database
from webapp.study.drawings import pictures_of
from webapp.study.frames import Person, frames_of
from webapp.study.report import main, sections_of, title_of, write_report
from webapp.study.simulate import fill
from webapp.study.truth import Truth

EVIL = (
    "<script>alert(1)</script> <img src=x onerror=alert(2)> [here](https://evil.example) "
    "=cmd|' /C calc'!A0 \u202e\x00 | `x`"
)


def findings(tmp_path: Path, *people: Person) -> Findings:
    made = study(tmp_path)
    return findings_of(made, frames_of(made, people))


def pages(found: Findings, pictures: bool = False) -> tuple[str, str]:
    sections = sections_of(found, *(pictures_of(found) if pictures else ((), ())))
    return page_html(title_of(found), sections), page_markdown(title_of(found), sections)


class Tags(HTMLParser):
    """Raises where tags are not balanced; remembers what could do harm."""

    VOID = ("meta", "br", "img", "link")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}


def parsed(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    tags.close()
    assert tags.open == []
    return tags


def titles(html: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", html)


def people(count: int) -> list[Person]:
    return [
        person(f"p-{n}", duplex=5 + n % 3, strict=2 + n % 4, begins=("duplex", "strict")[n % 2], comment=f"words {n}")
        for n in range(count)
    ]


# — what it says —


def test_every_part_is_there(tmp_path: Path) -> None:
    html, markdown = pages(findings(tmp_path, *people(8)))
    assert titles(html) == [
        "In short", "Participants", "Ratings", "Differences", "Preference", "Blinding", "Order and side",
        "Measured and felt", "Beside the paper", "What participants wrote", "Methods", "How to get it again",
    ]  # fmt: skip
    assert [line[3:] for line in markdown.splitlines() if line.startswith("## ")] == titles(html)
    for library in ("pandas", "scipy", "statsmodels", "duplex-arena"):
        assert library in html and library in markdown
    assert "arXiv 2406.15718 v2, 14 participants" in html


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_participants_have_a_report_that_says_so(tmp_path: Path, count: int) -> None:
    html, markdown = pages(findings(tmp_path, *people(count), person("q", status="consented", step="rate-1")))
    said = "Nobody can be analysed yet" if not count else "Tests and intervals need at least three"
    assert said in html and said in markdown
    assert ("Ratings" in titles(html)) == bool(count)
    assert "Methods" in titles(html) and "stopped at rate-1" in html
    parsed(html)


def test_what_was_not_asked_has_no_part(tmp_path: Path) -> None:
    made = study(tmp_path, ("preference = true", "preference = false"), ("guess = true", "guess = false"))
    came = [person(f"p-{n}", duplex=5 + n % 2, compare={}) for n in range(4)]
    found = findings_of(made, frames_of(made, came))
    html, _ = pages(found)
    assert not {"Preference", "Blinding", "What participants wrote"} & set(titles(html))


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    found = findings(tmp_path, *people(4))
    sections = sections_of(found, [], ("pictures need matplotlib",))
    html = page_html("x", sections)
    assert "What is missing" in titles(html) and "pictures need matplotlib" in html and "<figure" not in html


# — what participants wrote —


def test_it_is_escaped_everywhere(tmp_path: Path) -> None:
    evil = [
        person("p-1", comment=EVIL, about={"age": 30, "gender": EVIL}),
        person("p-2", status="excluded", excluded_because=EVIL),
    ]
    html, markdown = pages(findings(tmp_path, *evil, *people(6)[3:]))
    tags = parsed(html)
    assert not {"script", "img"} & tags.seen and "onerror" not in tags.attributes
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 3  # about each system, and why one was excluded
    assert "<script" not in markdown and "<img" not in markdown and "[here](" not in markdown
    assert "\u202e" not in html + markdown and "\x00" not in html + markdown


def test_a_comment_of_many_lines_is_one_line(tmp_path: Path) -> None:
    _, markdown = pages(findings(tmp_path, person("p-1", comment="one\n\n# two\r\n- three")))
    assert "\n- one # two - three\n" in markdown


# — files —


def test_the_report_of_a_simulated_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = study(tmp_path / "study")
    database = Database(made.database_url)
    fill(made, database, Truth(), careful=12, seed=4)
    html_path, markdown_path = write_report(made, database, tmp_path / "out")
    html, markdown = html_path.read_text(), markdown_path.read_text()
    database.close()
    assert main(str(made.folder)) == 0
    assert capsys.readouterr().out == html  # nothing in it changes from one time to the next
    assert "(simulated participants)" in html and "Put in and found" in titles(html)
    held = re.search(r"Of (\d+) intervals of 95 %, (\d+) hold the truth", markdown)
    assert held and int(held[1]) == 3 * 5 + 1 + 3 and int(held[2]) >= 14
    pictures = re.findall(r"\]\((study-[\w-]+\.svg)\)", markdown)
    assert len(pictures) == 9 and all((tmp_path / "out" / name).is_file() for name in pictures)
    assert "The interaction panel" in html
    parsed(html)


def test_it_needs_no_other_file_and_asks_nobody(tmp_path: Path) -> None:
    html, _ = pages(findings(tmp_path, *people(6)), pictures=True)
    tags = parsed(html)
    assert html.count("<figure") == 8
    assert not {"script", "link", "img", "iframe"} & tags.seen and "src" not in tags.attributes
    assert not re.findall(r'(?:href|action)="(?!#)', html.replace('xlink:href="#', ""))
    assert "default-src 'none'" in html


def test_a_page_that_cannot_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(str(tmp_path / "nothing")) == 1
    said = capsys.readouterr()
    assert not said.out and "nothing" in said.err and said.err.count("\n") == 1


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    made = study(tmp_path / "study")
    database = Database(made.database_url)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match=r"--out .*file: expected a folder"):
        write_report(made, database, tmp_path / "file")
    database.close()
