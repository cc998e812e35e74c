"""Recipes for training: one TOML file each in `presets/`, or one of your own by path. Unknown keys are refused.

preset = Preset.read("embedded")
"""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from duplex_runtime.errors import BadInput

PRESETS = Path(__file__).parent / "presets"


@dataclass(frozen=True)
class Shape:
    """The size of a model that is made from nothing."""

    hidden: int
    intermediate: int
    layers: int
    heads: int


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters on all linear layers (arXiv 2106.09685): `rank`, and the scale `alpha` / `rank`."""

    rank: int
    alpha: int
    dropout: float = 0.0


@dataclass(frozen=True)
class Stage:
    """Tokens at the full rate, tokens while it decays, share of turn-based rows."""

    stable_tokens: int
    decay_tokens: int
    turns_share: float


@dataclass(frozen=True)
class Preset:
    """How a model is trained.

    length: tokens a row. batch: rows of one pass on one device; accumulate: passes a step. optimizer: `muon` (for
    the matrices, AdamW for the rest) or `adamw`. precision: `bf16` or `no`. checkpointing: compute activations again
    to save memory. heard_weight: of the person's words in the loss. A model from nothing has a `backbone`, which learns
    turns and slices together, and from it `turns` and `duplex`; any other begins `duplex` as it is.
    """

    seed: int
    length: int
    batch: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    duplex: Stage
    backbone: Stage | None = None
    turns: Stage | None = None
    model: Shape | None = None
    lora: Lora | None = None
    accumulate: int = 1
    optimizer: str = "muon"
    precision: str = "bf16"
    heard_weight: float = 0.0
    compile: bool = False
    checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.optimizer not in ("muon", "adamw"):
            raise BadInput(f"optimizer: expected muon or adamw, got {self.optimizer!r}")
        if self.precision not in ("bf16", "no"):
            raise BadInput(f"precision: expected bf16 or no, got {self.precision!r}")
        for name in ("length", "batch", "accumulate"):
            if not isinstance(value := getattr(self, name), int) or value < 1:
                raise BadInput(f"{name}: expected a number from 1 on, got {value!r}")

    @property
    def step_tokens(self) -> int:
        """Tokens of one step on one device."""
        return self.length * self.batch * self.accumulate

    @staticmethod
    def read(name: str) -> Preset:
        """A preset of the package by name, or a TOML file by path; raises BadInput."""
        path = Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in PRESETS.glob("*.toml")))
            raise BadInput(f"no preset {name!r}: expected one of {known}, or the path of a .toml file")
        try:
            values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadInput(f"{path}: not TOML ({error})") from None
        parts: dict[str, type] = {"model": Shape, "lora": Lora, "backbone": Stage, "turns": Stage, "duplex": Stage}
        for key, kind in parts.items():
            if key not in values:
                continue
            if not isinstance(values[key], dict):
                raise BadInput(f"{path}: expected a table [{key}], got {values[key]!r}")
            values[key] = _fill(kind, values[key], f"{path} [{key}]")
        preset: Preset = _fill(Preset, values, str(path))
        if len({part is None for part in (preset.model, preset.backbone, preset.turns)}) > 1:
            raise BadInput(
                f"{path}: expected [model], [backbone] and [turns] together: a model made from nothing learns to talk "
                "first"
            )
        return preset


def _fill(kind: type, values: dict[str, Any], where: str) -> Any:
    known = {f.name for f in fields(kind)}
    needed = {f.name for f in fields(kind) if f.default is MISSING}
    wrong, missing = sorted(set(values) - known), sorted(needed - set(values))
    if wrong or missing:
        raise BadInput(f"{where}: unknown keys {wrong}, missing keys {missing}; expected {sorted(known)}")
    return kind(**values)
