"""What a benchmark found: figures, tables and pictures, with what is needed to get them again.

result = Result("panel", "duplex bench panel", {"duplex": {"L_R": 0.4}}, "Simulated people …")
result.text()                # for a terminal
result.save(folder)          # panel.json, and panel-PICTURE.svg for each picture
Result.load(path)            # raises BadInput for what is not of the format
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import subprocess
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from duplex_runtime.errors import BadInput

FORMAT = 1
Cell = str | int | float | None
#: Whose versions change figures.
PACKAGES = ("duplex-arena", "torch", "transformers", "numpy", "gradio", "faster-whisper", "coqui-tts")
#: So many lines of what is missing are shown; the file has them all.
_MOST_MISSING = 10
_TERMINAL = 110


def one_line(text: str) -> str:
    """Spaces for line ends and tabs, a question mark for what cannot be shown (control characters)."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def shown(cell: Cell, decimals: int | None = None) -> str:
    """A cell as people read it: at most three digits that count, and `decimals` decimals or as many as it needs; a dash
    for nothing."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "–"
    if not isinstance(cell, float):
        return one_line(str(cell))
    if 0 < abs(cell) < 0.0005:
        return "<0.001" if cell > 0 else ">-0.001"
    return f"{cell:.{_needed(cell) if decimals is None else min(decimals, _decimals(cell))}f}"


def _decimals(cell: float) -> int:
    """Those that make three digits, with those before the point."""
    return sum(abs(cell) < limit for limit in (0.9995, 9.995, 99.95))


def _needed(cell: Cell) -> int:
    """Decimals that are not zeros at the end."""
    if not isinstance(cell, float) or not math.isfinite(cell):
        return 0
    _, _, decimals = f"{cell:.{_decimals(cell)}f}".partition(".")
    return len(decimals.rstrip("0"))


def in_html(text: str) -> str:
    """Any text as one line of HTML that says just that, also inside an attribute."""
    return escape(one_line(text))


def in_markdown(text: str) -> str:
    """Any text as one line of Markdown that says just that: no markup, no HTML, no end of a table's cell."""
    text = re.sub(r"&(?=#?\w+;)", "&amp;", one_line(text)).replace("<", "&lt;")
    return re.sub(r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)", lambda found: "\\" + found[0], text)


@dataclass(frozen=True)
class Table:
    """Rows of cells under named columns; raises ValueError where a row has more or fewer.

    Numbers and what begins like one stand to the right, words to the left. In a column, as many decimals are shown as
    its cells need, and no more than three digits that count.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows, 1):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.title!r}, row {number}: expected {len(self.columns)} cells, got {len(row)}"
                )

    def _columns(self) -> list[tuple[bool, list[str]]]:
        """Of each column: is it of numbers, and its cells as they are shown."""
        columns: list[tuple[bool, list[str]]] = []
        for number in range(len(self.columns)):
            cells = [row[number] for row in self.rows]
            decimals = max((_needed(cell) for cell in cells), default=0)
            words = any(isinstance(cell, str) and not re.match(r"\s*[-+−–<>]?\d|\s*–?\s*$", cell) for cell in cells)
            columns.append((bool(cells) and not words, [shown(cell, decimals) for cell in cells]))
        return columns

    def _rows(self) -> list[list[str]]:
        columns = [cells for _, cells in self._columns()]
        return [[cells[n] for cells in columns] for n in range(len(self.rows))]

    def text(self) -> str:
        """For a terminal."""
        heads = [one_line(name) for name in self.columns]
        columns = [(number, [head, *cells]) for head, (number, cells) in zip(heads, self._columns(), strict=True)]
        padded = [
            [cell.rjust(wide) if number else cell.ljust(wide) for cell in cells]
            for number, cells in columns
            for wide in [max(map(len, cells))]
        ]
        lines = ["  " + "  ".join(cells[n] for cells in padded).rstrip() for n in range(len(self.rows) + 1)]
        return "\n".join([one_line(self.title), *lines, *_wrapped(self.note, "  ")])

    def markdown(self) -> str:
        """A table of GitHub's Markdown."""

        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(in_markdown(cell) for cell in cells) + " |"

        rule = "|" + "".join("---:|" if number else "---|" for number, _ in self._columns())
        note = ["", in_markdown(self.note)] if self.note else []
        head = [f"**{in_markdown(self.title)}**", "", line(self.columns), rule]
        return "\n".join([*head, *(line(row) for row in self._rows()), *note])

    def html(self) -> str:
        """A table element that scrolls sideways, everything in it escaped."""
        kinds = ['class="number"' if number else "" for number, _ in self._columns()]

        def cell(tag: str, kind: str, text: str, scope: str = "") -> str:
            attributes = " ".join(["", *filter(None, (scope and f'scope="{scope}"', kind))])
            return f"<{tag}{attributes}>{in_html(text)}</{tag}>"

        head = "".join(cell("th", kind, name, "col") for kind, name in zip(kinds, self.columns, strict=True))
        body = "".join(
            "<tr>"
            + "".join(
                cell("td", kind, text) if n else cell("th", kind, text, "row")
                for n, (kind, text) in enumerate(zip(kinds, row, strict=True))
            )
            + "</tr>"
            for row in self._rows()
        )
        note = f'<p class="note">{in_html(self.note)}</p>' if self.note else ""
        table = f"<table><caption>{in_html(self.title)}</caption><thead><tr>{head}</tr></thead>"
        return f'<div class="wide" tabindex="0">{table}<tbody>{body}</tbody></table></div>{note}'


