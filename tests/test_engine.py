"""The real engine over a tiny random model, against encoding everything cold; with each network there is."""

from collections.abc import Callable, Iterator, Sequence
from random import Random

import pytest
import torch
from fakes import Words
from transformers import GraniteForCausalLM

from duplex_runtime.alignment.fresh import make_model
from duplex_runtime.alignment.presets import Shape
from duplex_runtime.clock import SimulatedClock
from duplex_runtime.duplex import DuplexConversation, Memory
from duplex_runtime.engine.engine import SlotEngine, _sample
from duplex_runtime.engine.fused import FusedNetwork
from duplex_runtime.engine.network import Network, Part
from duplex_runtime.engine.plain import PlainNetwork
from duplex_runtime.engine.requests import Engine, Output, Sampling, SliceRequest
from duplex_runtime.errors import DuplexError
from duplex_runtime.events import UserText
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.loop import Loop, run_script

VOCABULARY = 200
IDLE, EOS = EMBEDDED.idle, EMBEDDED.eos


MakeNetwork = Callable[..., Network]


@pytest.fixture(scope="module")
def granite() -> Iterator[GraniteForCausalLM]:
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


@pytest.fixture(params=[PlainNetwork, FusedNetwork])
def network(granite: GraniteForCausalLM, request: pytest.FixtureRequest) -> MakeNetwork:
    """Makes a network of `slots` rows of `max_length` tokens."""

    def make(slots: int = 8, max_length: int = 300) -> Network:
        made: Network = request.param(granite, slots, max_length)
        return made

    return make


def engine_of(network: MakeNetwork, step_tokens: int = 512, **options: int) -> SlotEngine:
    return SlotEngine(network(**options), IDLE, EOS, step_tokens)


def ask(engine: Engine, slot: int, request: SliceRequest) -> list[Output]:
    engine.submit(slot, request)
    outputs: list[Output] = []
    while engine.busy:
        outputs += engine.step()
    return outputs


def tokens(outputs: Sequence[Output]) -> list[int]:
    return [o.token for o in outputs if o.token is not None]


def cold_idle(granite: GraniteForCausalLM, ids: Sequence[int]) -> list[float]:
    """p(idle) after every id, the whole stream in one pass without a cache."""
    with torch.inference_mode():
        logits = granite(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]
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
def test_slice_by_slice_gives_what_the_whole_stream_gives(
    granite: GraniteForCausalLM, network: MakeNetwork, seed: int
) -> None:
    ids = some_ids(120, seed)
    engine = engine_of(network)
    slot = engine.open(Sampling())
    warm: list[float] = []
    at = 0
    for piece in pieces(ids, seed):
        (output,) = ask(engine, slot, SliceRequest(at, tuple(piece), 0, tuple(range(len(piece)))))
        warm += output.p_idle
        at += len(piece)
        assert output.length == at
    cold = cold_idle(granite, ids)
    assert max(abs(a - b) for a, b in zip(warm, cold, strict=True)) < 1e-4


