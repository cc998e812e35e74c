"""The cache of keys and values against attention computed for each row by itself."""

from random import Random

import psutil
import pytest
import torch

from duplex_runtime.engine.network import Part
from duplex_runtime.engine.slots import Slots

SIZE = 8


def slots_of(kv_heads: int = 2, count: int = 6, length: int = 40) -> Slots:
    return Slots(layers=2, heads=kv_heads, head_size=SIZE, count=count, length=length)


def states(tokens: int, heads: int, seed: int) -> torch.Tensor:
    return torch.randn(tokens, heads, SIZE, generator=torch.Generator().manual_seed(seed))


def alone(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    """Causal attention of one row, written out; [T, heads, SIZE]."""
    share = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(share, dim=1), v.repeat_interleave(share, dim=1)
    scores = torch.einsum("qhd,khd->hqk", q, k) * scale
    scores += torch.full(scores.shape[1:], -torch.inf).triu(1)
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), v)


@pytest.mark.parametrize("heads", [2, 6])
def test_ragged_passes_give_each_row_what_it_has_alone(heads: int) -> None:
    slots, rng = slots_of(), Random(1)
    rows = {s: (states(30, heads, s), states(30, 2, 10 + s), states(30, 2, 20 + s)) for s in (0, 1, 2, 4)}
    at = dict.fromkeys(rows, 0)
    while min(at.values()) < 30:
        parts = []
        for slot in rng.sample(sorted(rows), 4):
            if count := min(rng.choice([0, 1, 1, 1, 5]), 30 - at[slot]):
                parts.append(Part(slot, at[slot], (0,) * count, (count - 1,)))
        if not parts:
            continue
        q, k, v = (torch.cat([rows[p.slot][i][p.start : p.start + len(p.ids)] for p in parts]) for i in range(3))
        mixed = slots.attend(1, slots.batch(parts), q, torch.stack((k, v), 1), 0.3)
        expected = [alone(*rows[p.slot], 0.3)[p.start : p.start + len(p.ids)] for p in parts]
        assert (mixed - torch.cat(expected)).abs().max() < 1e-5
        for part in parts:
            at[part.slot] += len(part.ids)


def test_neighbours_with_one_token_share_a_call() -> None:
    parts = [Part(s, 5 + s, (1,), (0,)) for s in (0, 1, 2, 4)] + [Part(5, 3, (1, 2), (1,))]
    groups = slots_of().batch(parts).groups
    assert [(g.first, g.last, g.count) for g in groups] == [(0, 3, 1), (4, 5, 1), (5, 6, 2)]
    assert [g.window for g in groups] == [8, 10, 5]


def test_a_single_token_needs_no_mask() -> None:
    (group,) = slots_of().batch([Part(3, 9, (1,), (0,))]).groups
    assert group.mask is None


def test_what_lies_behind_a_rollback_is_overwritten() -> None:
    slots = slots_of()
    for seed, start, count in ((1, 0, 6), (2, 3, 2)):
        batch = slots.batch([Part(0, start, (0,) * count, (0,))])
        slots.attend(0, batch, states(count, 2, seed), torch.stack((states(count, 2, seed),) * 2, 1), 1.0)
    keys = slots.layers[0][0, 0].transpose(0, 1)
    assert torch.equal(keys[:3], states(6, 2, 1)[:3])
    assert torch.equal(keys[3:5], states(2, 2, 2))


def test_a_pass_writes_only_into_its_own_slots() -> None:
    slots = slots_of()
    batch = slots.batch([Part(2, 0, (0,) * 4, (3,)), Part(4, 0, (0,), (0,))])
    slots.attend(0, batch, states(5, 2, 1), torch.stack((states(5, 2, 1),) * 2, 1), 1.0)
    touched = [bool(slots.layers[0][s].any()) for s in range(slots.count)]
    assert touched == [False, False, True, False, True, False]


def test_appending_moves_nothing() -> None:
    slots = slots_of()
    before = [layer.data_ptr() for layer in slots.layers]
    for start in range(10):
        slots.attend(
            0, slots.batch([Part(0, start, (0,), (0,))]), states(1, 2, 1), states(1, 4, 1).unflatten(1, (2, 2)), 1.0
        )
    assert [layer.data_ptr() for layer in slots.layers] == before


def test_bytes_of_a_token() -> None:
    assert slots_of().bytes_per_token == 2 * 2 * 2 * SIZE * 4  # layers, keys and values, heads, numbers, float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_slots_that_nobody_used_take_no_memory(dtype: torch.dtype) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    slots = Slots(layers=2, heads=4, head_size=64, count=128, length=1024, dtype=dtype)
    size = sum(layer.nbytes for layer in slots.layers)
    assert size >= 2**28
    assert process.memory_info().rss - before < size / 10
    assert not slots.layers[1][-1].any()


def test_a_slot_that_nobody_needs_gives_its_memory_back_and_the_others_keep_theirs() -> None:
    process, slots = psutil.Process(), Slots(layers=1, heads=3, head_size=40, count=5, length=50_001)
    (cache,) = slots.layers
    cache.fill_(1.0)
    before = process.memory_info().rss
    slots.forget(2)
    assert before - process.memory_info().rss > 0.8 * cache[2].nbytes
    assert cache[2].sum() < 0.01 * cache[2].numel()
    assert all(cache[slot].min() == 1 for slot in (0, 1, 3, 4))


def test_a_small_slot_may_be_forgotten_too() -> None:
    slots = slots_of()
    slots.layers[0].fill_(1.0)
    slots.forget(1)
    assert slots.layers[0][0].min() == slots.layers[0][2].min() == 1
