"""A study as a folder that others can analyse: tables with their dictionary, a dataset card, recordings, training data.

exported = export(study, database, Path("my-study/export"), Options(talks=True))
exported.folder, exported.participants, exported.aligned

OUT/README.md                                the dataset card
OUT/csv/…, parquet/…, jsonl/…                every table in every format
OUT/dictionary.md, .json, .csv               every column
OUT/talks/PARTICIPANT-POSITION-SESSION-PART.jsonl, .wav      with `talks`
OUT/rows/rows.jsonl, dialogues.jsonl         with `rows`, see aligned.py
OUT/export.json, checksums.sha256            what was exported; sums of all files

The same data give the same bytes. The folder is made beside OUT under another name and appears when it is whole; an
earlier export there is replaced, anything else never.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duplex_runtime.errors import BadInput, DuplexError
from webapp.study.aligned import Aligned, aligned_of
from webapp.study.card import card_of, shown_model
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
from webapp.study.formats import FORMATS, write_table
from webapp.study.gather import AUDIENCES, Gathered, Talked, gather
from webapp.study.simulate import mark_of

if TYPE_CHECKING:
    from webapp.study.database import Database

MANIFEST, CHECKSUMS = "export.json", "checksums.sha256"
_DICTIONARY = ("table", "column", "type", "unit", "allowed", "meaning")


@dataclass(frozen=True)
class Options:
    """audience: "public" or "all", see gather.py. formats: some of csv, parquet, jsonl. talks: recordings as well.
    rows: training data as well, of systems whose overall rating is at least `min_overall` (0: any, also none)."""

    audience: str = "public"
    formats: tuple[str, ...] = tuple(FORMATS)
    talks: bool = False
    rows: bool = False
    min_overall: int = 0

    def __post_init__(self) -> None:
        if self.audience not in AUDIENCES:
            raise BadInput(f"expected an export for {' or '.join(AUDIENCES)}, got {self.audience!r:.40}")
        unknown = [format_ for format_ in self.formats if format_ not in FORMATS]
        if unknown or not self.formats or len(set(self.formats)) < len(self.formats):
            raise BadInput(
                f"--format: expected some of {', '.join(FORMATS)}, each once, got {','.join(self.formats)[:60]!r}"
            )
        if not 0 <= self.min_overall <= 7:
            raise BadInput(f"--min-overall: expected a rating from 1 to 7, got {self.min_overall}")


@dataclass(frozen=True)
class Exported:
    """What was exported, and where it is."""

    folder: Path
    participants: int
    talks: int
    aligned: Aligned | None


def export(study: Study, database: Database, out: Path, options: Options) -> Exported:
    """See the module; raises DatabaseAway, BadInput where `out` holds something else, DuplexError for a full disk."""
    if out.exists() and not is_export(out):
        raise BadInput(
            f"{out}: expected a new folder or an earlier export, and it is something else; give another --out"
        )
    if out.exists() and (other := manifest_of(out).get("study")) != study.name:
        raise BadInput(f"{out}: it holds an export of {other}; give another --out")
    if options.min_overall and "overall" not in study.ratings.scales:
        raise BadInput("--min-overall: people do not rate overall in this study; see scales in its [ratings]")
    gathered = gather(study, database, options.audience)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            aligned = _write(part, study, gathered, options)
            _put(part, out)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise DuplexError(
            "cannot_write", f"{out}: the export could not be written: {error.strerror or error}"
        ) from None
    return Exported(out, len(gathered.participants), len(gathered.talks), aligned)


def is_export(folder: Path) -> bool:
    """Is this a folder that `export` made?"""
    return (folder / MANIFEST).is_file() and (folder / CHECKSUMS).is_file()


def manifest_of(folder: Path) -> dict[str, Any]:
    """What an export says of itself: study, audience, participants …; raises BadInput if it is none."""
    try:
        return dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        raise BadInput(f"{folder}: expected an export; make one with duplex study export PATH") from None


def changed(folder: Path) -> list[str]:
    """Files of an export that are not as they were written, missing ones and new ones included."""
    sums = _sums(folder)
    lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    written = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    return sorted(name for name in sums.keys() | written.keys() if sums.get(name) != written.get(name))


def _put(part: Path, out: Path) -> None:
    """The new folder in the place of the earlier one."""
    before = part.with_name(f"{part.name}-before")
    if out.exists():
        out.rename(before)
    try:
        part.rename(out)
    except OSError:
        if before.exists():
            before.rename(out)
        raise
    shutil.rmtree(before, ignore_errors=True)


def _write(folder: Path, study: Study, gathered: Gathered, options: Options) -> Aligned | None:
    tables = tables_of(study)
    for format_ in options.formats:
        (folder / format_).mkdir()
        for table in tables:
            file = folder / format_ / f"{table.name}.{format_}"
            write_table(file, format_, table.columns, gathered.rows[table.name])
    aligned = None
    if options.rows:
        aligned = aligned_of(gathered.talks, options.min_overall)
        tables = (*tables, *rows_shapes())
        (folder / "rows").mkdir()
        for shape in rows_shapes():
            file = folder / "rows" / f"{shape.name}.jsonl"
            write_table(file, "jsonl", shape.columns, aligned.files()[shape.name])
    if options.talks:
        (folder / "talks").mkdir()
        for talk in gathered.talks:
            _copy(talk, folder / "talks")
    _describe(folder, study, gathered, tables, options, aligned)
    sums = "".join(f"{digest}  {name}\n" for name, digest in sorted(_sums(folder).items()))
    _text(folder / CHECKSUMS, sums)
    return aligned


def _describe(
    folder: Path,
    study: Study,
    gathered: Gathered,
    tables: Sequence[TableShape],
    options: Options,
    aligned: Aligned | None,
) -> None:
    _text(folder / "README.md", card_of(study, gathered, tables, options, aligned, mark_of(study.folder)))
    _text(folder / "dictionary.md", dictionary_markdown(study, tables))
    _json(folder / "dictionary.json", dictionary_json(study, tables))
    columns = [Column(name, "text", "") for name in _DICTIONARY]
    write_table(folder / "dictionary.csv", "csv", columns, dictionary_rows(tables))
    manifest: dict[str, Any] = {
        "study": study.name,
        "audience": options.audience,
        "formats": list(options.formats),
        "talks": options.talks,
        "participants": gathered.participants,
        "flow": dict(gathered.flow),
        "rows": {name: len(rows) for name, rows in gathered.rows.items()},
    }
    if aligned:
        made = {name: len(rows) for name, rows in aligned.files().items()}
        manifest["aligned"] = {**made, "min_overall": options.min_overall, "left_out": dict(aligned.left_out)}
    _json(folder / MANIFEST, manifest)


def _copy(talk: Talked, folder: Path) -> None:
    """The recording under its neutral name, and the voice if it may be published."""
    if talk.file.is_file():
        with talk.file.open("rb") as lines, (folder / f"{talk.name}.jsonl").open("xb") as file:
            file.writelines(neutral(line, talk.name) for line in lines)
    for number, voice in enumerate(_voices(talk.file) if talk.audio else (), 1):
        shutil.copyfile(voice, folder / f"{talk.name}{f'.{number}' if number > 1 else ''}.wav")


def _voices(recording: Path) -> list[Path]:
    """ID.wav, ID.2.wav, … in their order."""
    found = (file for file in recording.parent.glob(f"{recording.stem}.*") if file.suffix == ".wav")
    return sorted(found, key=lambda file: (len(file.name), file.name))


def neutral(line: bytes, name: str) -> bytes:
    """A line of a recording; in a header the session has the talk's name, and a model no path."""
    if b'"header"' not in line:
        return line
    try:
        header = json.loads(line)
    except ValueError:
        return line
    if not isinstance(header, dict) or header.get("kind") != "header":
        return line
    known: Mapping[str, Any] = {"session": name, "model": shown_model(str(header.get("model", "")))}
    header |= {key: value for key, value in known.items() if key in header}
    return json.dumps(header, ensure_ascii=False).encode() + b"\n"


def _sums(folder: Path) -> dict[str, str]:
    return {file.relative_to(folder).as_posix(): _sum(file) for file in _files(folder) if file.name != CHECKSUMS}


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*")) if file.is_file())


def _sum(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _text(file: Path, text: str) -> None:
    with file.open("x", encoding="utf-8", newline="\n") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())


def _json(file: Path, value: Any) -> None:
    _text(file, json.dumps(value, ensure_ascii=False, indent=1) + "\n")
