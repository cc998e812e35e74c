"""The released checkpoint becomes a folder that anybody loads: by a stand-in of the same files."""

import errno
import json
import os
import pickle
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from duplex_runtime.clock import SimulatedClock
from duplex_runtime.duplex import DuplexConversation
from duplex_runtime.engine.requests import Sampling
from duplex_runtime.errors import ModelError
from duplex_runtime.events import Delta, Enter, Event, Slice, UserText
from duplex_runtime.layout import MINICPM_DUPLEX
from duplex_runtime.loop import Loop, run_script
from duplex_runtime.models import minicpm
from duplex_runtime.models.load import LoadedModel, load_model, load_systems
from duplex_runtime.slices import Slicing
from tests import minicpm_folder as standin
from tests.web_fakes import ROOM, Client, Served
from webapp.app import create_app
from webapp.cli import main
from webapp.settings import Settings

ROOT = Path(__file__).resolve().parents[1]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return standin.build(tmp_path_factory.mktemp("minicpm") / "MiniCPM-duplex")


@pytest.fixture(scope="module")
def converted(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return minicpm.convert(released, tmp_path_factory.mktemp("granite") / "out", progress=False)


@pytest.fixture
def copied(released: Path, tmp_path: Path) -> Path:
    """A stand-in of one's own, to be spoilt."""
    return Path(shutil.copytree(released, tmp_path / "release"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where converted checkpoints go, and where the hub's cache is."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    return tmp_path / "home" / "duplex-arena"


def network_of(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False).eval()


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(folder / "pytorch_model.bin", weights_only=True))


def change_json(path: Path, **values: Any) -> None:
    """Set keys of a JSON file; None in the place of a value takes the key away."""
    old = json.loads(path.read_text(encoding="utf-8")) | values
    path.write_text(json.dumps({k: v for k, v in old.items() if v is not DELETE}), encoding="utf-8")


DELETE = object()


# — the mathematics —


def published(state: dict[str, torch.Tensor], config: dict[str, Any], ids: list[int]) -> np.ndarray:
    """Logits [tokens, vocabulary] by the formulas of MiniCPM, in float64 and without any library's layers."""
    w = {name: tensor.double().numpy() for name, tensor in state.items()}
    heads, size = config["num_attention_heads"], config["hidden_size"] // config["num_attention_heads"]
    groups = heads // config["num_key_value_heads"]
    branch = config["scale_depth"] / config["num_hidden_layers"] ** 0.5
    n = len(ids)

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + config["rms_norm_eps"]) * w[f"{name}.weight"]

    angles = np.arange(n)[:, None] * 10000.0 ** (-np.arange(0, size, 2) / size)
    cos, sin = (np.concatenate([f(angles)] * 2, -1)[:, None] for f in (np.cos, np.sin))

    def turned(x: np.ndarray) -> np.ndarray:  # [tokens, heads, size]
        return x * cos + np.concatenate([-x[..., size // 2 :], x[..., : size // 2]], -1) * sin

    x = w["model.embed_tokens.weight"][ids] * config["scale_emb"]
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        h = norm(x, f"{at}input_layernorm")
        q, k, v = ((h @ w[f"{at}self_attn.{p}_proj.weight"].T).reshape(n, -1, size) for p in "qkv")
        q, k, v = turned(q), np.repeat(turned(k), groups, 1), np.repeat(v, groups, 1)
        scores = np.einsum("qhd,khd->hqk", q, k) / size**0.5
        scores[:, np.triu(np.ones((n, n), bool), 1)] = -np.inf
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hqk,khd->qhd", scores / scores.sum(-1, keepdims=True), v).reshape(n, -1)
        x = x + mixed @ w[f"{at}self_attn.o_proj.weight"].T * branch
        h = norm(x, f"{at}post_attention_layernorm")
        gate, up = (h @ w[f"{at}mlp.{p}_proj.weight"].T for p in ("gate", "up"))
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[f"{at}mlp.down_proj.weight"].T * branch
    x = norm(x, "model.norm") / (config["hidden_size"] / config["dim_model_base"])
    return x @ w["model.embed_tokens.weight"].T


@pytest.mark.parametrize("changes", [{}, {"num_key_value_heads": 2, "scale_emb": 7.5, "scale_depth": 1.1}])
def test_logits_are_those_of_the_published_formulas(changes: dict[str, Any], tmp_path: Path) -> None:
    source = standin.build(tmp_path / "in", seed=5, **changes)
    network = network_of(minicpm.convert(source, tmp_path / "out", progress=False))
    config = json.loads((source / "config.json").read_text())
    ids = [1, *np.random.default_rng(0).integers(3, config["vocab_size"], 40).tolist()]
    with torch.inference_mode():
        logits = network(input_ids=torch.tensor([ids])).logits[0].numpy()
    expected = published(state_of(source), config, ids)
    assert np.abs(expected).max() > 0.5  # else anything near zero would do
    assert np.abs(logits - expected).max() < 1e-5


def test_weights_are_those_of_the_pickle_to_the_bit(released: Path, converted: Path) -> None:
    from safetensors.torch import load_file

    ours, theirs = load_file(converted / "model.safetensors"), state_of(released)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) and ours[name].dtype == torch.bfloat16 for name in ours)


@pytest.mark.parametrize(("shards", "most"), [(3, 60_000), (1, 60_000), (3, 2_000_000_000)])
def test_weights_in_several_files_are_the_same(shards: int, most: int, converted: Path, tmp_path: Path) -> None:
    source = standin.build(tmp_path / "in", shards=shards)
    out = minicpm.convert(source, tmp_path / "out", progress=False, shard_bytes=most)
    files = list(out.glob("*.safetensors"))
    assert (len(files) > 1) == (most == 60_000)
    minicpm.verify(out)
    ids = torch.tensor([[1, 40, 400, 300]])
    with torch.inference_mode():
        assert torch.equal(network_of(out)(ids).logits, network_of(converted)(ids).logits)


# — the tokenizer —


def test_the_tokenizer_loads_without_remote_code_and_has_the_released_ids(converted: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted, trust_remote_code=False)
    count = len(standin.pieces())
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)
    assert tokenizer.encode("<idle>", add_special_tokens=False) == [count]
    assert "<idle>" not in tokenizer.all_special_tokens
    assert len(tokenizer.encode("<用户>", add_special_tokens=False)) == 3
    text = "Can you tell me  about\n 喝茶 😀?"
    assert tokenizer.encode(text)[0] == 1
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text


def test_the_released_ids_are_demanded_of_a_vocabulary_of_the_released_size(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary = json.loads((copied / "config.json").read_text())["vocab_size"]
    monkeypatch.setattr(minicpm, "RELEASED_VOCABULARY", vocabulary)
    with pytest.raises(ModelError, match="other ids than in the release"):
        minicpm.convert(copied, tmp_path / "out")


def test_a_layout_is_found_in_the_tokens() -> None:
    class Released:
        def encode(self, text: str) -> list[int]:
            return {"<idle>": [122753], "<用户>": [95396, 4194, 95388], "<AI>": [95396, 10850, 95388]}[text]

        def decode(self, ids: Any) -> str:
            raise AssertionError("a layout is found by encoding alone")

    assert minicpm.layout_of(Released(), 1, 2) == MINICPM_DUPLEX


def test_the_folder_names_its_licences(converted: Path) -> None:
    card = (converted / "README.md").read_text(encoding="utf-8")
    assert "Apache-2.0" in card and "General Model License" in card


# — what is refused —


def weights_changed(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        state = state_of(folder)
        change(state)
        torch.save(state, folder / "pytorch_model.bin")

    return spoil


def cut_off(folder: Path) -> None:
    path = folder / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:-2000])


def one_bit(folder: Path) -> None:
    path = folder / "pytorch_model.bin"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def with_code(folder: Path) -> None:
    class Bad:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(folder / "it-ran"),))

    torch.save({"model.norm.weight": Bad()}, folder / "pytorch_model.bin")


