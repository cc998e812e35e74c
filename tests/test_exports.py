"""Talks in the formats of others."""

import json
import sys
from pathlib import Path

import pytest
from talk_fakes import act, says, talk_with

from duplex_runtime.errors import DuplexError
from duplex_runtime.evaluation.acts import Piece
from duplex_runtime.evaluation.exports import full_duplex_bench, tables, ticks, write_all, write_parquet

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
    assert [row["text"] for row in rows] == [""] * 5 + [" w0", " w1"]
    assert rows[6]["at"] == 1.2


def test_ticks_hold_all_that_was_said_and_go_on_to_the_end() -> None:
    pieces = [Piece(0.05, 0.06, "a", "d-1"), Piece(0.06, 0.08, "b", "d-1"), Piece(0.59, 0.6, "c", "d-1")]
    rows = ticks(talk_with([], pieces, ended_at=1.1))
    assert [row["text"] for row in rows] == ["ab", "", "c", "", "", ""]  # 1.1 s is in the sixth tick
    assert [row["speaking"] for row in rows] == [True, False, True, False, False, False]
    assert ticks(talk_with([])) == []
    cut = ticks(talk_with([], [Piece(0.0, 0.2, "a", "d-1"), Piece(0.2, 0.2, "b", "d-1")]))
    assert [row["text"] for row in cut] == ["a", "b"]  # cut in the moment in which it was shown


def test_half_words_of_an_answer_are_one_word_of_the_benchmark() -> None:
    pieces = [Piece(1.0, 1.2, " vol", "d-1"), Piece(1.2, 1.4, "canoes. They", "d-1")]
    assert full_duplex_bench(talk_with([], pieces))["chunks"] == [
        {"text": "volcanoes.", "timestamp": [1.0, 1.4]},
        {"text": "They", "timestamp": [1.2, 1.4]},
    ]


def test_talks_of_the_same_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    talks = [talk_with([], says(1.0, n), scenario=name) for n, name in ((1, "a/b"), (2, "a b"), (3, "A-B"))]
    write_all(tmp_path, talks)
    found = {p.parent.name: json.loads(p.read_text())["text"] for p in tmp_path.glob("full-duplex-bench/*/*/*.json")}
    assert found == {"a-b-0": "w0", "a-b-0-2": "w0 w1", "A-B-0-3": "w0 w1 w2"}


@pytest.mark.parametrize("name", ["", "..", "/etc/passwd", "a\\b", "x" * 300, "con\n"])
def test_names_stay_inside_the_folder(tmp_path: Path, name: str) -> None:
    write_all(tmp_path, [talk_with([], says(1.0, 1), scenario=name, system=name or "duplex")])
    (output,) = tmp_path.rglob("output.json")
    assert output.relative_to(tmp_path).parts[0] == "full-duplex-bench"
    assert len(output.relative_to(tmp_path).parts) == 4
    assert len(output.parent.name) < 100


def test_half_a_surrogate_pair_is_written_as_a_question_mark(tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    talk = talk_with([act("turn", 0.0, 0.6, "a\ud83d")], [Piece(1.0, 1.2, "b\ude00", "d-1")])
    assert write_all(tmp_path, [talk]) == []
    (output,) = tmp_path.rglob("output.json")
    assert json.loads(output.read_text(encoding="utf-8"))["text"] == "b?"
    assert parquet.read_table(tmp_path / "acts.parquet").to_pylist()[0]["text"] == "a?"


def test_tables_keep_their_columns_when_they_are_empty(tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    write_parquet(tmp_path, [talk_with([])])
    for name, rows in tables([TALK]).items():
        table = parquet.read_table(tmp_path / f"{name}.parquet")
        assert table.column_names == list(rows[0])
        assert not any(str(field.type) == "null" for field in table.schema)


def test_without_pyarrow_the_rest_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DuplexError, match="need pyarrow: pip install"):
        write_parquet(tmp_path, [TALK])
    assert write_all(tmp_path, [TALK]) == ['Parquet tables need pyarrow: pip install -e ".[bench]"']
    assert (tmp_path / "ticks.jsonl").is_file()
    assert not list(tmp_path.glob("*.parquet"))


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
    assert parquet.read_table(tmp_path / "ticks.parquet").to_pylist() == ticks(TALK)
