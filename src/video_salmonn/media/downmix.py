"""Any number of channels become one, and what is in them is measured before they are mixed.

Decisions:

* Known speaker layouts use the usual downmix weights, scaled so that the mix cannot clip. The low-frequency channel,
  which the usual downmix leaves out, takes part at a low weight: no channel is lost. Channels without a known place
  (9 and more in a plain WAV, ambisonics) take part equally.
* Channels of opposite polarity cancel when they are added. Where a stretch of 0.25 s keeps less than a tenth of the
  power it would have if its channels were unrelated, channels that run against the loudest one are turned over. The
  plain mix returns as soon as it keeps half of that power. Weights change over 10 ms, so that nothing clicks.
* A track is silent if none of its channels changes, whatever they add up to.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SILENCE = 2e-4
"""Largest difference between any two samples of a channel that holds nothing (-80 dB of full scale, peak to peak)."""
BLOCK = 4
"""Stretches a second in which the mix is judged."""
_CANCELLED = 0.1
_SOUND = 0.5
_FADE = 0.01
_HALF = 0.5**0.5
_PLACES = {"FL": 1.0, "FR": 1.0, "FC": 2**0.5, "LFE": 0.5 * _HALF, "LFE2": 0.5 * _HALF, "DL": 1.0, "DR": 1.0}
"""Weight of a channel by its place; other places (side, back, top) count -3 dB."""
_FORMATS: dict[str, tuple[str, float, float]] = {
    "u8": ("u1", 128.0, 2.0**7),
    "s16": ("i2", 0.0, 2.0**15),
    "s32": ("i4", 0.0, 2.0**31),
    "s64": ("i8", 0.0, 2.0**63),
    "flt": ("f4", 0.0, 1.0),
    "dbl": ("f8", 0.0, 1.0),
}
"""FFmpeg's sample formats: NumPy's name, the value of silence, full scale."""


def weights(layout: Any) -> np.ndarray:
    """Share of each channel of a PyAV layout in the mix, float32 of shape ``(channels,)``, summing to 1."""
    names = [channel.name for channel in layout.channels]
    count = layout.nb_channels
    known = len(names) == count and len(set(names)) == count and all(_is_place(name) for name in names)
    shares = np.array([_PLACES.get(name, _HALF) for name in names] if known else [1.0] * count)
    return (shares / shares.sum()).astype(np.float32)


def _is_place(name: str) -> bool:
    return name.isascii() and name.isupper() and not name.startswith(("NONE", "UNK", "UNSD", "AMBI", "USR"))


def floats(frame: Any) -> np.ndarray:
    """Samples of a PyAV frame, float32 of shape ``(channels, n)``, nominally in [-1, 1].

    Raises:
        ValueError: samples of a format that is not known.
    """
    name, count = frame.format.name.removesuffix("p"), frame.layout.nb_channels
    if name not in _FORMATS:
        raise ValueError(f"sound samples of format {frame.format.name} are not read")
    kind, zero, full = _FORMATS[name]
    rows = 1 if frame.format.is_planar else count
    # Not to_ndarray, which does not know 64-bit samples. A plane may be padded behind its samples.
    planes = [np.frombuffer(plane, kind)[: frame.samples * rows].reshape(-1, rows).T for plane in frame.planes]
    array = planes[0] if len(planes) == 1 else np.concatenate(planes)
    if full == 1.0:
        return np.array(array, dtype=np.float32, order="C")
    scaled: np.ndarray[Any, Any] = np.array(array, dtype="f4" if array.itemsize < 4 else "f8", order="C")
    if zero:
        np.subtract(scaled, zero, out=scaled)
    np.multiply(scaled, 1 / full, out=scaled)
    return scaled.astype(np.float32, copy=False)


class Measure:
    """The range of every channel, before anything is mixed."""

    def __init__(self) -> None:
        self._low = np.zeros(0, np.float32)
        self._high = np.zeros(0, np.float32)

    def add(self, samples: np.ndarray) -> None:
        """Take note of finite samples ``(channels, n)``."""
        if not samples.size:
            return
        new = len(samples) - len(self._low)
        if new > 0:  # the number of channels may change within a file
            self._low = np.concatenate([self._low, np.full(new, np.inf, np.float32)])
            self._high = np.concatenate([self._high, np.full(new, -np.inf, np.float32)])
        count = len(samples)
        self._low[:count] = np.minimum(self._low[:count], samples.min(axis=1))
        self._high[:count] = np.maximum(self._high[:count], samples.max(axis=1))

    @property
    def changing(self) -> np.ndarray:
        """Which channels hold something, bool of shape ``(channels,)``."""
        return self._high - self._low >= SILENCE

    @property
    def constant(self) -> float:
        """The largest value of a track that holds nothing."""
        edges = np.concatenate([self._low, self._high, np.zeros(1, np.float32)])
        return float(edges[np.abs(edges).argmax()])


class Mixer:
    """Channels to one, stretch by stretch.

    Args:
        shares: of each channel, summing to 1.
        rate: samples per second.

    Attributes:
        turned: seconds in which channels were turned over because they cancelled each other.
    """

    def __init__(self, shares: np.ndarray, rate: int) -> None:
        self.turned = 0.0
        self.block = max(1, rate // BLOCK)
        self._rate = rate
        self._shares = shares
        self._signs = np.ones_like(shares)

    def mix(self, samples: np.ndarray) -> np.ndarray:
        """One stretch, float32 ``(channels, n)`` -> ``(n,)``."""
        if len(samples) == 1:
            return samples[0]
        parts = samples * self._shares[:, None]
        before = self._signs
        self._signs = self._chosen(parts - parts.mean(axis=1, keepdims=True))
        if (self._signs < 0).any():
            self.turned += samples.shape[1] / self._rate
        if np.array_equal(before, self._signs):
            return self._signs @ parts
        fade = np.minimum(np.arange(samples.shape[1]) / max(1.0, _FADE * self._rate), 1.0).astype(np.float32)
        return (before @ parts) * (1 - fade) + (self._signs @ parts) * fade

    def _chosen(self, parts: np.ndarray) -> np.ndarray:
        """Polarity of each channel, for parts without their mean."""
        powers = np.einsum("cn,cn->c", parts, parts)
        unrelated = float(powers.sum())  # what unrelated channels would add up to
        if unrelated / parts.shape[1] < (SILENCE / len(parts)) ** 2 / 12:
            return self._signs  # nothing that could be lost
        plain = _power(parts.sum(axis=0))
        if plain >= _SOUND * unrelated:
            return np.ones_like(self._signs)
        kept = plain if (self._signs > 0).all() else _power(self._signs @ parts)
        if kept >= _CANCELLED * unrelated:
            return self._signs
        return np.where(parts @ parts[powers.argmax()] < 0, -1.0, 1.0).astype(np.float32)


def _power(samples: np.ndarray) -> float:
    return float(np.dot(samples, samples))
