"""Results survive the disk; tables survive what people put into them."""

import getpass
import json
import platform
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation import results
from duplex_runtime.evaluation.results import Picture, Result, Table, in_markdown, machine, shown

SVG = '<svg xmlns="http://www.w3.org/2000/svg"></svg>'
NASTY = Table("A | B", ("", "<script>", "n"), (("x|y", None, 3), ("*z*", 0.12345, float("nan"))), "note <b>")
RESULT = Result(
    "panel", "duplex bench panel", {"duplex": {"L_R": 0.5}, "took_ms": 3}, "About.", (NASTY,),
    (Picture("eight", "Eight", SVG),), {"seeds": 5}, ("took_ms",), ("one talk",), 1.5, {"Python": "3"}, "In short.",
)  # fmt: skip


def saved(folder: Path, **changes: Any) -> Path:
    """A file of RESULT with some values changed; None leaves the key out."""
    RESULT.save(folder)
    path = folder / "panel.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    return path


# — on the disk —


def test_there_and_back(tmp_path: Path) -> None:
    table = Table("T", ("", "n"), (("a", 1), ("b", 2.5), ("c", None)))
    result = replace(RESULT, tables=(table,))
    result.save(tmp_path)
    assert Result.load(tmp_path / "panel.json") == result
    assert sorted(p.name for p in tmp_path.iterdir()) == ["panel-eight.svg", "panel.json"]


def test_what_is_no_number_is_null_in_the_file(tmp_path: Path) -> None:
    replace(RESULT, figures={"a": float("nan"), "b": [float("inf"), 1.0]}).save(tmp_path)
    again = Result.load(tmp_path / "panel.json")
    assert again.figures == {"a": None, "b": [None, 1.0]}
    assert again.tables[0].rows[1] == ("*z*", 0.12345, None)


def test_pictures_of_an_earlier_run_go_and_those_of_others_stay(tmp_path: Path) -> None:
    replace(RESULT, pictures=(Picture("old", "Old", SVG), *RESULT.pictures)).save(tmp_path)
    replace(RESULT, name="panel-live").save(tmp_path)
    RESULT.save(tmp_path)
    assert sorted(p.name for p in tmp_path.glob("*.svg")) == ["panel-eight.svg", "panel-live-eight.svg"]


def test_what_cannot_be_kept_changes_nothing(tmp_path: Path) -> None:
    RESULT.save(tmp_path)
    with pytest.raises(TypeError):
        replace(RESULT, figures={"a": object()}, pictures=(Picture("eight", "E", "other"),)).save(tmp_path)
    assert Result.load(tmp_path / "panel.json").pictures == RESULT.pictures


def test_runs_are_compared_without_the_clock() -> None:
    assert RESULT.comparable() == {"duplex": {"L_R": 0.5}}


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "broken JSON in line 1"),
        ('{"a":\n 1', "broken JSON in line 2"),
        ("[" * 100_000, "recursion"),
        ("[]", "no format number"),
        ("{}", "no format number"),
        ('{"format": true}', "no format number"),
        ('{"format": 0}', "older than 1"),
        ('{"format": 1, "name": "panel"}', "none of the key 'command'"),
    ],
)
def test_what_is_no_result_is_named(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(BadInput, match=rf"x\.json: expected results .*{why}.*; run the benchmark again"):
        Result.load(tmp_path / "x.json")


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"name": "other"}, "named 'other'"),
        ({"about": 3}, "about of the type int"),
        ({"figures": []}, "figures of the type list"),
        ({"seconds": True}, "seconds of the type bool"),
        ({"headline": None}, "none of the key 'headline'"),
        ({"extra": 1}, r"unknown key 'extra' \(known: name, command"),
        ({"missing": ["a", 1]}, "missing that are not all text"),
        ({"machine": {"Python": 3}}, "machine that are not all text"),
        ({"pictures": [["eight"]]}, "not name and title"),
        ({"pictures": [["../eight", "E"]]}, "the name '../eight'"),
        ({"pictures": [["gone", "E"]]}, "no SVG in panel-gone.svg"),
        ({"tables": [{"title": "T"}]}, "table 1 without"),
        (
            {"tables": [{"title": "T", "columns": ["a"], "rows": [[1, 2]], "note": ""}]},
            "row 1: expected 1 cells, got 2",
        ),
        ({"tables": [{"title": "T", "columns": ["a"], "rows": [[[]]], "note": ""}]}, "not text and numbers"),
        ({"tables": [{"title": "T", "columns": [1], "rows": [], "note": ""}]}, "columns of table 'T'"),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=rf"panel\.json: expected results .*{why}"):
        Result.load(saved(tmp_path, **changes))


@pytest.mark.parametrize("svg", ["<svg", "<p/>", ""])
def test_a_broken_picture_is_named(tmp_path: Path, svg: str) -> None:
    path = saved(tmp_path)
    (tmp_path / "panel-eight.svg").write_text(svg)
    with pytest.raises(BadInput, match=r"no SVG in panel-eight\.svg"):
        Result.load(path)


