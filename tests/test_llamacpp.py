"""llama.cpp behind the engine's protocol, against transformers over the same weights."""

import gc
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest
import torch
from transformers import AutoModelForCausalLM, GraniteConfig, GraniteForCausalLM

from duplex_runtime.engine import llamacpp as module
from duplex_runtime.engine.engine import SlotEngine
from duplex_runtime.engine.llamacpp import BareSlice, Library, LlamaCppNetwork, library
from duplex_runtime.engine.network import Network, Part
from duplex_runtime.engine.plain import PlainNetwork
from duplex_runtime.engine.requests import Engine, Output, Sampling, SliceRequest
from duplex_runtime.errors import ModelError
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.models.gguf import LAYOUT_KEY, TOKENIZER_KEY, write_gguf
from duplex_runtime.models.load import EMBEDDED_FOLDER
from duplex_runtime.models.vocabulary import TokenizerFile

pytest.importorskip("llama_cpp", reason="needs the extra: pip install -e '.[llamacpp]'")
pytest.importorskip("gguf", reason="needs the extra: pip install -e '.[llamacpp]'")

TOKENIZER = EMBEDDED_FOLDER / "tokenizer.json"
VOCABULARY = 4096
QUESTIONS = (
    "what is the capital of france?",
    "hello there, how are you?",
    "can you explain what a volcano is?",
    "thanks, that is enough.",
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> GraniteForCausalLM:
    """Random weights, two query heads to a key head, and every scale another number."""
    torch.manual_seed(7)
    model = GraniteForCausalLM(
        GraniteConfig(
            vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=1024, rms_norm_eps=1e-5, tie_word_embeddings=True,
            embedding_multiplier=12.0, residual_multiplier=0.7, attention_multiplier=0.4, logits_scaling=0.5,
            bos_token_id=1, eos_token_id=2, pad_token_id=0,
        )
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4.0)  # so that it is sure of something
    model.name_or_path = str(tmp_path_factory.mktemp("tiny"))
    model.save_pretrained(model.name_or_path)
    return model.float().eval()


@pytest.fixture(scope="module")
def embedded() -> GraniteForCausalLM:
    return AutoModelForCausalLM.from_pretrained(EMBEDDED_FOLDER / "duplex", dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tiny_file(tiny: GraniteForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    return write_gguf(Path(tiny.name_or_path), out, tokenizer=TOKENIZER).path


@pytest.fixture(scope="module")
def embedded_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(EMBEDDED_FOLDER / "duplex", tmp_path_factory.mktemp("gguf") / "duplex.gguf").path


@pytest.fixture
def network(tiny_file: Path) -> Iterator[LlamaCppNetwork]:
    with LlamaCppNetwork(tiny_file, slots=3, max_length=200, threads=1) as made:
        yield made


def some_ids(count: int, seed: int = 0) -> tuple[int, ...]:
    rng = Random(seed)
    return (EMBEDDED.bos, *(rng.randrange(6, VOCABULARY) for _ in range(count - 1)))


def every(count: int) -> tuple[int, ...]:
    return tuple(range(count))


def cold(model: GraniteForCausalLM, ids: Sequence[int]) -> torch.Tensor:
    """The library's logits after every id, the whole stream in one pass without a cache."""
    with torch.inference_mode():
        return model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]


def slices(ids: Sequence[int], seed: int, slot: int = 0) -> Iterator[Part]:
    rng, at = Random(seed), 0
    while at < len(ids):
        piece = tuple(ids[at : at + rng.randint(1, 12)])
        yield Part(slot, at, piece, every(len(piece)))
        at += len(piece)


def far(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference ÷ largest logit."""
    assert a.shape == b.shape
    return float((a - b).abs().max() / b.abs().max())


# --- the same numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["tiny", "embedded"])
def test_slice_by_slice_it_computes_what_transformers_computes_at_once(
    which: str, request: pytest.FixtureRequest
) -> None:
    ids = some_ids(300)
    with LlamaCppNetwork(request.getfixturevalue(f"{which}_file"), slots=1, max_length=300, threads=1) as network:
        warm = torch.cat([network.forward([part]) for part in slices(ids, 1)])
    expected = cold(request.getfixturevalue(which), ids)
    assert warm.dtype == torch.float32 and warm.device.type == "cpu"
    assert far(warm, expected) < 1e-5
    assert torch.equal(warm.argmax(-1), expected.argmax(-1))


def test_slices_give_what_one_pass_gives(network: LlamaCppNetwork) -> None:
    ids = some_ids(150)
    warm = torch.cat([network.forward([part]) for part in slices(ids, 2)])
    assert far(warm, network.forward([Part(1, 0, ids, every(150))])) < 1e-5


@pytest.mark.parametrize("order", ["slots", "random"])
def test_sixteen_ragged_rows_in_one_pass_are_sixteen_passes(tiny_file: Path, order: str) -> None:
    rng = Random(3)
    starts = [rng.choice((0, 1, 30, 77)) for _ in range(16)]
    parts = []
    for slot, start in enumerate(starts):
        ids = some_ids(rng.choice((1, 1, 1, 5, 8, 13)), seed=100 + slot)
        keep = sorted(rng.sample(range(len(ids)), rng.randint(0, min(3, len(ids)))))
        parts.append(Part(slot, start, ids, tuple(keep)))
    parts[4] = Part(4, starts[4], (9,), ())  # one of whom nothing is wanted
    if order == "random":
        rng.shuffle(parts)
    with (
        LlamaCppNetwork(tiny_file, slots=16, max_length=128, threads=1) as batched,
        LlamaCppNetwork(tiny_file, slots=16, max_length=128, threads=1) as single,
    ):
        for slot, start in enumerate(starts):
            if start:
                batched.forward([Part(slot, 0, some_ids(start, slot), ())])
                single.forward([Part(slot, 0, some_ids(start, slot), ())])
        together = batched.forward(parts)
        alone = torch.cat([single.forward([part]) for part in parts])
        assert len(together) == sum(len(part.keep) for part in parts) > 16
        assert far(together, alone) < 1e-5
        after = [Part(slot, starts[slot], (7, 8), (1,)) for slot in range(16)]  # and the caches are what they were
        assert far(batched.forward(after), torch.cat([single.forward([part]) for part in after])) < 1e-5


def test_what_was_rolled_back_was_never_there(network: LlamaCppNetwork) -> None:
    base, wrong, right = some_ids(40), some_ids(30, 5), some_ids(12, 6)
    network.forward([Part(0, 0, base, ()), Part(1, 0, base, ()), Part(2, 0, some_ids(60, 9), ())])
    network.forward([Part(0, 40, wrong, (29,))])
    after = network.forward([Part(0, 40, right, every(12))])
    never = network.forward([Part(1, 40, right, every(12))])
    assert far(after, never) < 1e-5
    back = network.forward([Part(0, 7, right, every(12))])  # into the middle of what was appended long ago
    network.forward([Part(2, 0, base[:7], ())])
    assert far(back, network.forward([Part(2, 7, right, every(12))])) < 1e-5


def test_a_slot_used_again_knows_nothing_of_the_one_before(network: LlamaCppNetwork, tiny: GraniteForCausalLM) -> None:
    network.forward([Part(1, 0, some_ids(150, 8), ())])
    ids = some_ids(20, 9)
    assert far(network.forward([Part(1, 0, ids, every(20))]), cold(tiny, ids)) < 1e-5


@pytest.mark.parametrize("batch", [3, 7, 16])
def test_a_pass_too_long_for_one_call_is_cut(
    tiny_file: Path, tiny: GraniteForCausalLM, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(module, "_BATCH", batch)
    first, second, third = some_ids(50, 1), some_ids(3, 2), some_ids(31, 3)
    parts = [
        Part(2, 0, first, (0, 6, 7, 15, 16, 49)),
        Part(0, 0, second, (2,)),
        Part(1, 0, third, (12, 13, 30)),
    ]
    with LlamaCppNetwork(tiny_file, slots=3, max_length=60, threads=1) as network:
        logits = network.forward(parts)
    expected = torch.cat([cold(tiny, part.ids)[list(part.keep)] for part in parts])
    assert far(logits, expected) < 1e-5


def test_logits_stay_what_they_are_when_the_next_pass_comes(network: LlamaCppNetwork) -> None:
    logits = network.forward([Part(0, 0, some_ids(5), (3, 4))])
    before = logits.clone()
    network.forward([Part(0, 5, some_ids(9, 1), every(9))])
    assert torch.equal(logits, before)
    network.free()
    assert torch.equal(logits, before)


def test_two_threads_compute_the_same(tiny_file: Path, network: LlamaCppNetwork) -> None:
    with LlamaCppNetwork(tiny_file, slots=1, max_length=100, threads=2) as two:
        part = Part(0, 0, some_ids(90), every(90))
        assert far(two.forward([part]), network.forward([part])) < 1e-5


def test_a_file_of_fewer_bits_forgets_and_batches_as_well(tmp_path: Path) -> None:
    path = write_gguf(EMBEDDED_FOLDER / "duplex", tmp_path / "duplex.gguf", "bf16").path
    ids = some_ids(120)
    with LlamaCppNetwork(path, slots=2, max_length=200, threads=1) as network:
        warm = torch.cat([network.forward([part]) for part in slices(ids, 1)])
        network.forward([Part(0, 60, some_ids(30, 4), ())])
        both = network.forward([Part(0, 60, ids[60:], every(60)), Part(1, 0, ids, every(120))])
        # keys and values of 11 bits, and products of bf16 rows: bits, not words, change with the batch
        assert far(both[:60], warm[60:]) < 0.02
        assert far(both[60:], warm) < 0.02


# --- under the engine -------------------------------------------------------------------------------------------------


def ask(engine: Engine, slot: int, request: SliceRequest) -> list[Output]:
    engine.submit(slot, request)
    outputs: list[Output] = []
    while engine.busy:
        outputs += engine.step()
    assert not any(output.error for output in outputs)
    return outputs


def talk(network: Network) -> list[tuple[list[int], list[float]]]:
    """What the embedded model says to each question behind the others, and its chances of silence."""
    vocabulary = TokenizerFile(TOKENIZER)
    engine = SlotEngine(network, EMBEDDED.idle, EMBEDDED.eos)
    slot, length, said = engine.open(Sampling()), 0, []
    for question in QUESTIONS:
        for words in (question.rsplit(" ", 2)[0], " ".join(question.rsplit(" ", 2)[1:])):
            ids = (*([EMBEDDED.bos] if length == 0 else []), *EMBEDDED.user(vocabulary, words))
            outputs = ask(engine, slot, SliceRequest(length, ids, 10, (len(ids) - 1,)))
            tokens = [output.token for output in outputs if output.token is not None]
            said.append((tokens, list(outputs[0].p_idle)))
            closing = tuple(EMBEDDED.close(tokens))
            length += len(ids)
            ask(engine, slot, SliceRequest(length, closing, 0))
            length += len(closing)
    return said


def test_a_talk_is_the_one_that_torch_would_have(embedded_file: Path, embedded: GraniteForCausalLM) -> None:
    with LlamaCppNetwork(embedded_file, slots=2, max_length=400, threads=1) as network:
        ours = talk(network)
    theirs = talk(PlainNetwork(embedded, 2, 400))
    assert [tokens for tokens, _ in ours] == [tokens for tokens, _ in theirs]
    assert sum(len(tokens) for tokens, _ in ours) > 20
    for (_, mine), (_, other) in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, abs=1e-4)


def test_the_bare_loop_says_what_the_engine_says_as_often_as_it_is_asked(embedded_file: Path) -> None:
    past, words = some_ids(60), some_ids(9, 4)[1:]
    with (
        BareSlice(embedded_file, past, threads=1) as bare,
        LlamaCppNetwork(embedded_file, slots=1, max_length=100, threads=1) as network,
    ):
        engine = SlotEngine(network, idle=VOCABULARY - 1, eos=0)  # two that are never said
        slot = engine.open(Sampling())
        ask(engine, slot, SliceRequest(0, past, 0))
        outputs = ask(engine, slot, SliceRequest(60, words, 10, gate=False))
        expected = [output.token for output in outputs if output.token is not None]
        assert bare.run(words, 10) == expected
        assert bare.run(words[:3], 0) == []
        assert bare.run(words, 10) == expected
        assert len(set(expected)) > 1
        with pytest.raises(ValueError, match="1 to"):
            bare.run([], 1)


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([Part(3, 0, (1,), ())], "a slot from 0 to 2, got 3"),
        ([Part(-1, 0, (1,), ())], "a slot from 0 to 2, got -1"),
        ([Part(0, 0, (), ())], "got 0 ids"),
        ([Part(0, 21, (1,), ())], "slot 0 holds 20 tokens"),
        ([Part(1, 1, (1,), ())], "slot 1 holds 0 tokens"),
        ([Part(0, -1, (1,), ())], "position -1"),
        ([Part(0, 20, (1, 2), (2,))], "got the offsets"),
        ([Part(0, 20, (1, 2), (-1,))], "got the offsets"),
        ([Part(0, 20, (1,), ()), Part(0, 20, (2,), ())], "another slot"),
    ],
)
def test_parts_that_make_no_sense_change_nothing(network: LlamaCppNetwork, parts: list[Part], message: str) -> None:
    ids = some_ids(20)
    network.forward([Part(0, 0, ids, ())])
    with pytest.raises(ValueError, match=message):
        network.forward([Part(2, 0, (1, 5), ()), *parts])
    after = network.forward([Part(0, 20, (8,), (0,))])
    network.forward([Part(1, 0, ids, ())])
    assert far(after, network.forward([Part(1, 20, (8,), (0,))])) < 1e-5


def test_a_slot_takes_as_many_tokens_as_it_says_and_no_more(network: LlamaCppNetwork) -> None:
    full = [Part(slot, 0, some_ids(200, slot), (199,)) for slot in range(3)]
    before = network.forward(full)
    with pytest.raises(ModelError, match="a slot holds 200 tokens; 1 more do not fit behind 200"):
        network.forward([Part(1, 200, (5,), (0,))])
    again = network.forward([Part(slot, 199, some_ids(200, slot)[199:], (0,)) for slot in range(3)])
    assert far(again, before) < 1e-5


def test_an_id_that_the_model_lacks_is_named_and_the_others_go_on(network: LlamaCppNetwork) -> None:
    network.forward([Part(0, 0, some_ids(20), ()), Part(1, 0, some_ids(20), ()), Part(2, 0, some_ids(20), ())])
    library().lines.append("an error of somebody else")
    with pytest.raises(ModelError, match=rf"invalid token\[2\] = {VOCABULARY}"):
        network.forward([Part(0, 20, (5, 6), (1,)), Part(1, 10, (VOCABULARY,), (0,))])
    after = network.forward([Part(slot, 10, (5, 6), (1,)) for slot in range(3)])
    assert far(after[:2], after[2:].expand(2, -1)) < 1e-5


class Failing:
    """llama.cpp's functions; call number `at` of llama_decode does its work and then says that it failed."""

    def __init__(self, api: Any, at: int, status: int) -> None:
        self._api, self._left, self._status = api, at, status

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)

    def llama_decode(self, context: Any, batch: Any) -> int:
        self._left -= 1
        done: int = self._api.llama_decode(context, batch)
        return self._status if self._left == 0 else done


@pytest.mark.parametrize(("status", "message"), [(1, "its cache is full"), (2, "no reason"), (-3, "no reason")])
def test_a_pass_that_breaks_off_leaves_nothing_behind(
    tiny_file: Path, monkeypatch: pytest.MonkeyPatch, status: int, message: str
) -> None:
    monkeypatch.setattr(module, "_BATCH", 8)
    with LlamaCppNetwork(tiny_file, slots=3, max_length=100, threads=1) as network:
        ids = some_ids(30)
        network.forward([Part(slot, 0, ids, ()) for slot in range(3)])
        whole, network._api = network._api, Failing(network._api, at=2, status=status)
        with pytest.raises(ModelError, match=message):
            network.forward([Part(0, 30, some_ids(10, 1), (9,)), Part(1, 20, some_ids(10, 2), (9,))])
        network._api = whole
        with pytest.raises(ValueError, match="slot 1 holds 20 tokens"):
            network.forward([Part(1, 21, (5,), ())])
        after = network.forward([Part(0, 30, (5, 6), every(2)), Part(1, 20, (*ids[20:], 5, 6), (10, 11))])
        never = network.forward([Part(2, 30, (5, 6), every(2))])
        assert far(after, never.repeat(2, 1)) < 1e-5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "failed to read magic"),
        (b"GGML is not it, but it is long enough", "invalid magic"),
        (slice(0, 2000), "failed to read"),
        (slice(0, -1), r"output_norm\.weight.* not within the file bounds"),
    ],
)
def test_a_broken_file_is_named_with_what_llama_cpp_says_and_nothing_is_printed(
    tiny_file: Path, tmp_path: Path, content: bytes | slice, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(tiny_file.read_bytes()[content] if isinstance(content, slice) else content)
    with pytest.raises(ModelError, match=rf"broken\.gguf: llama\.cpp does not load it \(.*{message}"):
        LlamaCppNetwork(broken, slots=1, max_length=10)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["none.gguf", "."])
