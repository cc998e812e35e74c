"""docs/threats.md names only tests that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "threats.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED}))
def test_every_test_named_exists(file: str) -> None:
    assert (ROOT / file).is_file(), f"{file} is named in docs/threats.md"
    missing = {name for where, name in NAMED if where == file} - names_in(ROOT / file)
    assert not missing, f"docs/threats.md names tests that {file} does not have"


def test_every_row_of_a_table_names_a_test() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| attack |")]
    assert len(rows) > 20
    assert not [row for row in rows if "::test_" not in row]


def test_it_fits_on_a_page_and_says_what_is_not_defended() -> None:
    assert len(TEXT.splitlines()) < 90
    assert TEXT.count("\n- **", TEXT.index("## What is not defended")) >= 5


def test_settings_named_in_it_are_read_from_the_environment() -> None:
    settings = (ROOT / "webapp" / "settings.py").read_text(encoding="utf-8")
    for name in set(re.findall(r"`(DUPLEX_\w+)`", TEXT)):
        assert name in settings, name
