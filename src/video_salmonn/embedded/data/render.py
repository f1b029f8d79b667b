"""Recipes -> sound and pictures. The same recipe gives the same samples on every run of one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from video_salmonn.data.media_recipes import MediaRecipe
from video_salmonn.embedded.data.hours import ENGINES
from video_salmonn.embedded.data.synthesis import speak
from video_salmonn.embedded.data.voices import say
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


def resampled(samples: Samples, rate: int) -> Samples:
    """Samples at ``rate`` Hz -> at 16 kHz."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="flt", layout="mono")
    frame.sample_rate = rate
    pieces = [piece.to_ndarray()[0] for source in (frame, None) for piece in resampler.resample(source)]
    return np.concatenate(pieces).astype(np.float32) if pieces else np.zeros(0, np.float32)


def _said(layer: dict[str, Any]) -> Samples:
    if layer["engine"] in ENGINES:
        spoken, rate = say(layer)
        return resampled(spoken, round(rate * layer.get("speed", 1.0)))
    samples, rate = speak(layer["say"], layer["engine"], layer["voice"], layer.get("rate", 160))
    return resampled(samples, round(rate * layer.get("speed", 1.0)))


def _noise(colour: str, count: int, seed: int) -> Samples:
    """Noise of unit peak; its power falls by 0, 3 or 6 dB an octave (white, pink, brown)."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    frequency = np.maximum(np.arange(spectrum.size), 1.0)
    shaped = np.fft.irfft(spectrum / frequency ** {"white": 0.0, "pink": 0.5, "brown": 1.0}[colour], count)
    return (shaped / np.abs(shaped).max()).astype(np.float32)


def _music(count: int, seed: int) -> Samples:
    """Made-up music of unit peak: a chord progression with a melody, some with a bass and a beat.

    Notes are of a major or minor scale; partials, attack and decay make a plucked, a bowed or an organ-like sound.
    """
    rng = np.random.default_rng(seed)
    out = np.zeros(count, np.float32)
    beat = 60 / rng.uniform(70, 150)
    scale = (0, 2, 4, 5, 7, 9, 11) if rng.random() < 0.6 else (0, 2, 3, 5, 7, 8, 10)
    root = rng.uniform(110, 220)
    partials = rng.uniform(0.1, 1.0, 6) / np.arange(1, 7) ** rng.uniform(0.6, 2.0)
    decay, attack, vibrato = rng.choice((0.3, 0.8, 3.0)), rng.choice((0.005, 0.08)), rng.choice((0.0, 0.0, 0.004))

    def note(degree: int, start: float, length: float, loudness: float) -> None:
        first = round(start * RATE)
        time = np.arange(min(round(length * RATE), max(count - first, 0))) / RATE
        if not time.size:
            return
        pitch = root * 2 ** (degree // 7 + scale[degree % 7] / 12)
        phase = 2 * np.pi * pitch * (time + vibrato * np.sin(2 * np.pi * 5.5 * time) / 5.5)
        wave = sum(share * np.sin((k + 1) * phase) for k, share in enumerate(partials) if pitch * (k + 1) < RATE / 2)
        shape = np.minimum(time / attack, 1.0) * np.exp(-time / decay) * np.minimum((length - time) / 0.02, 1.0)
        out[first : first + time.size] += (loudness * wave * shape).astype(np.float32)

    chords = rng.choice((0, 3, 4, 5, 1), size=4)
    has_bass, has_beat, has_melody = rng.random() < 0.6, rng.random() < 0.5, rng.random() < 0.85
    for bar in range(int(count / RATE / (4 * beat)) + 1):
        chord, start = int(chords[bar % 4]), bar * 4 * beat
        for degree in (0, 2, 4):
            note(chord + degree, start, 4 * beat, 0.4)
        if has_bass:
            for place in (0, 2):
                note(chord - 7, start + place * beat, 2 * beat, 0.7)
        at = 0.0
        while has_melody and at < 4:
            length = float(rng.choice((0.5, 0.5, 1.0, 2.0)))
            note(7 + int(rng.integers(0, 8)), start + at * beat, length * beat, 0.8)
            at += length
        for place in range(8 if has_beat else 0):
            first = round((start + place * beat / 2) * RATE)
            hit = (
                rng.standard_normal(min(2400, max(count - first, 0)))
                * np.exp(-np.arange(2400) / 400)[: max(count - first, 0)]
            )
            out[first : first + hit.size] += (0.5 if place % 4 == 2 else 0.2) * hit.astype(np.float32)
    return out / max(float(np.abs(out).max(initial=0.0)), 1e-6)


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
    elif "music" in layer:
        samples = _music(count, layer["music"])
    elif "say" in layer:
        samples = _said(layer)
    else:
        samples = read_sound(root / layer["file"])
        end = layer.get("to")
        samples = samples[round(layer.get("from", 0.0) * RATE) : None if end is None else round(end * RATE)]
        if layer.get("speed", 1.0) != 1.0:
            samples = resampled(samples, round(RATE * layer["speed"]))
    if "room" in layer and samples.size:
        samples = _room(samples, layer["room"])
    if "level" in layer and samples.size:
        loudness = max(np.sqrt(np.mean(samples[i : i + RATE] ** 2)) for i in range(0, samples.size, RATE))
        return samples * np.float32(10 ** (layer["level"] / 20) / max(loudness, 1e-5))
    return samples * np.float32(10 ** (layer.get("gain", 0.0) / 20))


def _fills(layer: dict[str, Any]) -> bool:
    """Whether a layer is made as long as the sound is: noise and music."""
    return "noise" in layer or "music" in layer


def render_sound(recipe: MediaRecipe, root: Path) -> Samples:
    """A path or sound recipe -> 16 kHz mono samples, kept within [-1, 1] by scaling where the sum is too loud.

    Args:
        recipe: see :mod:`video_salmonn.data.media_recipes`; paths are relative to ``root``.
        root: the manifest's folder.
    """
    if isinstance(recipe, str):
        return read_sound(root / recipe)
    sources = [layer for layer in recipe["layers"] if not _fills(layer)]
    placed = [(round(layer.get("at", 0.0) * RATE), _layer(layer, root)) for layer in sources]
    length = recipe.get("length")
    if length is None and not placed:
        raise MediaError(str(recipe), "a recipe of noise or music alone needs a length")
    total = max(start + samples.size for start, samples in placed) if length is None else round(length * RATE)
    for layer in recipe["layers"]:
        if _fills(layer):
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
