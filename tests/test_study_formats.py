import csv
import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from webapp.study.dictionary import Column
from webapp.study.formats import guarded, write_table

COLUMNS = (
    Column("text", "text", ""),
    Column("n", "integer", ""),
    Column("x", "number", ""),
    Column("yes", "flag", ""),
    Column("at", "time", ""),
)
ROWS: list[dict[str, Any]] = [
    {"text": "-1 + 1", "n": -3, "x": -0.5, "yes": True, "at": "2026-11-25T15:52:20.492+00:00"},
    {"text": 'a "b", c\r\nd', "n": None, "x": None, "yes": None, "at": None},
    {"text": "", "n": 2**40, "x": 1e-7, "yes": False, "at": "2026-11-25T15:52:20.492+00:00"},
]


def test_csv_has_numbers_as_numbers_and_guards_texts(tmp_path: Path) -> None:
    write_table(tmp_path / "t", "csv", COLUMNS, ROWS)
    with (tmp_path / "t").open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["text", "n", "x", "yes", "at"]
    assert rows[0] == ["'-1 + 1", "-3", "-0.5", "true", "2026-11-25T15:52:20.492+00:00"]
    assert rows[1] == ['a "b", c\r\nd', "", "", "", ""]
    assert rows[2] == ["", "1099511627776", "1e-07", "false", "2026-11-25T15:52:20.492+00:00"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "＝1", "＠x"])
def test_a_text_that_a_spreadsheet_may_compute_gets_an_apostrophe(text: str) -> None:
    assert guarded(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=1", " =1", "2-much", "'=1", "你好"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert guarded(text) == text


def test_jsonl_and_parquet_keep_texts(tmp_path: Path) -> None:
    write_table(tmp_path / "t.jsonl", "jsonl", COLUMNS, ROWS)
    assert [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()] == ROWS
    write_table(tmp_path / "t.parquet", "parquet", COLUMNS, ROWS)
    table = parquet.read_table(tmp_path / "t.parquet")
    assert table.to_pylist() == ROWS
    assert [str(field.type) for field in table.schema] == ["string", "int64", "double", "bool", "string"]


@pytest.mark.parametrize("format_", ["csv", "jsonl"])
def test_nothing_is_written_over(format_: str, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("mine")
    with pytest.raises(FileExistsError):
        write_table(tmp_path / "t", format_, COLUMNS, ROWS)


def test_a_cell_of_another_type_is_a_mistake(tmp_path: Path) -> None:
    from pyarrow import ArrowInvalid, ArrowTypeError

    with pytest.raises((ArrowInvalid, ArrowTypeError)):
        write_table(tmp_path / "t", "parquet", COLUMNS, [ROWS[0] | {"n": "three"}])
