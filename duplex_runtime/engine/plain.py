"""Any causal model of the transformers library over `Slots`: its own forward pass, our attention.

    network = PlainNetwork(model, slots=64, max_length=1000)

The library hands every attention layer's queries, keys and values to a registered function; ours writes them
into the slots. So a pass has no padding, and rows of different age share it, whatever the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.modeling_utils import AttentionInterface

from duplex_runtime.engine.network import Part
from duplex_runtime.engine.slots import Batch, Slots
from duplex_runtime.errors import ModelError

_NAME = "duplex_slots"


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    scaling: float,
    duplex_slots: Slots,
    duplex_batch: Batch,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """What the library calls in each layer: [1, heads, N, head_size] in, [1, N, heads, head_size] out."""
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    return duplex_slots.attend(module.layer_idx, duplex_batch, q, torch.stack((k, v), 1), scaling)[None], None


class PlainNetwork:
    """See the module. Raises ModelError for models that remember in other ways than by keys and values."""

    def __init__(self, model: PreTrainedModel, slots: int, max_length: int) -> None:
        AttentionInterface.register(_NAME, _attention)
        self.model, self.slots, self.max_length = model.eval(), slots, max_length
        config = model.config.get_text_config()
        heads = getattr(config, "num_attention_heads", None)
        if not heads:
            raise ModelError(f"{type(model).__name__}: expected a model with attention in every layer")
        self.cache = Slots(
            config.num_hidden_layers,
            getattr(config, "num_key_value_heads", None) or heads,
            getattr(config, "head_dim", None) or config.hidden_size // heads,
            slots,
            max_length,
            model.dtype,
            model.device,
        )
        self._check()

    @torch.inference_mode()
    def forward(self, parts: Sequence[Part]) -> torch.Tensor:
        """One pass; see `Network`."""
        batch = self.cache.batch(parts)
        config = self.model.config.get_text_config()
        before = config._attn_implementation
        config._attn_implementation = _NAME  # for this pass only: the model stays usable by others
        try:
            out = self.model(
                input_ids=batch.ids[None],
                position_ids=batch.positions[None],
                use_cache=False,
                logits_to_keep=batch.keep,
                duplex_slots=self.cache,
                duplex_batch=batch,
            )
        finally:
            config._attn_implementation = before
        return out.logits[0].float().cpu()

    def forget(self, slot: int) -> None:
        """See `Network`."""
        self.cache.forget(slot)

    @torch.inference_mode()
    def _check(self) -> None:
        # sliding windows, recurrent layers, capped scores …: rather than know them all, see whether slices agree
        ids = [(7 * i) % self.model.config.get_text_config().vocab_size for i in range(1, 13)]
        try:
            cold = self.model(input_ids=torch.tensor([ids], device=self.model.device), use_cache=False)
            self.forward([Part(0, 0, tuple(ids[:5]), (4,))])
            warm = self.forward([Part(0, 5, tuple(ids[5:]), tuple(range(7)))])
        except Exception as error:
            raise ModelError(f"{type(self.model).__name__}: its forward pass failed ({error})") from error
        expected = cold.logits[0, 5:].float().cpu()
        allowed = 1e-3 if self.model.dtype == torch.float32 else 0.1
        if not (warm - expected).abs().max() <= allowed * expected.abs().max().clamp(min=1):
            raise ModelError(
                f"{type(self.model).__name__}: its logits change when the text comes in slices, so it keeps more "
                "than keys and values; expected a model with full attention, such as Llama, Granite or Qwen"
            )
        window = getattr(self.model.config.get_text_config(), "sliding_window", None)
        if window and window < self.max_length and getattr(self.model.config, "use_sliding_window", True):
            raise ModelError(f"{type(self.model).__name__}: expected full attention, got a window of {window} tokens")
