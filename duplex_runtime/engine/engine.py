"""The engine: a causal language model whose cache grows slice by slice and is never encoded twice.

    engine = TorchEngine(model, idle=3, eos=2)
    slot = engine.open(Sampling())
    engine.submit(slot, SliceRequest(0, (1, 4, 17, 5), max_new_tokens=10, probes=(3,)))
    while engine.busy:
        outputs = engine.step()

The first token is read from the append's own logits, so listening costs one forward pass and no decode step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from duplex_runtime.engine.requests import Output, Sampling, SliceRequest
from duplex_runtime.engine.slots import SlotCache
from duplex_runtime.errors import DuplexError


@dataclass
class _Row:
    cache: SlotCache
    sampling: Sampling
    random: torch.Generator
    request: SliceRequest | None = None
    pending: tuple[int, ...] = ()  # ids for the next forward pass
    said: int = 0


class TorchEngine:
    """Runs a transformers model on its own device, one row a forward pass.

    slots: most conversations at once. max_length: tokens that a slot holds. Not thread-safe: one thread owns it.
    """

    def __init__(
        self, model: PreTrainedModel, idle: int | None, eos: int, slots: int = 64, max_length: int = 1024
    ) -> None:
        self.model = model.eval()
        self.idle, self.eos, self.slots, self.max_length = idle, eos, slots, max_length
        self._rows: dict[int, _Row] = {}
        self._next = 0

    @property
    def busy(self) -> bool:
        """Is any request unfinished?"""
        return any(row.request for row in self._rows.values())

    def open(self, sampling: Sampling) -> int:
        """A new empty slot; raises DuplexError `full` if all are taken."""
        if len(self._rows) >= self.slots:
            raise DuplexError("full", f"all {self.slots} places are taken; try again when somebody has left")
        slot, self._next = self._next, self._next + 1
        cache = SlotCache(self.model.config, self.max_length, self.model.dtype, self.model.device)
        self._rows[slot] = _Row(cache, sampling, torch.Generator().manual_seed(sampling.seed))
        return slot

    def close(self, slot: int) -> None:
        """Give the slot and its memory back."""
        self._rows.pop(slot, None)

    def submit(self, slot: int, request: SliceRequest) -> None:
        """Queue a request; raises ValueError if it does not fit the slot's cache."""
        row = self._rows[slot]
        if row.request:
            raise ValueError(f"slot {slot} has an unfinished request")
        if not request.ids or not 0 <= request.truncate_to <= row.cache.length:
            raise ValueError(
                f"expected ids and 0 <= truncate_to <= {row.cache.length} cached tokens, "
                f"got {len(request.ids)} ids and truncate_to {request.truncate_to}"
            )
        total = request.truncate_to + len(request.ids) + request.max_new_tokens
        if total > self.max_length:
            raise ValueError(f"a slot holds {self.max_length} tokens; the request needs {total}")
        row.cache.truncate(request.truncate_to)
        row.request, row.pending, row.said = request, request.ids, 0

    @torch.inference_mode()
    def step(self) -> Sequence[Output]:
        """One forward pass for every slot with a request."""
        return [self._advance(slot, row) for slot, row in list(self._rows.items()) if row.request]

    def _advance(self, slot: int, row: _Row) -> Output:
        request = row.request
        assert request
        appending = row.said == 0
        keep = sorted({*request.probes, len(row.pending) - 1}) if appending else [0]
        logits = self._forward(row, keep)
        p_idle: tuple[float, ...] = ()
        if appending and self.idle is not None:
            chances = torch.softmax(logits, dim=-1)[:, self.idle].tolist()
            p_idle = tuple(chances[keep.index(p)] for p in request.probes)
            silent = request.gate and chances[-1] >= getattr(row.sampling, f"{request.threshold}_threshold")
        else:
            silent = False
        if silent or request.max_new_tokens == 0:
            return self._end(slot, row, p_idle)
        token = self._draw(logits[-1], row)
        if token == self.eos and not appending:
            return self._end(slot, row, p_idle, finished=True)
        row.said += 1
        row.pending = (token,)
        if row.said == request.max_new_tokens:
            row.request = None
        return Output(slot, token, row.request is None, row.cache.length, p_idle=p_idle)

    def _end(self, slot: int, row: _Row, p_idle: tuple[float, ...], finished: bool = False) -> Output:
        row.request = None
        return Output(slot, None, True, row.cache.length, finished, p_idle)

    def _forward(self, row: _Row, keep: list[int]) -> torch.Tensor:
        """Append `row.pending`; logits float32 [len(keep), vocabulary] at the offsets `keep`."""
        device = self.model.device
        ids = torch.tensor([row.pending], device=device)
        out = self.model(
            input_ids=ids,
            past_key_values=row.cache,
            use_cache=True,
            logits_to_keep=torch.tensor(keep, device=device),
        )
        return out.logits[0].float().cpu()

    def _draw(self, logits: torch.Tensor, row: _Row) -> int:
        """A token that is not `<idle>`, nor the end as the first token."""
        if self.idle is not None:
            logits[self.idle] = -torch.inf
        if row.said == 0:
            logits[self.eos] = -torch.inf
        if row.sampling.temperature <= 0:
            return int(logits.argmax())
        chances = torch.softmax(logits / row.sampling.temperature, dim=-1)
        ordered, order = chances.sort(descending=True)
        ordered[ordered.cumsum(0) - ordered >= row.sampling.top_p] = 0  # the smallest set that reaches top_p
        return int(order[torch.multinomial(ordered, 1, generator=row.random)])
