"""Trains a model to listen while it speaks.

    duplex train --preset embedded --out runs/embedded                       the package's own model, from nothing
    duplex train --preset lora --model OWNER/NAME --data rows --out aligned  any chat model, on rows of `duplex data`
    accelerate launch -m webapp.cli train …                                  the same on several devices

Warm-up, a stable rate, a linear decay (WSD, as in arXiv 2404.06395). A model from nothing first learns turns and time
slices together; from this backbone decay `turns` (a chat model that waits for its turn) and `duplex`. A run that was
stopped goes on where its last save was. OUT/log.jsonl has the figures.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from duplex_runtime.alignment.corpus import load
from duplex_runtime.alignment.data import Batches, CorpusBatches, FileBatches
from duplex_runtime.alignment.dialogues import Source
from duplex_runtime.alignment.export import export_aligned, export_embedded
from duplex_runtime.alignment.fresh import make_model, take_weights
from duplex_runtime.alignment.presets import Preset, Stage
from duplex_runtime.alignment.rows import RowMaker
from duplex_runtime.errors import BadInput
from duplex_runtime.layout import EMBEDDED, Layout
from duplex_runtime.models.vocabulary import TokenizerFile

SAVE_SECONDS = 120.0
#: Steps between two evaluations, and batches of one.
EVALUATE_STEPS, EVALUATE_BATCHES = 250, 4


class Optimizers:
    """AdamW; with `muon` the matrices inside are Muon's (arXiv 2502.16982). One learning rate."""

    def __init__(self, model: nn.Module, preset: Preset) -> None:
        learned = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        inside = [p for n, p in learned if preset.optimizer == "muon" and p.ndim == 2 and "embed" not in n]
        known = {id(p) for p in inside}
        rest = [p for _, p in learned if id(p) not in known]
        lr, decay = preset.learning_rate, preset.weight_decay
        self._all: list[torch.optim.Optimizer] = []
        if inside:
            self._all.append(torch.optim.Muon(inside, lr=lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
        rest_decay = 0.0 if inside else decay
        self._all.append(torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=rest_decay))

    def step(self, rate: float) -> None:
        """One step at `rate`, then gradients are cleared."""
        for optimizer in self._all:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> list[dict[str, Any]]:
        return [optimizer.state_dict() for optimizer in self._all]

    def load(self, state: list[dict[str, Any]]) -> None:
        for optimizer, values in zip(self._all, state, strict=True):
            optimizer.load_state_dict(values)


def rate_at(step: int, preset: Preset, first: bool, stable: int, decay: int) -> float:
    """Learning rate of a step: linear warm-up (first stage only), flat, linear to a hundredth."""
    rate = preset.learning_rate
    if first:
        rate *= min(1.0, (step + 1) / preset.warmup_steps)
    if step >= stable:
        rate *= max(0.01, 1.0 - (step - stable) / max(1, decay))
    return rate


def summed_loss(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Cross entropy of [N, V] against [N], times weights [N], added up."""
    losses = functional.cross_entropy(logits.float(), targets, reduction="none")
    return (losses * weights).sum()


@torch.no_grad()
def evaluate(run: Run, held: Batches, rows: int) -> dict[str, float]:
    """Teacher-forced figures on held-out talks: loss, tokens right, silence and speech decided right."""
    layout = run.layout
    counts = torch.zeros(8, dtype=torch.float64)  # loss, weights, right, spoken, silent right, of, speaking right, of
    for step in range(EVALUATE_BATCHES):
        logits, target, weight, before = run.forward(held, step, rows)
        counts[0] += summed_loss(logits.flatten(0, 1), target.flatten(), weight.flatten()).item()
        counts[1] += weight.sum().item()
        guess = logits.argmax(-1)
        spoken = (weight > 0) & (target != layout.idle)
        counts[2] += int((guess == target)[spoken].sum())
        counts[3] += int(spoken.sum())
        deciding = (before == layout.model_marker[-1]) & (weight > 0.5)
        for place, silent in ((4, True), (6, False)):
            here = deciding & ((target == layout.idle) == silent)
            counts[place] += int(((guess == layout.idle) == silent)[here].sum())
            counts[place + 1] += int(here.sum())
    total = run.accelerator.reduce(counts.float().to(run.accelerator.device)).tolist()
    names = ("loss", "tokens_right", "silence_right", "speech_right")
    return {n: round(total[2 * i] / max(1.0, total[2 * i + 1]), 4) for i, n in enumerate(names)}


def _save(path: Path, state: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


@dataclass
class Run:
    """A model on its way: what computes it, its layout, and where it is written."""

    preset: Preset
    accelerator: Accelerator
    model: nn.Module
    layout: Layout
    out: Path
    compile: bool
    _forward: Callable[..., Any] = field(init=False)

    def __post_init__(self) -> None:
        self.model.train()
        if self.preset.checkpointing:
            self.model.gradient_checkpointing_enable()  # type: ignore[operator]
        prepared = self.accelerator.prepare_model(self.model) if self.accelerator.num_processes > 1 else self.model
        self._forward = torch.compile(prepared) if self.compile else prepared
        self.prepared = prepared
        self.model.to(self.accelerator.device)

    def forward(self, batches: Batches, step: int, rows: int) -> tuple[torch.Tensor, ...]:
        """(logits [B, T, V], targets [B, T], their weights, the ids before them) of a batch."""
        batch = batches.batch(step, rows)
        device = self.accelerator.device
        ids, weights = (torch.from_numpy(a).to(device) for a in batch[:2])
        where = {} if batch.positions is None else {"position_ids": torch.from_numpy(batch.positions).to(device)}
        with torch.autocast(device.type, torch.bfloat16, enabled=self.preset.precision == "bf16"):
            logits = self._forward(input_ids=ids[:, :-1], **where).logits
        return logits, ids[:, 1:], weights[:, 1:], ids[:, :-1]

    def step(self, batches: Batches, step: int, optimizers: Optimizers, rate: float) -> float:
        """One step of the optimizers; the loss, averaged with the weights over all devices."""
        many = self.preset.accumulate
        losses, total = torch.zeros((), device=self.accelerator.device), 0.0
        for part in range(many):
            logits, targets, weights, _ = self.forward(batches, step * many + part, self.preset.batch)
            loss = summed_loss(logits.flatten(0, 1), targets.flatten(), weights.flatten())
            mean = self.accelerator.reduce(weights.sum(), "mean").clamp(min=1.0)
            if part < many - 1:
                with self.accelerator.no_sync(self.prepared):
                    (loss / (mean * many)).backward()
            else:
                (loss / (mean * many)).backward()
            losses += loss.detach()
            total += mean.item()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        optimizers.step(rate)
        return float(self.accelerator.reduce(losses, "mean").item() / total)

    def stage(self, name: str, stage: Stage, batches: Batches, held: Batches, parent: str | None) -> dict[str, Any]:
        """Train one checkpoint, from where it was; returns the last figures. `parent`: the stage it begins from."""
        preset, world = self.preset, self.accelerator.num_processes
        per_step = preset.step_tokens * world
        stable, decay = stage.stable_tokens // per_step, stage.decay_tokens // per_step
        total, state_file = stable + decay, self.out / f"{name}.pt"
        optimizers = Optimizers(self.model, preset)
        step, figures = self._take_up(state_file, parent, optimizers, batches)
        bar = tqdm(total=total * per_step, initial=step * per_step, unit="tok", unit_scale=True, desc=name,
                   mininterval=5, disable=not self.accelerator.is_main_process)  # fmt: skip
        saved = time.monotonic()
        while step < total:
            loss = self.step(batches, step, optimizers, rate_at(step, preset, parent is None, stable, decay))
            step += 1
            bar.update(per_step)
            if step % 20 == 0:
                bar.set_postfix(loss=f"{loss:.3f}")
            if step % EVALUATE_STEPS == 0 or step == total:
                figures = {"step": step, "tokens": step * per_step, **evaluate(self, held, preset.batch)}
                self._log({"stage": name, "train_loss": round(loss, 4), **figures})
            ages = torch.tensor(time.monotonic() - saved, device=self.accelerator.device)
            due = self.accelerator.reduce(ages, "mean").item() > SAVE_SECONDS
            if step in (stable, total) or due:
                state = self._snapshot(optimizers, batches, step, figures)
                if self.accelerator.is_main_process:
                    _save(state_file, state)
                    if step == stable:
                        shutil.copyfile(state_file, self.out / f"{name}-stable.pt")
                self.accelerator.wait_for_everyone()
                saved = time.monotonic()
        bar.close()
        return figures

    def _take_up(
        self, state_file: Path, parent: str | None, optimizers: Optimizers, batches: Batches
    ) -> tuple[int, dict[str, Any]]:
        """(steps done, last figures) of an earlier run; the model is as it was then."""
        resumed = state_file.exists()
        file = state_file if resumed else self.out / f"{parent}-stable.pt"
        if not resumed and not parent:
            return 0, {}
        try:
            state = torch.load(file, weights_only=True, map_location="cpu")
        except Exception as error:  # a file from outside: every fault of it becomes one message
            raise BadInput(f"{file}: expected the state of a run ({type(error).__name__}: {error})") from None
        self.model.load_state_dict(state["model"], strict=not self.preset.lora)
        optimizers.load(state["optimizers"])
        if not resumed:
            return 0, {}
        batches.restore(state["data"][self.accelerator.process_index])
        return state["step"], state["figures"]

    def _snapshot(self, optimizers: Optimizers, batches: Batches, step: int, figures: dict[str, Any]) -> dict[str, Any]:
        learned = {n for n, p in self.model.named_parameters() if p.requires_grad}
        weights = {n: v for n, v in self.model.state_dict().items() if n in learned or not self.preset.lora}
        data = gather_object([batches.state])
        return {"model": weights, "optimizers": optimizers.state(), "data": data, "step": step, "figures": figures}

    def _log(self, line: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            tqdm.write(json.dumps(line))
            with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def train_embedded(
    preset: Preset, out: Path, tokenizer: Path, *, start: Path | None = None, compile_model: bool = True
) -> None:
    """Train the package's own kind of model into `out`/turns and `out`/duplex.

    start: a folder with a model of the same shape, from whose weights it begins.
    """
    if preset.model is None or preset.backbone is None or preset.turns is None:
        raise BadInput("expected a preset with [model] and [backbone], or --model and --data for a model to align")
    torch.manual_seed(preset.seed)
    vocabulary = TokenizerFile(tokenizer)
    accelerator = Accelerator()
    out.mkdir(parents=True, exist_ok=True)
    model = make_model(preset.model, len(vocabulary))
    if start:
        take_weights(model, start)
    run = Run(preset, accelerator, model, EMBEDDED, out, compile_model and preset.compile)
    if accelerator.is_main_process and tokenizer.resolve() != (out / "tokenizer.json").resolve():
        shutil.copyfile(tokenizer, out / "tokenizer.json")
    corpus, rank, world = load(), accelerator.process_index, accelerator.num_processes
    stages: tuple[tuple[str, Stage, str | None], ...] = (
        ("backbone", preset.backbone, None), ("turns", preset.turns, "backbone"), ("duplex", preset.duplex, "backbone")
    )  # fmt: skip
    for number, (name, stage, parent) in enumerate(stages):
        if (out / name / "about.json").exists() or (parent is None and (out / f"{name}-stable.pt").exists()):
            continue
        rows, held = (
            RowMaker(Source(corpus, held_out=h), EMBEDDED, vocabulary, preset.length, s, stage.turns_share, w)
            for h, s, w in ((False, preset.seed * 1000 + number, preset.heard_weight), (True, 99, 0.0))
        )
        batches = CorpusBatches(rows, rank, world)
        figures = run.stage(name, stage, batches, CorpusBatches(held, rank, world), parent)
        if accelerator.is_main_process and parent:
            about = {
                "name": f"embedded-{name}",
                "parameters": sum(p.numel() for p in model.parameters()),
                "tokens": preset.backbone.stable_tokens + preset.backbone.decay_tokens + figures.get("tokens", 0),
                "preset": asdict(preset),
                "start": start and start.as_posix(),
                "held_out": figures or None,
            }
            export_embedded(model, out / name, about)
        accelerator.wait_for_everyone()


def align(preset: Preset, name: str, data: Path, out: Path, turns: Path | None = None) -> None:
    """Teach a chat model (a folder or hub id) to listen while it speaks, with rows of `duplex data build`.

    turns: rows of `duplex data build --turns`, mixed in by `turns_share` so that what it knows stays.
    """
    from duplex_runtime.models.load import load_model

    if preset.duplex.turns_share and turns is None:
        raise BadInput("this preset mixes in turn-based talks: give --turns ROWS, made by `duplex data build --turns`")
    torch.manual_seed(preset.seed)
    loaded = load_model(name)
    accelerator = Accelerator()
    out.mkdir(parents=True, exist_ok=True)
    model: Any = loaded.network.float()
    model.config.use_cache = False
    if preset.lora:
        from peft import LoraConfig, get_peft_model

        lora = preset.lora
        model = get_peft_model(model, LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout,
                                                 target_modules="all-linear", task_type="CAUSAL_LM"))  # fmt: skip
    run = Run(preset, accelerator, model, loaded.layout, out, preset.compile)
    talks, held = (
        FileBatches(data, loaded.layout, loaded.vocabulary, preset.length, preset.seed, turns=turns,
                    turns_share=0.0 if h else preset.duplex.turns_share, held_out=h,
                    heard=0.0 if h else preset.heard_weight,
                    rank=accelerator.process_index, world=accelerator.num_processes)
        for h in (False, True)
    )  # fmt: skip
    figures = run.stage("duplex", preset.duplex, talks, held, None)
    if accelerator.is_main_process:
        export_aligned(run.model, loaded, out, preset, data, figures)
    accelerator.wait_for_everyone()