def old_pickle_with_code(folder: Path) -> None:
    class Bad:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(folder / "it-ran"),))

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bad(), protocol=2))


def files(name: str, data: bytes | None) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).unlink() if data is None else (folder / name).write_bytes(data)

    return spoil


def config(**values: Any) -> Callable[[Path], None]:
    return lambda folder: change_json(folder / "config.json", **values)


def added(**values: Any) -> Callable[[Path], None]:
    return lambda folder: change_json(folder / "added_tokens.json", **values)


def nan(state: dict[str, torch.Tensor]) -> None:
    state["model.layers.1.mlp.up_proj.weight"][3, 4] = float("nan")


NORM = "model.norm.weight"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
SPOILT: dict[str, tuple[Callable[[Path], None], str]] = {
    "weights cut off": (cut_off, "cut off"),
    "one bit of the weights": (one_bit, "damaged"),
    "code in the pickle": (with_code, "refused"),
    "code in an old pickle": (old_pickle_with_code, "refused"),
    "weights that are text": (files("pytorch_model.bin", b"hello"), "pytorch_model.bin"),
    "empty weights": (files("pytorch_model.bin", b""), "pytorch_model.bin"),
    "a pointer of Git LFS": (files("pytorch_model.bin", POINTER), "git lfs pull"),
    "no weights": (files("pytorch_model.bin", None), "expected pytorch_model.bin"),
    "a list": (lambda f: torch.save([torch.ones(2)], f / "pytorch_model.bin"), "dictionary of tensors"),
    "a tensor missing": (weights_changed(lambda s: s.pop(NORM)), "model.norm.weight missing"),
    "a tensor too many": (weights_changed(lambda s: s.update(extra=torch.ones(2))), "extra unknown"),
    "a bias": (
        weights_changed(lambda s: s.update({"model.layers.0.self_attn.q_proj.bias": torch.ones(48)})), "q_proj.bias"),
    "another shape": (weights_changed(lambda s: s.update({NORM: torch.ones(47).bfloat16()})), r"\[48\], got .*\[47\]"),
    "another type": (weights_changed(lambda s: s.update({NORM: torch.ones(48)})), "bfloat16.*float32"),
    "not a number": (weights_changed(nan), "up_proj.*finite"),
    "an untied head": (
        weights_changed(lambda s: s.update({"lm_head.weight": s["model.embed_tokens.weight"] + 1})), "tied"),
    "no config": (files("config.json", None), "config.json"),
    "config of text": (files("config.json", b"hello"), "JSON object"),
    "config of a list": (files("config.json", b"[]"), "JSON object"),
    "another architecture": (config(architectures=["LlamaForCausalLM"], model_type="llama"), "llama"),
    "rope scaling": (config(rope_scaling={"type": "linear", "factor": 2}), "rope_scaling"),
    "biases": (config(attention_bias=True), "attention_bias"),
    "untied": (config(tie_word_embeddings=False), "tie_word_embeddings"),
    "another activation": (config(hidden_act="gelu"), "hidden_act"),
    "experts": (config(num_experts=8), "num_experts"),
    "no scale": (config(scale_emb=DELETE), "scale_emb"),
    "a scale of words": (config(scale_depth="1.4"), "scale_depth"),
    "no layers": (config(num_hidden_layers=0), "num_hidden_layers"),
    "more layers": (config(num_hidden_layers=4), "model.layers.3.* missing"),
    "heads that do not divide": (config(num_attention_heads=5), "multiple"),
    "another number type": (config(torch_dtype="int8"), "torch_dtype"),
    "another vocabulary": (config(vocab_size=500), "do not belong together"),
    "another end": (config(eos_token_id=7), "eos_token_id"),
    "no tokenizer": (files("tokenizer.model", None), "tokenizer.model"),
    "a tokenizer of text": (files("tokenizer.model", b"hello world"), "sentencepiece"),
    "no idle": (added(**{"<idle>": DELETE}), "has no <idle>"),
    "gaps between added tokens": (added(**{"<s5>": 999_999}), "without gaps"),
    "added tokens of words": (added(**{"<s5>": "x"}), "without gaps"),
    "no added tokens": (files("added_tokens.json", None), "has no <idle>"),
}  # fmt: skip


