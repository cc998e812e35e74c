import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import duplex_runtime.models
from duplex_runtime.alignment import train as training
from duplex_runtime.alignment.rows import RowMaker
from duplex_runtime.alignment.train import PRESETS, Preset, Shape, make_model, rate_at, train, weighted_loss
from duplex_runtime.errors import BadInput

TOKENIZER = Path(duplex_runtime.models.__file__).parent / "embedded" / "tokenizer.json"
TINY = """
seed = 1
length = 256
batch = 2
learning_rate = 1e-2
weight_decay = 0.05
warmup_steps = 2
[model]
hidden = 32
intermediate = 64
layers = 1
heads = 2
[turns]
stable_tokens = 1024
decay_tokens = 512
turns_share = 1.0
[duplex]
stable_tokens = 1024
decay_tokens = 512
turns_share = 0.1
"""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def preset(tmp_path: Path) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return str(path)


def weights(out: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {name: load_file(out / name / "model.safetensors") for name in ("turns", "duplex")}


def same(a: dict[str, dict[str, torch.Tensor]], b: dict[str, dict[str, torch.Tensor]]) -> bool:
    return all(torch.equal(a[s][n], b[s][n]) for s in a for n in a[s]) and a.keys() == b.keys()


class PowerCut(Exception):
    pass


@pytest.mark.parametrize("steps", [1, 2, 4, 5])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    train(preset, tmp_path / "whole", TOKENIZER, compile_model=False)
    monkeypatch.setattr(training, "SAVE_SECONDS", -1.0)  # save after every step
    batch, left = RowMaker.batch, [steps]

    def until_the_power_fails(self: RowMaker, step: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        if size == 2:  # not the rows of the evaluation
            if not left[0]:
                raise PowerCut
            left[0] -= 1
        return batch(self, step, size)

    with monkeypatch.context() as patch:
        patch.setattr(RowMaker, "batch", until_the_power_fails)
        with pytest.raises(PowerCut):
            train(preset, tmp_path / "stopped", TOKENIZER, compile_model=False)
    train(preset, tmp_path / "stopped", TOKENIZER, compile_model=False)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))


def test_a_finished_run_started_again_changes_nothing(preset: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(preset, out, TOKENIZER, compile_model=False)
    before = weights(out), (out / "turns" / "about.json").read_text()
    train(preset, out, TOKENIZER, compile_model=False)
    assert same(before[0], weights(out))
    assert before[1] == (out / "turns" / "about.json").read_text()


def test_a_stage_may_have_no_decay(preset: str, tmp_path: Path) -> None:
    Path(preset).write_text(TINY.replace("decay_tokens = 512", "decay_tokens = 0"))
    train(preset, tmp_path / "run", TOKENIZER, compile_model=False)
    assert weights(tmp_path / "run")


def test_a_checkpoint_loads_with_transformers_and_says_what_it_is(preset: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    out = tmp_path / "run"
    train(preset, out, TOKENIZER, compile_model=False)
    model = AutoModelForCausalLM.from_pretrained(out / "duplex", dtype=torch.float32, local_files_only=True)
    assert torch.equal(model.get_input_embeddings().weight, model.get_output_embeddings().weight)
    about = json.loads((out / "duplex" / "about.json").read_text())
    assert about["parameters"] == sum(p.numel() for p in model.parameters())
    assert about["tokens"] == 1536
    assert 0.0 <= about["held_out"]["silence_right"] <= 1.0


def test_the_shipped_preset_reads() -> None:
    preset = Preset.read("embedded")
    assert preset.model.hidden % preset.model.heads == 0
    assert (PRESETS / "embedded.toml").is_file()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 1", "seed = 1\nsed = 2", r"unknown keys \['sed'\]"),
        ("seed = 1", "", r"missing keys \['seed'\]"),
        ("heads = 2", "heads = 2\nhats = 3", r"\[model\].*unknown keys \['hats'\]"),
        ("[model]", "[modle]", r"\[model\].*missing keys"),
        ("seed = 1", "seed =", "not TOML"),
        ("[model]\n", "model = 3\n[other]\n", "model"),
    ],
)
def test_a_preset_with_other_keys_is_refused(preset: str, old: str, new: str, message: str) -> None:
    Path(preset).write_text(TINY.replace(old, new, 1))
    with pytest.raises(BadInput, match=message):
        Preset.read(preset)


def test_a_missing_preset_names_the_known_ones() -> None:
    with pytest.raises(BadInput, match=r"no preset 'huge': expected one of .*embedded"):
        Preset.read("huge")


def test_the_model_has_minicpms_mathematics() -> None:
    config = make_model(Shape(64, 128, 4, 4), 300).config
    assert config.tie_word_embeddings
    assert config.attention_multiplier == pytest.approx(1 / 4)
    assert config.residual_multiplier == pytest.approx(1.4 / 2)
    assert config.embedding_multiplier == 12.0


def test_the_rate_warms_up_stays_and_decays(preset: str) -> None:
    tiny = Preset.read(preset)
    rates = [rate_at(s, tiny, True, 10, 10) for s in range(20)]
    assert rates[0] == pytest.approx(0.5e-2)
    assert rates[1:11] == [pytest.approx(1e-2)] * 10
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rate_at(0, tiny, False, 10, 10) == pytest.approx(1e-2)
    assert rate_at(20, tiny, True, 10, 10) == pytest.approx(1e-4)


def test_tokens_without_weight_teach_nothing() -> None:
    logits = torch.zeros(3, 5, requires_grad=True)
    weighted_loss(logits, torch.tensor([1, 2, 3]), torch.tensor([0.0, 1.0, 0.0])).backward()
    grads: Any = logits.grad
    assert grads[[0, 2]].abs().sum() == 0.0
    assert grads[1].abs().sum() > 0.0


def test_a_row_of_nothing_to_learn_has_no_loss() -> None:
    assert weighted_loss(torch.zeros(2, 5), torch.tensor([1, 2]), torch.zeros(2)).item() == 0.0
