"""`duplex bench engine`: our engine beside the engines that one could take instead, on the same weights, in one run.

Every ratio is the other's time ÷ ours (so more is better), measured in pairs, one after the other, and the median of
the pairs is given: a machine that slows down in between slows both. The peers:

re-encoding          the loop of the released server: the whole history anew at every slice
continuous batching  of the transformers library: whole prompts in, finished requests out
llama.cpp            driven bare, in one loop over its C interface, with the extra [llamacpp]
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import torch

from duplex_runtime.clock import SimulatedClock
from duplex_runtime.duplex import DuplexConversation
from duplex_runtime.engine.engine import SlotEngine
from duplex_runtime.engine.fused import FusedNetwork, fusible
from duplex_runtime.engine.network import Network, Part
from duplex_runtime.engine.plain import PlainNetwork
from duplex_runtime.engine.requests import Engine, Output, Sampling, SliceRequest
from duplex_runtime.errors import DuplexError, ModelError
from duplex_runtime.events import Event, Input, UserText
from duplex_runtime.loop import Loop, Session, run_script
from duplex_runtime.models.load import EMBEDDED_FOLDER, LoadedModel, load_model
from duplex_runtime.slices import Slicing
from duplex_runtime.strain import Strain

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: The rows, in the order of the table: what is said of each, and what we aim at.
ROWS = {
    "listen_512": ("listening slice, 512 tokens of history: re-encoding ÷ ours", "≥ 15"),
    "listen_1024": ("listening slice, 1,024 tokens: re-encoding ÷ ours", "≥ 30"),
    "slice_1024": ("ten-token slice, 1,024 tokens: re-encoding ÷ ours", "≥ 5"),
    "hour_drift": ("last ten slices of an hour ÷ first ten", "≤ 1.05"),
    "hour_bytes_per_slice": ("memory that a slice adds once the window is full, bytes", "0"),
    "batch_16": ("16 rows one by one ÷ 16 rows in one step", "≥ 4"),
    "continuous_batching": ("16 ten-token slices: transformers' continuous batching ÷ ours", "≥ 1.5"),
    "floor_cpu": ("one step ÷ its matrix products alone", "≤ 1.5"),
    "llamacpp": ("ten-token slice: bare llama.cpp ÷ our quickest engine", "≥ 0.95"),
    "realtime_conversations": ("conversations at 2 s slices with 95 % done in half a period", "≥ 128"),
}

#: A five-word slice of the person and ten tokens of the model.
NEW_TOKENS = 10
#: Tokens of history in the rows that name none: a talk is kept between 200 and 500.
HISTORY = 350


def run(name: str, rows: Sequence[str] = tuple(ROWS)) -> dict[str, Any]:
    """Measure `rows`, print the table; a row that cannot be measured is None, and `notes` says why."""
    bench = _Bench(load_model(name, "duplex"))
    print(f"{bench.model.parameters / 1e6:.1f} M parameters, {torch.get_num_threads()} threads\n")
    result: dict[str, Any] = {}
    for row in rows:
        says, goal = ROWS[row]
        try:
            result[row] = round(getattr(bench, row)(), 3)
            shown = f"{result[row]:10.2f}"
        except (DuplexError, ImportError) as error:
            result[row] = None
            bench.notes.append(f"{row}: {error}")
            shown = f"{'—':>10}"
        print(f"  {says:66} {shown}   goal {goal}", flush=True)
    for note in bench.notes:
        print(f"  · {note}")
    return {**result, "notes": bench.notes}


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def ratio(other: Callable[[], object], ours: Callable[[], object], pairs: int) -> tuple[float, float, float]:
    """Median of other ÷ ours over interleaved pairs, and the median seconds of each."""
    other(), ours()
    times = [(seconds(other), seconds(ours)) for _ in range(pairs)]
    return (
        statistics.median(a / b for a, b in times),
        statistics.median(a for a, _ in times),
        statistics.median(b for _, b in times),
    )


@dataclass
class _Bench:
    """One model and what was noted along the way."""

    model: LoadedModel
    notes: list[str] = field(default_factory=list)

    # — against encoding everything again —

    def listen_512(self) -> float:
        return self._against_reencoding(512, 0, pairs=15)

    def listen_1024(self) -> float:
        return self._against_reencoding(1024, 0, pairs=15)

    def slice_1024(self) -> float:
        return self._against_reencoding(1024, NEW_TOKENS, pairs=9)

    def _against_reencoding(self, history: int, tokens: int, pairs: int) -> float:
        engine = self._engine(2, history + 64)
        slot, past, words = engine.open(self._speaks), self._ids(history), self._words
        ask(engine, slot, SliceRequest(0, past, 0))
        request = SliceRequest(history, words, tokens, gate=False)
        value, other, ours = ratio(
            lambda: reencode(self.model.network, (*past, *words), tokens), lambda: ask(engine, slot, request), pairs
        )
        kind = f"{tokens}-token slice" if tokens else "listening slice"
        self.notes.append(f"{kind} at {history}: re-encoding {1000 * other:.1f} ms, ours {1000 * ours:.2f} ms")
        return value

    # — an hour —

    def hour_drift(self) -> float:
        times, _ = self._hour
        return statistics.median(times[-10:]) / statistics.median(times[:10])

    def hour_bytes_per_slice(self) -> float:
        _, resident = self._hour
        return slope(resident[len(resident) // 3 :])

    @property
    def _hour(self) -> tuple[list[float], list[tuple[float, float]]]:
        if not hasattr(self, "_measured_hour"):
            self._measured_hour = hour(self.model, self._engine(1, 2 * self.model.memory.limit))
            times = self._measured_hour[0]
            self.notes.append(
                f"hour: {len(times)} slices of 5 words and 10 tokens, {1000 * statistics.median(times):.1f} ms each"
            )
        return self._measured_hour

    # — many at once —

    def batch_16(self) -> float:
        network = self._network(16, 600)
        starts = [200 + 20 * row for row in range(16)]
        for row, start in enumerate(starts):
            network.forward([Part(row, 0, self._ids(start), (0,))])
        parts = [Part(row, start, self._ids(1), (0,)) for row, start in enumerate(starts)]
        value, single, batched = ratio(
            lambda: [network.forward([part]) for part in parts], lambda: network.forward(parts), pairs=25
        )
        self.notes.append(
            f"16 rows of 200 to 500 tokens: {1000 * single:.1f} ms singly, {1000 * batched:.1f} ms together"
        )
        return value

    def continuous_batching(self) -> float:
        engine = self._engine(16, HISTORY + 64)
        slots = [engine.open(self._speaks) for _ in range(16)]
        pasts = [self._ids(HISTORY, seed) for seed in range(16)]
        for slot, past in zip(slots, pasts, strict=True):
            ask(engine, slot, SliceRequest(0, past, 0))

        def ours() -> None:
            for slot in slots:
                engine.submit(slot, SliceRequest(HISTORY, self._words, NEW_TOKENS, gate=False))
            while engine.busy:
                engine.step()

        prompts = [[*past, *self._words] for past in pasts]
        with continuous(self.model.network, prompts, NEW_TOKENS) as theirs:
            value, other, mine = ratio(theirs, ours, pairs=5)
        self.notes.append(
            f"16 ten-token slices at {HISTORY}: continuous batching {1000 * other:.0f} ms, ours {1000 * mine:.0f} ms"
        )
        return value

    def realtime_conversations(self) -> float:
        engine_of = self._engine
        best = 0
        for count in (32, 64, 96, 128, 160, 192, 256, 320, 384, 448, 512):
            late = crowd(self.model, engine_of(count, 2 * self.model.memory.limit), count)
            self.notes.append(f"{count} conversations: 95 % of slices done {late:.2f} s after they were due")
            if late >= 1.0:
                break
            best = count
        return best

    # — against the least that is possible —

    def floor_cpu(self) -> float:
        if not fusible(self.model.network):
            raise ModelError("measured for models that the hand-written pass computes, on a CPU")
        network = FusedNetwork(self.model.network, 1, HISTORY + 8)
        network.forward([Part(0, 0, self._ids(HISTORY), (0,))])
        part = [Part(0, HISTORY, self._ids(1), (0,))]
        inverse, products, step = ratio(network.products, lambda: network.forward(part), pairs=200)
        self.notes.append(f"one step {1000 * step:.2f} ms, its matrix products alone {1000 * products:.2f} ms")
        return 1 / inverse

    def llamacpp(self) -> float:
        from duplex_runtime.engine.llamacpp import BareSlice, LlamaCppNetwork
        from duplex_runtime.models.gguf import write_gguf

        if self.model.name != "embedded":
            raise ModelError("measured with the embedded model, whose GGUF file is made in a second")
        past = self._ids(HISTORY)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "duplex-f32.gguf"
            write_gguf(EMBEDDED_FOLDER / "duplex", file, "f32")
            threads = torch.get_num_threads()
            with BareSlice(file, past, threads) as bare, LlamaCppNetwork(file, 1, HISTORY + 64, threads) as network:
                engines = {"llama.cpp engine": SlotEngine(network, self.model.layout.idle, eos=0)}
                engines["torch engine"] = self._engine(1, HISTORY + 64)
                values = {}
                for name, engine in engines.items():
                    slot = engine.open(self._speaks)
                    ask(engine, slot, SliceRequest(0, past, 0))
                    request = SliceRequest(HISTORY, self._words, NEW_TOKENS, gate=False)
                    values[name], other, mine = ratio(
                        lambda: bare.run(self._words, NEW_TOKENS),
                        lambda engine=engine, slot=slot, request=request: ask(engine, slot, request),  # type: ignore[misc]
                        pairs=25,
                    )
                    self.notes.append(
                        f"{name}: ten-token slice {1000 * mine:.1f} ms, bare llama.cpp {1000 * other:.1f} ms, "
                        f"ratio {values[name]:.2f}"
                    )
        return max(values.values())

    # — what the rows share —

    @property
    def _speaks(self) -> Sampling:
        return Sampling(idle_threshold=2.0)  # never silent: every slice says its tokens

    @property
    def _words(self) -> tuple[int, ...]:
        return tuple(self.model.layout.user(self.model.vocabulary, "and what about the others"))

    def _ids(self, count: int, seed: int = 0) -> tuple[int, ...]:
        random = Random(seed)
        return (
            self.model.layout.bos,
            *(random.randrange(6, self.model.network.config.vocab_size) for _ in range(count - 1)),
        )

    def _network(self, slots: int, max_length: int) -> Network:
        make = FusedNetwork if fusible(self.model.network) else PlainNetwork
        return make(self.model.network, slots, max_length)

    def _engine(self, slots: int, max_length: int) -> SlotEngine:
        # without the end token: every slice says all its tokens
        return SlotEngine(self._network(slots, max_length), self.model.layout.idle, eos=0)


def ask(engine: Engine, slot: int, request: SliceRequest) -> None:
    """One request, to its end."""
    engine.submit(slot, request)
    while engine.busy:
        for output in engine.step():
            if output.error:
                raise output.error


@torch.inference_mode()
def reencode(model: PreTrainedModel, ids: Sequence[int], new_tokens: int) -> list[int]:
    """A slice as the released server computes it: history and new words in one pass without a cache from before;
    then, if it speaks, greedy tokens over the cache of this slice, which is thrown away."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    said: list[int] = []
    pending = torch.tensor([list(ids)], device=model.device)
    while True:
        out = model(input_ids=pending, past_key_values=cache, use_cache=True, logits_to_keep=1)
        if len(said) == new_tokens:
            return said
        said.append(int(out.logits[0, -1].argmax()))
        if len(said) == new_tokens:
            return said
        pending = torch.tensor([[said[-1]]], device=model.device)


