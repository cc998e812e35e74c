"""The arrows between the rooms point one way, and what should start at once does."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RUNTIME = ROOT / "duplex_runtime"

# A module imports from its own layer and the layers above it in this list, never from below.
LAYERS = (
    ("errors", "slices", "clock", "events", "layout", "saying", "strain"),
    ("engine",),
    ("duplex", "baseline"),
    ("models", "loop", "recording", "speech"),  # models: a checkpoint, its layout, and the conversations it can hold
    ("alignment", "evaluation"),
)
PURE = ("errors", "slices", "clock", "events", "layout", "saying", "strain", "duplex", "baseline")
OUTSIDE = {"webapp", "fastapi", "starlette", "uvicorn", "gradio", "sqlalchemy", "sqlite3"}
HEAVY = {"torch", "transformers", "gradio", "faster_whisper", "TTS", "numpy", "pandas"}


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    """Absolute dotted name and line of every import in a file, those inside functions as well."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                yield ".".join([*base, alias.name]), node.lineno


def layer_of(name: str) -> int | None:
    return next((depth for depth, names in enumerate(LAYERS) if name in names), None)


def runtime_files() -> list[Path]:
    return sorted(RUNTIME.rglob("*.py"))


def modules_after(statement: str) -> set[str]:
    """Top-level modules loaded in a fresh interpreter after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_the_runtime_knows_no_web_and_no_database() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in runtime_files()
        for name, line in imports_of(path)
        if name.split(".")[0] in OUTSIDE
    ]
    assert not wrong, "\n".join(wrong)


def test_every_part_of_the_runtime_has_its_layer() -> None:
    parts = {path.stem for path in RUNTIME.glob("*.py")} - {"__init__", "__main__"}
    parts |= {path.parent.name for path in RUNTIME.glob("*/__init__.py")}
    unplaced = sorted(part for part in parts if layer_of(part) is None)
    assert not unplaced, f"say in LAYERS of {Path(__file__).name} where these stand: {unplaced}"


def test_arrows_between_layers_point_one_way() -> None:
    wrong = []
    for path in runtime_files():
        own = layer_of(path.relative_to(RUNTIME).parts[0].removesuffix(".py"))
        for name, line in imports_of(path):
            parts = name.split(".")
            if own is None or parts[0] != "duplex_runtime" or len(parts) < 2:
                continue
            other = layer_of(parts[1])
            if other is not None and other > own:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_import_only_the_standard_library(module: str) -> None:
    allowed = sys.stdlib_module_names | {"duplex_runtime"}
    wrong = [
        f"{module}.py:{line} imports {name}"
        for name, line in imports_of(RUNTIME / f"{module}.py")
        if name.split(".")[0] not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_pure_modules_load_nothing_heavy() -> None:
    loaded = modules_after("import " + ", ".join(f"duplex_runtime.{name}" for name in PURE))
    assert not loaded & HEAVY


@pytest.mark.parametrize("people", ["webapp.latency.speaker", "webapp.load.people"])
def test_simulated_people_take_no_memory_of_a_model(people: str) -> None:
    assert not modules_after(f"import {people}") & {"torch", "transformers", "gradio"}


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    loaded = modules_after("import webapp.cli")
    assert not loaded & {"torch", "transformers", "gradio"}
