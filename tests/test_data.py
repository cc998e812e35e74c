import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import Words

from duplex_runtime.alignment.data import FileBatches, row_pairs, talks_of
from duplex_runtime.alignment.fresh import make_model
from duplex_runtime.alignment.presets import Shape
from duplex_runtime.errors import BadInput
from duplex_runtime.layout import EMBEDDED

pytestmark = pytest.mark.usefixtures("one_thread")


def talk(number: int, pairs: int = 3) -> dict[str, Any]:
    output = []
    for i in range(pairs):
        output += [{"role": "user", "content": f"u{number} a{i}"}, {"role": "assistant", "content": f"m{number} b{i}"}]
    return {"id": number, "kind": "uninterrupted", "output": output}


def write(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for shard in range(3):
        write(tmp_path / "rows" / f"rows-{shard:05}.jsonl", [talk(20 * shard + i, 2 + i % 3) for i in range(20)])
    return tmp_path / "rows"


def batches(folder: Path, length: int = 40, **options: Any) -> FileBatches:
    return FileBatches(folder, EMBEDDED, Words(), length, 7, **options)


def slices(*texts: str) -> dict[str, Any]:
    return {"output": [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(texts)]}


def test_silence_is_weighed_by_what_it_decides() -> None:
    row = slices("can you", "<idle>", "help?", "Sure.", "<idle>", "I can.", "<idle>", "<idle>", "<idle>", "<idle>")
    pairs = row_pairs("row", row, Words().encode)
    assert [p.weight for p in pairs] == [1.0, 1.0, 1.0, 1.0, 0.3]
    assert [p.final for p in pairs] == [False, False, True, False, False]
    assert [p.user for p in pairs] == ["can you", "help?", "", "", ""]


def test_what_a_row_says_about_itself_counts() -> None:
    row = {**slices("hi", "Hello.", "<idle>", "<idle>"), "weights": [0.5, 0.0], "ends": [False, True]}
    pairs = row_pairs("row", row, Words().encode)
    assert [(p.weight, p.final) for p in pairs] == [(0.5, False), (0.0, False)]


@pytest.mark.parametrize(
    "row",
    [
        None,
        {"id": 1},
        slices("hi"),
        slices("hi", ""),
        {"output": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]},
        {**slices("hi", "ho"), "weights": [1.0, 1.0]},
    ],
)
def test_a_row_that_is_none_is_named(row: Any) -> None:
    with pytest.raises(BadInput, match=r"file line 3: expected"):
        row_pairs("file line 3", row, Words().encode)


def test_rows_hold_several_talks_whose_positions_begin_at_zero(folder: Path) -> None:
    batch = batches(folder).batch(0, 4)
    assert batch.positions is not None
    assert batch.ids.shape == batch.weights.shape == (4, 41)
    assert batch.positions.shape == (4, 40)
    starts = batch.ids[:, :-1] == EMBEDDED.bos
    assert (starts == (batch.positions == 0)).all()
    assert (starts.sum(1) >= 2).all()
    assert (batch.weights[:, :-1][starts] == 0).all()


def test_a_packed_talk_is_computed_as_if_it_stood_alone(folder: Path) -> None:
    torch.manual_seed(1)
    model = make_model(Shape(32, 64, 2, 2), 2000).eval()
    batch = batches(folder).batch(0, 1)
    assert batch.positions is not None
    ids, positions = torch.from_numpy(batch.ids[:, :-1]), torch.from_numpy(batch.positions)
    with torch.inference_mode():
        packed = model(input_ids=ids, position_ids=positions).logits[0]
        starts = [*np.flatnonzero(batch.positions[0] == 0).tolist(), ids.shape[1]]
        for start, end in pairwise(starts):
            alone = model(input_ids=ids[:, start:end]).logits[0]
            assert torch.allclose(packed[start:end], alone, atol=1e-5)


def test_every_talk_comes_once_a_round_and_held_out_ones_never(folder: Path) -> None:
    source = batches(folder, length=8)
    seen: list[int] = []
    while source.state[0]["round"] == 0:
        seen.append(int(source.batch(0, 1).ids[0, 2]))
    assert len(set(seen[:57])) == len(seen[:57]) == 57  # of 60; the first of each shard is held out
    held = batches(folder, length=8, held_out=True)
    assert held._sources[0]._file()[0][1]["id"] % 20 == 0


def test_it_goes_on_where_it_was(folder: Path) -> None:
    words = Words()
    whole, resumed = (FileBatches(folder, EMBEDDED, words, 40, 7) for _ in range(2))
    before = [whole.batch(i, 2).ids.tolist() for i in range(6)]
    state = json.loads(json.dumps(whole.state))
    after = [whole.batch(i, 2).ids.tolist() for i in range(6, 20)]
    resumed.restore(state)
    assert [resumed.batch(i, 2).ids.tolist() for i in range(6, 20)] == after
    assert before != after


def test_processes_share_the_talks(folder: Path) -> None:
    words = Words()
    first, second = (FileBatches(folder, EMBEDDED, words, 8, 7, rank=r, world=2) for r in range(2))
    a = {int(first.batch(i, 1).ids[0, 2]) for i in range(20)}
    b = {int(second.batch(i, 1).ids[0, 2]) for i in range(20)}
    assert not a & b


def test_turn_based_talks_are_mixed_in(folder: Path, tmp_path: Path) -> None:
    turns = write(tmp_path / "turns.jsonl", [talk(1000 + i, 4) for i in range(50)])
    words = Words()
    mixed = FileBatches(folder, EMBEDDED, words, 16, 7, turns=turns, turns_share=0.3)
    shown = [words.decode(row[2:3].tolist()) for i in range(100) for row in mixed.batch(i, 1).ids]
    share = sum(text.startswith("u10") and len(text) > 4 for text in shown) / len(shown)
    assert 0.15 < share < 0.45


def test_a_folder_without_rows_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"expected a folder made by `duplex data build`"):
        talks_of(tmp_path)


def test_a_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows-00000.jsonl"
    path.write_text(json.dumps(talk(1)) + "\n{torn", encoding="utf-8")
    with pytest.raises(BadInput, match=r"rows-00000\.jsonl line 2: expected a JSON object"):
        batches(path).batch(0, 1)
