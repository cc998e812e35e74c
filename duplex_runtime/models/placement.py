"""Where a model runs and in which numbers: a pure choice from what the machine has.

placement = choose_placement(machine(), parameters=2_725_000_000)
"""

from __future__ import annotations

import os
from dataclasses import dataclass

#: From here on a processor reads float32 weights too slowly: half the bytes are half the time.
LARGE = 1_000_000_000
#: Beside the weights: conversations, and what a pass needs.
_ROOM = 1.25


@dataclass(frozen=True)
class Machine:
    """What there is. `*_bf16`: it computes in bfloat16 by itself. Free memory of the card and main memory in bytes,
    0 if unknown."""

    cuda: bool = False
    cuda_bf16: bool = False
    cuda_bytes: int = 0
    mps: bool = False
    mps_bf16: bool = False
    cpu_bf16: bool = False
    memory_bytes: int = 0


@dataclass(frozen=True)
class Placement:
    """`device` and `dtype` are names of torch. `check`: numbers may overflow, so logits are looked at once."""

    device: str
    dtype: str
    check: bool = False


def choose_placement(machine: Machine, parameters: int) -> Placement:
    """CUDA if the model fits on the card, then Apple's GPU, then the processor.

    bfloat16 where the device has it, else float16 with a check of its range. On the processor float32 for what is
    small, and bfloat16 for over 1 B parameters where it has the instructions, or where float32 would not fit.
    """

    def too_big(number_bytes: int, free_bytes: int) -> bool:
        return 0 < free_bytes < number_bytes * parameters * _ROOM

    if machine.cuda and not too_big(2, machine.cuda_bytes):
        return _half("cuda", machine.cuda_bf16)
    if machine.mps and not too_big(2, machine.memory_bytes):
        return _half("mps", machine.mps_bf16)
    if parameters > LARGE and (machine.cpu_bf16 or too_big(4, machine.memory_bytes)):
        return Placement("cpu", "bfloat16")
    return Placement("cpu", "float32")


def _half(device: str, bf16: bool) -> Placement:
    return Placement(device, "bfloat16") if bf16 else Placement(device, "float16", check=True)


def machine() -> Machine:
    """What this machine has, as accelerate sees it: with ACCELERATE_USE_CPU=1 no more than its processor."""
    import torch
    from accelerate.utils import is_bf16_available, is_cuda_available, is_mps_available, parse_flag_from_env

    cpu_only = bool(parse_flag_from_env("ACCELERATE_USE_CPU"))
    cuda = not cpu_only and bool(is_cuda_available())
    mps = not cpu_only and not cuda and bool(is_mps_available())
    return Machine(
        cuda=cuda,
        # cards before Ampere pretend to have it, and are slow
        cuda_bf16=cuda and bool(is_bf16_available(ignore_tpu=True)) and torch.cuda.get_device_capability()[0] >= 8,
        cuda_bytes=int(torch.cuda.mem_get_info()[0]) if cuda else 0,
        mps=mps,
        mps_bf16=mps and bool(torch.backends.mps.is_macos_or_newer(14, 0)),
        cpu_bf16=_cpu_bf16(),
        memory_bytes=_memory_bytes(),
    )


def _cpu_bf16() -> bool:
    import torch

    # names of torch 2.6 and later; a processor that is not asked about has float32
    asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(bool(ask()) for ask in asked if ask)


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not every system tells
        return 0