@pytest.mark.parametrize("case", SPOILT)
def test_what_is_not_as_released_is_refused_and_leaves_nothing(case: str, copied: Path, tmp_path: Path) -> None:
    spoil, says = SPOILT[case]
    spoil(copied)
    with pytest.raises(ModelError, match=f"(?s){says}"):
        minicpm.convert(copied, tmp_path / "place" / "out", progress=False)
    assert not (copied / "it-ran").exists()
    place = tmp_path / "place"
    assert not place.exists() or not list(place.iterdir())


def test_the_trap_is_a_trap(tmp_path: Path) -> None:
    """Loaded the careless way, the pickle of the test above does run its code."""
    with_code(tmp_path)
    torch.load(tmp_path / "pytorch_model.bin", weights_only=False)
    assert (tmp_path / "it-ran").is_dir()


def test_a_tied_head_in_the_file_is_taken(copied: Path, tmp_path: Path) -> None:
    weights_changed(lambda s: s.update({"lm_head.weight": s["model.embed_tokens.weight"].clone()}))(copied)
    minicpm.convert(copied, tmp_path / "out", progress=False)


def test_the_oldest_file_format_of_torch_is_read(copied: Path, converted: Path, tmp_path: Path) -> None:
    state = state_of(copied)
    torch.save(state, copied / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    out = minicpm.convert(copied, tmp_path / "out", progress=False)
    assert (out / "model.safetensors").read_bytes() == (converted / "model.safetensors").read_bytes()


@pytest.mark.parametrize("names", [{}, {"model.norm.weight": "../x.bin"}, {"model.norm.weight": "not-there.bin"}, []])
def test_an_index_that_leads_astray_is_refused(names: Any, tmp_path: Path) -> None:
    source = standin.build(tmp_path / "in", shards=2)
    change_json(source / "pytorch_model.bin.index.json", weight_map=names)
    with pytest.raises(ModelError, match=r"weight_map|beside it|not-there"):
        minicpm.convert(source, tmp_path / "out", progress=False)


def test_a_tensor_in_the_wrong_file_is_refused(tmp_path: Path) -> None:
    source = standin.build(tmp_path / "in", shards=2)
    index = source / "pytorch_model.bin.index.json"
    places = json.loads(index.read_text())["weight_map"]
    other = next(file for file in places.values() if file != places[NORM])
    change_json(index, weight_map=places | {NORM: other})
    with pytest.raises(ModelError, match="does not place there"):
        minicpm.convert(source, tmp_path / "out", progress=False)


# — where it is written —


def test_a_folder_with_something_in_it_is_left_alone(released: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ModelError, match="new or an empty folder"):
        minicpm.convert(released, tmp_path)
    with pytest.raises(ModelError, match="new or an empty folder"):
        minicpm.convert(released, tmp_path / "mine.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(released: Path, tmp_path: Path) -> None:
    assert minicpm.convert(released, tmp_path, progress=False) == tmp_path
    minicpm.verify(tmp_path)


def test_too_small_a_disk_is_told_before_anything_is_written(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10**7))
    with pytest.raises(ModelError, match=r"the disk has 0\.0 GB left"):
        minicpm.convert(released, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_leaves_nothing(released: Path, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))  # a real error of the system while writing
    try:
        with pytest.raises(ModelError, match=rf"{os.strerror(errno.EFBIG)}\); nothing was kept"):
            minicpm.convert(released, tmp_path / "out", progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


PEAK = """
import sys
from pathlib import Path
import torch, transformers, tokenizers, safetensors, tqdm
from duplex_runtime.models import minicpm
torch.set_num_threads(1)
def status(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(l for l in lines if l.startswith(what)).split()[1]) * 1024
def anonymous():
    return status("RssAnon")
before, rss = anonymous(), status("VmRSS")
peak = [0]
write = minicpm._write
def watched(path, names, state, dtype, progress):
    return write(path, names, state, dtype, lambda n: peak.__setitem__(0, max(peak[0], anonymous())))
minicpm._write = watched
minicpm.convert(Path(sys.argv[1]), Path(sys.argv[2]), progress=False)
print(peak[0] - before, status("VmHWM") - rss)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is read from /proc")
def test_memory_stays_below_the_size_of_the_model(tmp_path: Path) -> None:
    source = standin.build(tmp_path / "in", hidden_size=768, intermediate_size=2048, num_hidden_layers=8)
    size = (source / "pytorch_model.bin").stat().st_size
    assert size > 90e6
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(source), str(tmp_path / "out")],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    own, with_mapped = map(int, done.stdout.split())
    assert 0 < own < 0.5 * size  # what it holds itself: a few megabytes at a time
    assert 0.5 * size < with_mapped < 1.2 * size + 30e6  # with the pages of the file, which the system may take back


# — verify —


def damage(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"\x00\x01\x02")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (damage, "model.safetensors is not what was written"),
        (files("model.safetensors", None), "model.safetensors is missing"),
        (files("tokenizer.json", b"{}"), "tokenizer.json is not what was written"),
        (files("more.safetensors", b"x"), "more.safetensors is not among"),
        (files("duplex.json", b"{}"), "SHA-256"),
    ],
)
def test_damage_is_found_when_it_is_loaded(
    spoil: Callable[[Path], None], says: str, converted: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(converted, tmp_path / "copy"))
    minicpm.verify(folder)
    spoil(folder)
    with pytest.raises(ModelError, match=says):
        minicpm.verify(folder)
    if "missing" not in says:
        with pytest.raises(ModelError, match=says):
            load_model(str(folder))


# — loading, and the cache —


def check_it_is_minicpm(model: LoadedModel) -> None:
    count = len(standin.pieces())
    assert model.aligned
    assert not model.wait_for_end_mark
    assert (model.layout.bos, model.layout.eos, model.layout.idle) == (1, 2, count)
    assert len(model.layout.user_marker) == len(model.layout.model_marker) == 3
    assert model.layout.user_marker[0] == model.layout.model_marker[0]


def test_a_released_folder_is_converted_once_and_loaded(copied: Path, home: Path) -> None:
    check_it_is_minicpm(load_model(str(copied)))
    made = [p for p in home.iterdir() if p.is_dir()]
    assert len(made) == 1 and re.fullmatch(r"release-[0-9a-f]{12}", made[0].name)
    (made[0] / "mark").write_text("not made again")
    load_model(str(copied))
    assert (made[0] / "mark").exists()
    weights_changed(lambda s: s[NORM].mul_(2))(copied)  # another checkpoint under the same name
    load_model(str(copied))
    assert len([p for p in home.iterdir() if p.is_dir()]) == 2


def test_a_hub_id_is_converted_from_the_cache_of_the_hub(released: Path, home: Path) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    there = home.parent / "hub" / "models--someone--MiniCPM-duplex"
    shutil.copytree(released, there / "snapshots" / revision)
    (there / "refs").mkdir()
    (there / "refs" / "main").write_text(revision)
    model = load_model("someone/MiniCPM-duplex")
    check_it_is_minicpm(model)
    assert model.name == "someone/MiniCPM-duplex"
    assert (home / "someone--MiniCPM-duplex-0123456789ab" / "duplex.json").is_file()


def test_what_a_killed_conversion_left_is_taken_away(copied: Path, home: Path) -> None:
    key = minicpm.prepared(str(copied), progress=False)
    assert key
    shutil.rmtree(key)
    (home / f".{key.name}.abc.making").mkdir()
    (home / ".another.abc.making").mkdir()
    assert minicpm.prepared(str(copied), progress=False) == key
    assert not (home / f".{key.name}.abc.making").exists()
    assert (home / ".another.abc.making").exists()


def test_a_conversion_that_is_interrupted_is_begun_anew(
    copied: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(minicpm, "_dump", interrupted)
        minicpm.prepared(str(copied), progress=False)
    assert not [p for p in home.iterdir() if p.is_dir()]
    assert minicpm.prepared(str(copied), progress=False)


def test_a_converted_folder_is_known_by_its_tokens(converted: Path) -> None:
    check_it_is_minicpm(load_model(str(converted)))


def test_a_folder_that_is_no_minicpm_is_not_touched(tmp_path: Path, home: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert minicpm.prepared(str(tmp_path)) is None
    assert not home.exists()


def test_an_unknown_hub_id_is_told_in_words(home: Path) -> None:
    with pytest.raises(ModelError, match="nobody/nothing"):
        load_model("nobody/nothing")


def test_markers_that_people_type_are_words(converted: Path) -> None:
    model = load_model(str(converted))
    ids = model.layout.user(model.vocabulary, "<AI> <idle></s><用户>")
    inner = ids[3:-3]
    assert not {model.layout.idle, model.layout.eos} & set(inner)
    for marker in (model.layout.user_marker, model.layout.model_marker):
        assert all(tuple(inner[i : i + 3]) != marker for i in range(len(inner)))
    assert "AI" in model.vocabulary.decode(inner)


def test_both_systems_share_the_weights_and_nothing_else(converted: Path) -> None:
    both = load_systems(str(converted))
    duplex, turns = both["duplex"].network, both["turns"].network
    assert duplex.config is not turns.config  # an engine writes into it while it runs
    for (name, one), (_, other) in zip(duplex.named_parameters(), turns.named_parameters(), strict=True):
        assert one.data_ptr() == other.data_ptr(), name


class Seen:
    """An observer that keeps every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def heard(self, event: Any, at: float) -> None: ...

    def asked(self, now: float, request: Any) -> None: ...

    def answered(self, output: Any, at: float) -> None: ...

    def happened(self, events: Any) -> None:
        self.events += events


def talk(model: LoadedModel, system: str, threshold: float) -> list[Event]:
    clock, seen = SimulatedClock(), Seen()
    loop = Loop(model.engine(slots=1))
    sampling = Sampling(temperature=0.8, top_p=0.8, seed=1, idle_threshold=threshold, sure_threshold=threshold)
    session = loop.add(model.conversation(system, Slicing.parse(2)), clock, sampling, [seen])
    script = [(0.0, UserText("Can you tell ")), (2.5, UserText("me about 火山? ")), (3.0, Enter())]
    run_script(loop, session, script, clock, patience=6.0)
    return seen.events


@pytest.mark.parametrize(("threshold", "speaks"), [(0.9, True), (0.0, False)])
def test_it_listens_and_speaks_through_the_loop(converted: Path, threshold: float, speaks: bool) -> None:
    model = load_model(str(converted))
    assert isinstance(model.conversation("duplex", Slicing()), DuplexConversation)
    events = talk(model, "duplex", threshold)
    slices = [e for e in events if isinstance(e, Slice)]
    assert "Can you tell" in [s.user for s in slices]
    assert all(s.p_idle is not None for s in slices if s.user)
    first = next(s for s in slices if s.user)
    assert first.idle != speaks
    assert any(isinstance(e, Delta) and e.delta for e in events) == speaks or threshold == 0.0


def test_the_one_that_waits_uses_the_same_checkpoint(converted: Path) -> None:
    events = talk(load_systems(str(converted))["turns"], "turns", 0.5)
    assert "".join(e.delta for e in events if isinstance(e, Delta)).strip()
    assert next(e for e in events if isinstance(e, Slice)).user == "Can you tell me about 火山?"


# — the command —


def test_the_command_converts_and_says_where(
    released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(released), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out")
    minicpm.verify(tmp_path / "out")


@pytest.mark.parametrize("source", ["not-there", "/not/there/at/all", "no body/x/y"])
def test_the_command_says_what_it_wants(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", source, str(tmp_path / "out")]) == 2
    assert "folder of the released checkpoint" in capsys.readouterr().err


def test_the_command_refuses_what_is_no_release(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(ROOT / "duplex_runtime/models/embedded/duplex"), str(tmp_path / "out")]) == 2
    assert "it needs no conversion" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_server_talks_with_it_on_both_sides(converted: Path, tmp_path: Path) -> None:
    with Served(create_app(Settings(model=str(converted), data=tmp_path / "data", slots=2, crowd=ROOM))) as served:
        models = served.arena.models
        assert models["duplex"].network is not models["turns"].network
        with Client(served.ws) as client:
            session = client.begin(0.5)
            assert session["aligned"] is True
            assert session["model"] == str(converted)
            client.type("Can you tell me about volcanoes? ")
            client.enter()
            assert client.until("duplex.slice", system="duplex")["p_idle"] is not None
            client.until("response.output_text.delta", system="turns")
            served.stop()
            client.until_closed()  # reads what is left: a model of random weights does not end by itself
