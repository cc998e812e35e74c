"""Talks in the formats of others: Full-Duplex-Bench's output.json, ticks of 0.2 s, Parquet tables.

write_all(Path("out"), talks)     # full-duplex-bench/SYSTEM/SCENARIO-SEED/output.json, ticks.jsonl, talks.parquet, …
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from duplex_runtime.evaluation.talks import Talk
from duplex_runtime.evaluation.ticks import TICK_SECONDS, segments_of


def full_duplex_bench(talk: Talk) -> dict[str, Any]:
    """What the system said, word by word: `{"text", "chunks": [{"text", "timestamp": [start, end]}]}` (seconds), which
    the pause handling of Full-Duplex-Bench v1 reads (arXiv 2503.04721)."""
    chunks = [{"text": w.text, "timestamp": [round(w.at, 3), round(w.until, 3)]} for w in talk.words]
    return {"text": " ".join(w.text for w in talk.words), "chunks": chunks}


def ticks(talk: Talk) -> list[dict[str, Any]]:
    """One row for each 0.2 s: who speaks, and what the person does (None: nothing)."""
    times = segments_of(talk)
    count = max((s.end for s in (*times.person, *times.system)), default=0)
    kinds: list[str | None] = [None] * count
    speaking = [False] * count
    for segment in times.person:
        kinds[segment.first : segment.end] = [segment.act.kind if segment.act else None] * (segment.end - segment.first)
    for segment in times.system:
        speaking[segment.first : segment.end] = [True] * (segment.end - segment.first)
    named = {"system": talk.system, "scenario": talk.scenario, "seed": talk.seed}
    return [
        named | {"tick": n, "at": round(n * TICK_SECONDS, 1), "person": kind, "speaking": says}
        for n, (kind, says) in enumerate(zip(kinds, speaking, strict=True))
    ]


def write_all(folder: Path, talks: Sequence[Talk]) -> list[str]:
    """Every format; returns what could not be written, and why."""
    for talk in talks:
        place = folder / "full-duplex-bench" / _safe(talk.system) / f"{_safe(talk.scenario)}-{talk.seed}"
        place.mkdir(parents=True, exist_ok=True)
        (place / "output.json").write_text(json.dumps(full_duplex_bench(talk), ensure_ascii=False), encoding="utf-8")
    with (folder / "ticks.jsonl").open("w", encoding="utf-8") as file:
        for talk in talks:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in ticks(talk))
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        return ['Parquet tables need pyarrow: pip install -e ".[bench]"']
    for name, rows in tables(talks).items():
        _parquet(folder / f"{name}.parquet", rows)
    return []


def tables(talks: Iterable[Talk]) -> dict[str, list[dict[str, Any]]]:
    """Rows by table: talks, acts and pieces; their columns are those of `talks.Talk`, `acts.Act` and `acts.Piece`."""
    found: dict[str, list[dict[str, Any]]] = {"talks": [], "acts": [], "pieces": []}
    for talk in talks:
        named = {"system": talk.system, "scenario": talk.scenario, "seed": talk.seed}
        about = {"situation": talk.situation, "way": talk.way, "ended_at": talk.ended_at, "yields": len(talk.yields)}
        found["talks"].append(named | about)
        found["acts"] += [named | asdict(act) for act in talk.acts]
        found["pieces"] += [named | asdict(piece) for piece in talk.pieces]
    return found


def _parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist(rows), path)


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:80] or "talk"
