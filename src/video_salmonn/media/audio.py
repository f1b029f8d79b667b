"""Decoded sound in, one mono waveform at 16 kHz out, each sample at its place on the clip axis.

Decisions:

* Channels are mixed by :mod:`~video_salmonn.media.downmix`, so that none is lost; rates are changed by FFmpeg's
  resampler in floating point.
* Within a run of sound the sample count is the clock, because time stamps jitter (Vorbis in WebM by 20 ms). The stamps
  are trusted again when they differ by 60 ms, by 25 ms for a whole second, or by 2 ms right after a damaged packet: a
  gap is filled with silence, an overlap dropped, both reported.
* The length is exact: ``round(seconds * 16000)`` samples of what was decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np

from video_salmonn.media.downmix import SILENCE, Measure, Mixer, floats, weights
from video_salmonn.media.limits import GIB
from video_salmonn.media.options import SoundMode
from video_salmonn.media.video import MAX_GAP
from video_salmonn.types import Waveform

RATE = 16_000
RELEASED_MIN_SECONDS = 3.0
_JITTER = 0.025
_JUMP = 0.060
_JITTER_SECONDS = 1.0
_AFTER_DAMAGE = 0.002
_MAX_BACK = 1.0


class _Run:
    """One unbroken stretch of sound through one mixer and one resampler."""

    def __init__(self, key: tuple[int, int, str], time: float, mixer: Mixer) -> None:
        self.key = key
        self.rate = key[0]
        self.mixer = mixer
        self.time = time
        self.samples = 0
        self.start = round(time * RATE)
        self.written = 0
        self._waiting: list[np.ndarray] = []
        self._waits = 0
        # Half seconds instead of frames of 20 ms, on the way in and out: resampling costs a third.
        self._step = 2 * mixer.block
        self._resampler = av.AudioResampler("fltp", "mono", RATE, RATE // 2)

    @property
    def end(self) -> float:
        return self.time + self.samples / self.rate

    def push(self, samples: np.ndarray) -> list[np.ndarray]:
        """Take ``(channels, n)``; returns what is mixed and resampled."""
        self.samples += samples.shape[1]
        self._waiting.append(samples)
        self._waits += samples.shape[1]
        if self._waits < self._step:
            return []
        joined = np.concatenate(self._waiting, axis=1)
        ready = self._waits - self._waits % self._step
        self._waiting, self._waits = [joined[:, ready:].copy()], self._waits - ready
        arrays = []
        for at in range(0, ready, self._step):
            arrays += self._resampled(joined[:, at : at + self._step])
        return arrays

    def finish(self) -> list[np.ndarray]:
        rest = np.concatenate(self._waiting, axis=1) if self._waiting else np.zeros((1, 0), np.float32)
        self._waiting, self._waits = [], 0
        arrays = [*(self._resampled(rest) if rest.shape[1] else []), *self._resampled(None)]
        missing = round(self.samples * RATE / self.rate) - self.written
        if missing > 0:
            arrays.append(np.zeros(missing, np.float32))
        while missing < 0 and arrays:
            last = arrays.pop()
            missing += len(last)
            if missing > 0:
                arrays.append(last[:missing])
        return arrays

    def _resampled(self, samples: np.ndarray | None) -> list[np.ndarray]:
        frame = None
        if samples is not None:
            block = self.mixer.block
            mixed = [self.mixer.mix(samples[:, at : at + block]) for at in range(0, samples.shape[1], block)]
            frame = av.AudioFrame.from_ndarray(np.concatenate(mixed)[None], format="fltp", layout="mono")
            frame.sample_rate = self.rate
        arrays = [np.ascontiguousarray(part.to_ndarray()[0]) for part in self._resampler.resample(frame)]
        self.written += sum(map(len, arrays))
        return arrays


class SoundTrack:
    """What was heard of one sound stream, fed in order and taken piece by piece.

    Args:
        label: the stream, for messages.
        mode: how channels become one.
        zero: the clock of the stream at time 0 of the clip axis, seconds.
        stop: end of the stretch wanted, seconds on the clip axis, or None.
        room: most bytes of silence that one gap may take.

    Attributes:
        covered: the latest time on the clip axis that something besides this stream's own clock vouches for.
    """

    def __init__(self, label: str, mode: SoundMode, zero: float, stop: float | None, room: int = GIB) -> None:
        self.label = label
        self.covered: Callable[[], float] = lambda: 0.0
        self._room = room
        self.notes: list[str] = []
        self.first: float | None = None
        self.padding = 0.0
        """Seconds of silence put behind the end, which no file has."""
        self.gaps: list[tuple[float, float]] = []
        self.dropped = 0.0
        self.overtaken = False
        self.not_finite = 0
        self.turned = 0.0
        self._range = Measure()
        self._shares: dict[tuple[int, str], np.ndarray] = {}
        self._any = False
        self._mode = mode
        self._zero = zero
        self._stop = None if stop is None else round(stop * RATE)
        self._lost = False
        self._off_since: float | None = None
        self._run: _Run | None = None
        self._chunks: list[np.ndarray] = []
        self._base = 0
        self._filled = 0

    @property
    def end(self) -> float:
        """End of the sound so far, seconds on the clip axis."""
        return self._filled / RATE

    @property
    def samples(self) -> int:
        """Samples placed so far, counted from time 0."""
        return self._filled

    @property
    def held(self) -> int:
        """Bytes waiting to be taken."""
        return max(0, self._filled - self._base) * 4

    @property
    def done(self) -> bool:
        """Whether nothing later can matter any more."""
        return self._stop is not None and self._filled >= self._stop

    @property
    def silent(self) -> str:
        """Why the track counts as silent, or "" if something is to be heard."""
        used = self._range.changing[:1] if self._mode == "released" else self._range.changing
        if self.first is None or used.any():
            return ""
        if self._range.changing.any():
            return "nothing but silence on the first channel, the only one used; other channels hold sound"
        value = self._range.constant
        return "nothing but silence" if abs(value) < SILENCE else f"one constant value, {value:.3f}"

    def push(self, frame: Any) -> None:
        """Take a decoded PyAV frame."""
        if frame.sample_rate > 0 and frame.samples > 0:
            time = None if frame.time is None else frame.time - self._zero
            shape = _shape(frame)
            if shape not in self._shares:
                self._shares[shape] = weights(frame.layout)
            self._push(floats(frame), (frame.sample_rate, *shape), self._shares[shape], time)

    def push_array(self, samples: np.ndarray, rate: int, start: int) -> None:
        """Take float32 samples of shape ``(n, channels)`` that begin ``start`` samples into the source."""
        count = samples.shape[1]
        shares = np.full(count, 1 / count, np.float32)
        self._push(samples.T, (rate, count, "array"), shares, start / rate - self._zero)

    def _push(self, samples: np.ndarray, key: tuple[int, int, str], shares: np.ndarray, time: float | None) -> None:
        time = self._repair(time)
        if self._run is not None:
            follows = self._follows(time - self._run.end, self._run.end)
            if follows:
                time = self._run.end
            if not follows or key != self._run.key:
                self._close()
        run = self._run
        if run is None:
            run = self._run = _Run(key, time, Mixer(shares, key[0]))
            self._place(run)
        samples = self._measured(samples, time, key[0])
        for array in run.push(samples[:1] if self._mode == "released" else samples):
            self._append(array)

    def _measured(self, samples: np.ndarray, time: float, rate: int) -> np.ndarray:
        """Note the range of every channel within the stretch wanted; returns the samples without NaN and infinity."""
        stop = np.inf if self._stop is None else self._stop / RATE
        first, last = (round(min(max(edge - time, 0.0) * rate, samples.shape[1])) for edge in (0.0, stop))
        wanted = samples[:, first:last]
        finite = np.isfinite(samples)
        if not finite.all():
            self.not_finite += wanted.size - int(finite[:, first:last].sum())
            samples = np.where(finite, samples, np.float32(0.0))
            wanted = samples[:, first:last]
        self._range.add(wanted)
        return samples

    def finish(self, min_seconds: float = 0.0) -> None:
        """No more sound will come: complete the last run, cut at ``stop``, pad to ``min_seconds``."""
        self._close()
        if self.first is not None and self._filled < (least := round(min_seconds * RATE)):
            if self._any:
                self.notes.append(f"sound of {self.end:.2f} s padded with silence to {min_seconds:g} s")
            self.padding = (least - self._filled) / RATE
            self._put(np.zeros(least - self._filled, np.float32))

    def take(self, until: int | None = None) -> np.ndarray:
        """Remove and return the samples up to index ``until`` (all if None), float32 of shape ``(n,)``."""
        wanted = self._filled if until is None else until
        self.overtaken = self.overtaken or wanted > self._filled
        until = min(wanted, self._filled)
        joined = np.concatenate(self._chunks) if self._chunks else np.zeros(0, np.float32)
        count = max(0, until - self._base)
        rest = joined[count:]
        self._chunks = [rest.copy()] if len(rest) else []
        self._base = max(self._base, wanted)
        return joined[:count]

    def damaged(self) -> None:
        """Sound was lost here: place what comes next by its own time stamp."""
        self._lost = True

    def _follows(self, difference: float, end: float) -> bool:
        """Whether a frame that is off by ``difference`` seconds still belongs right behind the one before."""
        lost, self._lost = self._lost, False
        difference = abs(difference)
        if difference <= _JITTER:
            self._off_since = None
            return not (lost and difference > _AFTER_DAMAGE)
        if self._off_since is None:
            self._off_since = end
        if lost or difference > _JUMP or end - self._off_since >= _JITTER_SECONDS:
            self._off_since = None
            return False
        return True

    def _repair(self, time: float | None) -> float:
        expected = self._run.end if self._run is not None else None
        if expected is None:
            if time is not None and time > max(MAX_GAP, self._believed()):
                self.notes.append(f"sound time stamps start {time:.0f} s late; taken as 0")
                self._zero += time
                return 0.0
            return 0.0 if time is None else time
        if time is None:
            return expected
        if time > max(expected + MAX_GAP, self._believed()) or time < expected - _MAX_BACK:
            if len(self.notes) < 20:
                self.notes.append(
                    f"sound time stamps jump from {expected:.2f} s to {time:.2f} s; continued without the jump"
                )
            self._zero += time - expected
            return expected
        return time

    def _believed(self) -> float:
        """Latest time at which sound may resume: vouched for, and with a silence before it that fits in memory."""
        return min(self.covered(), (self._filled + self._room // 4) / RATE)

    def _place(self, run: _Run) -> None:
        """Fill the gap before a run with silence."""
        self._filled = max(self._filled, self._base)
        gap = run.start - self._filled
        if gap > 0:
            if self.first is not None:
                self.gaps.append((self._filled / RATE, run.time))
            self._put(np.zeros(gap, np.float32))

    def _close(self) -> None:
        if self._run is not None:
            for array in self._run.finish():
                self._append(array)
            self.turned += self._run.mixer.turned
            self._run = None

    def _append(self, array: np.ndarray) -> None:
        """Put resampled sound behind what is there, leaving out what lies before it (or before 0)."""
        run = self._run
        assert run is not None
        self._filled = max(self._filled, self._base)  # a piece may have gone out without waiting for this sound
        overlap = self._filled - run.start
        run.start += len(array)
        if overlap > 0:
            if self._filled > 0:
                self.dropped += min(overlap, len(array)) / RATE
            array = array[overlap:]
        if not len(array):
            return
        array = np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)  # sums of huge values
        if self._stop is not None:
            array = array[: max(0, self._stop - self._filled)]
        if len(array):
            self._any = True
            if self.first is None:
                self.first = self._filled / RATE
            self._put(array)

    def _put(self, array: np.ndarray) -> None:
        if self._stop is not None:
            array = array[: max(0, self._stop - self._filled)]
        self._chunks.append(array)
        self._filled += len(array)


def segments(sound: Waveform, seconds: float = 30.0) -> Iterator[tuple[float, Waveform]]:
    """Cut a waveform into segments of ``seconds`` on the time axis: ``(start, segment)``, the last one shorter."""
    step = round(seconds * sound.rate)
    for start in range(0, len(sound.samples), step):
        yield start / sound.rate, Waveform(sound.samples[start : start + step], sound.rate)


def _shape(frame: Any) -> tuple[int, str]:
    return frame.layout.nb_channels, f"{frame.layout.name} {frame.format.name}"
