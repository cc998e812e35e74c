"""The whole way of a stranger: rows of `data build`, `train` on a chat model, and the folder holds a conversation."""

import json
from pathlib import Path

import pytest
from fakes import keys
from test_load import save_chat_model
from test_sources import write_dialogues

from duplex_runtime.alignment.build import Settings, run
from duplex_runtime.alignment.presets import Preset
from duplex_runtime.alignment.train import align
from duplex_runtime.alignment.weave import Plan
from duplex_runtime.engine.requests import Sampling
from duplex_runtime.errors import BadInput, ModelError
from duplex_runtime.evaluation.script import play
from duplex_runtime.models.load import load_model
from duplex_runtime.slices import Slicing

pytestmark = pytest.mark.usefixtures("one_thread")
RECIPE = """
seed = 1
length = 128
batch = 2
learning_rate = 1e-3
weight_decay = 0.0
warmup_steps = 2
optimizer = "adamw"
precision = "no"
[duplex]
stable_tokens = 1024
decay_tokens = 512
turns_share = 0.0
"""
LORA = "[lora]\nrank = 4\nalpha = 8\n"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    source = write_dialogues(folder / "talks.jsonl", 12)
    run(
        Settings(str(source), plan=Plan(shares=(("uninterrupted", 1.0), ("nudge", 1.0)), periods=(2.0,))),
        folder / "out",
        stop=True,
        workers=1,
    )
    return folder / "out"


def recipe(tmp_path: Path, more: str = "") -> Preset:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE + more)
    return Preset.read(str(path))


@pytest.mark.parametrize("more", ["", LORA], ids=["full", "lora"])
def test_an_aligned_chat_model_holds_a_conversation(rows: Path, tmp_path: Path, more: str) -> None:
    base = save_chat_model(tmp_path / "base")
    out = tmp_path / "aligned"
    align(recipe(tmp_path, more), base, rows, out)
    before, model = load_model(base), load_model(str(out))
    assert (before.aligned, model.aligned) == (False, True)
    assert model.wait_for_end_mark and model.wakes
    assert model.layout == before.layout
    weights = dict(before.network.named_parameters())
    changed = [n for n, p in model.network.named_parameters() if not p.bfloat16().equal(weights[n].bfloat16())]
    assert changed
    if more:  # adapters sit on the linear layers, and on nothing else
        assert all("proj" in name for name in changed)
        assert (out / "adapter" / "adapter_model.safetensors").is_file()
    lines = play(model, "duplex", keys("hello there. "), Slicing(), Sampling(), patience=5)
    assert any(line["type"] == "slice" for line in lines)
    card = (out / "README.md").read_text()
    assert f"base_model: {base}" in card
    assert "| uninterrupted |" in card and "tokens_right" in card


def test_a_run_that_was_stopped_goes_on_with_the_same_rows(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    from duplex_runtime.alignment import data, train

    base, preset = save_chat_model(tmp_path / "base"), recipe(tmp_path, LORA)
    align(preset, base, rows, tmp_path / "whole")
    monkeypatch.setattr(train, "SAVE_SECONDS", -1.0)
    batch = data.FileBatches.batch

    def until_step_three(self: data.FileBatches, step: int, size: int) -> data.Batch:
        if step == 3 and not self._sources[0].held_out:
            raise KeyboardInterrupt
        return batch(self, step, size)

    with monkeypatch.context() as patch:
        patch.setattr(data.FileBatches, "batch", until_step_three)
        with pytest.raises(KeyboardInterrupt):
            align(preset, base, rows, tmp_path / "stopped")
    align(preset, base, rows, tmp_path / "stopped")
    whole, stopped = (load_file(tmp_path / n / "model.safetensors") for n in ("whole", "stopped"))
    assert all(whole[name].equal(stopped[name]) for name in whole)


def test_turns_are_asked_for_where_a_preset_mixes_them_in(rows: Path, tmp_path: Path) -> None:
    preset = recipe(tmp_path)
    path = tmp_path / "mixed.toml"
    path.write_text(RECIPE.replace("turns_share = 0.0", "turns_share = 0.2"))
    preset = Preset.read(str(path))
    with pytest.raises(BadInput, match=r"give --turns ROWS"):
        align(preset, "nowhere", rows, tmp_path / "out")


@pytest.mark.parametrize("text", ["[1]", "{", '{"aligned": 1}'])
def test_a_conversation_json_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    base = save_chat_model(tmp_path / "base")
    (Path(base) / "conversation.json").write_text(text)
    with pytest.raises(ModelError, match=r"conversation\.json: expected"):
        load_model(base)


def test_a_conversation_json_says_how_conversations_are_held(tmp_path: Path) -> None:
    base = save_chat_model(tmp_path / "base")
    (Path(base) / "conversation.json").write_text(json.dumps({"aligned": True, "wait_for_end_mark": False}))
    model = load_model(base)
    assert (model.aligned, model.wait_for_end_mark, model.wakes) == (True, False, False)
