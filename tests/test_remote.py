"""Engines over servers against the engine in this process: the same tokens, and no bad server hurts a talk."""

import math
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from transformers import GraniteForCausalLM

from duplex_runtime.alignment.fresh import make_model
from duplex_runtime.alignment.presets import Shape
from duplex_runtime.clock import SimulatedClock
from duplex_runtime.duplex import DuplexConversation
from duplex_runtime.engine.engine import SlotEngine
from duplex_runtime.engine.plain import PlainNetwork
from duplex_runtime.engine.remote import RemoteEngine
from duplex_runtime.engine.remote.kinds import Numbers
from duplex_runtime.engine.remote.turn import TOP, Piece, Turn, chance_of
from duplex_runtime.engine.remote.wire import Fault, Wire, base_url
from duplex_runtime.engine.requests import Engine, Output, Sampling, SliceRequest
from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.events import UserText
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.loop import Loop, run_script
from duplex_runtime.models.load import EMBEDDED_FOLDER, load_model
from duplex_runtime.models.vocabulary import TokenizerFile
from tests.remote_servers import TROUBLES, ModelServer, SglangServer, VllmServer, llama_server

VOCABULARY = 200
IDLE, EOS = EMBEDDED.idle, EMBEDDED.eos
SPEAK = SliceRequest(0, (1, 10, 11), 6, (2,), gate=False)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def small() -> GraniteForCausalLM:
    """A random model that hardly ever ends."""
    return random_model()


@pytest.fixture(scope="module")
def moody() -> GraniteForCausalLM:
    """A random model that is silent here and ends there."""
    return random_model(idle=12.0, eos=12.0)


def random_model(idle: float = 1.0, eos: float = 1.0) -> GraniteForCausalLM:
    torch.manual_seed(3)
    made = make_model(Shape(hidden=32, intermediate=64, layers=2, heads=4), VOCABULARY)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4.0)
        weights = made.get_input_embeddings().weight
        weights[IDLE] *= idle
        weights[EOS] *= eos
    return made.float().eval()


@pytest.fixture(scope="module")
def embedded() -> GraniteForCausalLM:
    made: GraniteForCausalLM = load_model("embedded").network.float().eval()
    return made


@pytest.fixture(scope="module")
def vocabulary() -> TokenizerFile:
    return TokenizerFile(EMBEDDED_FOLDER / "tokenizer.json")


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(EMBEDDED_FOLDER / "duplex", tmp_path_factory.mktemp("gguf") / "duplex.gguf")


def write(folder: Path, out: Path) -> Path:
    pytest.importorskip("xllamacpp", reason="llama.cpp's server comes with the extra [dev]")
    pytest.importorskip("gguf", reason="GGUF files are written with the extra [dev]")
    from duplex_runtime.models.gguf import write_gguf

    write_gguf(folder, out, tokenizer=EMBEDDED_FOLDER / "tokenizer.json")
    return out


@pytest.fixture(scope="module")
def llama(gguf: Path) -> Iterator[str]:
    with llama_server(gguf) as (url, _):
        yield url


SERVERS: dict[str, Callable[..., ModelServer]] = {"openai": VllmServer, "sglang": SglangServer}


