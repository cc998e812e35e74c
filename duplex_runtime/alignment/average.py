"""`duplex average A B OUT`: the mean of the weights of runs that began from one another.

Two runs of which one was started from the other lie in one valley: between them is often a model better than both
(model soups, arXiv 2203.05482).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from duplex_runtime.errors import BadInput
from duplex_runtime.events import SYSTEMS

_WEIGHTS, _ABOUT = "model.safetensors", "about.json"


def average(folders: Sequence[Path], out: Path) -> None:
    """Write to `out`, which must be new, both systems of the mean; everything else is copied from the last folder.

    Raises BadInput for folders that `duplex train` did not write, or of models of different shapes.
    """
    import torch
    from safetensors.torch import load_file, save_file

    if len(folders) < 2:
        raise BadInput(f"expected two folders or more, got {len(folders)}")
    if out.exists():
        raise BadInput(f"{out}: expected a folder that is not there yet; choose another or delete it")
    for folder in folders:
        for system in SYSTEMS:
            if not (folder / system / _WEIGHTS).is_file():
                raise BadInput(f"{folder}: expected {system}/{_WEIGHTS}, as `duplex train` writes it")
    means = {}
    for system in SYSTEMS:
        weights = [load_file(folder / system / _WEIGHTS) for folder in folders]
        shapes = [{name: tuple(tensor.shape) for name, tensor in each.items()} for each in weights]
        for folder, shape in zip(folders, shapes, strict=True):
            if shape != shapes[0]:
                raise BadInput(f"{folder}: expected a {system} model of the same shape as that of {folders[0]}")
        means[system] = {
            name: torch.stack([each[name].float() for each in weights]).mean(0).to(tensor.dtype).contiguous()
            for name, tensor in weights[-1].items()
        }
    shutil.copytree(folders[-1], out, ignore=shutil.ignore_patterns("*.pt", "log.jsonl"))
    for system, mean in means.items():
        save_file(mean, out / system / _WEIGHTS, metadata={"format": "pt"})
        abouts = [json.loads((folder / system / _ABOUT).read_text(encoding="utf-8")) for folder in folders]
        about = {key: value for key, value in abouts[-1].items() if key in ("name", "parameters")} | {"mean_of": abouts}
        (out / system / _ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
