from pathlib import Path

import pytest

from duplex_runtime.alignment.presets import PRESETS, Preset
from duplex_runtime.errors import BadInput

TINY = """
seed = 1
length = 256
batch = 2
learning_rate = 1e-2
weight_decay = 0.05
warmup_steps = 2
[model]
hidden = 32
intermediate = 64
layers = 1
heads = 2
[backbone]
stable_tokens = 1024
decay_tokens = 0
turns_share = 0.5
[turns]
stable_tokens = 0
decay_tokens = 1024
turns_share = 1.0
[duplex]
stable_tokens = 512
decay_tokens = 512
turns_share = 0.1
"""


@pytest.mark.parametrize("name", sorted(p.stem for p in PRESETS.glob("*.toml")))
def test_every_preset_of_the_package_reads(name: str) -> None:
    preset = Preset.read(name)
    learned = preset.backbone or preset.duplex
    assert learned.stable_tokens > max(learned.decay_tokens, preset.duplex.decay_tokens)
    if preset.model:
        assert preset.model.hidden % preset.model.heads == 0


def test_the_papers_recipe_is_the_papers() -> None:
    preset = Preset.read("minicpm-2b")
    step = 40 * preset.step_tokens
    assert (preset.length, preset.learning_rate, step // preset.length) == (4096, 1e-3, 800)
    assert (preset.duplex.stable_tokens + preset.duplex.decay_tokens) // step == 10_000


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 1", "seed = 1\nsed = 2", r"unknown keys \['sed'\]"),
        ("seed = 1", "", r"missing keys \['seed'\]"),
        ("heads = 2", "heads = 2\nhats = 3", r"\[model\].*unknown keys \['hats'\]"),
        ("[model]", "[modle]", r"unknown keys \['modle'\]"),
        ("seed = 1", "seed =", "not TOML"),
        ("[model]\n", "model = 3\n[other]\n", "model"),
        ("batch = 2", "batch = 0", "batch: expected a number from 1 on, got 0"),
        ("seed = 1", 'seed = 1\noptimizer = "sgd"', "expected muon or adamw, got 'sgd'"),
        ("seed = 1", 'seed = 1\nprecision = "fp8"', "expected bf16 or no, got 'fp8'"),
        (
            "[turns]\nstable_tokens = 0\ndecay_tokens = 1024\nturns_share = 1.0\n",
            "",
            r"expected \[model\], \[backbone\] and \[turns\] together",
        ),
    ],
)
def test_a_preset_that_is_not_as_expected_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY.replace(old, new, 1))
    with pytest.raises(BadInput, match=message):
        Preset.read(str(path))


def test_a_missing_preset_names_the_known_ones() -> None:
    with pytest.raises(BadInput, match=r"no preset 'huge': expected one of .*embedded.*lora.*minicpm-2b"):
        Preset.read("huge")