@pytest.fixture(params=SERVERS)
def server(small: GraniteForCausalLM, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Each of our servers over the small model."""
    with SERVERS[request.param](small) as made:
        yield made


@pytest.fixture
def vllm(small: GraniteForCausalLM) -> Iterator[VllmServer]:
    with VllmServer(small) as made:
        yield made


@pytest.fixture
def sglang(small: GraniteForCausalLM) -> Iterator[SglangServer]:
    with SglangServer(small) as made:
        yield made


def remote(*urls: str, **options: Any) -> RemoteEngine:
    return RemoteEngine(urls, **{"idle": IDLE, "eos": EOS, "max_length": 300, "timeout_seconds": 10.0, **options})


def local(model: GraniteForCausalLM) -> SlotEngine:
    return SlotEngine(PlainNetwork(model, 4, 300), IDLE, EOS)


def ask(engine: Engine, slot: int, request: SliceRequest) -> list[Output]:
    engine.submit(slot, request)
    return rest(engine)


def rest(engine: Engine) -> list[Output]:
    """What comes until nothing is left to come."""
    outputs: list[Output] = []
    while engine.busy:
        outputs += engine.step()
    return outputs


def settled(engine: RemoteEngine, slot: int) -> None:
    """Wait until the last answer has been read to its end."""
    work = engine._rows[slot].work
    assert work
    work.result(10)


def tokens(outputs: Sequence[Output]) -> list[int]:
    return [o.token for o in outputs if o.token is not None]


def shape(outputs: Sequence[Output]) -> list[tuple[object, ...]]:
    """All of the outputs but the slot and p(idle)."""
    return [(o.token, o.done, o.finished, o.length, o.stopped, o.error) for o in outputs]


def random_requests(rng: Random, count: int, vocabulary: int, most: int = 8) -> Iterator[Callable[[int], SliceRequest]]:
    """Requests as a conversation might make them, and some that it would not: each is made from the slot's length."""
    for _ in range(count):
        size, back, words = rng.randint(1, 9), rng.choice((0, 0, 0, 1, 2, 7, 40)), rng.choice((0, 1, most, most))
        ids = tuple(rng.randrange(4, vocabulary) for _ in range(size))
        gate, threshold = rng.random() < 0.7, rng.choice(("idle", "sure", "entered"))

        def make(length: int, ids=ids, back=back, words=words, gate=gate, threshold=threshold) -> SliceRequest:  # type: ignore[no-untyped-def]
            start = max(0, length - back)
            return SliceRequest(
                start, ids if start else (1, *ids), words, (len(ids if start else (1, *ids)) - 1,), gate, threshold
            )

        yield make


def assert_same(
    engine: RemoteEngine, model: GraniteForCausalLM, vocabulary: int, seed: int, count: int
) -> list[Output]:
    """Ask both the same for a while; returns what the server's engine said."""
    reference = local(model)
    sampling = Sampling(idle_threshold=0.3, sure_threshold=0.06, entered_threshold=0.8)
    here, there = reference.open(sampling), engine.open(sampling)
    length, everything = 0, []
    for make in random_requests(Random(seed), count, vocabulary):
        request = make(length)
        expected, got = ask(reference, here, request), ask(engine, there, request)
        assert shape(got) == shape(expected), request
        for a, b in zip(got, expected, strict=True):
            assert len(a.p_idle) == len(b.p_idle)
            if a.p_idle:
                same_chance(a.p_idle[0], b.p_idle[0])
        length = expected[-1].length
        everything += got
    engine.close(there)
    return everything


def same_chance(got: float, expected: float) -> None:
    # where `<idle>` is not among the likeliest, what is given is the most that it can have
    assert got == pytest.approx(expected, abs=1e-4) or expected - 1e-4 <= got <= 1 / (TOP + 1)


# — the same as in this process —


@pytest.mark.parametrize("seed", range(3))
def test_llama_cpp_gives_what_the_engine_here_gives(llama: str, embedded: GraniteForCausalLM, seed: int) -> None:
    with remote(llama) as engine:
        assert_same(engine, embedded, 4096, seed, 12)


@pytest.mark.parametrize("seed", range(3))
def test_each_protocol_gives_what_the_engine_here_gives(server: Any, moody: GraniteForCausalLM, seed: int) -> None:
    server.model = moody
    with remote(server.url) as engine:
        outputs = assert_same(engine, moody, VOCABULARY, seed, 25)
    assert any(o.finished for o in outputs)
    assert any(o.p_idle and o.p_idle[0] > 0.3 and o.token is None for o in outputs)
    assert not getattr(server, "counts", {}).get("aborted")


def talk(engine: Engine, vocabulary: TokenizerFile) -> tuple[list[int], list[str]]:
    """A talk with interruptions, corrections and a long silence: its stream and what the page was told."""

    class Heard:
        def __init__(self) -> None:
            self.events: list[str] = []

        def heard(self, *_: object) -> None: ...
        def asked(self, *_: object) -> None: ...
        def answered(self, *_: object) -> None: ...
        def happened(self, events: Sequence[Any]) -> None:
            self.events += [type(e).__name__ + getattr(e, "delta", "") for e in events]

    script = (
        "what is a volcano? ",
        "mm-hm. ",
        "no wait, ",
        "how many legs does a spider have? ",
        "thanks. ",
        "what is rain?",
    )
    at = (0.0, 4.0, 6.5, 7.0, 14.0, 15.2)
    loop, clock, heard = Loop(engine), SimulatedClock(), Heard()
    conversation = DuplexConversation(EMBEDDED, vocabulary)
    session = loop.add(conversation, clock, Sampling(), [heard])
    run_script(loop, session, [(t, UserText(text)) for t, text in zip(at, script, strict=True)], clock, 20.0)
    return conversation.stream, heard.events


def test_a_whole_talk_over_llama_cpp_is_the_talk_here(
    llama: str, embedded: GraniteForCausalLM, vocabulary: TokenizerFile
) -> None:
    with remote(llama, vocabulary=4096, known={" volcano": vocabulary.encode("volcano")}) as engine:
        there = talk(engine, vocabulary)
    here = talk(local(embedded), vocabulary)
    assert there == here
    assert any(e.startswith("Delta") for e in there[1])


def question(vocabulary: TokenizerFile) -> tuple[int, ...]:
    """The stream up to where the model answers."""
    return (EMBEDDED.bos, *EMBEDDED.user(vocabulary, "what is a volcano?"))


@pytest.mark.parametrize(("place", "end"), [(0, True), (4, False), (0, False)], ids=["end first", "byte", "byte first"])
def test_llama_cpp_says_ends_and_half_characters_as_the_engine_here(
    embedded: GraniteForCausalLM, vocabulary: TokenizerFile, tmp_path: Path, place: int, end: bool
) -> None:
    """With two embeddings swapped the model says the one where it would say the other: the end, or a byte of a
    character that nothing completes, which llama.cpp does not stream."""
    import copy

    asked = question(vocabulary)
    said = tokens(ask(reference := local(embedded), reference.open(Sampling()), SliceRequest(0, asked, 10, ())))
    half = next(i for i in range(7, 300) if vocabulary.decode([i]) == "\ufffd")
    swap = (said[place], EOS if end else half)
    swapped = copy.deepcopy(embedded)
    with torch.no_grad():
        weights = swapped.get_input_embeddings().weight
        weights[list(swap)] = weights[list(reversed(swap))].clone()
    swapped.save_pretrained(tmp_path / "swapped")
    exchange = dict(zip(swap, reversed(swap), strict=True))
    ids = tuple(exchange.get(i, i) for i in asked)
    request = SliceRequest(0, ids, 10, (len(ids) - 1,))
    expected = ask(reference := local(swapped), reference.open(Sampling()), request)
    with llama_server(write(tmp_path / "swapped", tmp_path / "swapped.gguf")) as (url, _), remote(url) as engine:
        got = ask(engine, engine.open(Sampling()), request)
    assert shape(got) == shape(expected)
    assert len(tokens(got)) == 10
    assert swap[1] == EOS or swap[1] in tokens(got)
    same_chance(got[0].p_idle[0], expected[0].p_idle[0])


def test_llama_cpp_computes_nothing_twice(llama: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own count of prompt tokens: those that it had, and those that it had to read."""
    counts: list[tuple[int, int]] = []
    events = Wire.events

    async def counted(self: Wire, path: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        async with aclosing(events(self, path, body)) as found:
            async for event in found:
                if "timings" in event:
                    counts.append((event["timings"]["cache_n"], event["timings"]["prompt_n"]))
                yield event

    with remote(llama) as engine, monkeypatch.context() as patch:
        patch.setattr(Wire, "events", counted)
        slot = engine.open(Sampling(idle_threshold=2.0))
        question = (1, *EMBEDDED.user(TokenizerFile(EMBEDDED_FOLDER / "tokenizer.json"), "tell me about volcanoes."))
        words = tokens(ask(engine, slot, SliceRequest(0, question, 5)))
        said = len(question) + 4  # all but the last one have been read
        ask(engine, slot, SliceRequest(said, (words[-1], EOS, 4, 200, 5), 5))
        ask(engine, slot, SliceRequest(len(question), (4, 201, 5), 5))
        settled(engine, slot)
    assert sum(counts[0]) == len(question)
    assert counts[1:] == [(said, 5), (len(question), 3)]


@pytest.mark.parametrize("favourites", [(EOS, 77), (IDLE, 77), (77, IDLE, 78, EOS)])
def test_the_end_is_not_first_and_silence_never_said(
    small: GraniteForCausalLM, server: Any, favourites: tuple[int, ...]
) -> None:
    server.favourites = favourites
    with remote(server.url) as engine:
        outputs = ask(engine, engine.open(Sampling()), SPEAK)
    assert not {IDLE, EOS} & set(tokens(outputs))
    assert outputs[-1].done and not outputs[-1].error
    assert len(tokens(outputs)) >= 1
    assert [bool(o.p_idle) for o in outputs] == [True] + [False] * (len(outputs) - 1)


def test_an_end_token_that_is_left_out_still_ends_the_answer(vllm: VllmServer) -> None:
    vllm.keeps_end, vllm.favourites = False, (77, 78, EOS)
    with remote(vllm.url) as engine:
        outputs = ask(engine, engine.open(Sampling()), SPEAK)
    assert [(o.token, o.finished, o.length) for o in outputs] == [(77, False, 3), (78, False, 4), (None, True, 5)]


def test_a_listening_slice_is_one_request_for_one_token(server: Any) -> None:
    with remote(server.url) as engine:
        slot, before = engine.open(Sampling()), len(server.asked)
        (output,) = ask(engine, slot, SliceRequest(0, (1, 10, 11), 0, (0, 2)))
    assert (output.token, output.done, output.length, len(output.p_idle)) == (None, True, 3, 1)
    (body,) = server.asked[before:]
    assert body.get("max_tokens", body.get("sampling_params", {}).get("max_new_tokens")) == 1


def test_a_speaking_slice_is_one_request(server: Any) -> None:
    server.favourites = (77,)
    with remote(server.url) as engine:
        slot, before = engine.open(Sampling()), len(server.asked)
        assert tokens(ask(engine, slot, SPEAK)) == [77] * 6
        assert len(server.asked) == before + 1


def test_the_same_seed_draws_the_same_and_every_slice_anew(vllm: VllmServer) -> None:
    def drawn(seed: int) -> list[list[int]]:
        with remote(vllm.url) as engine:
            slot = engine.open(Sampling(temperature=1.5, seed=seed))
            return [tokens(ask(engine, slot, SPEAK)) for _ in range(2)]

    first, second = drawn(1)
    assert first != second
    assert drawn(1) == [first, second]
    assert drawn(2) != [first, second]


def test_llama_cpp_samples_from_the_most_likely(llama: str) -> None:
    with remote(llama) as engine:
        request = SliceRequest(0, (1, 4, 308, 289, 263, 703, 84, 36, 5), 8, gate=False)
        greedy = tokens(ask(engine, engine.open(Sampling()), request))
        assert tokens(ask(engine, engine.open(Sampling(temperature=1.0, top_p=1e-6)), request)) == greedy
        hot = engine.open(Sampling(temperature=5.0, seed=1))
        assert tokens(ask(engine, hot, request)) != greedy


# — one thread, many talks —


def test_a_slow_talk_does_not_keep_another_waiting(server: Any) -> None:
    go = threading.Event()
    server.hold = lambda ids: go.wait(10) if 99 in ids else None
    with remote(server.url, slots=2) as engine:
        slow, quick = engine.open(Sampling()), engine.open(Sampling())
        engine.submit(slow, SliceRequest(0, (1, 99), 3, gate=False))
        engine.submit(quick, SPEAK)
        seen: list[Output] = []
        while not any(o.done for o in seen):
            seen += engine.step()
        assert {o.slot for o in seen} == {quick}
        assert engine.busy
        go.set()
        assert {o.slot for o in rest(engine)} == {slow}
        with pytest.raises(DuplexError, match="2 places are taken") as caught:
            engine.open(Sampling())
        assert caught.value.code == "full"


def test_words_come_as_they_are_made(vllm: VllmServer) -> None:
    """The first is there while the server still thinks about the second."""
    go = threading.Event()
    logits = vllm.logits

    def slowly(ids: Sequence[int], at: int) -> torch.Tensor:
        if at == 1 and not go.wait(10):
            raise AssertionError
        return logits(ids, at)

    with remote(vllm.url) as engine:
        vllm.favourites = (77,)
        vllm.logits = slowly  # type: ignore[method-assign]
        slot = engine.open(Sampling())
        engine.submit(slot, SPEAK)
        first: list[Output] = []
        while not first:
            first += engine.step()
        assert [o.done for o in first] == [False]
        go.set()
        assert len(rest(engine)) == 5


def test_step_waits_a_moment_only(vllm: VllmServer) -> None:
    go = threading.Event()
    with remote(vllm.url) as engine:
        vllm.hold = lambda ids: go.wait(10)  # type: ignore[assignment,return-value]
        slot = engine.open(Sampling())
        assert engine.step() == []
        engine.submit(slot, SPEAK)
        assert engine.step() == []
        assert engine.busy
        go.set()
        assert rest(engine)[-1].done


def test_llama_cpp_tells_the_exact_chance_of_silence_where_it_only_listens(
    llama: str, embedded: GraniteForCausalLM, vocabulary: TokenizerFile
) -> None:
    ids = question(vocabulary)  # after which silence is not among the likeliest
    request = SliceRequest(0, ids, 0, (len(ids) - 1,))
    reference = local(embedded)
    (expected,) = ask(reference, reference.open(Sampling()), request)
    with remote(llama) as engine:
        (got,) = ask(engine, engine.open(Sampling()), request)
    assert expected.p_idle[0] < 1e-3
    assert got.p_idle == pytest.approx(expected.p_idle, rel=0.01)


def test_llama_cpp_serves_as_many_talks_as_it_has_slots(llama: str) -> None:
    with remote(llama) as engine:
        slots = [engine.open(Sampling(idle_threshold=2.0)) for _ in range(4)]
        with pytest.raises(DuplexError, match="4 places"):
            engine.open(Sampling())
        for slot in slots:
            engine.submit(slot, SliceRequest(0, (1, 100 + slot), 6))
        together = rest(engine)
        for slot in slots:
            alone = tokens(ask(engine, slot, SliceRequest(0, (1, 100 + slot), 6)))
            assert [o.token for o in together if o.slot == slot and o.token is not None] == alone
        engine.close(slots[0])
        assert engine.open(Sampling()) not in slots


def test_a_talk_that_is_stopped_keeps_what_was_said_and_goes_on(server: Any, small: GraniteForCausalLM) -> None:
    server.favourites = (77, 78, 79, 80)
    go = threading.Event()
    logits = server.logits

    def slowly(ids: Sequence[int], at: int) -> torch.Tensor:
        if at == 2 and not go.wait(10):
            raise AssertionError
        return logits(ids, at)

    with remote(server.url) as engine:
        slot = engine.open(Sampling())
        engine.stop(slot)  # nothing to stop
        server.logits = slowly
        engine.submit(slot, SPEAK)
        said: list[Output] = []
        while len(said) < 2:
            said += engine.step()
        engine.stop(slot)
        (last,) = engine.step()
        assert (last.token, last.done, last.stopped, last.finished, last.length) == (None, True, True, False, 4)
        assert not engine.busy
        go.set()
        server.favourites = ()
        following = SliceRequest(4, (78, EOS, 4, 20, 5), 4, gate=False)
        expected = ask(
            reference := local(small),
            reference.open(Sampling()),
            SliceRequest(0, (1, 10, 11, 77, 78, EOS, 4, 20, 5), 4, gate=False),
        )
        assert shape(ask(engine, slot, following)) == shape(expected)


def test_a_talk_stopped_before_its_first_word_says_one(vllm: VllmServer) -> None:
    vllm.favourites = (77,)
    with remote(vllm.url) as engine:
        slot = engine.open(Sampling())
        engine.submit(slot, SPEAK)
        engine.stop(slot)
        outputs = rest(engine)
    assert outputs[0].token == 77
    assert outputs[-1].done


def test_a_talk_that_leaves_in_the_middle_is_forgotten(server: Any) -> None:
    go = threading.Event()
    with remote(server.url) as engine:
        server.hold = lambda ids: go.wait(10)
        slot = engine.open(Sampling())
        engine.submit(slot, SPEAK)
        engine.close(slot)
        engine.close(slot)
        assert not engine.busy
        go.set()
        other = engine.open(Sampling())
        assert other != slot
        assert {o.slot for o in ask(engine, other, SPEAK)} == {other}


def test_ending_in_the_middle_of_everything_leaves_no_thread(server: Any) -> None:
    before = set(threading.enumerate())
    engine = remote(server.url)
    server.hold = lambda ids: server.released.wait(10)
    for _ in range(3):
        engine.submit(engine.open(Sampling()), SPEAK)
    engine.shutdown()
    engine.shutdown()
    assert not [t for t in set(threading.enumerate()) - before if t.name == "remote-engine"]
    with pytest.raises(DuplexError, match="shut down"):
        engine.open(Sampling())


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (SliceRequest(0, (), 5), "expected ids"),
        (SliceRequest(1, (1,), 5), "truncate_to"),
        (SliceRequest(-1, (1,), 5), "truncate_to"),
        (SliceRequest(0, (1,) * 298, 3), "holds 300 tokens; the request needs 301"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(vllm: VllmServer, request_: SliceRequest, message: str) -> None:
    with remote(vllm.url) as engine:
        slot = engine.open(Sampling())
        with pytest.raises(ValueError, match=message):
            engine.submit(slot, request_)
        assert not engine.busy
        engine.submit(slot, SPEAK)
        with pytest.raises(ValueError, match="unfinished request"):
            engine.submit(slot, SPEAK)
        assert rest(engine)[-1].done


# — SGLang's sessions —


def test_a_session_takes_each_token_once(sglang: SglangServer) -> None:
    sglang.favourites = (77,)
    with remote(sglang.url) as engine:
        slot = engine.open(Sampling())
        base = sglang.counts["encoded"]
        ask(engine, slot, SliceRequest(0, (1, 10, 11), 4, gate=False))
        ask(engine, slot, SliceRequest(6, (77, EOS, 4, 20, 5), 4, gate=False))
        assert sglang.counts["encoded"] - base == 3 + 4  # the last word is in the session already
        assert (sglang.counts["opened"], len(sglang.sessions)) == (1, 1)
        ask(engine, slot, SliceRequest(2, (30, 31), 4, gate=False))  # a rollback: a session of its own
        assert sglang.counts["encoded"] - base == 3 + 4 + 4
        assert (sglang.counts["opened"], len(sglang.sessions)) == (2, 1)
    assert not sglang.sessions
    assert not sglang.counts["aborted"] + sglang.counts["two at once"]


def test_an_answer_that_nobody_wants_is_read_to_its_end(sglang: SglangServer) -> None:
    """To break it off would free the session's cache."""
    sglang.favourites = (77,)
    go = threading.Event()
    logits = sglang.logits

    def slowly(ids: Sequence[int], at: int) -> torch.Tensor:
        if at == 1 and not go.wait(10):
            raise AssertionError
        return logits(ids, at)

    with remote(sglang.url) as engine:
        sglang.logits = slowly  # type: ignore[method-assign]
        slot = engine.open(Sampling(idle_threshold=0.0))
        (output,) = ask(engine, slot, SliceRequest(0, (1, 10, 11), 4, (2,)))
        assert (output.token, output.done, output.length) == (None, True, 3)  # known before the server has finished
        go.set()
        settled(engine, slot)
        assert engine._rows[slot].place.held == (1, 10, 11, 77, 77, 77, 77)
        ask(engine, slot, SliceRequest(3, (IDLE, EOS, 4, 20, 5), 0))
        assert sglang.counts["opened"] == 2
    assert not sglang.counts["aborted"] + sglang.counts["two at once"]


@pytest.mark.parametrize("how", ["abort", "error", "status"])
def test_a_session_that_timed_out_is_begun_anew(sglang: SglangServer, how: str) -> None:
    sglang.favourites, sglang.unknown_as = (77,), how
    with remote(sglang.url) as engine:
        slot = engine.open(Sampling())
        said = ask(engine, slot, SliceRequest(0, (1, 10), 4, gate=False))
        settled(engine, slot)  # the session is kept with the last event
        sglang.sessions.clear()
        ids = (tokens(said)[-1], 30, 31)
        again = ask(engine, slot, SliceRequest(said[-1].length, ids, 4, gate=False))
        assert tokens(again) == [77] * 4 and not again[-1].error
        assert (sglang.counts["unknown"], sglang.counts["opened"]) == (1, 2)


@pytest.mark.parametrize("option", ["enabled", "incremental"])
def test_sglang_may_be_without_sessions_or_stream_in_parts(
    sglang: SglangServer, small: GraniteForCausalLM, option: str
) -> None:
    setattr(sglang, option, option == "incremental")
    with remote(sglang.url) as engine:
        assert_same(engine, small, VOCABULARY, 5, 12)


# — bad worlds —


def nobody() -> str:
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_server_that_is_not_there_is_named() -> None:
    url = nobody()
    before = threading.active_count()
    with pytest.raises(DuplexError, match="Check that each runs") as caught:
        remote(url)
    assert url in str(caught.value) and "cannot be reached" in str(caught.value)
    assert threading.active_count() == before


def test_a_server_that_is_still_loading_says_so(vllm: VllmServer) -> None:
    vllm.loading = True
    with pytest.raises(DuplexError, match="Loading model"):
        remote(vllm.url)


def test_one_of_two_servers_is_enough_and_the_other_may_come_later(small: GraniteForCausalLM) -> None:
    with VllmServer(small) as first, VllmServer(small) as second:
        second.loading = True
        with remote(first.url, second.url) as engine:
            slot = engine.open(Sampling())
            expected = shape(ask(engine, slot, SPEAK))
            first.loading, second.loading = True, False
            assert shape(ask(engine, slot, SPEAK)) == expected
            assert second.asked


#: What a kind must notice itself; the rest is HTTP, the same for all.
OWN = ("huge id", "negative id", "text id", "no numbers", "nan", "wrong shape", "close", "cut", "end", "hang")
CASES = [("openai", t) for t in TROUBLES] + [("sglang", t) for t in OWN]
SLOW = ("hang", "trickle")


@pytest.mark.parametrize(("server", "trouble"), [c for c in CASES if c[1] not in SLOW], indirect=["server"])
def test_whatever_a_server_does_only_its_talk_ends(server: Any, trouble: str) -> None:
    server.favourites = (77,)
    with remote(server.url, vocabulary=VOCABULARY) as engine:
        bad, good = engine.open(Sampling()), engine.open(Sampling())
        server.trouble = trouble
        outputs = ask(engine, bad, SPEAK)
        assert [o.done for o in outputs] == [False] * (len(outputs) - 1) + [True]
        error = outputs[-1].error
        assert error and error.code == "server_lost"
        assert server.url in str(error) and "Check" in str(error)
        engine.close(bad)
        server.trouble = None
        assert tokens(ask(engine, good, SPEAK)) == [77] * 6


@pytest.mark.parametrize(("server", "trouble"), CASES, indirect=["server"])
def test_another_server_takes_over_where_one_fails(small: GraniteForCausalLM, server: Any, trouble: str) -> None:
    """Also in the middle of an answer: no word is lost or said twice."""
    seconds = 0.8 if trouble in SLOW else 10.0
    with (
        type(server)(small) as other,
        remote(server.url, other.url, vocabulary=VOCABULARY, timeout_seconds=seconds) as engine,
    ):
        slot = engine.open(Sampling())
        assert engine._rows[slot].server.url == server.url
        first = ask(engine, slot, SliceRequest(0, (1, 12), 3, gate=False))
        server.trouble = trouble
        request = SliceRequest(first[-1].length, (13, 14), 7, (1,), gate=False)
        got = ask(engine, slot, request)
        settled(engine, slot)
        assert engine._rows[slot].server.url == other.url
    reference = local(small)
    here = reference.open(Sampling())
    ask(reference, here, SliceRequest(0, (1, 12), 3, gate=False))
    assert shape(got) == shape(ask(reference, here, request))
    assert len(got) > 3


@pytest.mark.parametrize("trouble", SLOW)
def test_a_slow_server_has_its_time_and_no_more(server: Any, trouble: str) -> None:
    server.favourites = (77,)
    with remote(server.url, timeout_seconds=0.8) as engine:
        slot = engine.open(Sampling())
        server.trouble = trouble
        outputs = ask(engine, slot, SliceRequest(0, (1, 10), 12, gate=False))
        assert outputs[-1].error
        assert "0.8 s" in str(outputs[-1].error) or "in time" in str(outputs[-1].error)


def test_a_long_answer_may_take_longer(vllm: VllmServer) -> None:
    vllm.favourites = (77,)
    with remote(vllm.url, timeout_seconds=0.6) as engine:
        slot = engine.open(Sampling())
        vllm.trouble = "trickle"
        engine.submit(slot, SliceRequest(0, (1, 10), 60, gate=False))
        outputs: list[Output] = []
        while len(outputs) < 6 and engine.busy:  # a word every 0.15 s
            outputs += engine.step()
        assert tokens(outputs) == [77] * 6


def test_a_busy_server_is_asked_once_more(vllm: VllmServer) -> None:
    with remote(vllm.url) as engine:
        slot = engine.open(Sampling())
        vllm.trouble, vllm.troubles_left, before = "status 429", 1, len(vllm.asked)
        outputs = ask(engine, slot, SPEAK)
        assert not outputs[-1].error and tokens(outputs)
        assert len(vllm.asked) == before + 2


def test_a_connection_that_went_stale_is_made_anew(server: Any) -> None:
    with remote(server.url) as engine:
        slot = engine.open(Sampling())
        server.trouble, server.troubles_left = "close", 1
        outputs = ask(engine, slot, SPEAK)
        assert not outputs[-1].error and tokens(outputs)


def test_a_llama_cpp_that_is_killed_is_replaced_by_the_other(gguf: Path, embedded: GraniteForCausalLM) -> None:
    reference = local(embedded)
    ids = (1, 4, 308, 289, 263, 703, 84, 36, 5)
    with llama_server(gguf) as (first, kill), llama_server(gguf) as (second, _), remote(first, second) as engine:
        slots = [engine.open(Sampling()) for _ in range(3)]
        homes = [engine._rows[slot].server.url for slot in slots]
        assert homes == [first, second, first]
        request = SliceRequest(0, ids, 60, gate=False)
        for slot in slots:
            engine.submit(slot, request)
        outputs = list(engine.step())
        while not outputs:
            outputs += engine.step()
        kill()
        outputs += rest(engine)
        expected = tokens(ask(reference, reference.open(Sampling()), request))
        for slot in slots:
            mine = [o for o in outputs if o.slot == slot]
            assert tokens(mine) == expected
            assert mine[-1].done and not mine[-1].error
            settled(engine, slot)
            assert engine._rows[slot].server.url == second


def test_a_redirect_is_not_followed(vllm: VllmServer, small: GraniteForCausalLM) -> None:
    with VllmServer(small) as elsewhere:
        vllm.elsewhere = f"{elsewhere.url}/v1/completions"
        with remote(vllm.url) as engine:
            vllm.trouble = "redirect"
            outputs = ask(engine, engine.open(Sampling()), SPEAK)
            assert "redirects /v1/completions" in str(outputs[-1].error)
        assert not elsewhere.requests


def test_the_loop_loses_only_the_talk_whose_server_fails(vllm: VllmServer, vocabulary: TokenizerFile) -> None:
    with remote(vllm.url) as engine:
        loop, clock = Loop(engine), SimulatedClock()
        lost: list[DuplexError] = []
        first = loop.add(DuplexConversation(EMBEDDED, vocabulary), clock, Sampling(), failed=lost.append)
        other: list[DuplexError] = []
        second = loop.add(DuplexConversation(EMBEDDED, vocabulary), clock, Sampling(), failed=other.append)
        vllm.trouble = "cut"
        loop.hear(first, UserText("v w. "), 0.0)
        clock.move_to(5.0)
        while loop.turn():
            pass
        assert [e.code for e in lost] == ["server_lost"]
        assert not other
        loop.remove(second)


# — the wrong model, and what it takes to reach it —


def test_a_model_of_another_size_is_refused(llama: str, vllm: VllmServer) -> None:
    with pytest.raises(DuplexError, match="4096 tokens, expected 3000"):
        remote(llama, vocabulary=3000)
    with pytest.raises(DuplexError, match="refuses token ids up to 4999"):
        remote(vllm.url, vocabulary=5000)


def test_a_model_that_encodes_otherwise_is_refused(llama: str, server: Any, vocabulary: TokenizerFile) -> None:
    server.known = {"hello": [12, 13]}
    with remote(server.url, known={"hello": (12, 13)}):
        pass
    for url in (llama, server.url):
        with pytest.raises(DuplexError, match=r"encodes 'hello' as .*another model"):
            remote(url, known={"hello": (12, 14)})


def test_a_context_that_is_too_short_is_refused(llama: str, server: Any) -> None:
    server.context = 299
    with pytest.raises(DuplexError, match="reads 299 tokens, a conversation may have 300"):
        remote(server.url)
    with pytest.raises(DuplexError, match="reads 512 tokens"):
        remote(llama, max_length=513)


@pytest.mark.parametrize(("server", "option"), [("openai", "raw"), ("sglang", "original")], indirect=["server"])
def test_probabilities_of_another_distribution_are_refused(server: Any, option: str) -> None:
    setattr(server, option, False)
    with pytest.raises(DuplexError, match=r"SGLANG_RETURN_ORIGINAL_LOGPROB=1.*raw_logprobs"):
        remote(server.url)


def test_a_server_without_token_ids_is_refused(vllm: VllmServer) -> None:
    vllm.gives_ids = False
    with pytest.raises(DuplexError, match=r"vLLM 0\.10\.2 or newer"):
        remote(vllm.url)


def test_a_server_that_comes_back_with_another_model_is_not_used(vllm: VllmServer) -> None:
    vllm.known = {"hello": [12]}
    with remote(vllm.url, known={"hello": (12,)}) as engine:
        slot = engine.open(Sampling())
        vllm.trouble, vllm.troubles_left = "cut", 1
        assert ask(engine, slot, SPEAK)[-1].error
        settled(engine, slot)
        vllm.known = {"hello": [13]}
        outputs = ask(engine, slot, SPEAK)
        assert "another model" in str(outputs[-1].error)


def test_the_key_goes_with_every_request_and_into_no_message(small: GraniteForCausalLM, gguf: Path) -> None:
    with VllmServer(small, api_key="sesame") as server:
        with remote(server.url, api_key="sesame") as engine:
            assert tokens(ask(engine, engine.open(Sampling()), SPEAK))
        for key in (None, "simsim"):
            with pytest.raises(DuplexError, match="refuses the API key") as caught:
                remote(server.url, api_key=key)
            assert "simsim" not in str(caught.value)
    with llama_server(gguf, 1, 512, "sesame") as (url, _):
        with remote(url, api_key="sesame") as engine:
            assert tokens(ask(engine, engine.open(Sampling()), SPEAK))
        with pytest.raises(DuplexError, match="refuses the API key"):
            remote(url)


@pytest.mark.parametrize("key", ["", " ", "a\nb", "ключ"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(BadInput, match="API key"):
        remote("http://127.0.0.1:1", api_key=key)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8080",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "unix:///tmp/socket",
        "http://",
        "http://:8080",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "http://127.0.0.1:x",
        "http://[::1",
        "http://127.0.0.1/?a=1",
        "http://127.0.0.1/#a",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/\r\nX: y",
        "http://me:secret@127.0.0.1/",
    ],
)
def test_only_plain_addresses_are_taken(url: str) -> None:
    with pytest.raises(BadInput, match="expected the address") as caught:
        remote(url)
    assert "secret" not in str(caught.value)


def test_addresses_are_cut_to_the_server() -> None:
    assert base_url("http://127.0.0.1:8000/v1/") == "http://127.0.0.1:8000"
    assert base_url("https://example.org/models/one/") == "https://example.org/models/one"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"kind": "ollama"}, "expected one of auto, llamacpp"), ({"timeout_seconds": 0.0}, "over 0 seconds")],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        remote("http://127.0.0.1:1", **options)
    with pytest.raises(BadInput, match="list of addresses"):
        RemoteEngine([], idle=3, eos=2)
    with pytest.raises(BadInput, match="list of addresses"):
        RemoteEngine("http://127.0.0.1:1", idle=3, eos=2)


