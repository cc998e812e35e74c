import pytest
import torch

from duplex_runtime.alignment.train import Shape, make_model
from duplex_runtime.engine.slots import SlotCache, SlotLayer


def layer(capacity: int = 8) -> SlotLayer:
    return SlotLayer(capacity, torch.float32, torch.device("cpu"))


def states(*values: float) -> torch.Tensor:
    """[1 row, 2 heads, T positions, 3 numbers]."""
    return torch.tensor(values).view(1, 1, -1, 1).expand(1, 2, -1, 3)


def test_states_are_appended_behind_what_is_there() -> None:
    cache = layer()
    cache.update(states(1.0, 2.0), states(10.0, 20.0))
    keys, values = cache.update(states(3.0), states(30.0))
    assert torch.equal(keys, states(1.0, 2.0, 3.0))
    assert torch.equal(values, states(10.0, 20.0, 30.0))
    assert cache.get_seq_length() == 3


def test_what_was_truncated_is_overwritten() -> None:
    cache = layer()
    cache.update(states(1.0, 2.0, 3.0), states(1.0, 2.0, 3.0))
    cache.length = 1
    keys, _ = cache.update(states(9.0), states(9.0))
    assert torch.equal(keys, states(1.0, 9.0))


def test_appending_moves_nothing() -> None:
    cache = layer()
    first, _ = cache.update(states(1.0), states(1.0))
    second, _ = cache.update(states(2.0), states(2.0))
    assert first.data_ptr() == second.data_ptr()


def test_no_memory_is_taken_before_the_first_words() -> None:
    assert not layer().is_initialized


def test_a_query_sees_what_is_valid_and_itself() -> None:
    cache = layer()
    cache.update(states(1.0, 2.0), states(1.0, 2.0))
    assert cache.get_mask_sizes(3) == (5, 0)
    assert cache.get_max_length() == 8


def test_more_than_the_capacity_is_an_error() -> None:
    cache = layer(2)
    with pytest.raises(RuntimeError):
        cache.update(states(1.0, 2.0, 3.0), states(1.0, 2.0, 3.0))


def test_a_conversation_has_a_layer_for_each_of_the_model() -> None:
    model = make_model(Shape(32, 64, 2, 2), 50)
    cache = SlotCache(model.config, 16, torch.float32, torch.device("cpu"))
    with torch.inference_mode():
        model(input_ids=torch.tensor([[1, 2, 3]]), past_key_values=cache, use_cache=True)
    assert [s.length for s in cache.slot_layers] == [3, 3]
    cache.truncate(2)
    assert cache.length == 2
    cache.truncate(10)
    assert [s.length for s in cache.slot_layers] == [2, 2]
