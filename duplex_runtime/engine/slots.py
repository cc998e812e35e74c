"""The KV cache of one conversation: preallocated, appended in place, rolled back by its length."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PretrainedConfig
from transformers.cache_utils import Cache, CacheLayerMixin


class SlotLayer(CacheLayerMixin):
    """Keys and values [1, heads, capacity, head_dim]; the first `length` positions are valid."""

    is_sliding = False

    def __init__(self, capacity: int, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self.capacity, self.dtype, self.device = capacity, dtype, device
        self.length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate, in the shape of the first states."""
        batch, heads, _, size = key_states.shape
        self.keys = torch.zeros(batch, heads, self.capacity, size, dtype=self.dtype, device=self.device)
        self.values = torch.zeros_like(self.keys)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write [1, heads, T, head_dim] behind what is valid; returns views of all valid positions."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        start, self.length = self.length, self.length + key_states.shape[-2]
        self.keys[:, :, start : self.length] = key_states
        self.values[:, :, start : self.length] = value_states
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(keys that a query of this length will see, offset of the first)."""
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        """Valid positions."""
        return self.length

    def get_max_length(self) -> int:
        """Positions allocated."""
        return self.capacity


class SlotCache(Cache):
    """One `SlotLayer` for each layer of the model."""

    def __init__(self, config: PretrainedConfig, capacity: int, dtype: torch.dtype, device: torch.device) -> None:
        self.slot_layers = [SlotLayer(capacity, dtype, device) for _ in range(config.num_hidden_layers)]
        super().__init__(layers=list(self.slot_layers))

    @property
    def length(self) -> int:
        """Tokens cached."""
        return self.slot_layers[0].length

    def truncate(self, length: int) -> None:
        """Forget all but the first `length` tokens: nothing is copied."""
        for layer in self.slot_layers:
            layer.length = min(layer.length, length)
