"""Talks in the formats of others: Full-Duplex-Bench's output.json, ticks of 0.2 s, Parquet tables.

write_all(Path("out"), talks)     # full-duplex-bench/SYSTEM/SCENARIO-SEED/output.json, ticks.jsonl, talks.parquet, …
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from duplex_runtime.errors import DuplexError
from duplex_runtime.evaluation.talks import Talk
from duplex_runtime.evaluation.ticks import TICK_SECONDS, segments_of

#: Types of Parquet columns, by table; every table begins with those that name a talk. Times are seconds.
_NAMED = {"system": "string", "scenario": "string", "seed": "int64"}
_COLUMNS = {
    "talks": _NAMED | {"situation": "string", "way": "string", "ended_at": "float64", "yields": "int64"},
    "acts": _NAMED
    | {"kind": "string", "begin": "float64", "end": "float64", "text": "string", "guessed": "bool"},
    "pieces": _NAMED | {"at": "float64", "until": "float64", "text": "string", "response_id": "string"},
    "ticks": _NAMED | {"tick": "int64", "at": "float64", "person": "string", "speaking": "bool", "text": "string"},
}  # fmt: skip


def full_duplex_bench(talk: Talk) -> dict[str, Any]:
    """What the system said, word by word: `{"text", "chunks": [{"text", "timestamp": [start, end]}]}` (seconds), which
    the pause handling of Full-Duplex-Bench v1 reads (arXiv 2503.04721)."""
    chunks = [{"text": w.text, "timestamp": [round(w.at, 3), round(w.until, 3)]} for w in talk.words]
    return {"text": " ".join(w.text for w in talk.words), "chunks": chunks}


def ticks(talk: Talk) -> list[dict[str, Any]]:
    """One row for each 0.2 s, up to the end of the talk.

    person: the kind of what they are doing, None while they do nothing. speaking: whether the system speaks. text: what
    of it began to be seen or heard in this tick; all of them together are all that it said.
    """
    times = segments_of(talk)
    begun = [math.floor(round(piece.at / TICK_SECONDS, 6)) for piece in talk.pieces]
    last = math.ceil(round(talk.ended_at / TICK_SECONDS, 6))
    count = max([last, *(s.end for s in (*times.person, *times.system)), *(n + 1 for n in begun)])
    kinds: list[str | None] = [None] * count
    speaking = [False] * count
    texts = [""] * count
    for segment in times.person:
        kinds[segment.first : segment.end] = [segment.act.kind if segment.act else None] * (segment.end - segment.first)
    for segment in times.system:
        speaking[segment.first : segment.end] = [True] * (segment.end - segment.first)
    for n, piece in zip(begun, talk.pieces, strict=True):
        texts[n] += piece.text
    named = _named(talk)
    return [
        named | {"tick": n, "at": round(n * TICK_SECONDS, 1), "person": kind, "speaking": says, "text": text}
        for n, (kind, says, text) in enumerate(zip(kinds, speaking, texts, strict=True))
    ]


def tables(talks: Iterable[Talk]) -> dict[str, list[dict[str, Any]]]:
    """Rows by table: talks, acts, pieces and ticks; the columns of acts and pieces are those of `acts.Act` and
    `acts.Piece`, behind the system, scenario and seed of their talk."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in _COLUMNS}
    for talk in talks:
        named = _named(talk)
        about = {"situation": talk.situation, "way": talk.way, "ended_at": talk.ended_at, "yields": len(talk.yields)}
        found["talks"].append(named | about)
        found["acts"] += [named | asdict(act) for act in talk.acts]
        found["pieces"] += [named | asdict(piece) for piece in talk.pieces]
        found["ticks"] += ticks(talk)
    return found


def write_parquet(folder: Path, talks: Iterable[Talk]) -> None:
    """A file NAME.parquet for each of `tables`; raises DuplexError `no_parquet` where pyarrow is missing."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise DuplexError("no_parquet", 'Parquet tables need pyarrow: pip install -e ".[bench]"') from None
    for name, rows in tables(talks).items():
        schema = pa.schema([(column, pa.type_for_alias(kind)) for column, kind in _COLUMNS[name].items()])
        written = [{column: _writable(value) for column, value in row.items()} for row in rows]
        parquet.write_table(pa.Table.from_pylist(written, schema), folder / f"{name}.parquet")


def write_all(folder: Path, talks: Sequence[Talk]) -> list[str]:
    """Every format; returns what could not be written, and why."""
    taken: set[str] = set()
    for talk in talks:
        place = folder / "full-duplex-bench" / _free(f"{_safe(talk.system)}/{_safe(talk.scenario)}-{talk.seed}", taken)
        place.mkdir(parents=True, exist_ok=True)
        _write(place / "output.json", [full_duplex_bench(talk)])
    _write(folder / "ticks.jsonl", (row for talk in talks for row in ticks(talk)))
    try:
        write_parquet(folder, talks)
    except DuplexError as error:
        return [str(error)]
    return []


def _named(talk: Talk) -> dict[str, Any]:
    return {"system": talk.system, "scenario": talk.scenario, "seed": talk.seed}


def _write(path: Path, values: Iterable[dict[str, Any]]) -> None:
    """JSON, one object a line."""
    with path.open("w", encoding="utf-8", errors="replace") as file:
        file.writelines(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def _writable(value: Any) -> Any:
    # half a surrogate pair, which a log may hold, is no UTF-8
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:80] or "talk"


def _free(name: str, taken: set[str]) -> str:
    """The name, or with a number behind it where another talk has it already."""
    free, number = name, 1
    while free.lower() in taken:
        number += 1
        free = f"{name}-{number}"
    taken.add(free.lower())
    return free
