"""Trains the embedded model: `duplex train --preset embedded --out runs/embedded`.

Warm-up, a stable rate, a linear decay (WSD). First `turns` (a chat model that waits for its turn), then from its
state before the decay `duplex` (time slices). A run that was stopped goes on where its last save was.
"""

from __future__ import annotations

import json
import math
import shutil
import time
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm
from transformers import GraniteConfig, GraniteForCausalLM

from duplex_runtime.alignment.corpus import load
from duplex_runtime.alignment.dialogues import Source
from duplex_runtime.alignment.rows import RowMaker
from duplex_runtime.errors import BadInput
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.models.vocabulary import TokenizerFile

PRESETS = Path(__file__).parent / "presets"
SAVE_SECONDS = 120.0


@dataclass(frozen=True)
class Shape:
    """The model's size."""

    hidden: int
    intermediate: int
    layers: int
    heads: int


@dataclass(frozen=True)
class Stage:
    """One checkpoint: tokens at the full rate, tokens while it decays, share of turn-based rows."""

    stable_tokens: int
    decay_tokens: int
    turns_share: float


@dataclass(frozen=True)
class Preset:
    """A preset file. Unknown keys are refused."""

    seed: int
    length: int
    batch: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    model: Shape
    turns: Stage
    duplex: Stage

    @staticmethod
    def read(name: str) -> Preset:
        """A preset of the package by name, or a TOML file by path."""
        path = Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in PRESETS.glob("*.toml")))
            raise BadInput(f"no preset {name!r}: expected one of {known}, or the path of a .toml file")
        try:
            values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise BadInput(f"{path}: not TOML ({error})") from None
        parts: dict[str, type] = {"model": Shape, "turns": Stage, "duplex": Stage}
        for key, kind in parts.items():
            if not isinstance(values.get(key, {}), dict):
                raise BadInput(f"{path}: expected a table [{key}], got {values[key]!r}")
            values[key] = _fill(kind, values.get(key, {}), f"{path} [{key}]")
        return _fill(Preset, values, str(path))


def _fill(kind: type, values: dict[str, Any], where: str) -> Any:
    known = {f.name for f in fields(kind)}
    if set(values) != known:
        wrong, missing = sorted(set(values) - known), sorted(known - set(values))
        raise BadInput(f"{where}: unknown keys {wrong}, missing keys {missing}; expected {sorted(known)}")
    return kind(**values)


