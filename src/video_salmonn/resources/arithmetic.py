"""Which number formats a device multiplies, and which it only imitates."""

from __future__ import annotations

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
