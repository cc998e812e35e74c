"""Models of the library over slots: the logits are those of their own cold forward pass, or they are refused."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPTNeoXConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from duplex_runtime.engine.network import Part
from duplex_runtime.engine.plain import PlainNetwork
from duplex_runtime.errors import ModelError

SMALL = {
    "vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
}  # fmt: skip
IDS = [(5 * i) % 59 + 1 for i in range(40)]


def model_of(config: PreTrainedConfig) -> torch.nn.Module:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).float().eval()


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SMALL, num_key_value_heads=2),
        Qwen2Config(**SMALL, num_key_value_heads=1),
        Qwen3Config(**SMALL, num_key_value_heads=2, head_dim=16),
        GPTNeoXConfig(**SMALL),
    ],
    ids=lambda config: config.model_type,
)
def test_slices_of_two_talks_give_what_cold_passes_give(config: PreTrainedConfig) -> None:
    model = model_of(config)
    with torch.inference_mode():
        cold = model(input_ids=torch.tensor([IDS]), use_cache=False).logits[0]
    network = PlainNetwork(model, slots=3, max_length=50)
    network.forward([Part(0, 0, tuple(IDS[:10]), (9,))])
    logits = network.forward([Part(0, 10, tuple(IDS[10:13]), (0, 2)), Part(2, 0, tuple(IDS[:20]), (19,))])
    assert (logits - cold[[10, 12, 19]]).abs().max() < 1e-5
    logits = network.forward([Part(0, 13, (IDS[13],), (0,)), Part(2, 20, tuple(IDS[20:]), (19,))])
    assert (logits - cold[[13, 39]]).abs().max() < 1e-5
    with torch.inference_mode():  # and the model itself is as it was
        assert torch.equal(model(input_ids=torch.tensor([IDS]), use_cache=False).logits[0], cold)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (MistralConfig(**SMALL, num_key_value_heads=2, sliding_window=8), "sliding|window|slices"),
        (MambaConfig(vocab_size=60, hidden_size=32, num_hidden_layers=2, state_size=4), "Mamba"),
    ],
    ids=["window", "recurrent"],
)
def test_models_that_remember_otherwise_are_refused(config: PreTrainedConfig, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        PlainNetwork(model_of(config), slots=2, max_length=50)
