"""A Granite or Llama model written out by hand for small models on a CPU, where bookkeeping costs as much as
arithmetic: fused projections, folded norms and scales, weights packed once for oneDNN.

    network = FusedNetwork(model, slots=64, max_length=1000)      # float32; the same logits as PlainNetwork

Where the arithmetic is: x = x + r · o(attention(norm(x))), x = x + r · down(silu(gate(norm(x))) · up(norm(x))).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import embedding, linear, silu
from transformers import PreTrainedModel

from duplex_runtime.engine.network import Part
from duplex_runtime.engine.slots import Slots

Project = Callable[[torch.Tensor], torch.Tensor]
ProjectAndAdd = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class _Layer:
    into_attention: Project  # [N, hidden] → [N, (heads + 2 kv_heads) × head_size]
    out_of_attention: ProjectAndAdd
    into_mlp: Project  # [N, hidden] → [N, 2 × intermediate]
    out_of_mlp: ProjectAndAdd


def fusible(model: PreTrainedModel) -> bool:
    """Is this a model that `FusedNetwork` computes?"""
    config = model.config
    return (
        config.model_type in ("granite", "llama")
        and (config.rope_parameters or {}).get("rope_type") == "default"
        and config.hidden_act == "silu"
        and not config.attention_bias
        and not config.mlp_bias
        and model.dtype == torch.float32
        and model.device.type == "cpu"
    )


class FusedNetwork:
    """See the module. The model must be `fusible`; its weights are copied."""

    @torch.inference_mode()
    def __init__(self, model: PreTrainedModel, slots: int, max_length: int) -> None:
        c = model.config
        self.slots, self.max_length = slots, max_length
        self.heads, self.kv_heads = c.num_attention_heads, c.num_key_value_heads
        self.head_size = getattr(c, "head_dim", None) or c.hidden_size // self.heads
        self.cache = Slots(c.num_hidden_layers, self.kv_heads, self.head_size, slots, max_length)
        self._scale = getattr(c, "attention_multiplier", None) or self.head_size**-0.5
        # norm(x) = x / sqrt(|x|² + hidden · eps), times what is folded into the weights behind it
        self._eps = torch.tensor(math.sqrt(c.hidden_size * c.rms_norm_eps))
        fold = math.sqrt(c.hidden_size)
        residual = getattr(c, "residual_multiplier", 1.0)
        self._intermediate = c.intermediate_size
        self._layers = []
        for layer in model.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            queries, keys = (self._interleaved(p.weight) for p in (attention.q_proj, attention.k_proj))
            qkv = torch.cat((queries, keys, attention.v_proj.weight))
            gate_up = torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight))
            self._layers.append(
                _Layer(
                    _project(qkv * layer.input_layernorm.weight * fold),
                    _project_and_add(attention.o_proj.weight * residual),
                    _project(gate_up * layer.post_attention_layernorm.weight * fold),
                    _project_and_add(mlp.down_proj.weight * residual),
                )
            )
        self._embedding = model.model.embed_tokens.weight * getattr(c, "embedding_multiplier", 1.0)
        self._head = _project(model.lm_head.weight * model.model.norm.weight * (fold / getattr(c, "logits_scaling", 1)))
        frequencies = c.rope_parameters["rope_theta"] ** -(torch.arange(0, self.head_size, 2) / self.head_size)
        angles = torch.outer(torch.arange(max_length), frequencies)
        self.turns = torch.polar(torch.ones_like(angles), angles)[:, None]  # [max_length, 1, head_size / 2]

    def _interleaved(self, weight: torch.Tensor) -> torch.Tensor:
        # the library rotates entry i with entry i + half; side by side they are one complex number
        heads = weight.unflatten(0, (-1, 2, self.head_size // 2))
        return heads.transpose(1, 2).reshape(weight.shape)

    def _norm(self, x: torch.Tensor) -> torch.Tensor:
        return x / torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), self._eps)

    @torch.inference_mode()
    def forward(self, parts: Sequence[Part]) -> torch.Tensor:
        """One pass; see `Network`."""
        batch = self.cache.batch(parts)
        x = embedding(batch.ids, self._embedding)
        turns = self.turns[batch.positions]
        rotated = self.heads + self.kv_heads
        for index, layer in enumerate(self._layers):
            states = layer.into_attention(self._norm(x)).unflatten(-1, (-1, self.head_size))
            torch.view_as_complex(states[:, :rotated].unflatten(-1, (-1, 2))).mul_(turns)
            kv = states[:, self.heads :].unflatten(1, (2, self.kv_heads))
            mixed = self.cache.attend(index, batch, states[:, : self.heads], kv, self._scale)
            x = layer.out_of_attention(mixed.flatten(1), x)
            gate, up = layer.into_mlp(self._norm(x)).chunk(2, dim=-1)
            x = layer.out_of_mlp(silu(gate).mul_(up), x)
        return self._head(self._norm(x[batch.keep]))

    def forget(self, slot: int) -> None:
        """See `Network`."""
        self.cache.forget(slot)

    @torch.inference_mode()
    def products(self) -> None:
        """The matrix products of one token's pass and nothing else: the least that it can take (a benchmark)."""
        hidden = self._embedding[:1]
        mixed = hidden.new_zeros(1, self.heads * self.head_size)
        for layer in self._layers:
            layer.into_attention(hidden)
            layer.out_of_attention(mixed, hidden)
            layer.out_of_mlp(layer.into_mlp(hidden)[:, : self._intermediate], hidden)
        self._head(hidden)


def _packed(weight: torch.Tensor) -> Any:
    """`weight` in oneDNN's own order, or None where this build of torch cannot: F.linear would reorder it anew
    at every call, which at a few rows costs more than the product."""
    try:
        return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
    except (AttributeError, RuntimeError, NotImplementedError):
        return None


def _project(weight: torch.Tensor) -> Project:
    packed = _packed(weight)
    if packed is None:
        return lambda x: linear(x, weight)
    product = torch.ops.mkldnn._linear_pointwise.default
    return lambda x: product(x, packed, None, "none", [], "")


def _project_and_add(weight: torch.Tensor) -> ProjectAndAdd:
    packed = _packed(weight)
    if packed is None:
        return lambda x, residual: residual + linear(x, weight)
    product = torch.ops.mkldnn._linear_pointwise.binary
    return lambda x, residual: product(x, residual, packed, None, "add")