@contextmanager
def continuous(model: PreTrainedModel, prompts: list[list[int]], new_tokens: int) -> Iterator[Callable[[], None]]:
    """The transformers library's continuous batching, kept running; the call answers all prompts once."""
    from transformers import ContinuousBatchingConfig, GenerationConfig
    from transformers.utils import logging

    logging.set_verbosity_error()
    before = model.config._attn_implementation
    config = GenerationConfig(max_new_tokens=new_tokens, do_sample=False, eos_token_id=-1, pad_token_id=0)
    blocks = 2 * len(prompts) * (max(map(len, prompts)) // 256 + 2)
    sizes = ContinuousBatchingConfig(num_blocks=blocks, max_batch_tokens=8192)
    manager = model.init_continuous_batching(generation_config=config, continuous_batching_config=sizes)
    manager.start()

    def answer() -> None:
        waiting = set(manager.add_requests(prompts, max_new_tokens=new_tokens))
        while waiting:
            result = manager.get_result(timeout=30)
            if result is None or result.error:
                raise ModelError(f"continuous batching gave no answer: {result and result.error}")
            if len(result.generated_tokens) != new_tokens:
                raise ModelError(f"continuous batching gave {len(result.generated_tokens)} of {new_tokens} tokens")
            waiting.discard(result.request_id)

    try:
        yield answer
    finally:
        manager.stop(block=True)
        model.set_attn_implementation(before)


class _Timed:
    """An engine that notes how long each request took, from submit to done."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.times = engine, list[float]()
        self._begun = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def submit(self, slot: int, request: SliceRequest) -> None:
        self._begun = time.perf_counter()
        self._engine.submit(slot, request)

    def step(self) -> Sequence[Output]:
        outputs = self._engine.step()
        self.times += [time.perf_counter() - self._begun for output in outputs if output.done]
        return outputs


def hour(model: LoadedModel, engine: Engine, slices: int = 1800) -> tuple[list[float], list[tuple[float, float]]]:
    """One conversation of fixed 2 s slices: seconds of engine time for each, and (slice, resident bytes)."""
    timed, clock, slicing = _Timed(engine), SimulatedClock(), Slicing(adaptive=False)
    loop = Loop(timed)
    conversation = DuplexConversation(model.layout, model.vocabulary, slicing, model.memory, wait_for_end_mark=False)
    session = loop.add(conversation, clock, Sampling(idle_threshold=2.0))
    resident = []
    for index in range(slices):
        run_script(loop, session, [(2.0 * index + 0.5, UserText("and what about the others "))], clock, patience=0.0)
        clock.move_to(2.0 * (index + 1))
        while loop.turn():
            pass
        if index % 20 == 0:
            resident.append((float(index), float(resident_bytes())))
    return timed.times, resident


def resident_bytes() -> int:
    """Memory of this process that is in use."""
    import psutil  # comes with accelerate

    return int(psutil.Process(os.getpid()).memory_info().rss)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least squares: how much y grows with x."""
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope


@dataclass
class _PhasedClock:
    """The machine's clock, begun `phase` seconds ago: nobody's slices close together with another's."""

    phase: float

    def __post_init__(self) -> None:
        self._start = time.monotonic() - self.phase

    def now(self) -> float:
        return time.monotonic() - self._start


@dataclass
class _Lateness:
    """An observer that notes how long after its due time each slice was done."""

    seconds: list[float]
    session: Session | None = None

    def heard(self, event: Input, at: float) -> None: ...

    def asked(self, now: float, request: SliceRequest | None) -> None: ...

    def answered(self, output: Output, at: float) -> None:
        if output.done and self.session:
            self.seconds.append(at - self.session.due_at)

    def happened(self, events: Sequence[Event]) -> None: ...


def turn_or_wait(loop: Loop) -> None:
    """One turn, or a millisecond where there was nothing to do."""
    if not loop.turn():
        time.sleep(0.001)


class _Unmoved(Strain):
    """Never gives way."""

    def note(self, late_seconds: float, period_seconds: float) -> bool:
        return False


def crowd(model: LoadedModel, engine: Engine, count: int, warm_seconds: float = 2.5, run_seconds: float = 8.0) -> float:
    """`count` conversations on real clocks, all of them with a model that speaks ten tokens in every slice of 2 s;
    95th percentile of the seconds from due to done.

    They begin with talks of 100 to 400 tokens, so some are begun anew from their newest units meanwhile.
    """
    loop, random, late = Loop(engine), Random(count), list[float]()
    loop.strain = _Unmoved()
    for _ in range(count):
        clock, observer = _PhasedClock(2 * random.random()), _Lateness(late)
        conversation = model.conversation("duplex", Slicing(adaptive=False))
        observer.session = loop.add(conversation, clock, Sampling(idle_threshold=2.0), [observer])
        words = "and what about the others? " * random.randint(15, 60)
        loop.hear(observer.session, UserText(words), clock.now())
    warm_up = time.monotonic() + warm_seconds
    while time.monotonic() < warm_up or len(late) < count:  # until everybody's talk is read
        turn_or_wait(loop)
    settled = time.monotonic() + warm_seconds  # and what had to wait for that has caught up
    while time.monotonic() < settled:
        turn_or_wait(loop)
    late.clear()
    end = time.monotonic() + run_seconds
    while time.monotonic() < end:
        turn_or_wait(loop)
    late.sort()
    return late[int(0.95 * len(late))]
