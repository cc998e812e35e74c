"""What the engine asks of a model: write new tokens of several slots into their caches, give logits.

The engine owns the lengths: a slot's cache is whatever lies before the next part's `start`, so a rollback is
a smaller `start`, and a new conversation begins at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Part:
    """New tokens of one slot: `ids` (at least one) go to positions `start`, `start + 1` …

    `keep`: rising offsets in `ids` after which logits are wanted. What the slot held from `start` on is forgotten.
    """

    slot: int
    start: int
    ids: tuple[int, ...]
    keep: tuple[int, ...]


class Network(Protocol):
    """A causal language model with a key-value cache of `slots` rows of `max_length` tokens."""

    slots: int
    max_length: int

    def forward(self, parts: Sequence[Part]) -> torch.Tensor:
        """One pass over all parts (each of another slot): logits float32 on the CPU,
        [sum of len(keep), vocabulary], in the order of the parts and their `keep`."""

    def forget(self, slot: int) -> None:
        """The slot's conversation is over: its memory may be given back until somebody needs the slot again."""
