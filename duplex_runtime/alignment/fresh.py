"""A model from nothing: random weights in MiniCPM's architecture, at any size."""

from __future__ import annotations

import math

from transformers import GraniteConfig, GraniteForCausalLM

from duplex_runtime.alignment.presets import Shape
from duplex_runtime.layout import EMBEDDED


def make_model(shape: Shape, vocabulary_size: int) -> GraniteForCausalLM:
    """MiniCPM's mathematics at a small size, random weights (std 0.02)."""
    heads = shape.heads
    config = GraniteConfig(
        vocab_size=vocabulary_size,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=1024,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        embedding_multiplier=12.0,
        residual_multiplier=1.4 / math.sqrt(shape.layers),
        attention_multiplier=1.0 / math.sqrt(shape.hidden // heads),
        logits_scaling=1.0,
        bos_token_id=EMBEDDED.bos,
        eos_token_id=EMBEDDED.eos,
        pad_token_id=0,
        initializer_range=0.02,
        use_cache=False,
    )
    return GraniteForCausalLM(config)
