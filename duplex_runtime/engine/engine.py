"""The engine: many conversations over one network, each token computed once.

    engine = SlotEngine(network, idle=3, eos=2)
    slot = engine.open(Sampling())
    engine.submit(slot, SliceRequest(0, (1, 4, 17, 5), max_new_tokens=10, probes=(3,)))
    while engine.busy:
        outputs = engine.step()

The first token is read from the append's own logits, so listening costs one forward pass and no decode step.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from duplex_runtime.engine.network import Network, Part
from duplex_runtime.engine.requests import Output, Sampling, SliceRequest
from duplex_runtime.errors import DuplexError

OVERFLOW = "the model's numbers overflowed: expected finite logits; a wider dtype may help"


@dataclass
class _Row:
    """One conversation: what its slot holds, and the request in work."""

    slot: int
    sampling: Sampling
    random: torch.Generator
    length: int = 0
    request: SliceRequest | None = None
    pending: tuple[int, ...] = ()  # ids that are not in the cache yet
    said: int = 0
    p_idle: list[float] = field(default_factory=list)
    stopping: bool = False

    @property
    def appending(self) -> bool:
        return self.said == 0


class SlotEngine:
    """Batches whatever is submitted; rows at different phases share a forward pass.

    step_tokens: new tokens of appends in one pass. A longer append takes several passes, between which the
    others speak on. Not thread-safe: one thread owns it.
    """

    def __init__(self, network: Network, idle: int | None, eos: int, step_tokens: int = 512) -> None:
        self.network, self.idle, self.eos, self.step_tokens = network, idle, eos, step_tokens
        self._free = list(range(network.slots))  # a heap: low slots first, so that neighbours share a call
        self._rows: dict[int, _Row] = {}

    @property
    def busy(self) -> bool:
        """Is any request unfinished?"""
        return any(row.request for row in self._rows.values())

    def open(self, sampling: Sampling) -> int:
        """A new empty slot; raises DuplexError `full` if all are taken."""
        if not self._free:
            raise DuplexError("full", f"all {self.network.slots} places are taken; try again when somebody has left")
        slot = heapq.heappop(self._free)
        self._rows[slot] = _Row(slot, sampling, torch.Generator().manual_seed(sampling.seed))
        return slot

    def close(self, slot: int) -> None:
        """Give the slot back."""
        if self._rows.pop(slot, None):
            self.network.forget(slot)
            heapq.heappush(self._free, slot)

    def shutdown(self) -> None:
        """Give a foreign library's memory back."""
        if free := getattr(self.network, "free", None):
            free()

    def submit(self, slot: int, request: SliceRequest) -> None:
        """Queue a request; raises ValueError if it does not fit the slot."""
        row = self._rows[slot]
        if row.request:
            raise ValueError(f"slot {slot} has an unfinished request")
        request.check_fit(row.length, self.network.max_length)
        row.length = request.truncate_to
        row.request, row.pending, row.said, row.p_idle = request, request.ids, 0, []
        row.stopping = False

    def stop(self, slot: int) -> None:
        """Say no more for the request in work; an append is read to its end all the same."""
        row = self._rows[slot]
        row.stopping = row.request is not None

    def step(self) -> Sequence[Output]:
        """One forward pass for what is submitted."""
        stopped = [self._end(row, stopped=True) for row in self._rows.values() if row.stopping and not row.appending]
        scheduled = list(self._schedule())
        if not scheduled:
            return stopped
        try:
            logits = self.network.forward([part for _, part in scheduled])
        except Exception as error:
            if len(scheduled) > 1:
                return stopped + self._one_by_one(scheduled)
            row, _ = scheduled[0]
            return [*stopped, self._fail(row, f"a pass through the model failed: {error}")]
        return stopped + self._read(scheduled, logits)

    def _one_by_one(self, scheduled: Sequence[tuple[_Row, Part]]) -> list[Output]:
        """A pass that fails is tried again for each row by itself: a part names where it writes, so that is safe."""
        outputs: list[Output] = []
        for row, part in scheduled:
            try:
                logits = self.network.forward([part])
            except Exception as error:
                outputs.append(self._fail(row, f"a pass through the model failed: {error}"))
            else:
                outputs += self._read([(row, part)], logits)
        return outputs

    def _schedule(self) -> Iterator[tuple[_Row, Part]]:
        """Who speaks, by slot; then appends, the oldest request first, as far as the pass has room."""
        waiting = [row for row in self._rows.values() if row.request]
        for row in sorted(waiting, key=lambda row: row.slot):
            if not row.appending:
                yield row, Part(row.slot, row.length, row.pending, (0,))
        room = self.step_tokens
        for row in waiting:
            if row.appending and room > 0:
                assert row.request
                ids = row.pending[:room]
                room -= len(ids)
                done = len(row.request.ids) - len(row.pending)
                keep = {p - done for p in row.request.probes if 0 <= p - done < len(ids)}
                if len(ids) == len(row.pending):
                    keep.add(len(ids) - 1)
                yield row, Part(row.slot, row.length, ids, tuple(sorted(keep)))

    def _read(self, scheduled: Sequence[tuple[_Row, Part]], logits: torch.Tensor) -> list[Output]:
        """From the logits of a pass to what each row says."""
        outputs: list[Output] = []
        speaking: list[tuple[_Row, int]] = []  # rows that draw a token, from which line of the logits
        line = 0
        for row, part in scheduled:
            assert row.request
            lines = range(line, line := line + len(part.keep))
            row.length += len(part.ids)
            if not row.appending:
                speaking.append((row, lines[-1]))
                continue
            done = len(row.request.ids) - len(row.pending)
            row.pending = row.pending[len(part.ids) :]
            chances = self._chances(logits[lines.start : lines.stop])
            if chances:
                asked = zip(chances, part.keep, strict=True)
                row.p_idle += [c for c, offset in asked if done + offset in row.request.probes]
            if row.pending:
                continue  # the rest of a long append comes in the next pass
            silent = bool(chances) and row.request.gate and chances[-1] >= self._threshold(row)
            if chances and math.isnan(chances[-1]):
                outputs.append(self._fail(row, OVERFLOW))
            elif silent or row.request.max_new_tokens == 0:
                outputs.append(self._end(row))
            else:
                speaking.append((row, lines[-1]))
        return outputs + self._draw(speaking, logits)

    def _chances(self, logits: torch.Tensor) -> list[float]:
        if self.idle is None or not len(logits):
            return []
        chances: list[float] = torch.softmax(logits, dim=-1)[:, self.idle].tolist()
        return chances

    def _threshold(self, row: _Row) -> float:
        assert row.request
        return float(getattr(row.sampling, f"{row.request.threshold}_threshold"))

    def _draw(self, speaking: Sequence[tuple[_Row, int]], logits: torch.Tensor) -> list[Output]:
        """A token each, never `<idle>`, nor the end as the first token."""
        if not speaking:
            return []
        numbers = logits.numpy()  # the same memory; numpy's calls cost a tenth of torch's here
        lines = [line for _, line in speaking]
        if lines != list(range(len(numbers))):
            numbers = numbers[lines]
        if self.idle is not None:
            numbers[:, self.idle] = -np.inf
        for (row, _), line in zip(speaking, numbers, strict=True):
            if row.appending:
                line[self.eos] = -np.inf
        outputs = []
        for (row, _), line, greedy in zip(speaking, numbers, numbers.argmax(axis=1).tolist(), strict=True):
            if not math.isfinite(line[greedy]):
                outputs.append(self._fail(row, OVERFLOW))
                continue
            token = greedy if row.sampling.temperature <= 0 else _sample(torch.from_numpy(line), row)
            outputs.append(self._say(row, token))
        return outputs

    def _say(self, row: _Row, token: int) -> Output:
        assert row.request
        if token == self.eos:
            return self._end(row, finished=True)
        p_idle, row.p_idle = tuple(row.p_idle), []
        row.said += 1
        row.pending = (token,)
        if row.said == row.request.max_new_tokens:
            row.request, row.stopping = None, False
        return Output(row.slot, token, row.request is None, row.length, p_idle=p_idle)

    def _end(self, row: _Row, finished: bool = False, stopped: bool = False) -> Output:
        row.request, row.stopping = None, False
        p_idle = tuple(row.p_idle) if row.appending else ()
        return Output(row.slot, None, True, row.length, finished, p_idle, stopped)

    def _fail(self, row: _Row, message: str) -> Output:
        row.request, row.stopping = None, False
        return Output(row.slot, None, True, row.length, error=DuplexError("model_failed", message))


def _sample(logits: torch.Tensor, row: _Row) -> int:
    """Nucleus sampling (arXiv 1904.09751): from the smallest set of tokens whose chances reach `top_p`."""
    chances = torch.softmax(logits / row.sampling.temperature, dim=-1)
    ordered, order = chances.sort(descending=True)
    ordered[ordered.cumsum(0) - ordered >= row.sampling.top_p] = 0
    return int(order[torch.multinomial(ordered, 1, generator=row.random)])
