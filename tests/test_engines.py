"""Which engine computes a model, and what is said where it cannot."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from duplex_runtime.engine.engine import SlotEngine
from duplex_runtime.engine.fused import FusedNetwork
from duplex_runtime.engine.plain import PlainNetwork
from duplex_runtime.engine.requests import Engine, Sampling, SliceRequest
from duplex_runtime.errors import BadInput, DuplexError, ModelError
from duplex_runtime.models import engines
from duplex_runtime.models.engines import gguf_of, torch_engine
from duplex_runtime.models.load import LoadedModel, load_model, load_systems


@pytest.fixture(scope="module")
def embedded() -> LoadedModel:
    return load_model("embedded")


def said(engine: Engine, model: LoadedModel) -> list[int]:
    """The greedy beginning of an answer."""
    ids = (model.layout.bos, *model.layout.user(model.vocabulary, "what is the capital of france?"))
    slot, tokens = engine.open(Sampling()), list[int]()
    engine.submit(slot, SliceRequest(0, ids, 10))
    while engine.busy:
        tokens += [o.token for o in engine.step() if o.token is not None]
    return tokens


def test_a_small_model_is_computed_by_hand_and_a_large_one_by_its_library(
    embedded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = torch_engine(embedded, 2)
    assert isinstance(small.network, FusedNetwork)
    monkeypatch.setattr(LoadedModel, "parameters", 10**9)
    large = torch_engine(embedded, 2)
    assert isinstance(large.network, PlainNetwork)
    assert said(small, embedded) == said(large, embedded) != []


def test_fewer_places_where_memory_is_short(embedded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    one = 2 * 6 * 320 * 1000 * 4  # keys and values, layers, numbers, tokens, bytes
    monkeypatch.setattr(engines, "_SHARE", 1.0)
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": int(5.5 * one)}))
    engine = torch_engine(embedded, 64)
    assert engine.network.slots == 5
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": one // 2}))
    with pytest.raises(ModelError, match="a conversation's cache takes"):
        torch_engine(embedded, 64)


def test_another_engine_is_refused_with_the_known_ones(embedded: LoadedModel) -> None:
    with pytest.raises(BadInput, match="expected torch, llamacpp, or addresses http"):
        replace(embedded, where="tensorflow").engine()


def test_a_server_that_is_not_there_is_named(embedded: LoadedModel) -> None:
    with pytest.raises(DuplexError, match=r"127\.0\.0\.1:9") as caught:
        replace(embedded, where="http://127.0.0.1:9").engine()
    assert caught.value.code == "server_unfit"


def test_servers_compute_the_duplex_checkpoint_and_the_other_stays_here() -> None:
    systems = load_systems("embedded", where="http://127.0.0.1:9")
    assert {system: model.where for system, model in systems.items()} == {
        "duplex": "http://127.0.0.1:9",
        "turns": "torch",
    }


def test_the_file_for_llama_cpp_is_made_once(
    embedded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gguf", reason='needs the extra: pip install -e ".[llamacpp]"')
    monkeypatch.setattr("duplex_runtime.models.minicpm.cache_folder", lambda: tmp_path / "cache")
    made = gguf_of(embedded)
    stamp = made.stat().st_mtime_ns
    assert made.parent == tmp_path / "cache"
    assert gguf_of(embedded) == made
    assert made.stat().st_mtime_ns == stamp


def test_a_file_in_the_models_folder_is_taken(embedded: LoadedModel, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").touch()
    assert gguf_of(replace(embedded, folder=tmp_path)) == tmp_path / "a.gguf"
    (tmp_path / "b.gguf").touch()
    with pytest.raises(ModelError, match=r"expected one GGUF file, found a.gguf, b.gguf"):
        gguf_of(replace(embedded, folder=tmp_path))


def test_a_large_model_is_not_converted_behind_your_back(
    embedded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoadedModel, "parameters", 10**9)
    with pytest.raises(ModelError, match="duplex convert embedded OUT --gguf"):
        gguf_of(replace(embedded, folder=tmp_path))
    with pytest.raises(ModelError, match="needs a folder"):
        gguf_of(replace(embedded, folder=None))


def test_llama_cpp_says_what_torch_says(embedded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llama_cpp", reason='needs the extra: pip install -e ".[llamacpp]"')
    monkeypatch.setattr("duplex_runtime.models.minicpm.cache_folder", lambda: tmp_path)
    torch.set_num_threads(1)
    engine = replace(embedded, where="llamacpp").engine(slots=2)
    try:
        assert isinstance(engine, SlotEngine)
        assert said(engine, embedded) == said(embedded.engine(slots=2), embedded)
    finally:
        engine.shutdown()
