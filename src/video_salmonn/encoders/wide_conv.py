"""A long convolution over few channels, computed where it is right.

On processors with AMX, oneDNN's bfloat16 convolution is wrong where a group has an even number of input channels below
16 and the kernel is 16 or more steps long (measured on an Intel Xeon with torch 2.11: outputs 42 to 106 % off; right
with odd counts, with 16 channels and more, in float16 and float32). The released position convolution of BEATs has 48
channels a group and is right; small models have fewer. Such a layer alone is computed in float32 and rounded, on every
processor, so that results do not depend on it. All other convolutions of the package (patches, stems, depthwise,
Whisper's) were measured to be right.
"""

from __future__ import annotations

import torch
from torch import nn

FEW = 16
"""Input channels a group below which bfloat16 is not trusted."""


class WideConv1d(nn.Conv1d):
    """``Conv1d`` that is right in bfloat16 for any number of channels a group."""

    def computes_in(self, x: torch.Tensor) -> torch.dtype:
        """The type that ``x`` is convolved in."""
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        few = self.in_channels // self.groups < FEW
        return torch.float32 if dtype == torch.bfloat16 and x.device.type == "cpu" and few else dtype

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, N)`` -> ``(B, C', N')``, of the type that ``Conv1d`` would return."""
        if x.device.type != "cpu" or self.computes_in(x) != torch.float32:
            return super().forward(x)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        bias = None if self.bias is None else self.bias.float()
        with torch.autocast("cpu", enabled=False):
            return self._conv_forward(x.float(), self.weight.float(), bias).to(dtype)
