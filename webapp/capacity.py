"""How many conversations this machine serves in time, measured with the loaded model when the server starts.

engines = {system: model.engine(slots) for system, model in models.items()}
capacity = measure(models, engines)          # one to two seconds with the embedded model
capacity.places, str(capacity)

Both systems work at the same time, as they do in the server, each in a thread of its own: waves of 1, 4, 16 and 64
slices that begin together, each a few words of the person and ten of the model, behind half of the history that a
conversation may have. From how long a wave takes follows how late slices are when so many people talk that their slices
meet by chance: see `slowest`. Ears and voices are not measured: whoever speaks needs more than whoever types.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate
from statistics import fmean
from threading import Barrier
from typing import TYPE_CHECKING, Any

from duplex_runtime.engine.network import Network, Part
from duplex_runtime.engine.requests import Engine, Sampling, SliceRequest
from duplex_runtime.slices import Slicing

if TYPE_CHECKING:
    import torch

    from duplex_runtime.models.load import LoadedModel

#: Slices that begin together, in the waves.
ROWS = (1, 4, 16, 64)
#: A slice is in time if it is over within this share of its period; of a hundred slices one may not be.
LIMIT = 0.5
IN_TIME = 0.99
#: Of what the engines alone would serve, this much is let in: sockets and events need their share, and Python does them
#: one at a time. On two quiet cores that is 150 to 180, with simulated people who typed on the same machine: of 128 of
#: them 99 in 100 slices were over within 0.35 of half a period, of 196 within 1.08.
MARGIN = 1 / 4
#: More conversations than this are not looked for.
_MOST = 2048
#: A wave is done at least twice, and until so many seconds are over; one after which all would have taken longer than
#: this is not begun.
_TWICE, _REPEAT_SECONDS, _ALL_SECONDS = 2, 0.15, 3.0
_SAID = "and what about the others"
_clock = time.monotonic


@dataclass(frozen=True)
class Capacity:
    """places: conversations at once, at least 1. slots: what the engines hold, never less than `places`. in_time: False
    if even one conversation alone is late. listening, speaking: how many slices began together → seconds until all had
    been read, and until all had been said, with both systems at work. period_seconds: of a slice.
    """

    places: int
    slots: int
    in_time: bool
    listening: Mapping[int, float]
    speaking: Mapping[int, float]
    period_seconds: float

    def __str__(self) -> str:
        waves = ", ".join(f"{rows}: {seconds:.3g} s" for rows, seconds in self.speaking.items())
        limit = f"limit {LIMIT * self.period_seconds:g} s"
        if not self.in_time:
            return (
                f"1 conversation at once, and that is late: this machine is too slow (slices together {waves}; {limit})"
            )
        bound = "; no more slots" if self.places == self.slots else ""
        return f"{self.places} conversations at once (slices together {waves}; {limit}{bound})"


def measure(models: Mapping[str, LoadedModel], engines: Mapping[str, Engine]) -> Capacity:
    """Time both systems; nobody else may use the engines meanwhile, and all their slots are free again afterwards.

    Engines that compute elsewhere or by llama.cpp are timed without a history: theirs cannot be made up. Raises what
    engines raise.
    """
    slots = min(_slots(engine) for engine in engines.values())
    slicing = Slicing()
    listening: dict[int, float] = {}
    speaking: dict[int, float] = {}
    with ThreadPoolExecutor(len(engines)) as pool:
        ready = Barrier(len(engines))
        benches = [_Bench(models[system], engine, slicing.model_tokens, ready) for system, engine in engines.items()]
        _waves(benches, pool, 1)  # warms everything up
        begun, each = _clock(), 0.0  # what a slice takes in a wave
        for rows in (rows for rows in ROWS if rows <= slots):
            if _clock() - begun + _TWICE * rows * each > _ALL_SECONDS:
                break
            listening[rows], speaking[rows] = _waves(benches, pool, rows)
            if speaking[rows] > LIMIT * slicing.period_seconds:
                break
            each = speaking[rows] / rows
    fits = served(listening, speaking, slicing.period_seconds)
    places = max(1, min(int(MARGIN * fits), slots))
    return Capacity(places, slots, fits > 0, listening, speaking, slicing.period_seconds)


def _waves(benches: Sequence[_Bench], pool: ThreadPoolExecutor, rows: int) -> tuple[float, float]:
    """Seconds until `rows` slices of each system were read, and until all was said: means of the slower system. What
    others on the machine take from it counts, for they will go on."""
    found: list[list[tuple[float, float]]] = []
    try:
        for bench in benches:
            bench.open(rows)
        begun = _clock()
        while len(found) < _TWICE or _clock() - begun < _REPEAT_SECONDS:
            found.append(list(pool.map(_Bench.wave, benches)))
    finally:
        for bench in benches:
            bench.close()
    means = [[fmean(times) for times in zip(*waves, strict=True)] for waves in zip(*found, strict=True)]
    read, said = (max(times) for times in zip(*means, strict=True))
    return read, said


def served(
    listening: Mapping[int, float], speaking: Mapping[int, float], period_seconds: float, most: int = _MOST
) -> int:
    """How many conversations have 99 of 100 slices within half their period, up to `most`; 0: not even one.

    listening, speaking: as in `Capacity`; a straight line lies between two of the times and beyond the last two. The
    most that can be asked of a server is assumed: in every conversation both systems speak all the time.
    """
    low, high = 0, most + 1  # `low` are in time; `high` are too many, or more than anybody asks
    while high - low > 1:
        middle = (low + high) // 2
        if slowest(listening, speaking, period_seconds, middle) <= LIMIT * period_seconds:
            low = middle
        else:
            high = middle
    return low


def slowest(
    listening: Mapping[int, float], speaking: Mapping[int, float], period_seconds: float, conversations: int
) -> float:
    """Seconds within which 99 of 100 slices are over, with so many conversations that speak all the time.

    A slice is shown for a period from when its first word was made, and then the next one is due. So how many are in
    work follows the law of machines that break down and are repaired together (a birth and death process, the
    finite-source queue; e.g. L. Kleinrock, Queueing Systems, volume 1, 3.8). A slice that finds n others in work takes
    as long as n + 1 together.
    """
    shares = [1.0]  # of the time, that n others are in work; only their ratios count
    for n in range(conversations - 1):
        said = _seconds(speaking, n + 1)
        free = max(period_seconds / 10, period_seconds - said + _seconds(listening, n + 1))
        shares.append(shares[-1] * (conversations - 1 - n) / free * said / (n + 1))
        if shares[-1] > 1e100:
            shares = [share / 1e100 for share in shares]
    seen = list(accumulate(shares))
    others = bisect_left(seen, IN_TIME * seen[-1])
    return _seconds(speaking, others + 1)


def _seconds(times: Mapping[int, float], rows: int) -> float:
    """What so many slices together take."""
    points = sorted(times.items())
    if len(points) == 1:
        return points[0][1] * rows  # nothing is known of what togetherness saves
    after = next((i for i, (known, _) in enumerate(points) if known >= rows), len(points) - 1)
    (n, first), (m, second) = points[max(0, after - 1)], points[max(1, after)]
    return max(first + (second - first) * (rows - n) / (m - n), points[0][1])


class _Bench:
    """One system's engine under test; `ready` lets the waves of all begin together."""

    def __init__(self, model: LoadedModel, engine: Engine, tokens: int, ready: Barrier) -> None:
        self._engine, self._tokens, self._ready = _with_history(model, engine), tokens, ready
        self._ids = tuple(model.layout.user(model.vocabulary, _SAID))
        self._slots: list[int] = []

    def open(self, rows: int) -> None:
        """Take so many slots."""
        for _ in range(rows):
            self._slots.append(self._engine.open(Sampling()))

    def close(self) -> None:
        """Give them back."""
        while self._slots:
            self._engine.close(self._slots.pop())

    def wave(self) -> tuple[float, float]:
        """Seconds until a slice of every slot was read, and until all was said; in a thread of its own."""
        self._ready.wait()  # before anything that may fail: nobody waits for one that did
        engine = self._engine
        request = SliceRequest(0, self._ids, self._tokens, probes=(len(self._ids) - 1,), gate=False)
        begun = _clock()
        for slot in self._slots:
            engine.submit(slot, request)
        unread, read = set(self._slots), 0.0
        while engine.busy:
            outputs = engine.step()
            for output in outputs:
                if output.error:
                    raise output.error
            unread.difference_update(output.slot for output in outputs)
            read = read or (0.0 if unread else _clock() - begun)
        return read, _clock() - begun


class _Aged:
    """A network whose slots seem empty and have a history: what stands in it does not change how long it takes."""

    def __init__(self, inner: Network, history: int) -> None:
        self._inner, self._history = inner, history
        self.slots, self.max_length = inner.slots, inner.max_length - history

    def forward(self, parts: Sequence[Part]) -> torch.Tensor:
        """One pass; see `Network`."""
        return self._inner.forward([replace(part, start=part.start + self._history) for part in parts])

    def forget(self, slot: int) -> None:
        """See `Network`."""
        self._inner.forget(slot)


def _with_history(model: LoadedModel, engine: Engine) -> Engine:
    from duplex_runtime.engine.engine import SlotEngine

    if model.where != "torch" or not isinstance(engine, SlotEngine):
        return engine
    return SlotEngine(_Aged(engine.network, model.memory.limit // 2), engine.idle, engine.eos, engine.step_tokens)


def _slots(engine: Engine) -> int:
    """How many conversations it holds."""
    holder: Any = getattr(engine, "network", engine)
    return int(holder.slots)
