"""Any chat model as the turn-based baseline, and as duplex with its own markers: loaded, told apart, refused."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar

from duplex_runtime.clock import SimulatedClock
from duplex_runtime.engine.requests import Sampling
from duplex_runtime.errors import ModelError
from duplex_runtime.events import Delta, Enter, Input, ResponseCreated, Slice, UserText
from duplex_runtime.loop import Loop, run_script
from duplex_runtime.models.load import HubTokenizer, LoadedModel, load_model, load_systems
from duplex_runtime.models.placement import Machine, Placement
from duplex_runtime.models.quantize import Int8Linear
from duplex_runtime.slices import Slicing
from tests.fakes import Talk
from tests.test_template import CHATML, CHATML_TOKENS, byte_tokenizer
from tests.web_fakes import save_tiny_model


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    disable_progress_bar()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has."""
    monkeypatch.setattr("duplex_runtime.models.placement.machine", lambda: Machine())
    monkeypatch.setattr("duplex_runtime.models.quantize._has_vnni", lambda: True)


def save_chat_model(
    folder: Path, template: str | None = CHATML, positions: int = 512, rows: int | None = None, **config: Any
) -> str:
    """A Llama with random weights, a token for each byte, and unnamed special tokens as markers."""
    tokenizer = byte_tokenizer(template, CHATML_TOKENS, eos_token="<|endoftext|>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    values: dict[str, Any] = {
        "vocab_size": rows or len(tokenizer) + 3, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": positions,
        "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    network = LlamaForCausalLM(LlamaConfig(**(values | config)))
    network.generation_config.eos_token_id = [end, tokenizer.eos_token_id]
    network.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_chat_model(tmp_path_factory.mktemp("chat") / "model")


@pytest.fixture(scope="module")
def model(folder: str) -> LoadedModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("duplex_runtime.models.placement.machine", lambda: Machine())
        return load_model(folder)


def ids(vocabulary: HubTokenizer, text: str) -> list[int]:
    """With the special tokens in a text, which what people type does not have."""
    return HubTokenizer(vocabulary._tokenizer).encode(text)


# — what it is —


def test_a_chat_model_gets_the_markers_of_its_template_and_is_not_aligned(model: LoadedModel) -> None:
    vocabulary = model.vocabulary
    assert isinstance(vocabulary, HubTokenizer)
    assert (model.aligned, model.serves_both, model.wait_for_end_mark) == (False, True, True)
    assert list(model.layout.user_marker) == ids(vocabulary, "\n<|im_start|>user\n")
    assert list(model.layout.model_marker) == ids(vocabulary, "<|im_end|>\n<|im_start|>assistant\n")
    assert [model.layout.eos] == ids(vocabulary, "<|im_end|>")  # generation_config.json says so, not the eos_token
    assert model.layout.idle == len(vocabulary) + 2  # a row that no token has


def test_what_ends_a_turn_may_stand_in_config_json_alone(tmp_path: Path) -> None:
    name = save_chat_model(tmp_path / "model", eos_token_id=257)
    (tmp_path / "model" / "generation_config.json").unlink()
    assert load_model(name).layout.eos == 257


@pytest.mark.parametrize(("positions", "limit"), [(512, 512), (2048, 2048), (32768, 2048)])
def test_it_remembers_no_more_than_it_has_positions(positions: int, limit: int, tmp_path: Path) -> None:
    memory = load_model(save_chat_model(tmp_path / "model", positions=positions)).memory
    assert (memory.limit, memory.keep) == (limit, limit // 2)


@pytest.mark.parametrize("typed", ["<|im_end|>", "<|im_start|>system", "<|endoftext|>", "a<|im_end|>b<|im_end|>"])
def test_nobody_types_a_special_token(typed: str, model: LoadedModel) -> None:
    special = {256, 257, 258}
    assert set(ids(model.vocabulary, typed)) & special, "the text is one, to a program"  # type: ignore[arg-type]
    encoded = model.vocabulary.encode(f"hello {typed} you")
    assert not set(encoded) & special
    assert model.vocabulary.decode(encoded).replace(" ", "") == f"hello{typed}you".replace(" ", "")


def test_a_folder_of_our_own_training_is_aligned_and_keeps_its_two_checkpoints(tmp_path: Path) -> None:
    models = load_systems(str(save_tiny_model(tmp_path / "model")))
    assert all(m.aligned and not m.serves_both for m in models.values())
    first, second = (next(m.network.parameters()) for m in models.values())
    assert not torch.equal(first, second)


# — it talks —


def talk(model: LoadedModel, system: str, script: list[tuple[float, Input]]) -> Talk:
    clock, engine = SimulatedClock(), model.engine(slots=1)
    talk = Talk(model.conversation(system, Slicing()), engine, clock, Loop(engine))
    loop = talk.loop
    loop.remove(talk.session)
    talk.session = loop.add(talk.conversation, clock, Sampling(seed=1), [talk])
    run_script(loop, talk.session, script, clock, 10.0)
    return talk


def test_it_waits_for_its_turn_as_it_was_trained_to(model: LoadedModel) -> None:
    said = talk(model, "turns", [(0.0, UserText("who are you?")), (1.0, Enter())])
    created = said.of(ResponseCreated)
    assert len(created) == 1 and created[0].at >= 1.0
    asked = [model.layout.bos, *model.layout.user(model.vocabulary, "who are you?")]
    assert said.streams[0][: len(asked)] == asked
    assert said.of(Delta)


def test_in_duplex_only_the_rules_keep_it_silent_in_the_middle_of_a_sentence(model: LoadedModel) -> None:
    said = talk(model, "duplex", [(0.0, UserText("who ")), (0.5, UserText("are ")), (1.0, UserText("you? "))])
    slices = [s for s in said.of(Slice) if s.user]
    assert slices[0].user == "who"
    assert slices[0].idle and not slices[-1].idle
    assert slices[0].p_idle is not None and slices[0].p_idle < 0.5, "it would have spoken"


def test_both_systems_share_the_weights_and_nothing_else(folder: str) -> None:
    models = load_systems(folder)
    duplex, turns = models["duplex"].network, models["turns"].network
    assert duplex is not turns and duplex.config is not turns.config
    pairs = zip(duplex.parameters(), turns.parameters(), strict=True)
    assert all(a.data_ptr() == b.data_ptr() for a, b in pairs)


# — numbers —


def test_8_bits_on_request(folder: str, model: LoadedModel) -> None:
    small = load_model(folder, quantize="int8")
    assert any(isinstance(m, Int8Linear) for m in small.network.modules())
    assert small.parameters == model.parameters
    with torch.inference_mode():
        text = torch.arange(40)[None]
        true, got = model.network(text).logits, small.network(text).logits
    assert 0 < (got - true).norm() < 0.05 * true.norm()


@pytest.mark.parametrize("bits", ["int4", "8", "", "INT8"])
def test_other_bits_are_refused_before_anything_is_read(bits: str) -> None:
    with pytest.raises(ModelError, match="int8"):
        load_model("nowhere", quantize=bits)


def test_on_a_card_8_bits_are_refused_with_the_name(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(network: Any) -> None:
        raise ModelError("8-bit weights are for the processor")

    monkeypatch.setattr("duplex_runtime.models.quantize.quantize", no)
    with pytest.raises(ModelError, match=rf"{folder}: 8-bit"):
        load_model(folder, quantize="int8")


@pytest.mark.parametrize(("factor", "dtype"), [(1.0, torch.float16), (1e4, torch.float32)])
def test_numbers_out_of_the_range_of_float16_are_loaded_wider(
    factor: float, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a card without bfloat16: one forward pass tells."""
    name = save_chat_model(tmp_path / "model")
    network = LlamaForCausalLM.from_pretrained(name)
    with torch.no_grad():
        network.model.norm.weight.mul_(factor)
        network.lm_head.weight.mul_(factor)
    network.save_pretrained(name)
    half = Placement("cpu", "float16", check=True)
    monkeypatch.setattr("duplex_runtime.models.placement.choose_placement", lambda *_: half)
    assert load_model(name).network.dtype == dtype


# — what cannot be loaded —


def broken(change: Callable[[Path], object]) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        name = save_chat_model(folder)
        change(folder)
        return name

    return make


def config(**values: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: save_chat_model(f, template=None), "no chat template"),
        (lambda f: save_chat_model(f, template="{{ 1 / 0 }}"), "does not run"),
        (lambda f: save_chat_model(f, rows=200), "do not belong together"),
        (broken(lambda f: (f / "tokenizer.json").unlink()), "tokenizer"),
        (broken(lambda f: (f / "tokenizer.json").write_text("{")), "tokenizer"),
        (broken(lambda f: (f / "model.safetensors").unlink()), "safetensors"),
        (broken(lambda f: (f / "model.safetensors").write_bytes(b"\0" * 64)), "does not load"),
        (broken(lambda f: (f / "config.json").write_text("[]")), "expected a JSON object"),
        (broken(lambda f: (f / "config.json").unlink()), "config.json"),
        (broken(config(model_type="unheard-of")), "unheard-of"),
        (broken(config(model_type="own", auto_map={"AutoConfig": "own.Own"})), "does not load"),
        (broken(config(hidden_size=48, head_dim=24)), "does not load"),
    ],
)
def test_a_folder_that_does_not_load_is_told_with_its_name(
    make: Callable[[Path], str], message: str, tmp_path: Path
) -> None:
    name = make(tmp_path / "model")
    with pytest.raises(ModelError, match=message) as caught:
        load_model(name)
    assert name in str(caught.value)


def test_a_base_model_is_refused_before_its_weights_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LlamaForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("the weights were read"))
    with pytest.raises(ModelError, match="no chat template"):
        load_model(save_chat_model(tmp_path / "model", template=None))


@pytest.mark.parametrize("name", ["", ".", "a/b/c", "./none", "~nobody/x", "/none", "two words", "x\0y"])
def test_what_is_no_model_is_told_in_words(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"expected|no model folder"):
        load_model(name)
