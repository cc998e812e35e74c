"""Device and number format, chosen from what a machine has."""

import os

import pytest
import torch

from duplex_runtime.models.placement import LARGE, Machine, Placement, choose_placement, machine

GB = 10**9
MINICPM = 2_725_000_000
SMALL = 500_000_000
BF16_CARD = Machine(cuda=True, cuda_bf16=True, cuda_bytes=24 * GB, cpu_bf16=True, memory_bytes=64 * GB)


@pytest.mark.parametrize(
    ("has", "parameters", "expected"),
    [
        (BF16_CARD, MINICPM, Placement("cuda", "bfloat16")),
        (BF16_CARD, SMALL, Placement("cuda", "bfloat16")),
        (Machine(cuda=True, cuda_bytes=16 * GB), MINICPM, Placement("cuda", "float16", check=True)),
        (Machine(cuda=True, cuda_bf16=True), MINICPM, Placement("cuda", "bfloat16")),  # a card that does not say
        (Machine(cuda=True, cuda_bf16=True, cuda_bytes=6 * GB), MINICPM, Placement("cpu", "float32")),
        (Machine(cuda=True, cuda_bf16=True, cuda_bytes=6 * GB), SMALL, Placement("cuda", "bfloat16")),
        (Machine(cuda=True, mps=True), MINICPM, Placement("cuda", "float16", check=True)),
        (Machine(mps=True, mps_bf16=True, memory_bytes=16 * GB), MINICPM, Placement("mps", "bfloat16")),
        (Machine(mps=True, memory_bytes=16 * GB), MINICPM, Placement("mps", "float16", check=True)),
        (Machine(mps=True, memory_bytes=4 * GB), MINICPM, Placement("cpu", "bfloat16")),
        (Machine(cpu_bf16=True, memory_bytes=64 * GB), MINICPM, Placement("cpu", "bfloat16")),
        (Machine(cpu_bf16=True, memory_bytes=64 * GB), SMALL, Placement("cpu", "float32")),
        (Machine(cpu_bf16=True, memory_bytes=64 * GB), LARGE, Placement("cpu", "float32")),
        (Machine(memory_bytes=64 * GB), MINICPM, Placement("cpu", "float32")),
        (Machine(memory_bytes=12 * GB), MINICPM, Placement("cpu", "bfloat16")),  # float32 alone is 11 GB
        (Machine(), MINICPM, Placement("cpu", "float32")),
    ],
)
def test_a_model_goes_where_it_is_fastest_and_fits(has: Machine, parameters: int, expected: Placement) -> None:
    assert choose_placement(has, parameters) == expected


def test_only_float16_may_overflow() -> None:
    for has in (BF16_CARD, Machine(cuda=True), Machine(mps=True), Machine(mps=True, mps_bf16=True), Machine()):
        for parameters in (SMALL, MINICPM):
            place = choose_placement(has, parameters)
            assert place.check == (place.dtype == "float16")


def test_this_machine_is_described_as_torch_sees_it() -> None:
    here = machine()
    assert here.cuda == torch.cuda.is_available()
    assert not (here.mps and here.cuda)
    assert here.memory_bytes == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") > 0
    assert here.cpu_bf16 or not torch.cpu._is_avx512_bf16_supported()


@pytest.mark.parametrize(("generation", "bf16"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_an_old_card_gets_float16_whatever_it_pretends(
    monkeypatch: pytest.MonkeyPatch, generation: tuple[int, int], bf16: bool
) -> None:
    monkeypatch.setattr("accelerate.utils.is_cuda_available", lambda: True)
    monkeypatch.setattr("accelerate.utils.is_bf16_available", lambda ignore_tpu: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: generation)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (15 * GB, 16 * GB))
    here = machine()
    assert (here.cuda, here.cuda_bf16, here.cuda_bytes, here.mps) == (True, bf16, 15 * GB, False)
    assert choose_placement(here, MINICPM).dtype == ("bfloat16" if bf16 else "float16")


def test_accelerate_may_be_told_to_leave_the_card_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelerate.utils.is_cuda_available", lambda: True)
    monkeypatch.setattr("accelerate.utils.is_mps_available", lambda: True)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    here = machine()
    assert not here.cuda and not here.mps
    assert choose_placement(here, SMALL) == Placement("cpu", "float32")


def test_a_processor_that_torch_cannot_be_asked_about_has_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name)
    assert not machine().cpu_bf16


def test_a_system_that_does_not_tell_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", unknown)
    assert machine().memory_bytes == 0
