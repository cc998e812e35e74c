import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from duplex_runtime.alignment.sources import MAX_MESSAGE, Dialogue, Faults, Sliced, Turn, dialogue_of, read
from duplex_runtime.errors import BadInput

HI = Dialogue((Turn("hi there", "Hello. How are you?"),))


def write_dialogues(path: Path, number: int) -> Path:
    """UltraChat's shape: two or three turns each, sentences enough to interrupt."""
    lines = []
    for i in range(number):
        data = []
        for turn in range(2 + i % 2):
            data.append(f"Can you please tell me all about the topic number {i} in its part {turn}?")
            data.append(" ".join(f"Sentence {s} about topic {i} part {turn} says something new." for s in range(6)))
        lines.append(json.dumps({"id": str(i), "data": data}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "hi  there"},
                      {"role": "assistant", "content": "Hello.\nHow are you?"}]},
        {"messages": [{"role": "system", "content": "Be nice."}, {"role": "user", "content": "hi there"},
                      {"role": "assistant", "content": "Hello. How are you?"}]},
        {"conversations": [{"from": "human", "value": "hi there"}, {"from": "gpt", "value": "Hello. How are you?"}]},
        {"id": "1", "data": ["hi there", "Hello. How are you?", "and now?"]},
        {"output": [{"role": "user", "content": "hi there"}, {"role": "assistant", "content": "Hello. How are you?"}]},
    ],
)  # fmt: skip
def test_dialogues_of_every_shape_are_read(row: Any) -> None:
    assert dialogue_of(row) == HI


SLICED = [
    {"role": "user", "content": "hi there."}, {"role": "assistant", "content": "hello"},
    {"role": "user", "content": "<idle>"}, {"role": "assistant", "content": "<idle>"},
]  # fmt: skip


def test_a_talk_that_is_in_slices_stays_so(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"id": 4, "output": SLICED, "weights": [1.0, 0.0], "ends": [True, False], "participant": "p-a"},
        {"output": SLICED},
        {"output": SLICED[:3]},
        {"output": SLICED, "weights": [1.0], "ends": None},
        {"output": SLICED, "weights": 5},
        {"output": SLICED, "weights": ["much", 1.0]},
        {"output": SLICED[:2]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    faults = Faults(stop=False)
    first, second, third = read(str(path), faults)
    assert first == Sliced({"output": SLICED, "weights": [1.0, 0.0], "ends": [True, False]})
    assert second == Sliced({"output": SLICED, "weights": None, "ends": None})
    assert isinstance(third, Dialogue) and faults.count == 4


def said(*texts: Any) -> dict[str, Any]:
    return {"data": list(texts)}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([], "expected an object like"),
        ({"text": "hi"}, r"got the keys \['text'\]"),
        (said(), "expected messages, got none"),
        (said("hi"), "expected an answer, got a single message"),
        (said("hi", "  "), "message 2: expected words, got none"),
        (said("hi", None), "message 2: expected text, got NoneType"),
        (said("hi", "x" * (MAX_MESSAGE + 1)), f"message 2: expected at most {MAX_MESSAGE} characters"),
        (said("hi", "be <idle> now"), "got the marker <idle>"),
        ({"messages": [{"content": "hi"}]}, "message 1: expected 'role' to be one of"),
        ({"messages": ["hi"]}, "message 1: expected 'role'"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                       {"role": "assistant", "content": "c"}]}, "message 3: expected one of the user"),
        ({"messages": [{"role": "assistant", "content": "b"}]}, "message 1: expected one of the user"),
    ],
)  # fmt: skip
def test_what_is_no_dialogue_is_told(row: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        dialogue_of(row)


def bad_file(tmp_path: Path) -> Path:
    path = tmp_path / "talks.jsonl"
    good = json.dumps(said("hi there", "Hello. How are you?")).encode()
    path.write_bytes(b"\n".join([good, b'{"data": ["caf\xe9", "x"]}', b"[1]", b"", good, b'{"data": ["torn']))
    return path


def test_bad_rows_are_told_with_file_and_line_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faults = Faults(stop=False)
    assert list(read(str(bad_file(tmp_path)), faults)) == [HI, HI]
    told = capsys.readouterr().err
    assert faults.count == 3
    for part in ("talks.jsonl line 2: expected UTF-8, got the byte 0xe9", "line 3: expected an object",
                 "line 6: expected a JSON object", "the file seems to be cut here"):  # fmt: skip
        assert part in told


def test_bad_rows_may_be_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"talks\.jsonl line 2: expected UTF-8.*--on-bad skip"):
        list(read(str(bad_file(tmp_path)), Faults(stop=True)))


def test_after_twenty_faults_the_rest_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "talks.jsonl"
    path.write_text("[]\n" * 50)
    faults = Faults(stop=False)
    assert list(read(str(path), faults)) == []
    told = capsys.readouterr().err.splitlines()
    assert faults.count == 50
    assert len(told) == 21


def test_a_packed_file_is_read_and_a_cut_one_is_told(tmp_path: Path) -> None:
    whole = gzip.compress(write_dialogues(tmp_path / "talks.jsonl", 500).read_bytes())
    (tmp_path / "talks.jsonl.gz").write_bytes(whole)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    assert len(list(read(str(tmp_path / "talks.jsonl.gz"), Faults(stop=True)))) == 500
    faults = Faults(stop=False)
    assert 0 < len(list(read(str(tmp_path / "cut.jsonl.gz"), faults))) < 500
    assert faults.count == 1


def test_parquet_is_read(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = [said("hi there", "Hello. How are you?")] * 3
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "talks.parquet")
    assert list(read(str(tmp_path / "talks.parquet"), Faults(stop=True))) == [HI] * 3
    (tmp_path / "no.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(BadInput, match="expected a Parquet file"):
        list(read(str(tmp_path / "no.parquet"), Faults(stop=True)))


def test_a_missing_source_is_named() -> None:
    with pytest.raises(BadInput, match="expected corpus, hub:OWNER/NAME, or the path"):
        list(read("nowhere.jsonl", Faults(stop=True)))


def test_a_data_set_of_the_hub_that_does_not_load_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BadInput, match=r"hub:no/body@train: the data set does not load"):
        list(read("hub:no/body@train", Faults(stop=True)))
