"""A model from nothing: random weights in MiniCPM's architecture, at any size; or from those of one like it."""

from __future__ import annotations

import math
from pathlib import Path

from transformers import GraniteConfig, GraniteForCausalLM

from duplex_runtime.alignment.presets import Shape
from duplex_runtime.errors import BadInput
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


def take_weights(model: GraniteForCausalLM, folder: Path) -> None:
    """Begin with the weights of a model of the same shape, e.g. an earlier edition of it; raises BadInput."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = folder / "model.safetensors"
    try:
        weights = load_file(file)
    except (OSError, SafetensorError) as error:
        raise BadInput(
            f"--start: expected a folder with model.safetensors, {file} could not be read ({error})"
        ) from None
    own = dict(model.named_parameters())
    shapes = {n: tuple(p.shape) for n, p in own.items()}
    if (got := {n: tuple(w.shape) for n, w in weights.items()}) != shapes:
        other = sorted(n for n in shapes.keys() | got.keys() if shapes.get(n) != got.get(n))
        raise BadInput(f"--start: {file} is of another shape than the preset's model: {', '.join(other[:3])} …")
    model.load_state_dict(weights, strict=False)  # the tied head is not stored
