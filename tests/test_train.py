import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_presets import TINY

import duplex_runtime.models
from duplex_runtime.alignment import train as training
from duplex_runtime.alignment.corpus import load
from duplex_runtime.alignment.dialogues import Source
from duplex_runtime.alignment.fresh import make_model
from duplex_runtime.alignment.presets import Preset
from duplex_runtime.alignment.rows import RowMaker
from duplex_runtime.alignment.train import rate_at, summed_loss, train_embedded
from duplex_runtime.errors import BadInput
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.models.vocabulary import TokenizerFile

TOKENIZER = Path(duplex_runtime.models.__file__).parent / "embedded" / "tokenizer.json"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def preset(tmp_path: Path) -> Preset:
    return tiny(tmp_path)


def tiny(folder: Path, *changes: tuple[str, str]) -> Preset:
    text = TINY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "tiny.toml"
    path.write_text(text)
    return Preset.read(str(path))


def weights(out: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {name: load_file(out / name / "model.safetensors") for name in ("turns", "duplex")}


def same(a: dict[str, dict[str, torch.Tensor]], b: dict[str, dict[str, torch.Tensor]]) -> bool:
    return all(torch.equal(a[s][n], b[s][n]) for s in a for n in a[s]) and a.keys() == b.keys()


class PowerCut(Exception):
    pass


@pytest.mark.parametrize("steps", [1, 2, 4, 5])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    preset: Preset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    train_embedded(preset, tmp_path / "whole", TOKENIZER, compile_model=False)
    monkeypatch.setattr(training, "SAVE_SECONDS", -1.0)  # save after every step
    batch, left = RowMaker.batch, [steps]

    def until_the_power_fails(self: RowMaker, step: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        if self.seed != 99:  # not the rows of the evaluation
            if not left[0]:
                raise PowerCut
            left[0] -= 1
        return batch(self, step, size)

    with monkeypatch.context() as patch:
        patch.setattr(RowMaker, "batch", until_the_power_fails)
        with pytest.raises(PowerCut):
            train_embedded(preset, tmp_path / "stopped", TOKENIZER, compile_model=False)
    train_embedded(preset, tmp_path / "stopped", TOKENIZER, compile_model=False)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))


def test_the_first_losses_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    """One written out here, without accelerate: weighted mean, clipped, Muon for matrices and AdamW for the rest."""
    preset = tiny(tmp_path, ("seed = 1", 'seed = 1\nprecision = "no"'))
    assert preset.model
    train_embedded(preset, tmp_path / "run", TOKENIZER, compile_model=False)
    told = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])

    vocabulary = TokenizerFile(TOKENIZER)
    torch.manual_seed(1)
    model = make_model(preset.model, len(vocabulary))
    inside = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim < 2 or "embed" in n]
    muon = torch.optim.Muon(inside, lr=0.01, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(rest, lr=0.01, betas=(0.9, 0.95), weight_decay=0.0)
    rows = RowMaker(Source(load()), EMBEDDED, vocabulary, 256, 1000, 0.5)
    for step in range(2):
        ids, learned = (torch.from_numpy(a) for a in rows.batch(step, 2))
        logits = model(input_ids=ids[:, :-1]).logits
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        loss = (losses * learned[:, 1:].flatten()).sum() / learned[:, 1:].sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in (muon, adamw):
            for group in optimizer.param_groups:
                group["lr"] = 0.01 * (0.5, 1.0)[step]
            optimizer.step()
            optimizer.zero_grad()
    assert (told["stage"], told["step"]) == ("backbone", 2)
    assert told["train_loss"] == pytest.approx(loss.item(), abs=2e-4)


def test_small_passes_add_up_to_one_big_one(tmp_path: Path) -> None:
    def losses(name: str, *changes: tuple[str, str]) -> list[float]:
        train_embedded(
            tiny(tmp_path, ("seed = 1", 'seed = 1\nprecision = "no"'), *changes), tmp_path / name, TOKENIZER,
            compile_model=False,
        )  # fmt: skip
        return [json.loads(line)["train_loss"] for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]

    big = losses("big", ("batch = 2", "batch = 4"))
    small = losses("small", ("batch = 2", "batch = 2\naccumulate = 2"))
    assert small == pytest.approx(big, abs=0.02)  # each pass is weighted alike, not each token


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_twice_the_rows(tmp_path: Path) -> None:
    exact = ("seed = 1", 'seed = 1\nprecision = "no"')
    one = tiny(tmp_path, exact, ("batch = 2", "batch = 4"))
    train_embedded(one, tmp_path / "one", TOKENIZER, compile_model=False)
    tiny(tmp_path, exact)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "webapp.cli", "train",
               "--preset", str(tmp_path / "tiny.toml"), "--out", str(tmp_path / "two"), "--no-compile"]  # fmt: skip
    home = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=home, check=True, capture_output=True)
    alone, together = (
        [json.loads(line) for line in (tmp_path / n / "log.jsonl").read_text().splitlines()] for n in ("one", "two")
    )
    for a, b in zip(alone, together, strict=True):
        assert b.pop("train_loss") == pytest.approx(a.pop("train_loss"), abs=1e-3)
        assert (b["step"], b["tokens"]) == (a["step"], a["tokens"])


