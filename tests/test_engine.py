"""The real engine over a tiny random model, against encoding everything cold."""

from collections.abc import Iterator, Sequence
from random import Random

import pytest
import torch
from fakes import Words
from transformers import GraniteForCausalLM

from duplex_runtime.alignment.train import Shape, make_model
from duplex_runtime.clock import SimulatedClock
from duplex_runtime.duplex import DuplexConversation
from duplex_runtime.engine.engine import TorchEngine
from duplex_runtime.engine.requests import Engine, Output, Sampling, SliceRequest
from duplex_runtime.errors import DuplexError
from duplex_runtime.events import UserText
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.loop import Loop, run_script

VOCABULARY = 200
IDLE, EOS = EMBEDDED.idle, EMBEDDED.eos


@pytest.fixture(scope="module")
def model() -> Iterator[GraniteForCausalLM]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(3)
    made = make_model(Shape(hidden=32, intermediate=64, layers=2, heads=4), VOCABULARY)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4.0)  # so that it is sure of something
    yield made.float().eval()
    torch.set_num_threads(threads)


def engine_of(model: GraniteForCausalLM, **options: int) -> TorchEngine:
    return TorchEngine(model, IDLE, EOS, **options)


def ask(engine: Engine, slot: int, request: SliceRequest) -> list[Output]:
    engine.submit(slot, request)
    outputs: list[Output] = []
    while engine.busy:
        outputs += engine.step()
    return outputs


def tokens(outputs: Sequence[Output]) -> list[int]:
    return [o.token for o in outputs if o.token is not None]