def test_a_file_that_is_not_there_is_asked_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="expected a GGUF file; `duplex convert --gguf` makes one"):
        LlamaCppNetwork(tmp_path / name, slots=1, max_length=10)


@pytest.mark.parametrize(("slots", "max_length", "threads"), [(0, 10, 1), (257, 10, 1), (1, 0, 1), (1, 10, 0)])
def test_sizes_that_llama_cpp_would_abort_at_are_refused(
    tiny_file: Path, slots: int, max_length: int, threads: int
) -> None:
    with pytest.raises(ModelError, match="1 to 256 slots"):
        LlamaCppNetwork(tiny_file, slots, max_length, threads)


def test_a_cache_larger_than_the_memory_is_not_asked_for(tiny_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 4 slots of 256 tokens, two layers of two heads of 8 numbers, keys and values in 4 bytes
    needed = 4 * 256 * 2 * 2 * 8 * 2 * 4
    memory = namedtuple("memory", "available")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(needed - 1))
    with pytest.raises(ModelError, match=r"4 slots of 250 tokens need 0\.0 GB .* ask for fewer"):
        LlamaCppNetwork(tiny_file, slots=4, max_length=250)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(needed))
    LlamaCppNetwork(tiny_file, slots=4, max_length=250).free()


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tiny_file: Path) -> None:
    LlamaCppNetwork(tiny_file, slots=1, max_length=10, vocabulary=VOCABULARY).free()
    with pytest.raises(ModelError, match="the tokenizer has 4097 tokens, the model 4096"):
        LlamaCppNetwork(tiny_file, slots=1, max_length=10, vocabulary=VOCABULARY + 1)