def make_model(shape: Shape, vocabulary_size: int) -> GraniteForCausalLM:
    """MiniCPM's mathematics at a small size, random weights (std 0.02)."""
    heads = shape.heads
    config = GraniteConfig(
        vocab_size=vocabulary_size,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=1024,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        embedding_multiplier=12.0,
        residual_multiplier=1.4 / math.sqrt(shape.layers),
        attention_multiplier=1.0 / math.sqrt(shape.hidden // heads),
        logits_scaling=1.0,
        bos_token_id=EMBEDDED.bos,
        eos_token_id=EMBEDDED.eos,
        pad_token_id=0,
        initializer_range=0.02,
        use_cache=False,
    )
    return GraniteForCausalLM(config)


class Optimizers:
    """Muon for the matrices inside, AdamW for the rest; one learning rate."""

    def __init__(self, model: nn.Module, preset: Preset) -> None:
        inside = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
        rest = [p for n, p in model.named_parameters() if p.ndim < 2 or "embed" in n]
        lr, decay = preset.learning_rate, preset.weight_decay
        self.muon = torch.optim.Muon(inside, lr=lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
        self.adamw = torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=0.0)

    def step(self, rate: float) -> None:
        """One step at `rate`, then gradients are cleared."""
        for optimizer in (self.muon, self.adamw):
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> list[dict[str, Any]]:
        return [self.muon.state_dict(), self.adamw.state_dict()]

    def load(self, state: list[dict[str, Any]]) -> None:
        self.muon.load_state_dict(state[0])
        self.adamw.load_state_dict(state[1])


def rate_at(step: int, preset: Preset, first: bool, stable: int, decay: int) -> float:
    """Learning rate of a step: linear warm-up (first stage only), flat, linear to a hundredth."""
    rate = preset.learning_rate
    if first:
        rate *= min(1.0, (step + 1) / preset.warmup_steps)
    if step >= stable:
        rate *= max(0.01, 1.0 - (step - stable) / max(1, decay))
    return rate


def weighted_loss(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Cross entropy of [N, V] against [N], averaged with weights [N]."""
    losses = functional.cross_entropy(logits.float(), targets, reduction="none")
    return (losses * weights).sum() / weights.sum().clamp(min=1.0)


@torch.no_grad()
def evaluate(model: nn.Module, rows: RowMaker, batches: int = 4) -> dict[str, float]:
    """Teacher-forced figures on held-out wordings: loss, tokens right, silence and speech decided right."""
    right = total = 0
    decided = {True: [0, 0], False: [0, 0]}
    loss = 0.0
    for step in range(batches):
        ids, weights = (torch.from_numpy(a) for a in rows.batch(step, 8))
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=ids[:, :-1]).logits
        target, weight = ids[:, 1:], weights[:, 1:]
        loss += weighted_loss(logits.flatten(0, 1), target.flatten(), weight.flatten()).item() / batches
        guess = logits.argmax(-1)
        spoken = (weight > 0) & (target != EMBEDDED.idle)
        right += int((guess == target)[spoken].sum())
        total += int(spoken.sum())
        at_decision = ids[:, :-1] == EMBEDDED.model_marker[-1]
        for silent in (True, False):
            here = at_decision & (weight > 0.5) & ((target == EMBEDDED.idle) == silent)
            decided[silent][0] += int(((guess == EMBEDDED.idle) == silent)[here].sum())
            decided[silent][1] += int(here.sum())
    return {
        "loss": round(loss, 4),
        "tokens_right": round(right / max(1, total), 4),
        "silence_right": round(decided[True][0] / max(1, decided[True][1]), 4),
        "speech_right": round(decided[False][0] / max(1, decided[False][1]), 4),
    }


def _save(path: Path, state: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def export(model: GraniteForCausalLM, folder: Path, about: dict[str, Any]) -> None:
    """Write config.json, model.safetensors (bfloat16) and about.json."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    names = dict(model.named_parameters())  # the tied head is not written twice
    save_file({n: p.detach().to(torch.bfloat16).contiguous() for n, p in names.items()}, folder / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    config = model.config.to_dict() | {"dtype": "bfloat16", "use_cache": True, "architectures": ["GraniteForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def train(preset_name: str, out: Path, tokenizer: Path, *, compile_model: bool = True, threads: int = 0) -> None:
    """Train both checkpoints into `out`/turns and `out`/duplex; goes on where an earlier run stopped."""
    preset = Preset.read(preset_name)
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(preset.seed)
    vocabulary = TokenizerFile(tokenizer)
    model = make_model(preset.model, len(vocabulary))
    forward = torch.compile(model) if compile_model else model
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(tokenizer, out / "tokenizer.json")
    for name, stage, parent in (("turns", preset.turns, None), ("duplex", preset.duplex, "turns")):
        _stage(name, stage, preset, model, forward, vocabulary, out, parent)


def _stage(
    name: str,
    stage: Stage,
    preset: Preset,
    model: GraniteForCausalLM,
    forward: Any,
    vocabulary: TokenizerFile,
    out: Path,
    parent: str | None,
) -> None:
    per_step = preset.batch * preset.length
    stable, decay = stage.stable_tokens // per_step, stage.decay_tokens // per_step
    total, state_file, stable_file = stable + decay, out / f"{name}.pt", out / f"{name}-stable.pt"
    optimizers = Optimizers(model, preset)
    step = 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        step = state["step"]
    elif parent:
        state = torch.load(out / f"{parent}-stable.pt", weights_only=True)
    else:
        state = None
    if state:
        model.load_state_dict(state["model"])
        optimizers.load(state["optimizers"])
    corpus = load()
    seed = preset.seed * 1000 + (0 if parent is None else 1)
    rows = RowMaker(Source(corpus), EMBEDDED, vocabulary, preset.length, seed, stage.turns_share)
    held = RowMaker(Source(corpus, held_out=True), EMBEDDED, vocabulary, preset.length, 99, stage.turns_share)
    bar = tqdm(total=total * per_step, initial=step * per_step, unit="tok", unit_scale=True, desc=name, mininterval=5)
    saved = time.monotonic()
    history: list[dict[str, float]] = []

    def snapshot() -> dict[str, Any]:
        return {"model": model.state_dict(), "optimizers": optimizers.state(), "step": step}

    model.train()
    if step == total and (out / name / "about.json").exists():
        return
    while step < total:
        ids, weights = (torch.from_numpy(a) for a in rows.batch(step, preset.batch))
        with torch.autocast("cpu", torch.bfloat16):
            logits = forward(input_ids=ids[:, :-1]).logits
        loss = weighted_loss(logits.flatten(0, 1), ids[:, 1:].flatten(), weights[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(rate_at(step, preset, parent is None, stable, decay))
        step += 1
        if step == stable:
            _save(stable_file, snapshot())
        bar.update(per_step)
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")
        if step % 250 == 0 or step == total:
            figures = {"step": step, "tokens": step * per_step, **evaluate(model, held)}
            history.append(figures)
            tqdm.write(json.dumps({"stage": name, **figures}))
        if time.monotonic() - saved > SAVE_SECONDS or step == total:
            _save(state_file, snapshot())
            saved = time.monotonic()
    bar.close()
    about = {
        "name": f"embedded-{name}",
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": total * per_step,
        "preset": asdict(preset),
        "held_out": history[-1] if history else None,
    }
    export(model, out / name, about)