def test_a_finished_run_started_again_changes_nothing(preset: Preset, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train_embedded(preset, out, TOKENIZER, compile_model=False)
    before = weights(out), (out / "turns" / "about.json").read_text()
    train_embedded(preset, out, TOKENIZER, compile_model=False)
    assert same(before[0], weights(out))
    assert before[1] == (out / "turns" / "about.json").read_text()


def test_a_stage_may_have_no_decay(tmp_path: Path) -> None:
    preset = tiny(tmp_path, ("decay_tokens = 512", "decay_tokens = 0"))
    train_embedded(preset, tmp_path / "run", TOKENIZER, compile_model=False)
    assert weights(tmp_path / "run")


def test_a_broken_state_is_named(preset: Preset, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "turns.pt").write_bytes(b"PK torn")
    with pytest.raises(BadInput, match=r"turns\.pt: expected the state of a run"):
        train_embedded(preset, out, TOKENIZER, compile_model=False)


def test_a_checkpoint_loads_with_transformers_and_says_what_it_is(preset: Preset, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    out = tmp_path / "run"
    train_embedded(preset, out, TOKENIZER, compile_model=False)
    model = AutoModelForCausalLM.from_pretrained(out / "duplex", dtype=torch.float32, local_files_only=True)
    assert torch.equal(model.get_input_embeddings().weight, model.get_output_embeddings().weight)
    about = json.loads((out / "duplex" / "about.json").read_text())
    assert about["parameters"] == sum(p.numel() for p in model.parameters())
    assert about["tokens"] == 2048
    assert 0.0 <= about["held_out"]["silence_right"] <= 1.0


def test_a_run_begins_with_the_weights_of_another(preset: Preset, tmp_path: Path) -> None:
    train_embedded(preset, tmp_path / "first", TOKENIZER, compile_model=False)
    start = tmp_path / "first" / "duplex"
    train_embedded(preset, tmp_path / "second", TOKENIZER, start=start, compile_model=False)
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines()[0] for name in ("first", "second")]
    losses = [json.loads(log)["train_loss"] for log in logs]
    assert losses[1] < losses[0] - 0.2
    assert json.loads((tmp_path / "second" / "turns" / "about.json").read_text())["start"] == start.as_posix()


def test_weights_of_another_shape_or_none_are_refused(preset: Preset, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"--start: expected a folder with model.safetensors"):
        train_embedded(preset, tmp_path / "run", TOKENIZER, start=tmp_path, compile_model=False)
    embedded = TOKENIZER.parent / "duplex"
    with pytest.raises(BadInput, match=r"of another shape than the preset's model"):
        train_embedded(preset, tmp_path / "run", TOKENIZER, start=embedded, compile_model=False)


def test_the_model_has_minicpms_mathematics() -> None:
    from duplex_runtime.alignment.presets import Shape

    config = make_model(Shape(64, 128, 4, 4), 300).config
    assert config.tie_word_embeddings
    assert config.attention_multiplier == pytest.approx(1 / 4)
    assert config.residual_multiplier == pytest.approx(1.4 / 2)
    assert config.embedding_multiplier == 12.0


def test_the_rate_warms_up_stays_and_decays(preset: Preset) -> None:
    rates = [rate_at(s, preset, True, 10, 10) for s in range(20)]
    assert rates[0] == pytest.approx(0.5e-2)
    assert rates[1:11] == [pytest.approx(1e-2)] * 10
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rate_at(0, preset, False, 10, 10) == pytest.approx(1e-2)
    assert rate_at(20, preset, True, 10, 10) == pytest.approx(1e-4)


def test_tokens_without_weight_teach_nothing() -> None:
    logits = torch.zeros(3, 5, requires_grad=True)
    summed_loss(logits, torch.tensor([1, 2, 3]), torch.tensor([0.0, 1.0, 0.0])).backward()
    grads: Any = logits.grad
    assert grads[[0, 2]].abs().sum() == 0.0
    assert grads[1].abs().sum() > 0.0
