"""Results survive the disk; tables survive what people put into them."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.results import Picture, Result, Table, machine, shown

NASTY = Table("A | B", ("", "<script>", "n"), (("x|y", None, 3), ("*z*", 0.12345, float("nan"))), "note <b>")
RESULT = Result(
    "panel", "duplex bench panel", {"duplex": {"L_R": 0.5}, "took_ms": 3}, "About.", (NASTY,),
    (Picture("eight", "Eight", "<svg/>"),), {"seeds": 5}, ("took_ms",), ("one talk",), 1.5, {"Python": "3"},
)  # fmt: skip


def test_there_and_back(tmp_path: Path) -> None:
    RESULT.save(tmp_path)
    assert (tmp_path / "panel-eight.svg").read_text() == "<svg/>"
    again = Result.load(tmp_path / "panel.json")
    assert again.tables[0].columns == NASTY.columns
    assert (again.figures, again.pictures, again.missing, again.machine) == (
        RESULT.figures, RESULT.pictures, RESULT.missing, RESULT.machine,
    )  # fmt: skip
    assert not list(tmp_path.glob("*.part"))


def test_pictures_of_an_earlier_run_go(tmp_path: Path) -> None:
    (tmp_path / "panel-old.svg").write_text("<svg/>")
    RESULT.save(tmp_path)
    assert [p.name for p in tmp_path.glob("*.svg")] == ["panel-eight.svg"]


def test_runs_are_compared_without_the_clock() -> None:
    assert RESULT.comparable() == {"duplex": {"L_R": 0.5}}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "name": "x"}'])
def test_what_is_no_result_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(BadInput, match=r"x\.json: expected results"):
        Result.load(tmp_path / "x.json")


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="expected a folder to write results to"):
        RESULT.save(tmp_path / "file")


def test_numbers_as_people_read_them() -> None:
    cells = (None, float("nan"), 3, 0.1234, 12.34, 123.4, 1.0, "x")
    assert [shown(c) for c in cells] == ["–", "–", "3", "0.123", "12.3", "123", "1", "x"]


def test_text_is_aligned() -> None:
    lines = NASTY.text().splitlines()
    assert lines[0] == "A | B"
    assert len({len(line) for line in lines[1:4]}) == 1
    assert "missing:\n  one talk" in RESULT.text()


def test_markdown_has_as_many_cells_as_columns() -> None:
    rows = [line for line in NASTY.markdown().splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {4}
    assert "<script>" not in NASTY.markdown()


def test_html_escapes_everything() -> None:
    class Tags(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.found: set[str] = set()

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.found.add(tag)

    tags = Tags()
    tags.feed(NASTY.html())
    assert tags.found == {"div", "table", "caption", "thead", "tbody", "tr", "th", "td", "p"}


def test_the_machine_is_described_without_names() -> None:
    import getpass
    import platform

    about = machine("embedded")
    assert about["model"] == "embedded"
    assert about["torch"]
    text = json.dumps(about)
    assert str(Path.home()) not in text
    assert platform.node() not in text
    assert f'"{getpass.getuser()}"' not in text