def test_without_the_extra_it_says_what_to_install(tiny_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "library", Library)  # as in a fresh process
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(ModelError, match=r'pip install -e "\.\[llamacpp\]"'):
        LlamaCppNetwork(tiny_file, slots=1, max_length=10)


def test_only_the_first_error_is_the_reason() -> None:
    llama = library()
    llama.lines.clear()
    for level, text in (
        (2, b"loading\n"),
        (3, b"a warning\n"),
        (4, b"\n"),
        (4, b"the cause \xff\n"),
        (4, b"it failed"),
    ):
        llama._log(level, text, None)
    llama._log(4, None, None)
    assert llama.reason() == "the cause \ufffd"
    assert llama.reason() == "llama.cpp gave no reason"


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_the_file_says_which_layout_and_tokenizer_it_has(embedded_file: Path) -> None:
    with LlamaCppNetwork(embedded_file, slots=1, max_length=10) as network:
        assert network.metadata(LAYOUT_KEY) == "embedded"
        assert network.metadata(TOKENIZER_KEY) == TOKENIZER.read_text(encoding="utf-8")
        assert network.metadata("general.nothing") is None
        assert network.vocabulary_size == VOCABULARY


def test_memory_is_given_back_once_and_then_it_is_of_no_use(tiny_file: Path) -> None:
    network = LlamaCppNetwork(tiny_file, slots=1, max_length=10)
    assert network._release.alive
    network.free()
    network.free()
    assert not network._release.alive
    with pytest.raises(ValueError, match="freed"):
        network.forward([Part(0, 0, (1,), ())])
    with pytest.raises(ValueError, match="freed"):
        network.metadata(LAYOUT_KEY)


def test_a_network_that_nobody_holds_gives_its_memory_back(tiny_file: Path) -> None:
    release = LlamaCppNetwork(tiny_file, slots=1, max_length=10)._release
    gc.collect()
    assert not release.alive


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, duplex_runtime.engine.llamacpp; print({'torch', 'numpy', 'llama_cpp'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("set()\n", "")