def test_the_logits_themselves_are_those_of_a_cold_encoding(granite: GraniteForCausalLM, network: MakeNetwork) -> None:
    ids = some_ids(60)
    made, warm, at = network(), [], 0
    for piece in pieces(ids, 1):
        warm.append(made.forward([Part(3, at, tuple(piece), tuple(range(len(piece))))]))
        at += len(piece)
    with torch.inference_mode():
        cold = granite(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    assert (torch.cat(warm) - cold).abs().max() < 1e-4


def test_greedy_words_are_those_of_a_cold_encoding(network: MakeNetwork) -> None:
    ids = some_ids(50)
    warm, cold = engine_of(network), engine_of(network)
    slot, at = warm.open(Sampling()), 0
    for piece in pieces(ids, 2)[:-1]:
        ask(warm, slot, SliceRequest(at, tuple(piece), 0))
        at += len(piece)
    said = tokens(ask(warm, slot, SliceRequest(at, tuple(ids[at:]), 12, gate=False)))
    expected = tokens(ask(cold, cold.open(Sampling()), SliceRequest(0, tuple(ids), 12, gate=False)))
    assert said == expected
    assert len(said) >= 1


def test_what_was_rolled_back_was_never_there(network: MakeNetwork) -> None:
    engine = engine_of(network)
    slot, other = engine.open(Sampling()), engine.open(Sampling())
    base, wrong, right = some_ids(20), some_ids(15, 5), some_ids(10, 6)[1:]
    ask(engine, slot, SliceRequest(0, (*base, *wrong), 8, gate=False))
    probes = tuple(range(len(right)))
    after = ask(engine, slot, SliceRequest(len(base), tuple(right), 8, probes, gate=False))
    ask(engine, other, SliceRequest(0, tuple(base), 0))
    never = ask(engine, other, SliceRequest(len(base), tuple(right), 8, probes, gate=False))
    assert after[0].p_idle == pytest.approx(never[0].p_idle, abs=1e-5)
    assert tokens(after) == tokens(never)


def test_conversations_in_one_engine_do_not_hear_each_other(network: MakeNetwork) -> None:
    def alone(seed: int) -> list[int]:
        engine = engine_of(network)
        return tokens(ask(engine, engine.open(sampling(seed)), request(seed)))

    def sampling(seed: int) -> Sampling:
        return Sampling(temperature=0.9, top_p=0.9, seed=seed)

    def request(seed: int) -> SliceRequest:
        return SliceRequest(0, tuple(some_ids(10 + 7 * seed, seed)), 4 + seed, gate=False)

    engine = engine_of(network)
    slots = {engine.open(sampling(seed)): seed for seed in range(5)}
    for slot, seed in slots.items():
        engine.submit(slot, request(seed))
    together: dict[int, list[int]] = {seed: [] for seed in range(5)}
    while engine.busy:
        for output in engine.step():
            if output.token is not None:
                together[slots[output.slot]].append(output.token)
    assert together == {seed: alone(seed) for seed in range(5)}


def test_probes_are_reported_in_their_order_with_the_first_output_only(
    granite: GraniteForCausalLM, network: MakeNetwork
) -> None:
    ids = some_ids(12)
    engine = engine_of(network)
    outputs = ask(engine, engine.open(Sampling()), SliceRequest(0, tuple(ids), 5, (2, 7, 11), gate=False))
    cold = cold_idle(granite, ids)
    assert outputs[0].p_idle == pytest.approx([cold[2], cold[7], cold[11]], abs=1e-5)
    assert all(o.p_idle == () for o in outputs[1:])


def test_a_model_surer_of_silence_than_the_threshold_is_silent(
    granite: GraniteForCausalLM, network: MakeNetwork
) -> None:
    ids = some_ids(12)
    p_idle = cold_idle(granite, ids)[-1]
    engine = engine_of(network)
    silent = engine.open(Sampling(idle_threshold=p_idle * 0.99))
    speaks = engine.open(Sampling(idle_threshold=p_idle * 1.01))
    (output,) = ask(engine, silent, SliceRequest(0, tuple(ids), 5, (11,)))
    assert (output.token, output.done, output.finished, output.length) == (None, True, False, 12)
    assert tokens(ask(engine, speaks, SliceRequest(0, tuple(ids), 5, (11,))))


def test_without_the_gate_it_speaks_whatever_the_threshold(network: MakeNetwork) -> None:
    engine = engine_of(network)
    slot = engine.open(Sampling(idle_threshold=0.0))
    assert tokens(ask(engine, slot, SliceRequest(0, tuple(some_ids(12)), 5, gate=False)))


def test_an_engine_without_idle_decides_nothing_and_speaks(network: MakeNetwork) -> None:
    engine = SlotEngine(network(), None, EOS)
    outputs = ask(engine, engine.open(Sampling()), SliceRequest(0, tuple(some_ids(12)), 3, (11,)))
    assert len(tokens(outputs)) == 3
    assert outputs[0].p_idle == ()


def test_listening_says_nothing_and_costs_one_step(network: MakeNetwork) -> None:
    engine = engine_of(network)
    outputs = ask(engine, engine.open(Sampling(idle_threshold=2.0)), SliceRequest(0, tuple(some_ids(9)), 0, (8,)))
    assert [(o.token, o.done, o.length, len(o.p_idle)) for o in outputs] == [(None, True, 9, 1)]


class Wants:
    """A network whose model wants certain tokens most, one list of preferences for every position."""

    def __init__(self, network: Network, favourites: Sequence[int]) -> None:
        self._network, self._favourites = network, favourites
        self.slots, self.max_length = network.slots, network.max_length

    def forward(self, parts: Sequence[Part]) -> torch.Tensor:
        logits = self._network.forward(parts).clone()
        for rank, token in enumerate(self._favourites):
            logits[:, token] = 1000.0 - rank
        return logits

    def forget(self, slot: int) -> None:
        self._network.forget(slot)


def wanting(network: MakeNetwork, *favourites: int) -> MakeNetwork:
    return lambda **options: Wants(network(**options), favourites)


def test_its_first_token_is_never_the_end_nor_silence(network: MakeNetwork) -> None:
    engine = engine_of(wanting(network, EOS, IDLE, 77))
    outputs = ask(engine, engine.open(Sampling()), SliceRequest(0, (1, 10, 11), 5, gate=False))
    assert [(o.token, o.finished) for o in outputs] == [(77, False), (None, True)]
    assert outputs[-1].length == 4  # the word is cached, its </s> is not


def test_silence_is_never_said_in_the_middle(network: MakeNetwork) -> None:
    engine = engine_of(wanting(network, IDLE, 77))
    outputs = ask(engine, engine.open(Sampling()), SliceRequest(0, (1, 10, 11), 4, gate=False))
    assert tokens(outputs) == [77] * 4
    assert [o.done for o in outputs] == [False, False, False, True]
    assert not outputs[-1].finished  # full, not finished
    assert outputs[-1].length == 6  # the last token is not cached yet


def drawn(network: MakeNetwork, sampling: Sampling, count: int = 30) -> list[int]:
    engine = engine_of(network)
    return tokens(ask(engine, engine.open(sampling), SliceRequest(0, tuple(some_ids(9)), count, gate=False)))


def test_the_same_seed_draws_the_same_words(network: MakeNetwork) -> None:
    sampling = Sampling(temperature=1.5, top_p=1.0, seed=4)
    assert drawn(network, sampling) == drawn(network, sampling)
    assert drawn(network, sampling) != drawn(network, Sampling(temperature=1.5, top_p=1.0, seed=5))


def test_a_tiny_top_p_is_greedy(network: MakeNetwork) -> None:
    assert drawn(network, Sampling(temperature=1.0, top_p=1e-6)) == drawn(network, Sampling())


def test_top_p_keeps_the_smallest_set_that_reaches_it(network: MakeNetwork) -> None:
    engine = engine_of(network)
    row = engine._rows[engine.open(Sampling(temperature=1.0, top_p=0.7))]
    logits = torch.full((VOCABULARY,), -50.0)
    logits[10:14] = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    assert {_sample(logits, row) for _ in range(300)} == {10, 11}


def test_a_full_engine_says_so(network: MakeNetwork) -> None:
    engine = engine_of(network, slots=1)
    slot = engine.open(Sampling())
    with pytest.raises(DuplexError, match="all 1 places are taken") as caught:
        engine.open(Sampling())
    assert caught.value.code == "full"
    engine.close(slot)
    assert engine.open(Sampling()) == slot


def test_a_slot_closed_in_the_middle_ends_its_work(network: MakeNetwork) -> None:
    engine = engine_of(network)
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
    network: MakeNetwork, request_: SliceRequest, message: str
) -> None:
    engine = engine_of(network, max_length=32)
    slot = engine.open(Sampling())
    with pytest.raises(ValueError, match=message):
        engine.submit(slot, request_)
    assert not engine.busy
    assert tokens(ask(engine, slot, SliceRequest(0, (1, 10), 3, gate=False)))


