"""The mean of two models."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from duplex_runtime.alignment.average import average
from duplex_runtime.errors import BadInput
from webapp.cli import main


def run(folder: Path, value: float, size: int = 2) -> Path:
    for system in ("duplex", "turns"):
        (folder / system).mkdir(parents=True)
        save_file({"w": torch.full((size,), value, dtype=torch.bfloat16)}, folder / system / "model.safetensors")
        (folder / system / "about.json").write_text(json.dumps({"name": "x", "tokens": value}))
    (folder / "duplex.pt").write_text("state")
    return folder


def test_the_mean_lies_between(tmp_path: Path) -> None:
    a, b, out = run(tmp_path / "a", 1.0), run(tmp_path / "b", 2.0), tmp_path / "out"
    assert main(["average", str(a), str(b), str(out)]) == 0
    for system in ("duplex", "turns"):
        weights = load_file(out / system / "model.safetensors")["w"]
        assert weights.dtype is torch.bfloat16
        assert weights.tolist() == [1.5, 1.5]
        about = json.loads((out / system / "about.json").read_text())
        assert [each["tokens"] for each in about["mean_of"]] == [1.0, 2.0]
    assert not (out / "duplex.pt").exists()


def test_what_cannot_be_averaged(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a", 1.0), run(tmp_path / "b", 2.0, size=3)
    with pytest.raises(BadInput, match=r"b: expected a duplex model of the same shape as that of .*a"):
        average([a, b], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(BadInput, match="expected a folder that is not there yet"):
        average([a, a], b)
    with pytest.raises(BadInput, match=r"none: expected duplex/model.safetensors"):
        average([a, tmp_path / "none"], tmp_path / "out")
    with pytest.raises(BadInput, match="two folders or more"):
        average([a], tmp_path / "out")
