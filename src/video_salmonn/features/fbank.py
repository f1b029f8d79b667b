"""Kaldi filter-bank energies with 128 bins, as BEATs wants them.

Our own port of ``compute-fbank-feats`` (Povey window, no dither, pre-emphasis 0.97, DC removal, power spectrum, snip
edges): torchaudio's does not load beside the torch builds we support, and current kaldi-native-fbank refuses 128 bins.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.nn import functional as F

from video_salmonn.wording import counted

SAMPLE_RATE = 16_000
WINDOW = 400
"""25 ms."""
HOP = 160
"""10 ms."""
N_FFT = 512
BINS = 128
LOW_HZ = 20.0
PRE_EMPHASIS = 0.97
EPSILON = 1.1920928955078125e-07  # float32's, the floor inside the logarithm
BEATS_MEAN = 15.41663
BEATS_STD = 6.55582
"""BEATs divides by *twice* this."""


def _mel(hertz: torch.Tensor | float) -> torch.Tensor:
    return 1127.0 * torch.log1p(torch.as_tensor(hertz, dtype=torch.float64) / 700.0)


@lru_cache(maxsize=4)
def mel_banks(bins: int = BINS) -> torch.Tensor:
    """Triangular mel filters, ``(N_FFT // 2 + 1, bins)`` float32; the Nyquist bin takes no part, as in Kaldi."""
    edges = torch.linspace(float(_mel(LOW_HZ)), float(_mel(SAMPLE_RATE / 2)), bins + 2, dtype=torch.float64)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    mel = _mel(torch.arange(N_FFT // 2, dtype=torch.float64) * (SAMPLE_RATE / N_FFT))[:, None]
    rising, falling = (mel - left) / (centre - left), (right - mel) / (right - centre)
    banks = torch.minimum(rising, falling).clamp(min=0.0)
    return F.pad(banks, (0, 0, 0, 1)).float()


@lru_cache(maxsize=4)
def povey_window(length: int = WINDOW) -> torch.Tensor:
    """Hann (symmetric) to the power 0.85."""
    return torch.hann_window(length, periodic=False, dtype=torch.float64).pow(0.85).float()


def num_frames(samples: int) -> int:
    """Frames of ``samples`` samples: whole windows only (snip edges)."""
    return 0 if samples < WINDOW else 1 + (samples - WINDOW) // HOP


def fbank(waveform: torch.Tensor, bins: int = BINS) -> torch.Tensor:
    """Log mel energies of a batch.

    Args:
        waveform: ``(B, n)`` float at 16 kHz in 16-bit range (BEATs: waveform in [-1, 1] times 2^15).

    Returns:
        ``(B, num_frames(n), bins)`` float32, natural logarithm.

    Raises:
        ValueError: the waveform is shorter than one window of 25 ms.
    """
    if waveform.shape[-1] < WINDOW:
        raise ValueError(f"{counted(waveform.shape[-1], 'sample', 'are')} less than one window of {WINDOW}")
    frames = waveform.float().unfold(-1, WINDOW, HOP)
    frames = frames - frames.mean(dim=-1, keepdim=True)
    previous = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    frames = (frames - PRE_EMPHASIS * previous) * povey_window().to(frames.device)
    spectrum = torch.fft.rfft(frames, N_FFT)
    power = spectrum.real.square() + spectrum.imag.square()
    return (power @ mel_banks(bins).to(frames.device)).clamp(min=EPSILON).log()


def beats_fbank(waveform: torch.Tensor) -> torch.Tensor:
    """What BEATs reads: fbank of the waveform times 2^15, minus 15.41663, over 2 · 6.55582.

    Args:
        waveform: ``(B, n)`` float at 16 kHz in [-1, 1].

    Returns:
        ``(B, num_frames(n), 128)`` float32.
    """
    return (fbank(waveform.float() * 2.0**15) - BEATS_MEAN) / (2 * BEATS_STD)


def frame_mask(lengths: torch.Tensor, samples: int) -> torch.Tensor:
    """Real fbank frames of a zero-padded batch, as the original counts them.

    The waveform's padding mask is dealt evenly to the frames; a frame is padding only if all its share is.

    Args:
        lengths: ``(B,)`` real samples of each item.
        samples: padded length n.

    Returns:
        ``(B, num_frames(n))`` bool, True for real frames.
    """
    frames = num_frames(samples)
    share = samples // frames
    real = (lengths.double() / share).ceil().clamp(max=frames)
    return torch.arange(frames, device=lengths.device)[None] < real[:, None]