def test_of_a_newer_version(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"expected format 1, got 2 of a newer version; update duplex-arena"):
        Result.load(saved(tmp_path, format=2))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.json: expected results .*No such file"):
        Result.load(tmp_path / "none.json")


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="expected a folder to write results to, got File exists"):
        RESULT.save(tmp_path / "file")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b"])
def test_names_are_those_of_files_here(name: str) -> None:
    with pytest.raises(ValueError, match="the name"):
        replace(RESULT, name=name)


# — as people read it —


def test_numbers_as_people_read_them() -> None:
    cells = (None, float("nan"), float("inf"), 3, 0.1234, 9.996, 12.34, 99.96, 123.4, 1.0, 0.0001, -0.0001, "a\n\x1bb")
    assert [shown(c) for c in cells] == [
        "–", "–", "–", "3", "0.123", "10", "12.3", "100", "123", "1", "<0.001", ">-0.001", "a ?b",
    ]  # fmt: skip


def test_a_column_has_as_many_decimals_as_it_needs() -> None:
    table = Table("T", ("", "share", "ms"), (("a", 0.967, 4.0), ("b", 1.0, 250.0), ("c", 0.5, None)))
    assert table.text().splitlines() == [
        "T",
        "     share   ms",
        "  a  0.967    4",
        "  b   1.00  250",
        "  c  0.500    –",
    ]


def test_words_stand_to_the_left_and_numbers_to_the_right() -> None:
    table = Table("T", ("n", "who", "95 %"), ((1, "me", "0.1–0.2"), (10, "somebody", None)), "A note. " * 20)
    lines = table.text().splitlines()
    assert lines[1:4] == ["   n  who          95 %", "   1  me        0.1–0.2", "  10  somebody        –"]
    assert all(line.startswith("  ") and len(line) <= 110 for line in lines[4:])
    assert "|---:|---|---:|" in table.markdown()


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="table 'T', row 2: expected 2 cells, got 1"):
        Table("T", ("a", "b"), ((1, 2), (3,)))


def test_text_says_it_all() -> None:
    text = RESULT.text()
    assert text.startswith("In short.\n\nAbout.\n\nA | B\n")
    assert text.endswith("missing:\n  one talk")


def test_much_that_is_missing_is_counted() -> None:
    result = replace(RESULT, missing=tuple(f"talk {n}\nbroke" for n in range(500)))
    assert len(result.few_missing()) == 11
    assert result.few_missing()[0] == "talk 0 broke"
    assert "and 490 more, all of them in panel.json" in result.text()


def test_markdown_has_as_many_cells_as_columns() -> None:
    rows = [line for line in NASTY.markdown().splitlines() if line.startswith("|")]
    assert [line.replace("\\|", "").count("|") for line in rows] == [4] * 4
    assert "<script>" not in NASTY.markdown()


def test_markdown_says_just_the_text() -> None:
    assert in_markdown("L_R and S_BC") == "L_R and S_BC"
    assert in_markdown("_x_ *y* `z` [a](b)\n~~c~~ $d$") == "\\_x\\_ \\*y\\* \\`z\\` \\[a\\](b) \\~\\~c\\~\\~ \\$d\\$"
    assert in_markdown("<b> & &lt; \\") == "&lt;b> & &amp;lt; \\\\"


class Parsed(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_html_escapes_everything() -> None:
    parsed = Parsed(NASTY.html())
    assert {tag for tag, _ in parsed.tags} == {"div", "table", "caption", "thead", "tbody", "tr", "th", "td", "p"}
    assert parsed.text == ["A | B", "<script>", "n", "x|y", "–", "3", "*z*", "0.123", "–", "note <b>"]
    assert [a.get("scope") for tag, a in parsed.tags if tag == "th"] == ["col", "col", "col", "row", "row"]


# — the machine —


def test_the_machine_is_described_without_names() -> None:
    about = machine("embedded")
    assert about["model"] == "embedded"
    assert about["torch"] and about["processor"] and about["memory"].endswith(" GB")
    text = json.dumps(about)
    assert str(Path.home()) not in text
    assert platform.node() not in text
    assert f'"{getpass.getuser()}"' not in text


def test_of_a_model_in_a_folder_only_the_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    names = ("openbmb/MiniCPM-2B", str(tmp_path / "runs/mine"), "runs/mine", "~/me/mine/", "C:\\me\\mine")
    assert [machine(name)["model"] for name in names] == ["openbmb/MiniCPM-2B", "mine", "mine", "mine", "mine"]
    assert "model" not in machine("")


def test_the_commit_is_that_of_this_checkout_and_not_of_one_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(results, "__file__", str(tmp_path / "site-packages/duplex_runtime/evaluation/results.py"))
    assert "commit" not in machine("embedded")
