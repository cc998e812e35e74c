"""Writes what was trained: weights, config, tokenizer, and a model card."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from duplex_runtime.alignment.presets import Preset

if TYPE_CHECKING:
    from transformers import GraniteForCausalLM

    from duplex_runtime.models.load import LoadedModel


def export_embedded(model: GraniteForCausalLM, folder: Path, about: dict[str, Any]) -> None:
    """Write config.json, model.safetensors (bfloat16) and about.json."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    names = dict(model.named_parameters())  # the tied head is not written twice
    save_file({n: p.detach().to(torch.bfloat16).contiguous() for n, p in names.items()}, folder / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    config = model.config.to_dict() | {"dtype": "bfloat16", "use_cache": True, "architectures": ["GraniteForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def export_aligned(
    model: Any, loaded: LoadedModel, out: Path, preset: Preset, data: Path, figures: dict[str, Any]
) -> None:
    """Write a folder that `load_model` takes: weights (adapters also apart), tokenizer, card, how to talk to it."""
    from transformers import AutoTokenizer

    if preset.lora:
        model.save_pretrained(out / "adapter")
        model = model.merge_and_unload()
    model.config.use_cache = True
    model.to(torch.bfloat16).save_pretrained(out)
    AutoTokenizer.from_pretrained(loaded.folder or loaded.name).save_pretrained(out)
    build = data / "build.json"
    made: dict[str, Any] = json.loads(build.read_text(encoding="utf-8")) if build.is_file() else {}
    # rows of our own never answer words without an end mark in their own slice, and have the long silence
    duplex = {"aligned": True, "wait_for_end_mark": bool(made), "wakes": "nudge" in made.get("kinds", {})}
    (out / "conversation.json").write_text(json.dumps(duplex, indent=1) + "\n", encoding="utf-8")
    (out / "README.md").write_text(card(loaded.name, preset, data, made, figures), encoding="utf-8")


def card(base: str, preset: Preset, data: Path, made: dict[str, Any], figures: dict[str, Any]) -> str:
    """The model card: what it was made from, how, and how well it does on talks that were held out."""
    rows = sum(made.get("kinds", {}).values())
    shares = "\n".join(f"| {kind} | {100 * n / rows:.1f} % |" for kind, n in sorted(made.get("kinds", {}).items()))
    source = made.get("settings", {}).get("source", str(data.name))
    recipe = json.dumps({k: v for k, v in asdict(preset).items() if v is not None}, indent=1)
    numbers = "\n".join(f"| {name} | {value} |" for name, value in figures.items())
    return f"""---
base_model: {base}
tags: [duplex, time-division-multiplexing]
---
# {base}, aligned for duplex conversation

It listens while it speaks: the conversation is cut into time slices, and in each it says words or is silent
(arXiv 2406.15718). Made with Duplex Arena from `{base}` and dialogues of `{source}`; run it with
`duplex serve --model FOLDER`.

Licences: those of `{base}` and of `{source}` hold for this model as well; state them here before you publish it.

| kind of talk | share |
|---|---|
{shares or "| rows of others | 100 % |"}

| on talks that were held out | |
|---|---|
{numbers}

Recipe:

```json
{recipe}
```
"""