@dataclass(frozen=True)
class Picture:
    """An SVG; `name` is part of its file's name."""

    name: str
    title: str
    svg: str

    def __post_init__(self) -> None:
        _file_name(self.name)


@dataclass(frozen=True)
class Result:
    """See the module.

    name: of the benchmark, and of its file. command: as typed, to get it again. figures: the last line of the command.
    about: two or three sentences on how to read it. settings: seeds, scenarios, systems … clock: names of the figures
    that depend on the machine's speed. missing: what could not be measured, and why. seconds: how long it took.
    headline: the main figures of each system in a sentence.
    """

    name: str
    command: str
    figures: dict[str, Any]
    about: str
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    clock: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    seconds: float = 0.0
    machine: dict[str, str] = field(default_factory=dict)
    headline: str = ""

    def __post_init__(self) -> None:
        _file_name(self.name)

    def comparable(self) -> dict[str, Any]:
        """The figures that two runs with the same seeds have in common."""
        return {key: value for key, value in self.figures.items() if key not in self.clock}

    def text(self) -> str:
        """For a terminal: what it says, how to read it, the tables, what is missing."""
        said = ["\n".join(_wrapped(text)) for text in (self.headline, self.about) if text]
        missing = ["\n".join(["missing:", *(f"  {each}" for each in self.few_missing())])] if self.missing else []
        return "\n\n".join([*said, *(table.text() for table in self.tables), *missing])

    def few_missing(self) -> list[str]:
        """What is missing, a line each; of many the first ones and how many more there are."""
        lines = [one_line(each) for each in self.missing]
        more = len(lines) - _MOST_MISSING
        return lines if more <= 0 else [*lines[:_MOST_MISSING], f"… and {more} more, all of them in {self.name}.json"]

    def save(self, folder: Path) -> None:
        """Write it; a file is there whole or not at all. Pictures of an earlier run that it no longer has are deleted.

        Figures that are no numbers (NaN, infinity) are written as null. Raises BadInput where nothing can be written.
        """
        values = asdict(self) | {"format": FORMAT, "pictures": [[p.name, p.title] for p in self.pictures]}
        text = json.dumps(_finite(values), ensure_ascii=False, indent=1, allow_nan=False) + "\n"
        path = folder / f"{self.name}.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                earlier = Result.load(path).pictures
            except BadInput:
                earlier = ()
            for picture in self.pictures:
                write_whole(folder / f"{self.name}-{picture.name}.svg", picture.svg)
            write_whole(path, text)
            for name in {p.name for p in earlier} - {p.name for p in self.pictures}:
                (folder / f"{self.name}-{name}.svg").unlink(missing_ok=True)
        except OSError as error:
            raise BadInput(
                f"{folder}: expected a folder to write results to, got {error.strerror or error}; give another"
            ) from None

    @staticmethod
    def load(path: Path) -> Result:
        """Of a file that `save` wrote, with the pictures beside it."""
        try:
            values = _checked(path)
            return Result(**values | {"tables": _tables(values["tables"]), "pictures": _pictures(values, path)})
        except OSError as error:
            why = error.strerror or str(error)
        except (ValueError, RecursionError) as error:
            why = str(error)
        raise BadInput(
            f"{path}: expected results that a benchmark wrote with --out, got {why}; run the benchmark again"
        )