# — the parts that need no server —


def test_the_most_that_an_unlisted_token_can_have_is_given() -> None:
    half = math.log(0.5)
    assert chance_of(3, [(3, half), (4, math.log(0.4))]) == pytest.approx(0.5)
    assert chance_of(3, [(4, half), (5, math.log(0.3))]) == pytest.approx(0.2)  # what they leave
    assert chance_of(3, [(4, math.log(0.1)), (5, math.log(0.05))]) == pytest.approx(0.05)  # the least of them
    flat = [(100 + i, math.log(0.02)) for i in range(TOP)]
    assert chance_of(3, [*flat, (7, math.log(1e-9))]) == pytest.approx(0.02)  # one that was drawn is added


@pytest.mark.parametrize("likeliest", [[], [(3, math.nan)], [(3, math.inf)], [(3, 0.5)]])
def test_numbers_that_are_no_probabilities_are_refused(likeliest: list[tuple[int, float]]) -> None:
    with pytest.raises(Fault):
        chance_of(3, likeliest)


def turn(request: SliceRequest, **options: Any) -> Turn:
    return Turn(0, (1, 2, 3, *request.ids), request, Sampling(**options), IDLE, EOS, 100, seed=0)


def test_a_turn_is_silent_from_its_threshold_on() -> None:
    silent = turn(SliceRequest(3, (9,), 5, (0,)), idle_threshold=0.4)
    output = silent.hear(Piece(50, 0.4))
    assert output and (output.token, output.done, output.p_idle, output.length) == (None, True, (0.4,), 4)
    speaking = turn(SliceRequest(3, (9,), 5, (0,), gate=False), idle_threshold=0.4)
    output = speaking.hear(Piece(50, 0.9))
    assert output and (output.token, output.done, output.p_idle, output.length) == (50, False, (0.9,), 4)
    other = turn(SliceRequest(3, (9,), 5, (0,), threshold="entered"), idle_threshold=0.4, entered_threshold=0.95)
    assert (output := other.hear(Piece(50, 0.9))) and output.token == 50


