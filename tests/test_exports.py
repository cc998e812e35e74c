"""Talks in the formats of others."""

import json
from pathlib import Path

from talk_fakes import act, says, talk_with

from duplex_runtime.evaluation.exports import full_duplex_bench, ticks, write_all

TALK = talk_with([act("turn", 0.0, 0.6)], says(1.0, 2), scenario="../a b")


def test_full_duplex_bench_gets_words_with_times() -> None:
    assert full_duplex_bench(TALK) == {
        "text": "w0 w1",
        "chunks": [{"text": "w0", "timestamp": [1.0, 1.2]}, {"text": "w1", "timestamp": [1.2, 1.4]}],
    }


def test_a_row_for_each_tick() -> None:
    rows = ticks(TALK)
    assert [row["person"] for row in rows] == ["turn"] * 3 + [None] * 4
    assert [row["speaking"] for row in rows] == [False] * 5 + [True] * 2
    assert rows[6]["at"] == 1.2


def test_all_of_it_on_disk_under_safe_names(tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    assert write_all(tmp_path, [TALK]) == []
    (output,) = tmp_path.glob("full-duplex-bench/duplex/*/output.json")
    assert output.parent.name == "a-b-0"
    assert json.loads(output.read_text())["text"] == "w0 w1"
    assert len((tmp_path / "ticks.jsonl").read_text().splitlines()) == 7
    assert parquet.read_table(tmp_path / "acts.parquet").to_pylist()[0]["kind"] == "turn"
    assert parquet.read_table(tmp_path / "pieces.parquet").num_rows == 2
    assert parquet.read_table(tmp_path / "talks.parquet").to_pylist()[0]["ended_at"] == TALK.ended_at
