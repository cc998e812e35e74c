"""A table as CSV, Parquet and JSONL: the same rows give the same bytes.

write_table(Path("ratings.csv"), "csv", shape.columns, rows)      # rows: dicts with the columns' names

A cell of another type than its column's is a mistake of the program. CSV guards texts against spreadsheets.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from webapp.study.dictionary import Column

#: A spreadsheet may take a text that begins so for a formula (OWASP, CSV Injection), wide forms included.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
Row = Mapping[str, Any]


def write_table(path: Path, format_: str, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Write a new file; raises OSError."""
    FORMATS[format_](path, columns, rows)


def guarded(text: str) -> str:
    """The text as it stands in a CSV file."""
    return f"'{text}" if text.startswith(FORMULA) else text


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return guarded(value) if isinstance(value, str) else value


def _csv(path: Path, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    with path.open("x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([c.name for c in columns])
        writer.writerows([_cell(row[c.name]) for c in columns] for row in rows)


def _jsonl(path: Path, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    with path.open("x", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps({c.name: row[c.name] for c in columns}, ensure_ascii=False, allow_nan=False) + "\n")


def _parquet(path: Path, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    import pyarrow
    from pyarrow import parquet

    types = {
        "text": pyarrow.string(),
        "time": pyarrow.string(),
        "integer": pyarrow.int64(),
        "number": pyarrow.float64(),
        "flag": pyarrow.bool_(),
    }
    schema = pyarrow.schema([(c.name, types[c.type]) for c in columns])
    arrays = [pyarrow.array([row[c.name] for row in rows], types[c.type]) for c in columns]
    parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=schema), path)


FORMATS: dict[str, Callable[[Path, Sequence[Column], Sequence[Row]], None]] = {
    "csv": _csv,
    "parquet": _parquet,
    "jsonl": _jsonl,
}