def test_a_turn_reports_the_newest_probe_if_it_is_at_the_end() -> None:
    assert (last := turn(SliceRequest(3, (9, 8), 0, (0, 1))).hear(Piece(None, 0.3))) and last.p_idle == (0.3,)
    assert (none := turn(SliceRequest(3, (9, 8), 0, (0,))).hear(Piece(None, 0.3))) and none.p_idle == ()


def test_a_turn_goes_on_where_it_was_left() -> None:
    half = turn(SliceRequest(3, (9,), 5, (0,)))
    first = half.ask()
    assert (first.ids, first.max_new_tokens, first.watch, first.begins) == ((1, 2, 3, 9), 5, IDLE, True)
    half.hear(Piece(50, 0.0))
    half.hear(Piece(51))
    second = half.ask()
    assert (second.ids, second.max_new_tokens, second.watch) == ((1, 2, 3, 9, 50, 51), 3, None)
    assert (second.banned, second.begins) == ({IDLE}, False)


@pytest.mark.parametrize("piece", [Piece(100, 0.1), Piece(-1, 0.1), Piece(None, 0.1), Piece(50), Piece(50, math.nan)])
def test_a_turn_takes_no_nonsense(piece: Piece) -> None:
    with pytest.raises(Fault):
        turn(SliceRequest(3, (9,), 5, (0,))).hear(piece)


def test_places_are_given_out_again() -> None:
    numbers = Numbers(2)
    assert [numbers.take() for _ in range(3)] == [0, 1, -1]
    numbers.give(0)
    numbers.give(-1)
    assert numbers.take() == 0
