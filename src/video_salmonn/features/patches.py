"""YAMNet's log-mel patches: one of 0.96 s centred on every 0.5 s frame.

The front end is YAMNet's published one: 16 kHz, periodic Hann window of 25 ms every 10 ms, 512-point FFT magnitudes,
64 HTK-mel bands between 125 and 7500 Hz, ``log(mel + 0.001)``. YAMNet's own hop between patches is 0.48 s; here it is
the frame's 0.5 s, so that patch ``t`` is about frame ``t`` and nothing drifts.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F

RATE = 16_000
WINDOW, HOP, FFT = 400, 160, 512
BANDS, LOWEST, HIGHEST = 64, 125.0, 7500.0
OFFSET = 1e-3
PATCH = 96  # mel steps of 10 ms
FRAME = 50  # mel steps between patches: 0.5 s
LEAD = (PATCH - FRAME) // 2 * HOP  # samples before the frame, so that the patch is centred on it


@functools.lru_cache(maxsize=1)
def _mel_matrix() -> torch.Tensor:
    """``(257, 64)``: triangles equally spaced and linear on the HTK mel scale; the DC bin is left out."""

    def mel(hertz: torch.Tensor) -> torch.Tensor:
        return 1127.0 * torch.log1p(hertz / 700.0)

    bins = mel(torch.linspace(0, RATE / 2, FFT // 2 + 1, dtype=torch.float64))[1:, None]
    low, high = (1127.0 * math.log1p(edge / 700.0) for edge in (LOWEST, HIGHEST))
    edges = torch.linspace(low, high, BANDS + 2, dtype=torch.float64)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    triangles = torch.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)).clamp(min=0)
    return F.pad(triangles, (0, 0, 1, 0)).float()


def yamnet_log_mel(sound: torch.Tensor) -> torch.Tensor:
    """Sound ``(..., n)`` at 16 kHz in [-1, 1] -> log-mel ``(..., 1 + (n - 400) // 160, 64)``."""
    window = torch.hann_window(WINDOW, periodic=True, device=sound.device, dtype=sound.dtype)
    spectrum = torch.fft.rfft(sound.unfold(-1, WINDOW, HOP) * window, FFT).abs()
    return torch.log(spectrum @ _mel_matrix().to(spectrum) + OFFSET)


def yamnet_patches(sound: torch.Tensor, frames: int | None = None) -> torch.Tensor:
    """Sound ``(B, n)`` at 16 kHz -> patches ``(B, T, 96, 64)``, patch ``t`` centred on ``[0.5 t, 0.5 t + 0.5)`` s.

    Args:
        sound: float32 waveforms in [-1, 1]; silence is added before and after them.
        frames: ``T``; by default the frames that the sound reaches, ``ceil(n / 8000)``.
    """
    count = math.ceil(sound.shape[-1] / (FRAME * HOP)) if frames is None else frames
    needed = ((count - 1) * FRAME + PATCH - 1) * HOP + WINDOW
    padded = F.pad(sound, (LEAD, max(needed - LEAD - sound.shape[-1], 0)))[..., :needed]
    return yamnet_log_mel(padded).unfold(-2, PATCH, FRAME).transpose(-1, -2)
