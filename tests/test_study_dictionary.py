import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.study_exports import Crowd, csv_of, jsonl_of
from tests.study_files import THREE, study
from webapp.study.definition import Study
from webapp.study.dictionary import (
    Column,
    TableShape,
    dictionary_json,
    dictionary_markdown,
    dictionary_rows,
    rows_shapes,
    tables_of,
)
from webapp.study.export import Options, export
from webapp.study.frames import FATES
from webapp.study.gather import gather
from webapp.study.service import NOTES

OWN = (
    'key = "age"',
    'key = "typing"\nkind = "choice"\ntext = {en = "How | do you type?", zh = "怎样？"}\n'
    'options = [{key = "ten", text = {en = "All fingers", zh = "十指"}},\n'
    '{key = "few", text = {en = "Few", zh = "几"}}]',
)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    crowd = Crowd(tmp_path_factory.mktemp("crowd"))
    yield crowd
    crowd.close()


def column(of: Study, table: str, name: str) -> Column:
    (shape,) = [shape for shape in tables_of(of) if shape.name == table]
    (found,) = [column for column in shape.columns if column.name == name]
    return found


def studies(folder: Path) -> list[Study]:
    return [
        study(folder / "arena"),
        study(folder / "paper", preset="paper"),
        study(folder / "three", *THREE, OWN),
        study(folder / "zh", ('languages = ["en"]', 'languages = ["zh"]')),
        study(folder / "few", ("comment = true", "comment = false"), ("guess = true", "guess = false")),
    ]


def test_everything_has_a_type_a_meaning_and_a_name_of_its_own(tmp_path: Path) -> None:
    for of in studies(tmp_path):
        for shape in (*tables_of(of), *rows_shapes()):
            assert shape.row
            assert len({c.name for c in shape.columns}) == len(shape.columns)
            for c in shape.columns:
                assert c.type in ("text", "integer", "number", "flag", "time", "list")
                assert len(c.meaning) > 5 and c.meaning.endswith((".", "?")), (shape.name, c.name)
                assert "{" not in c.meaning + c.allowed or "role" in c.meaning, c.meaning  # all texts are filled


def test_every_column_that_is_gathered_is_explained_and_every_other_way_round(crowd: Crowd) -> None:
    gathered = gather(crowd.study, crowd.database, "all")
    assert list(gathered.rows) == [shape.name for shape in tables_of(crowd.study)]
    for shape in tables_of(crowd.study):
        for row in gathered.rows[shape.name]:
            assert set(row) == {c.name for c in shape.columns}, shape.name


def test_every_value_that_is_there_is_allowed(crowd: Crowd, tmp_path: Path) -> None:
    folder = export(crowd.study, crowd.database, tmp_path / "out", Options("all")).folder
    for shape in tables_of(crowd.study):
        for c in shape.columns:
            seen = {row[c.name] for row in jsonl_of(folder, shape.name)} - {None}
            if c.range:
                low, high = map(int, c.range.split(" to "))
                assert all(low <= value <= high for value in seen), c.name
            elif c.values:
                assert {str(value) for value in seen} <= {value for value, _ in c.values}, c.name
            types = {"text": str, "time": str, "integer": int, "flag": bool, "number": (int, float)}[c.type]
            assert all(isinstance(value, types) for value in seen), c.name


def test_words_are_those_of_the_study(tmp_path: Path) -> None:
    three = study(tmp_path / "three", *THREE, OWN)
    assert column(three, "about", "about_typing").values == (("ten", "All fingers"), ("few", "Few"))
    assert column(three, "about", "about_typing").meaning.startswith("How | do you type?")
    assert ("7", "Excellent") in column(three, "ratings", "overall").values
    assert [value for value, _ in column(three, "talks", "system").values] == ["duplex", "strict", "barge-in"]
    items = dict(column(three, "answers", "item").values)
    assert "1-much (" in items["preference-1-2"] and "at position 3" in items["preference-1-3"]
    assert "attention-1" in items and "Please choose" not in items["attention-1"]  # the right point differs
    assert ("enough", "That is enough") in column(three, "talks", "task").values
    chinese = study(tmp_path / "zh", ('languages = ["en"]', 'languages = ["zh"]'))
    assert "年" in column(chinese, "about", "about_age").meaning


def test_what_the_study_does_not_ask_is_not_there(tmp_path: Path) -> None:
    few = study(tmp_path, ("comment = true", "comment = false"))
    assert "comment" not in {c.name for shape in tables_of(few) if shape.name == "ratings" for c in shape.columns}


def test_kinds_and_fates_are_those_of_the_program(tmp_path: Path) -> None:
    of = study(tmp_path)
    assert {value for value, _ in column(of, "notes", "kind").values} == set(NOTES)
    assert {value for value, _ in column(of, "participants", "fate").values} == set(FATES) - {"left", "withdrew"}


def test_the_three_files_say_the_same(crowd: Crowd, tmp_path: Path) -> None:
    folder = export(crowd.study, crowd.database, tmp_path / "out", Options(rows=True, formats=("csv",))).folder
    shapes = (*tables_of(crowd.study), *rows_shapes())
    names = [(shape.name, c.name) for shape in shapes for c in shape.columns]
    with (folder / "dictionary.csv").open(encoding="utf-8", newline="") as file:
        assert [(row["table"], row["column"]) for row in csv.DictReader(file)] == names
    tables = json.loads((folder / "dictionary.json").read_text(encoding="utf-8"))["tables"]
    assert [(table, name) for table in tables for name in tables[table]["columns"]] == names
    markdown = (folder / "dictionary.md").read_text(encoding="utf-8")
    assert markdown.count("\n| `") == len(names)
    for table in (shape.name for shape in tables_of(crowd.study)):
        assert list(csv_of(folder, table)[0] if csv_of(folder, table) else {}) == [
            name for of, name in names if of == table and csv_of(folder, table)
        ]


def test_a_text_breaks_no_table_of_markdown(tmp_path: Path) -> None:
    of = study(tmp_path)
    shape = TableShape("t", "one", (Column("c", "text", "a | b <script>\nc \\|"),))
    line = dictionary_markdown(of, (shape,)).splitlines()[-1]
    assert line == "| `c` | text |  |  | a \\| b &lt;script> c \\\\\\| |"
    assert dictionary_rows((shape,))[0]["meaning"] == "a | b <script>\nc \\|"
    assert dictionary_json(of, (shape,))["tables"]["t"]["columns"]["c"]["values"] == {}
