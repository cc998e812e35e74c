"""The hand-written pass against the library's, with random models of both families."""

import pytest
import torch
from transformers import AutoModelForCausalLM, GraniteConfig, LlamaConfig, PreTrainedConfig, Qwen2Config

from duplex_runtime.engine import fused
from duplex_runtime.engine.fused import FusedNetwork, fusible
from duplex_runtime.engine.network import Part

SMALL = {
    "vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "initializer_range": 0.3,
}  # fmt: skip
CONFIGS = [
    LlamaConfig(**SMALL, num_key_value_heads=2),
    LlamaConfig(**SMALL, num_key_value_heads=4, head_dim=16, tie_word_embeddings=True),
    GraniteConfig(
        **SMALL, num_key_value_heads=2, embedding_multiplier=12.0, residual_multiplier=0.3, attention_multiplier=0.2,
        logits_scaling=1.7, tie_word_embeddings=True,
    ),
]  # fmt: skip
IDS = [(5 * i) % 59 + 1 for i in range(40)]


def model_of(config: PreTrainedConfig) -> torch.nn.Module:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:  # all ones would hide a norm that is not folded
                parameter.uniform_(0.5, 1.5)
    return model


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("config", CONFIGS, ids=["llama-gqa", "llama-tied", "granite"])
def test_its_logits_are_the_librarys(config: PreTrainedConfig, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not packed:
        monkeypatch.setattr(fused, "_packed", lambda weight: None)
    model = model_of(config)
    assert fusible(model)
    with torch.inference_mode():
        cold = model(input_ids=torch.tensor([IDS]), use_cache=False).logits[0]
    network = FusedNetwork(model, slots=3, max_length=50)
    network.forward([Part(1, 0, tuple(IDS[:9]), (8,))])
    logits = network.forward([Part(1, 9, tuple(IDS[9:30]), tuple(range(21))), Part(2, 0, tuple(IDS[:4]), (3,))])
    expected = torch.cat((cold[9:30], cold[3:4]))
    assert (logits - expected).abs().max() < 2e-5 * expected.abs().max()


@pytest.mark.parametrize(
    "config",
    [
        Qwen2Config(**SMALL),
        LlamaConfig(**SMALL, attention_bias=True),
        LlamaConfig(**SMALL, mlp_bias=True),
        LlamaConfig(**SMALL, hidden_act="gelu"),
        LlamaConfig(**SMALL, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}),
    ],
    ids=["family", "attention bias", "mlp bias", "activation", "rope"],
)
def test_what_it_does_not_compute_it_does_not_take(config: PreTrainedConfig) -> None:
    assert not fusible(model_of(config))


def test_half_precision_is_left_to_the_library() -> None:
    assert not fusible(model_of(CONFIGS[0]).to(torch.bfloat16))
