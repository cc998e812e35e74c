"""`duplex convert`, from the command line."""

import json
from pathlib import Path

import pytest

from tests.minicpm_folder import build
from webapp.cli import main


def test_the_embedded_model_becomes_two_files_for_llama_cpp(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "embedded", str(tmp_path / "out"), "--gguf", "q8_0"]) == 0
    files = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert files == ["duplex-q8_0.gguf", "turns-q8_0.gguf"]
    assert (tmp_path / "out" / "duplex-q8_0.gguf").read_bytes()[:4] == b"GGUF"
    assert str(tmp_path / "out" / "turns-q8_0.gguf") in capsys.readouterr().out


def test_a_released_folder_becomes_a_granite_one_with_a_file_for_llama_cpp(tmp_path: Path) -> None:
    source = build(tmp_path / "released")
    assert main(["convert", str(source), str(tmp_path / "out"), "--gguf", "f16"]) == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))["model_type"] == "granite"
    assert (tmp_path / "out" / "out-f16.gguf").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["embedded", "OUT"], "needs no conversion; with --gguf"),
        (["embedded", "OUT", "--gguf", "q1"], "--gguf: expected one of f32"),
        (["EMPTY", "OUT", "--gguf", "f32"], "expected a model folder with config.json"),
        (["nowhere", "OUT"], "expected a folder of the released checkpoint, or a hub id"),
    ],
)
def test_what_cannot_be_converted_is_told(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"OUT": str(tmp_path / "out"), "EMPTY": str(tmp_path / "empty")}
    assert main(["convert", *(places.get(a, a) for a in arguments)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
