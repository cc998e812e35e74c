"""The key-value cache of all conversations: one row a slot, set aside at once, appended in place, nothing copied.

    slots = Slots(layers=6, heads=4, head_size=64, count=64, length=1000)
    batch = slots.batch(parts)                       # once a forward pass
    mixed = slots.attend(layer, batch, q, kv, scale) # once a layer; q [N, heads, head_size], N all new tokens

The new tokens of all parts lie behind each other in one dimension, so no pass is padded.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention

from duplex_runtime.engine.network import Part

#: Not everywhere can single pages be given back.
_GIVES_BACK = hasattr(mmap, "MADV_DONTNEED")


@dataclass(frozen=True)
class Group:
    """Parts that one attention call serves: slots `first` to `last - 1`, all with `count` new tokens.

    `tokens`: which of the pass's new tokens are theirs. `window`: cached tokens of the longest, new ones included.
    `mask`: 0 where a new token may look, else −∞, [slots, 1, count, window]; None where it may look everywhere.
    """

    first: int
    last: int
    tokens: slice
    count: int
    window: int
    mask: torch.Tensor | None


@dataclass(frozen=True)
class Batch:
    """One forward pass: for each new token its id, slot and position [N], and the groups for attention."""

    ids: torch.Tensor
    slots: torch.Tensor
    positions: torch.Tensor
    keep: torch.Tensor  # offsets of the tokens whose logits are wanted
    groups: tuple[Group, ...]


class Slots:
    """Keys and values [count, 2, heads, length, head_size] for each layer.

    On a CPU a slot takes memory as it fills, and `forget` gives it back to the system.
    """

    def __init__(
        self,
        layers: int,
        heads: int,
        head_size: int,
        count: int,
        length: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.count, self.length, self.device = count, length, torch.device(device)
        shape = (count, 2, heads, length, head_size)
        self._pages: list[mmap.mmap] = []
        if self.device.type == "cpu":
            # straight from the system, whose fresh pages are zero: `torch.zeros` would write them all, and so take them
            # all. Now and then a new token meets a fresh page in each head, which takes well below a microsecond.
            self._pages = [_pages(math.prod(shape) * dtype.itemsize) for _ in range(layers)]
            self.layers = [torch.frombuffer(pages, dtype=dtype).view(shape) for pages in self._pages]
        else:
            self.layers = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]

    def forget(self, slot: int) -> None:
        """Nobody needs what the slot holds: it may be zeros again."""
        size = self.layers[0][slot].nbytes
        start = -(-slot * size // mmap.PAGESIZE) * mmap.PAGESIZE
        if (whole := (slot + 1) * size // mmap.PAGESIZE * mmap.PAGESIZE - start) > 0 and _GIVES_BACK:
            for pages in self._pages:
                pages.madvise(mmap.MADV_DONTNEED, start, whole)

    @property
    def bytes_per_token(self) -> int:
        """What one cached token costs, all layers together."""
        one = self.layers[0]
        return len(self.layers) * 2 * one.shape[2] * one.shape[4] * one.element_size()

    def batch(self, parts: Sequence[Part]) -> Batch:
        """Lay out one pass; parts may come in any order and are served in it."""
        ids = [i for part in parts for i in part.ids]
        slots = [part.slot for part in parts for _ in part.ids]
        positions = [p for part in parts for p in range(part.start, part.start + len(part.ids))]
        keep, offset = [], 0
        for part in parts:
            keep += [offset + k for k in part.keep]
            offset += len(part.ids)
        new, at, where = torch.tensor([ids, slots, positions]).to(self.device)
        return Batch(
            new, at, where, torch.tensor(keep, dtype=torch.long, device=self.device), tuple(self._groups(parts))
        )

    def _groups(self, parts: Sequence[Part]) -> list[Group]:
        # neighbours in memory with one new token each share a call; the rest, mostly appends, go one by one
        groups: list[Group] = []
        run: list[Part] = []
        offset = 0
        for part in parts:
            joins = run and len(part.ids) == 1 == len(run[0].ids) and part.slot == run[-1].slot + 1
            if run and not joins:
                groups.append(self._group(run, offset))
                run = []
            run.append(part)
            offset += len(part.ids)
        groups.append(self._group(run, offset))
        return groups

    def _group(self, run: Sequence[Part], end: int) -> Group:
        count = len(run[0].ids)
        starts = [part.start for part in run]
        window = max(starts) + count
        mask = None
        if count > 1 or min(starts) != max(starts):
            columns = torch.arange(window, device=self.device)
            rows = torch.tensor(starts, device=self.device)[:, None] + torch.arange(count, device=self.device)
            hidden = (columns > rows[:, :, None])[:, None]
            # not a mask of truth values: each layer would turn it into numbers again
            mask = torch.zeros(hidden.shape, dtype=self.layers[0].dtype, device=self.device)
            mask.masked_fill_(hidden, -torch.inf)
        return Group(run[0].slot, run[-1].slot + 1, slice(end - count * len(run), end), count, window, mask)

    def attend(self, layer: int, batch: Batch, q: torch.Tensor, kv: torch.Tensor, scale: float) -> torch.Tensor:
        """Write keys and values [N, 2, heads, head_size], then let each new token look at its own slot up to itself.

        q: [N, heads × share, head_size]; the result has its shape. `share` > 1 is grouped-query attention.
        """
        cache = self.layers[layer]
        by_token = cache.permute(0, 3, 1, 2, 4)
        by_token[batch.slots, batch.positions] = kv
        mixed = [
            scaled_dot_product_attention(
                q[group.tokens].unflatten(0, (-1, group.count)).transpose(1, 2),
                cache[group.first : group.last, 0, :, : group.window],
                cache[group.first : group.last, 1, :, : group.window],
                attn_mask=group.mask,
                scale=scale,
                enable_gqa=q.shape[1] != kv.shape[2],
            )
            .transpose(1, 2)
            .flatten(0, 1)
            for group in batch.groups
        ]
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed)


def _pages(size: int) -> mmap.mmap:
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    return mmap.mmap(-1, size, **private)
