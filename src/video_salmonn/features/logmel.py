"""Whisper's log-mel spectrogram as a batched tensor function.

The library's extractor works item by item in numpy or torch and always returns 30 s; this one gives the same numbers
(tested against it) for a whole batch of any length, on any device. The mel filters come from the library.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.nn import functional as F

from video_salmonn.wording import counted

SAMPLE_RATE = 16_000
N_FFT = 400
HOP = 160
"""10 ms: 100 frames per second."""


@lru_cache(maxsize=8)
def mel_filters(bins: int) -> torch.Tensor:
    """Slaney mel filter bank, ``(N_FFT // 2 + 1, bins)`` float32, 0 to 8000 Hz."""
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        num_frequency_bins=1 + N_FFT // 2,
        num_mel_filters=bins,
        min_frequency=0.0,
        max_frequency=SAMPLE_RATE / 2,
        sampling_rate=SAMPLE_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(filters).float()


def log_mel(waveform: torch.Tensor, bins: int = 80, *, pad_to: int | None = None) -> torch.Tensor:
    """Log-mel features of a batch of equally long segments.

    Args:
        waveform: ``(B, n)`` float, 16 kHz, in [-1, 1].
        bins: mel bands (80; 128 for Whisper large-v3).
        pad_to: pad with zeros or cut to this many samples first (480 000 = Whisper's 30 s).

    Returns:
        ``(B, bins, n // 160)`` float32: log10 power, floored at 8 below the item's maximum, scaled by (x + 4) / 4.

    Raises:
        ValueError: the sound is too short for one window.
    """
    waveform = waveform.float()
    if pad_to is not None:
        waveform = F.pad(waveform[:, :pad_to], (0, max(0, pad_to - waveform.shape[1])))
    if waveform.shape[-1] <= N_FFT // 2:  # the first window reflects half of itself
        raise ValueError(
            f"{counted(waveform.shape[-1], 'sample', 'are')} too few for log-mel, at least {N_FFT // 2 + 1} are needed"
        )
    window = torch.hann_window(N_FFT, device=waveform.device)
    spectrum = torch.stft(waveform, N_FFT, HOP, window=window, return_complex=True)
    spectrum = spectrum[..., :-1]
    power = spectrum.real.square() + spectrum.imag.square()  # abs() takes a root only to have it squared
    mel = mel_filters(bins).to(waveform.device).T @ power
    logged = mel.clamp(min=1e-10).log10()
    floor = logged.amax(dim=(1, 2), keepdim=True) - 8.0
    return (torch.maximum(logged, floor) + 4.0) / 4.0
