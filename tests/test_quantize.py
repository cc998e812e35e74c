"""Weights of 8 bits: as near to the true product as they claim, and in all the places where they stand."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from transformers import GraniteConfig, GraniteForCausalLM

import duplex_runtime.models.quantize as module
from duplex_runtime.engine.fused import FusedNetwork
from duplex_runtime.engine.network import Network, Part
from duplex_runtime.engine.plain import PlainNetwork
from duplex_runtime.errors import ModelError
from duplex_runtime.models.quantize import Int8Linear, quantize

VOCABULARY = 300


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "_has_vnni", lambda: True)  # without, it is slower and as right
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def make(layers: int = 3) -> GraniteForCausalLM:
    """MiniCPM's proportions and factors, small."""
    config = GraniteConfig(
        vocab_size=VOCABULARY, hidden_size=96, intermediate_size=240, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=256, embedding_multiplier=12.0, tie_word_embeddings=True,
        residual_multiplier=1.4 / 40**0.5, attention_multiplier=24**-0.5, logits_scaling=9.0, initializer_range=0.1,
    )  # fmt: skip
    return GraniteForCausalLM(config).eval()


def off_by(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((got.float() - wanted.float()).norm() / wanted.float().norm())


def ids(count: int) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (1, count), generator=torch.Generator().manual_seed(1))


# — one layer —


@pytest.mark.parametrize(("rows", "columns"), [(256, 256), (640, 256), (256, 640)])
@pytest.mark.parametrize("count", [1, 3, 11, 40])
def test_a_layer_is_within_one_percent_of_its_weight(rows: int, columns: int, count: int) -> None:
    weight, states = torch.randn(rows, columns), torch.randn(count, columns)
    assert 0 < off_by(Int8Linear(weight)(states), states @ weight.T) < 0.01


@pytest.mark.parametrize("rows", [1, 7, 16, 33, 300])
@pytest.mark.parametrize("columns", [2, 7, 16, 33, 200])
@pytest.mark.parametrize("count", [1, 2, 5, 17])
def test_only_the_weight_is_rounded_not_what_goes_in(rows: int, columns: int, count: int) -> None:
    """At sizes that no kernel likes."""
    layer, states = Int8Linear(torch.randn(rows, columns)), 10 * torch.randn(count, columns)
    wanted = states @ layer.weight.T
    assert (layer(states) - wanted).abs().max() <= 1e-3 * wanted.abs().max()


def test_a_few_large_numbers_do_not_drown_the_small_ones() -> None:
    layer, states = Int8Linear(torch.randn(64, 256)), torch.randn(6, 256)
    small = layer(states)
    loud = states.clone()
    loud[:, 5] += 1000.0
    quiet = layer(loud) - 1000.0 * layer.weight[:, 5]
    assert off_by(quiet, small) < 0.05  # with one digit of 8 bits it is over 1: nothing of the small ones is left


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 1, 96), (2, 5, 96), (4, 96), (0, 96), (96,)])
def test_shape_and_type_are_those_of_a_linear_layer(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    out = Int8Linear(torch.randn(40, 96))(torch.randn(shape).to(dtype))
    assert out.shape == (*shape[:-1], 40)
    assert out.dtype == dtype


def test_a_row_of_nothing_gives_nothing() -> None:
    weight = torch.randn(8, 32)
    weight[3] = 0
    layer = Int8Linear(weight)
    assert (layer(torch.randn(5, 32))[:, 3] == 0).all()
    assert (layer(torch.zeros(5, 32)) == 0).all()


def test_numbers_that_overflowed_stay_visible() -> None:
    states = torch.ones(1, 32)
    states[0, 3] = float("inf")
    assert Int8Linear(torch.randn(8, 32))(states).isnan().all()


def test_each_row_is_computed_as_if_it_were_alone() -> None:
    layer, states = Int8Linear(torch.randn(64, 128)), torch.randn(9, 128)
    alone = torch.cat([layer(row[None]) for row in states])
    assert (layer(states) - alone).abs().max() < 1e-4


# — a whole model —


def linear_bytes(network: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for n, p in network.named_parameters() if "_proj" in n)


def test_every_layer_of_the_decoder_is_replaced_and_nothing_else() -> None:
    network = make(layers=2).bfloat16()
    before, parameters = linear_bytes(network), sum(p.numel() for p in network.parameters())
    embeddings = network.get_input_embeddings().weight
    quantize(network)
    kinds = [type(m) for m in network.model.layers.modules()]
    assert kinds.count(Int8Linear) == 14 and nn.Linear not in kinds
    assert type(network.lm_head) is nn.Linear and network.lm_head.weight is embeddings
    assert linear_bytes(network) == before // 2
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert network.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_stay_close(dtype: torch.dtype) -> None:
    network = make()
    with torch.inference_mode():
        true = network(ids(60)).logits[0]
        network.to(dtype)
        quantize(network)
        got = network(ids(60)).logits[0].float()
    assert off_by(got, true) < 0.05
    p, q = true.log_softmax(-1), got.log_softmax(-1)
    assert (p.exp() * (p - q)).sum(-1).max() < 1e-3


def slice_by_slice(network: Network, text: list[int]) -> torch.Tensor:
    out, at = [], 0
    for size in (1, 5, 11, 1, 3, 19):
        piece = tuple(text[at : at + size])
        out.append(network.forward([Part(0, at, piece, tuple(range(size)))]))
        at += size
    return torch.cat(out)


@pytest.mark.parametrize("make_network", [PlainNetwork, FusedNetwork])
def test_slice_by_slice_gives_what_the_whole_stream_gives(make_network: type[PlainNetwork | FusedNetwork]) -> None:
    """Also where the engine multiplies by itself, with the weights that a layer says it has."""
    network = make()
    quantize(network)
    with torch.inference_mode():
        cold = network(ids(40)).logits[0]
    warm = slice_by_slice(make_network(network, slots=2, max_length=64), ids(40)[0].tolist())
    assert (warm - cold).abs().max() < 2e-3 * cold.abs().max()


def test_off_the_processor_it_is_refused() -> None:
    with pytest.raises(ModelError, match="meta"):
        quantize(make().to("meta"))


def test_a_processor_without_8_bit_instructions_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_has_vnni", lambda: False)
    network = make(layers=1)
    with pytest.raises(ModelError, match="VNNI"):
        quantize(network)
    assert not any(isinstance(m, Int8Linear) for m in network.modules())