def cold_idle(model: GraniteForCausalLM, ids: Sequence[int]) -> list[float]:
    """p(idle) after every id, the whole stream in one pass without a cache."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]
    return torch.softmax(logits.float(), -1)[:, IDLE].tolist()


def some_ids(count: int, seed: int = 0) -> list[int]:
    rng = Random(seed)
    return [EMBEDDED.bos, *(rng.randrange(6, VOCABULARY) for _ in range(count - 1))]


def pieces(ids: Sequence[int], seed: int) -> list[list[int]]:
    rng, out, start = Random(seed), [], 0
    while start < len(ids):
        size = rng.randint(1, 9)
        out.append(list(ids[start : start + size]))
        start += size
    return out


@pytest.mark.parametrize("seed", range(4))
def test_slice_by_slice_gives_what_the_whole_stream_gives(model: GraniteForCausalLM, seed: int) -> None:
    ids = some_ids(120, seed)
    engine = engine_of(model)
    slot = engine.open(Sampling())
    warm: list[float] = []
    at = 0
    for piece in pieces(ids, seed):
        (output,) = ask(engine, slot, SliceRequest(at, tuple(piece), 0, tuple(range(len(piece)))))
        warm += output.p_idle
        at += len(piece)
        assert output.length == at
    cold = cold_idle(model, ids)
    assert max(abs(a - b) for a, b in zip(warm, cold, strict=True)) < 1e-4


def test_the_logits_themselves_are_those_of_a_cold_encoding(model: GraniteForCausalLM) -> None:
    ids = some_ids(60)
    engine = engine_of(model)
    slot = engine.open(Sampling())
    row = engine._rows[slot]
    warm = []
    for piece in pieces(ids, 1):
        row.pending = tuple(piece)
        with torch.inference_mode():
            warm.append(engine._forward(row, list(range(len(piece)))))
    with torch.inference_mode():
        cold = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    assert (torch.cat(warm) - cold).abs().max() < 1e-4


def test_greedy_words_are_those_of_a_cold_encoding(model: GraniteForCausalLM) -> None:
    ids = some_ids(50)
    warm, cold = engine_of(model), engine_of(model)
    slot, at = warm.open(Sampling()), 0
    for piece in pieces(ids, 2)[:-1]:
        ask(warm, slot, SliceRequest(at, tuple(piece), 0))
        at += len(piece)
    said = tokens(ask(warm, slot, SliceRequest(at, tuple(ids[at:]), 12, gate=False)))
    expected = tokens(ask(cold, cold.open(Sampling()), SliceRequest(0, tuple(ids), 12, gate=False)))
    assert said == expected
    assert len(said) >= 1


def test_what_was_rolled_back_was_never_there(model: GraniteForCausalLM) -> None:
    engine = engine_of(model)
    slot, other = engine.open(Sampling()), engine.open(Sampling())
    base, wrong, right = some_ids(20), some_ids(15, 5), some_ids(10, 6)[1:]
    ask(engine, slot, SliceRequest(0, (*base, *wrong), 8, gate=False))
    probes = tuple(range(len(right)))
    after = ask(engine, slot, SliceRequest(len(base), tuple(right), 8, probes, gate=False))
    ask(engine, other, SliceRequest(0, tuple(base), 0))
    never = ask(engine, other, SliceRequest(len(base), tuple(right), 8, probes, gate=False))
    assert after[0].p_idle == pytest.approx(never[0].p_idle, abs=1e-5)
    assert tokens(after) == tokens(never)


def test_conversations_in_one_engine_do_not_hear_each_other(model: GraniteForCausalLM) -> None:
    def alone(seed: int) -> list[int]:
        engine = engine_of(model)
        return tokens(ask(engine, engine.open(sampling(seed)), request(seed)))

    def sampling(seed: int) -> Sampling:
        return Sampling(temperature=0.9, top_p=0.9, seed=seed)

    def request(seed: int) -> SliceRequest:
        return SliceRequest(0, tuple(some_ids(10 + 7 * seed, seed)), 4 + seed, gate=False)

    engine = engine_of(model)
    slots = {engine.open(sampling(seed)): seed for seed in range(5)}
    for slot, seed in slots.items():
        engine.submit(slot, request(seed))
    together: dict[int, list[int]] = {seed: [] for seed in range(5)}
    while engine.busy:
        for output in engine.step():
            if output.token is not None:
                together[slots[output.slot]].append(output.token)
    assert together == {seed: alone(seed) for seed in range(5)}


def test_probes_are_reported_in_their_order_with_the_first_output_only(model: GraniteForCausalLM) -> None:
    ids = some_ids(12)
    engine = engine_of(model)
    outputs = ask(engine, engine.open(Sampling()), SliceRequest(0, tuple(ids), 5, (2, 7, 11), gate=False))
    cold = cold_idle(model, ids)
    assert outputs[0].p_idle == pytest.approx([cold[2], cold[7], cold[11]], abs=1e-5)
    assert all(o.p_idle == () for o in outputs[1:])


def test_a_model_surer_of_silence_than_the_threshold_is_silent(model: GraniteForCausalLM) -> None:
    ids = some_ids(12)
    p_idle = cold_idle(model, ids)[-1]
    engine = engine_of(model)
    silent = engine.open(Sampling(idle_threshold=p_idle * 0.99))
    speaks = engine.open(Sampling(idle_threshold=p_idle * 1.01))
    (output,) = ask(engine, silent, SliceRequest(0, tuple(ids), 5, (11,)))
    assert (output.token, output.done, output.finished, output.length) == (None, True, False, 12)
    assert tokens(ask(engine, speaks, SliceRequest(0, tuple(ids), 5, (11,))))


def test_without_the_gate_it_speaks_whatever_the_threshold(model: GraniteForCausalLM) -> None:
    engine = engine_of(model)
    slot = engine.open(Sampling(idle_threshold=0.0))
    assert tokens(ask(engine, slot, SliceRequest(0, tuple(some_ids(12)), 5, gate=False)))


def test_listening_says_nothing_and_costs_one_step(model: GraniteForCausalLM) -> None:
    engine = engine_of(model)
    outputs = ask(engine, engine.open(Sampling(idle_threshold=2.0)), SliceRequest(0, tuple(some_ids(9)), 0, (8,)))
    assert [(o.token, o.done, o.length, len(o.p_idle)) for o in outputs] == [(None, True, 9, 1)]


class Wants:
    """A stand-in for a model: wants certain tokens most, one list of preferences for every position."""

    def __init__(self, model: GraniteForCausalLM, *favourites: int) -> None:
        self._model, self._favourites = model, favourites
        self.config, self.dtype, self.device = model.config, model.dtype, model.device

    def eval(self) -> "Wants":
        return self

    def __call__(self, **options: torch.Tensor) -> object:
        out = self._model(**options)
        for rank, token in enumerate(self._favourites):
            out.logits[..., token] = 1000.0 - rank
        return out


def test_its_first_token_is_never_the_end_nor_silence(model: GraniteForCausalLM) -> None:
    engine = engine_of(Wants(model, EOS, IDLE, 77))  # type: ignore[arg-type]
    outputs = ask(engine, engine.open(Sampling()), SliceRequest(0, (1, 10, 11), 5, gate=False))
    assert [(o.token, o.finished) for o in outputs] == [(77, False), (None, True)]
    assert outputs[-1].length == 4  # the word is cached, its </s> is not


def test_silence_is_never_said_in_the_middle(model: GraniteForCausalLM) -> None:
    engine = engine_of(Wants(model, IDLE, 77))  # type: ignore[arg-type]
    outputs = ask(engine, engine.open(Sampling()), SliceRequest(0, (1, 10, 11), 4, gate=False))
    assert tokens(outputs) == [77] * 4
    assert [o.done for o in outputs] == [False, False, False, True]
    assert not outputs[-1].finished  # full, not finished
    assert outputs[-1].length == 6  # the last token is not cached yet


def drawn(model: GraniteForCausalLM, sampling: Sampling, count: int = 30) -> list[int]:
    engine = engine_of(model)
    return tokens(ask(engine, engine.open(sampling), SliceRequest(0, tuple(some_ids(9)), count, gate=False)))


def test_the_same_seed_draws_the_same_words(model: GraniteForCausalLM) -> None:
    sampling = Sampling(temperature=1.5, top_p=1.0, seed=4)
    assert drawn(model, sampling) == drawn(model, sampling)
    assert drawn(model, sampling) != drawn(model, Sampling(temperature=1.5, top_p=1.0, seed=5))


def test_a_tiny_top_p_is_greedy(model: GraniteForCausalLM) -> None:
    assert drawn(model, Sampling(temperature=1.0, top_p=1e-6)) == drawn(model, Sampling())


def test_top_p_keeps_the_smallest_set_that_reaches_it(model: GraniteForCausalLM) -> None:
    engine = engine_of(model)
    row = engine._rows[engine.open(Sampling(temperature=1.0, top_p=0.7))]
    row.said = 1
    logits = torch.full((VOCABULARY,), -50.0)
    logits[10:14] = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    seen = {engine._draw(logits.clone(), row) for _ in range(300)}
    assert seen == {10, 11}


def test_a_full_engine_says_so(model: GraniteForCausalLM) -> None:
    engine = engine_of(model, slots=1)
    slot = engine.open(Sampling())
    with pytest.raises(DuplexError, match="all 1 places are taken") as caught:
        engine.open(Sampling())
    assert caught.value.code == "full"
    engine.close(slot)
    assert engine.open(Sampling()) != slot


def test_a_slot_closed_in_the_middle_ends_its_work(model: GraniteForCausalLM) -> None:
    engine = engine_of(model)
    slot = engine.open(Sampling())
    engine.submit(slot, SliceRequest(0, (1, 2), 5, gate=False))
    engine.step()
    engine.close(slot)
    engine.close(slot)
    assert not engine.busy
    assert engine.step() == []


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (SliceRequest(0, (), 5), "expected ids"),
        (SliceRequest(1, (1,), 5), "truncate_to"),
        (SliceRequest(-1, (1,), 5), "truncate_to"),
        (SliceRequest(0, (1,) * 30, 3), "holds 32 tokens; the request needs 33"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_and_harms_nothing(
    model: GraniteForCausalLM, request_: SliceRequest, message: str
) -> None:
    engine = engine_of(model, max_length=32)
    slot = engine.open(Sampling())
    with pytest.raises(ValueError, match=message):
        engine.submit(slot, request_)
    assert not engine.busy
    assert tokens(ask(engine, slot, SliceRequest(0, (1, 10), 3, gate=False)))


def test_a_slot_can_be_filled_to_its_last_place(model: GraniteForCausalLM) -> None:
    engine = engine_of(Wants(model, 77), max_length=32)  # type: ignore[arg-type]
    assert len(tokens(ask(engine, engine.open(Sampling()), SliceRequest(0, (1,) * 22, 10, gate=False)))) == 10


def test_a_slot_takes_one_request_at_a_time(model: GraniteForCausalLM) -> None:
    engine = engine_of(model)
    slot = engine.open(Sampling())
    engine.submit(slot, SliceRequest(0, (1, 2), 5))
    with pytest.raises(ValueError, match="unfinished request"):
        engine.submit(slot, SliceRequest(0, (1, 2), 5))


def test_a_talk_over_the_real_engine_remembers_what_its_stream_says(model: GraniteForCausalLM) -> None:
    words, clock, engine = Words(10), SimulatedClock(), engine_of(model)
    words.encode(" ".join(f"v{i} v{i}." for i in range((VOCABULARY - 10) // 2)))
    loop, conversation = Loop(engine), DuplexConversation(EMBEDDED, words)
    session = loop.add(conversation, clock, Sampling(idle_threshold=0.02))
    run_script(loop, session, [(i * 0.7, UserText(f"v{i} v{i + 1}. ")) for i in range(40)], clock, 5.0)
    slot, request_ = session.slot, SliceRequest(0, tuple(conversation.stream), 0, (len(conversation.stream) - 1,))
    warm_length = min(engine._rows[slot].cache.length, len(conversation.stream) - 1)
    rest = tuple(conversation.stream[warm_length:])
    (warm,) = ask(engine, slot, SliceRequest(warm_length, rest, 0, (len(rest) - 1,)))
    (cold,) = ask(engine, engine.open(Sampling()), request_)
    assert warm.p_idle == pytest.approx(cold.p_idle, abs=1e-5)
