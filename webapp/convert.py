"""`duplex convert`: the released MiniCPM-duplex as a folder that loads anywhere, and any model of ours as GGUF."""

from __future__ import annotations

from pathlib import Path

from duplex_runtime.errors import ModelError
from duplex_runtime.models.gguf import QUANTIZATIONS, write_gguf
from duplex_runtime.models.load import EMBEDDED_FOLDER


def run(source: str, out: Path, quantization: str | None) -> int:
    """Print what was written. Raises ModelError for what is not understood; nothing half-made stays behind."""
    from duplex_runtime.models.minicpm import convert, is_released, source_folder

    if quantization is not None and quantization not in QUANTIZATIONS:
        raise ModelError(f"--gguf: expected one of {', '.join(QUANTIZATIONS)}, got {quantization!r}")
    folder = EMBEDDED_FOLDER if source == "embedded" else source_folder(source)
    if is_released(folder):
        print(convert(folder, out))
        checkpoints = [out]
    else:
        inner = [folder / system for system in ("duplex", "turns")]
        checkpoints = [f for f in (folder, *inner) if (f / "config.json").is_file()]
        if not checkpoints:
            raise ModelError(f"{folder}: expected a model folder with config.json")
        if not quantization:
            raise ModelError(f"{folder}: it needs no conversion; with --gguf it is written for llama.cpp")
    if quantization:
        out.mkdir(parents=True, exist_ok=True)
        for checkpoint in checkpoints:
            print(write_gguf(checkpoint, out / f"{checkpoint.name}-{quantization}.gguf", quantization).path)
    return 0