_KINDS: dict[str, type | tuple[type, ...]] = {
    "name": str, "command": str, "figures": dict, "about": str, "tables": list, "pictures": list, "settings": dict,
    "clock": list, "missing": list, "seconds": (int, float), "machine": dict, "headline": str,
}  # fmt: skip


def _checked(path: Path) -> dict[str, Any]:
    """The values of a file, each of its type; raises ValueError that says what is wrong."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON in line {error.lineno} ({error.msg})") from None
    if not isinstance(values, dict) or type(values.get("format")) is not int:
        raise ValueError("JSON that has no format number")
    number = values.pop("format")
    if number > FORMAT:
        raise BadInput(f"{path}: expected format {FORMAT}, got {number} of a newer version; update duplex-arena")
    if number < FORMAT:
        raise ValueError(f"format {number}, which is older than {FORMAT}")
    if unknown := sorted(values.keys() - _KINDS.keys()):
        raise ValueError(f"an unknown key {unknown[0]!r} (known: {', '.join(_KINDS)})")
    for key, kind in _KINDS.items():
        if key not in values:
            raise ValueError(f"none of the key {key!r}")
        if not isinstance(values[key], kind) or isinstance(values[key], bool):
            raise ValueError(f"{key} of the type {type(values[key]).__name__}")
    if values["name"] != path.stem:
        raise ValueError(f"results named {values['name']!r} (a result's file has its name)")
    for key in ("clock", "missing"):
        values[key] = _strings(values[key], key)
    _strings(list(values["machine"].values()), "machine")
    return values


def _strings(values: Any, what: str) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{what} that are not all text")
    return tuple(values)


def _tables(values: list[Any]) -> tuple[Table, ...]:
    names, tables = {f.name for f in fields(Table)}, []
    for number, each in enumerate(values, 1):
        if not isinstance(each, dict) or each.keys() != names or not isinstance(each["rows"], list):
            raise ValueError(f"table {number} without title, columns, rows and note")
        title, note = _strings([each["title"], each["note"]], f"title and note of table {number}")
        for row in each["rows"]:
            if not isinstance(row, list) or any(isinstance(c, bool | list | dict) for c in row):
                raise ValueError(f"table {title!r} with rows that are not text and numbers")
        columns = _strings(each["columns"], f"columns of table {title!r}")
        tables.append(Table(title, columns, tuple(tuple(row) for row in each["rows"]), note))
    return tuple(tables)


def _pictures(values: dict[str, Any], path: Path) -> tuple[Picture, ...]:
    found: list[Picture] = []
    for each in values["pictures"]:
        if len(pair := _strings(each, "pictures")) != 2:
            raise ValueError("pictures that are not name and title")
        name, title = pair
        file = path.with_name(f"{path.stem}-{_file_name(name)}.svg")
        try:
            svg = file.read_text(encoding="utf-8")
            if not ElementTree.fromstring(svg).tag.endswith("svg"):
                raise ValueError("another kind of XML")
        except (OSError, ValueError, ElementTree.ParseError) as error:
            raise ValueError(f"no SVG in {file.name} ({getattr(error, 'strerror', None) or error})") from None
        found.append(Picture(name, title, svg))
    return tuple(found)


def _file_name(name: str) -> str:
    """Raises ValueError for what would be a file elsewhere, or none."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(f"the name {name!r}, in which there are not only letters, digits, '-', '_' and '.'")
    return name


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, _TERMINAL, initial_indent=indent, subsequent_indent=indent)


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all; raises OSError."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", errors="replace")
    os.replace(part, path)


def machine(model: str) -> dict[str, str]:
    """What figures depend on, in words; no name of a person or a computer, no path.

    model: as given to `load_model`; of a folder only its name is told. Empty: no model had a part in it.
    """
    import psutil

    hub_id = re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", model)
    found = {
        "model": model if hub_id and not Path(model).is_dir() else re.split(r"[/\\]", model.rstrip("/\\"))[-1],
        "processor": f"{_processor()}, {psutil.cpu_count(logical=True)} cores",
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if commit := _commit():
        found["commit"] = commit
    return {key: value for key, value in found.items() if value}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str:
    """Of the checkout that this file is in; empty where it is installed, even into somebody else's checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
