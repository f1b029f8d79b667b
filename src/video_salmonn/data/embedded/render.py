"""Recipes -> sound and pictures. The same recipe gives the same samples on every run of one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from video_salmonn.data.embedded.recipes import Recipe
from video_salmonn.data.embedded.synthesis import speak
from video_salmonn.errors import EmptyMediaError, MediaError
from video_salmonn.media import MediaOptions, load_clip

RATE = 16_000
Samples = NDArray[np.float32]


def read_sound(path: Path) -> Samples:
    """A file's sound, as the model would hear it: 16 kHz mono samples.

    Raises:
        MediaError: unreadable, or without sound.
    """
    sound = load_clip(str(path), options=MediaOptions(use_video=False)).sound
    if sound is None:
        raise EmptyMediaError(str(path), "has no sound")
    return sound.samples


def _resampled(samples: Samples, rate: int) -> Samples:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="flt", layout="mono")
    frame.sample_rate = rate
    pieces = [piece.to_ndarray()[0] for source in (frame, None) for piece in resampler.resample(source)]
    return np.concatenate(pieces).astype(np.float32) if pieces else np.zeros(0, np.float32)


def _said(layer: dict[str, Any]) -> Samples:
    samples, rate = speak(layer["say"], layer["engine"], layer["voice"], layer.get("rate", 160))
    return _resampled(samples, round(rate * layer.get("speed", 1.0)))


def _noise(colour: str, count: int, seed: int) -> Samples:
    """Noise of unit peak; its power falls by 0, 3 or 6 dB an octave (white, pink, brown)."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    frequency = np.maximum(np.arange(spectrum.size), 1.0)
    shaped = np.fft.irfft(spectrum / frequency ** {"white": 0.0, "pink": 0.5, "brown": 1.0}[colour], count)
    return (shaped / np.abs(shaped).max()).astype(np.float32)


def _room(samples: Samples, seed: int) -> Samples:
    """Convolve with a made-up room: the direct sound, then exponentially dying noise (0.1 to 0.5 s to -60 dB)."""
    rng = np.random.default_rng(seed)
    decay = rng.uniform(0.1, 0.5)
    time = np.arange(int(decay * RATE)) / RATE
    tail = rng.standard_normal(time.size) * 10 ** (-3 * time / decay) * rng.uniform(0.02, 0.08)
    tail[0] = 1.0
    size = 1 << int(samples.size + tail.size).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)
    return wet[: samples.size].astype(np.float32)


def _layer(layer: dict[str, Any], root: Path, count: int = 0) -> Samples:
    if "noise" in layer:
        samples = _noise(layer["noise"], count, layer.get("seed", 0))
    elif "say" in layer:
        samples = _said(layer)
    else:
        samples = read_sound(root / layer["file"])
        end = layer.get("to")
        samples = samples[round(layer.get("from", 0.0) * RATE) : None if end is None else round(end * RATE)]
        if layer.get("speed", 1.0) != 1.0:
            samples = _resampled(samples, round(RATE * layer["speed"]))
    if "room" in layer and samples.size:
        samples = _room(samples, layer["room"])
    if "level" in layer and samples.size:
        loudness = max(np.sqrt(np.mean(samples[i : i + RATE] ** 2)) for i in range(0, samples.size, RATE))
        return samples * np.float32(10 ** (layer["level"] / 20) / max(loudness, 1e-5))
    return samples * np.float32(10 ** (layer.get("gain", 0.0) / 20))


def render_sound(recipe: Recipe, root: Path) -> Samples:
    """A path or sound recipe -> 16 kHz mono samples, kept within [-1, 1] by scaling where the sum is too loud.

    Args:
        recipe: see :mod:`video_salmonn.data.embedded.recipes`; paths are relative to ``root``.
        root: the manifest's folder.
    """
    if isinstance(recipe, str):
        return read_sound(root / recipe)
    sources = [layer for layer in recipe["layers"] if "noise" not in layer]
    placed = [(round(layer.get("at", 0.0) * RATE), _layer(layer, root)) for layer in sources]
    length = recipe.get("length")
    if length is None and not placed:
        raise MediaError(str(recipe), "a recipe of noise alone needs a length")
    total = max(start + samples.size for start, samples in placed) if length is None else round(length * RATE)
    for layer in recipe["layers"]:
        if "noise" in layer:
            start = round(layer.get("at", 0.0) * RATE)
            placed.append((start, _layer(layer, root, max(total - start, 1))))
    out = np.zeros(total, np.float32)
    for start, samples in placed:
        piece = samples[: max(total - start, 0)]
        out[start : start + piece.size] += piece
    peak = float(np.abs(out).max(initial=0.0))
    if peak > 1.0:
        out /= np.float32(peak)
    return out


def read_frames(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture (one frame) or a video's frames at 2 a second, as the model would see them: ``(T, *size, 3)`` RGB.

    Raises:
        MediaError: unreadable, or nothing to see.
    """
    frames = load_clip(str(path), options=MediaOptions(use_audio=False, frame_size=size)).frames
    if frames is None:
        raise EmptyMediaError(str(path), "has no pictures")
    return frames.frames
