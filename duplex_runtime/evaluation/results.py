"""What a benchmark found: figures, tables and pictures, with what is needed to get them again.

result.text()                # for a terminal
result.save(folder)          # panel.json, and panel-PICTURE.svg for each picture
Result.load(path)            # raises BadInput for what is not of the format
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from duplex_runtime.errors import BadInput

FORMAT = 1
Cell = str | int | float | None
#: Whose versions change figures.
PACKAGES = ("duplex-arena", "torch", "transformers", "numpy", "gradio", "faster-whisper", "coqui-tts")


def shown(cell: Cell) -> str:
    """A cell as people read it: three digits that count, a dash for nothing."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "–"
    if not isinstance(cell, float):
        return str(cell)
    return (
        f"{cell:.0f}"
        if abs(cell) >= 100
        else f"{cell:.1f}"
        if abs(cell) >= 10
        else f"{cell:.3f}".rstrip("0").rstrip(".")
    )


@dataclass(frozen=True)
class Table:
    """Rows of cells under named columns."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def text(self) -> str:
        """For a terminal: the first column to the left, the others to the right."""
        cells = [self.columns, *([shown(c) for c in row] for row in self.rows)]
        wide = [max(len(row[n]) for row in cells) for n in range(len(self.columns))]
        lines = [
            "  ".join(
                cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, wide, strict=True))
            )
            for row in cells
        ]
        return "\n".join(
            [self.title, *(f"  {line}".rstrip() for line in lines), *([f"  {self.note}"] if self.note else [])]
        )

    def markdown(self) -> str:
        """A table of GitHub's Markdown."""

        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(_plain(cell) for cell in cells) + " |"

        rule = "|" + "---|" + "---:|" * (len(self.columns) - 1)
        rows = [line([shown(c) for c in row]) for row in self.rows]
        note = ["", _plain(self.note)] if self.note else []
        return "\n".join([f"**{_plain(self.title)}**", "", line(self.columns), rule, *rows, *note])

    def html(self) -> str:
        """A table element, everything in it escaped."""
        head = "".join(f'<th scope="col">{escape(c)}</th>' for c in self.columns)
        body = "".join(
            f'<tr><th scope="row">{escape(shown(row[0]))}</th>'
            + "".join(f"<td>{escape(shown(c))}</td>" for c in row[1:])
            + "</tr>"
            for row in self.rows
        )
        note = f'<p class="note">{escape(self.note)}</p>' if self.note else ""
        caption = f"<caption>{escape(self.title)}</caption>"
        return (
            f'<div class="wide"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}'
        )


def _plain(text: str) -> str:
    """So that it cannot be taken for Markdown or HTML."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


@dataclass(frozen=True)
class Picture:
    """An SVG; `name` is part of its file's name."""

    name: str
    title: str
    svg: str


@dataclass(frozen=True)
class Result:
    """See the module. name: of the benchmark. command: to get it again. figures: the last line of the command.
    about: how to read it. clock: names of the figures that depend on the machine's speed. missing: what could not be
    measured, and why. seconds: how long it took."""

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

    def comparable(self) -> dict[str, Any]:
        """The figures that two runs with the same seeds have in common."""
        return {key: value for key, value in self.figures.items() if key not in self.clock}

    def text(self) -> str:
        """For a terminal."""
        missing = ["\n".join(["missing:", *(f"  {each}" for each in self.missing)])] if self.missing else []
        return "\n\n".join([*(table.text() for table in self.tables), *missing])

    def save(self, folder: Path) -> None:
        """Write it; a file is there whole or not at all."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.glob(f"{self.name}-*.svg"):
                old.unlink()
            for picture in self.pictures:
                _write(folder / f"{self.name}-{picture.name}.svg", picture.svg)
            values = asdict(self) | {"format": FORMAT, "pictures": [[p.name, p.title] for p in self.pictures]}
            _write(folder / f"{self.name}.json", json.dumps(values, ensure_ascii=False, indent=1) + "\n")
        except OSError as error:
            raise BadInput(f"{folder}: expected a folder to write results to ({error.strerror or error})") from None

    @staticmethod
    def load(path: Path) -> Result:
        """Of a file that `save` wrote."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values.pop("format") != FORMAT:
                raise BadInput(f"{path}: expected results of format {FORMAT}; run the benchmark again")
            tables = [
                Table(t["title"], tuple(t["columns"]), tuple(map(tuple, t["rows"])), t["note"])
                for t in values["tables"]
            ]
            pictures = [
                Picture(name, title, (path.parent / f"{path.stem}-{name}.svg").read_text(encoding="utf-8"))
                for name, title in values["pictures"]
            ]
            lists = {key: tuple(values[key]) for key in ("clock", "missing")}
            return Result(**values | lists | {"tables": tuple(tables), "pictures": tuple(pictures)})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{path}: expected results that a benchmark wrote ({error!r}); run it again") from None


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def machine(model: str) -> dict[str, str]:
    """What figures depend on, in words; no name of a person or a computer."""
    import psutil

    found = {
        "model": model,
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
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
