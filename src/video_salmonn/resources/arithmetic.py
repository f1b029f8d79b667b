"""Which number formats a device multiplies, which it only imitates, and which it gets wrong."""

from __future__ import annotations

from functools import cache

import torch

BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""Names of :func:`torch.cpu.get_capabilities` that say so of a processor."""


def multiplies_bfloat16(device: torch.device | str) -> bool:
    """Whether a device has instructions for bfloat16 products.

    A processor without them takes fifty to a hundred times as long as in float32 (AMD Zen 3, torch 2.13: 0.5 against
    52 GFLOP/s for 512 x 512 x 2048).
    """
    device = torch.device(device)
    if device.type == "cpu":
        capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        return any(bool(capabilities.get(name)) for name in BFLOAT16_INSTRUCTIONS)
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def slow_numbers(dtype: torch.dtype, device: torch.device | str) -> list[str]:
    """What a user should know who computes in a dtype that the device only imitates; for reports."""
    if dtype == torch.bfloat16 and not multiplies_bfloat16(device):
        return ["this device does not multiply bfloat16: float32 is many times as fast here (--dtype fp32)"]
    return []


@cache
def exact_int8_products() -> bool:
    """Whether the processor's products of 8-bit matrices (``torch._int_mm``) are exact.

    They should always be, but oneDNN adds pairs of products in 16 bits, where they saturate, when it may not use VNNI
    instructions that torch found on the processor (``ONEDNN_MAX_CPU_ISA=AVX2``; torch 2.13: up to 24 % off). Tried with
    one product of the largest entries (30 microseconds): no list of processors and settings would be complete.
    """
    rows, inner = 32, 256
    ones = torch.full((rows, inner), 127, dtype=torch.int8)
    try:
        product = torch._int_mm(ones, ones.t())
    except RuntimeError:  # a build without them: libraries fall back to floating point
        return True
    return bool((product == 127 * 127 * inner).all())