def test_the_network_is_told_which_slots_are_over(network: MakeNetwork) -> None:
    forgotten: list[int] = []

    def told(**options: object) -> Network:
        made = network(**options)
        made.forget = forgotten.append  # type: ignore[method-assign]
        return made

    engine = engine_of(told)
    slots = [engine.open(Sampling()) for _ in range(2)]
    engine.close(slots[1])
    engine.close(slots[1])
    assert forgotten == [slots[1]]


def test_a_slot_can_be_filled_to_its_last_place(network: MakeNetwork) -> None:
    engine = engine_of(wanting(network, 77), max_length=32)
    assert len(tokens(ask(engine, engine.open(Sampling()), SliceRequest(0, (1,) * 22, 10, gate=False)))) == 10


def test_a_slot_takes_one_request_at_a_time(network: MakeNetwork) -> None:
    engine = engine_of(network)
    slot = engine.open(Sampling())
    engine.submit(slot, SliceRequest(0, (1, 2), 5))
    with pytest.raises(ValueError, match="unfinished request"):
        engine.submit(slot, SliceRequest(0, (1, 2), 5))


def test_a_talk_over_the_real_engine_remembers_what_its_stream_says(network: MakeNetwork) -> None:
    words, clock, engine = Words(10), SimulatedClock(), engine_of(network)
    words.encode(" ".join(f"v{i} v{i}." for i in range((VOCABULARY - 10) // 2)))
    loop, conversation = Loop(engine), DuplexConversation(EMBEDDED, words, memory=Memory(120, 50))
    session = loop.add(conversation, clock, Sampling(idle_threshold=0.02))
    run_script(loop, session, [(i * 0.7, UserText(f"v{i} v{i + 1}. ")) for i in range(40)], clock, 5.0)
    slot, request_ = session.slot, SliceRequest(0, tuple(conversation.stream), 0, (len(conversation.stream) - 1,))
    warm_length = min(engine._rows[slot].length, len(conversation.stream) - 1)
    rest = tuple(conversation.stream[warm_length:])
    (warm,) = ask(engine, slot, SliceRequest(warm_length, rest, 0, (len(rest) - 1,)))
    (cold,) = ask(engine, engine.open(Sampling()), request_)
    assert warm.p_idle == pytest.approx(cold.p_idle, abs=1e-5)


def test_rows_of_every_age_share_a_pass(granite: GraniteForCausalLM, network: MakeNetwork) -> None:
    """Sixteen conversations, appends of every length beside single tokens, holes between the slots."""
    made, rng = network(slots=20), Random(0)
    streams = {slot: some_ids(120, slot) for slot in range(20) if slot % 5 != 3}
    cold = {}
    with torch.inference_mode():
        for slot, ids in streams.items():
            cold[slot] = granite(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    at = dict.fromkeys(streams, 0)
    while any(at[slot] < 120 for slot in streams):
        parts = []
        for slot in streams:
            count = min(rng.choice([0, 1, 1, 1, 2, 7, 20]), 120 - at[slot])
            if count:
                ids = tuple(streams[slot][at[slot] : at[slot] + count])
                parts.append(Part(slot, at[slot], ids, tuple(sorted({0, count - 1}))))
        if not parts:
            continue
        logits = made.forward(parts)
        expected = torch.cat([cold[p.slot][[p.start + k for k in p.keep]] for p in parts])
        assert (logits - expected).abs().max() < 1e-4
        for part in parts:
            at[part.slot] += len(part.ids)


def test_a_long_append_takes_several_passes_and_others_speak_on(network: MakeNetwork) -> None:
    engine, alone = engine_of(network, step_tokens=10), engine_of(network)
    speaker, reader = engine.open(Sampling()), engine.open(Sampling())
    engine.submit(speaker, SliceRequest(0, tuple(some_ids(5)), 12, gate=False))
    engine.step()
    long = SliceRequest(0, tuple(some_ids(60, 2)), 3, (4, 25, 59), gate=False)
    engine.submit(reader, long)
    outputs = []
    for _ in range(5):
        during = engine.step()
        assert [o.slot for o in during] == [speaker]
    while engine.busy:
        outputs += [o for o in engine.step() if o.slot == reader]
    expected = ask(alone, alone.open(Sampling()), long)
    assert tokens(outputs) == tokens(expected)
    assert outputs[0].p_idle == pytest.approx(expected[0].p_idle, abs=1e-5)
    assert len(outputs[0].p_idle) == 3


def test_a_long_append_alone_is_read_in_pieces(network: MakeNetwork) -> None:
    engine, whole = engine_of(network, step_tokens=10), engine_of(network)
    request = SliceRequest(0, tuple(some_ids(60)), 3, gate=False)  # most passes have no logits to give
    outputs = ask(engine, engine.open(Sampling()), request)
    assert [o.error for o in outputs] == [None] * 3
    assert tokens(outputs) == tokens(ask(whole, whole.open(Sampling()), request))


def test_a_stopped_row_says_no_more_and_can_go_on_from_there(network: MakeNetwork) -> None:
    engine, whole = engine_of(network), engine_of(network)
    slot, other = engine.open(Sampling()), whole.open(Sampling())
    request = SliceRequest(0, tuple(some_ids(9)), 8, gate=False)
    expected = tokens(ask(whole, other, request))
    engine.submit(slot, request)
    said = [o.token for _ in range(3) for o in engine.step()]
    engine.stop(slot)
    (last,) = engine.step()
    assert said == expected[:3]
    assert (last.token, last.done, last.stopped, last.finished, last.length) == (None, True, True, False, 11)
    assert not engine.busy
    rest = ask(engine, slot, SliceRequest(11, (expected[2],), 5, gate=False))
    assert tokens(rest) == expected[3:8]


def test_a_stop_waits_until_the_append_is_read(network: MakeNetwork) -> None:
    engine = engine_of(network)
    slot = engine.open(Sampling())
    engine.stop(slot)  # nothing in work: nothing to stop
    engine.submit(slot, SliceRequest(0, tuple(some_ids(9)), 8, (8,), gate=False))
    engine.stop(slot)
    first, last = engine.step()[0], engine.step()[0]
    assert first.token is not None and len(first.p_idle) == 1
    assert last.stopped and not engine.busy


def test_no_append_starves_behind_later_ones(network: MakeNetwork) -> None:
    engine = engine_of(network, step_tokens=10)
    slots = [engine.open(Sampling()) for _ in range(4)]
    for slot in slots:
        engine.submit(slot, SliceRequest(0, tuple(some_ids(10, slot)), 0))
    done = []
    while engine.busy:
        done += [o.slot for o in engine.step()]
    assert done == slots


class Breaks:
    """A network that cannot take token 99, alone or in company."""

    def __init__(self, network: Network, error: Exception) -> None:
        self._network, self._error = network, error
        self.slots, self.max_length = network.slots, network.max_length

    def forward(self, parts: Sequence[Part]) -> torch.Tensor:
        if any(99 in part.ids for part in parts):
            raise self._error
        return self._network.forward(parts)

    def forget(self, slot: int) -> None:
        self._network.forget(slot)


@pytest.mark.parametrize("error", [MemoryError("no room for 3 GB"), RuntimeError("out of memory")])
def test_a_row_that_breaks_the_pass_is_ended_and_the_others_go_on(network: MakeNetwork, error: Exception) -> None:
    engine = engine_of(lambda **options: Breaks(network(**options), error))
    good, bad = engine.open(Sampling()), engine.open(Sampling())
    request = SliceRequest(0, tuple(some_ids(9)), 4, gate=False)
    engine.submit(good, request)
    engine.submit(bad, SliceRequest(0, (1, 99, 5), 4, gate=False))
    outputs = []
    while engine.busy:
        outputs += engine.step()
    (failed,) = [o for o in outputs if o.slot == bad]
    assert failed.done and failed.error and failed.error.code == "model_failed"
    assert str(error) in str(failed.error)
    alone = engine_of(network)
    assert tokens([o for o in outputs if o.slot == good]) == tokens(ask(alone, alone.open(Sampling()), request))
    assert tokens(ask(engine, bad, SliceRequest(0, (1, 10), 3, gate=False)))  # its slot still works


class Overflows(Breaks):
    """Gives numbers that are none after token 99."""

    def forward(self, parts: Sequence[Part]) -> torch.Tensor:
        logits = self._network.forward(parts).clone()
        line = 0
        for part in parts:
            if 99 in part.ids:
                logits[line : line + len(part.keep)] = torch.nan
            line += len(part.keep)
        return logits


def test_numbers_that_overflow_end_that_conversation_with_a_word(network: MakeNetwork) -> None:
    engine = engine_of(lambda **options: Overflows(network(**options), Exception()))
    good, bad = engine.open(Sampling()), engine.open(Sampling())
    engine.submit(good, SliceRequest(0, (1, 10), 3, gate=False))
    engine.submit(bad, SliceRequest(0, (1, 99), 3))
    outputs = []
    while engine.busy:
        outputs += engine.step()
    assert len(tokens(outputs)) == 3
    (error,) = [o.error for o in outputs if o.error]
    assert "overflowed" in str(error)
