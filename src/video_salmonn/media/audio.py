"""Decoded sound in, one mono waveform at 16 kHz out, each sample at its place on the clip axis.

Decisions:

* Channels are mixed and rates changed by FFmpeg's resampler in floating point, with the mix scaled so that it cannot
  clip (two equal channels mix to the same loudness; 5.1 uses the usual downmix weights).
* Within a run of sound the sample count is the clock, because time stamps jitter (Vorbis in WebM by 20 ms). The stamps
  are trusted again when they differ by 60 ms, by 25 ms for a whole second, or by 2 ms right after a damaged packet: a
  gap is filled with silence, an overlap dropped, both reported.
* The length is exact: ``round(seconds * 16000)`` samples of what was decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np

from video_salmonn.media.options import SoundMode
from video_salmonn.media.video import MAX_GAP
from video_salmonn.types import Waveform

RATE = 16_000
SILENCE = 2e-4
"""Largest difference between any two samples of a track that holds nothing (-80 dB of full scale, peak to peak)."""
RELEASED_MIN_SECONDS = 3.0
_JITTER = 0.025
_JUMP = 0.060
_JITTER_SECONDS = 1.0
_AFTER_DAMAGE = 0.002
_MAX_BACK = 1.0


class _Run:
    """One unbroken stretch of sound through one resampler."""

    def __init__(self, frame: Any, time: float, mode: SoundMode) -> None:
        self.key = _shape(frame)
        self.rate = frame.sample_rate
        self.time = time
        self.samples = 0
        self.start = round(time * RATE)
        self.written = 0
        self._first_only = mode == "released"
        layout = frame.layout.name if self._first_only else "mono"
        # Half seconds instead of frames of 20 ms, on the way in and out: resampling costs a third.
        self._waiting = av.AudioFifo()
        self._resampler = av.AudioResampler("fltp", layout, RATE, RATE // 2, options={"rematrix_maxval": "1.0"})

    @property
    def end(self) -> float:
        return self.time + self.samples / self.rate

    def push(self, frame: Any) -> list[np.ndarray]:
        self.samples += frame.samples
        frame.pts = None  # the sample count is the clock
        self._waiting.write(frame)
        return self._resampled(self._waiting.read()) if self._waiting.samples >= self.rate // 2 else []

    def finish(self) -> list[np.ndarray]:
        rest = self._waiting.read(0, True)
        arrays = [*(self._resampled(rest) if rest is not None else []), *self._resampled(None)]
        missing = round(self.samples * RATE / self.rate) - self.written
        if missing > 0:
            arrays.append(np.zeros(missing, np.float32))
        while missing < 0 and arrays:
            last = arrays.pop()
            missing += len(last)
            if missing > 0:
                arrays.append(last[:missing])
        return arrays

    def _resampled(self, frame: Any) -> list[np.ndarray]:
        frames = self._resampler.resample(frame)
        arrays = [np.ascontiguousarray(part.to_ndarray()[0], dtype=np.float32) for part in frames]
        self.written += sum(map(len, arrays))
        return arrays


class SoundTrack:
    """What was heard of one sound stream, fed in order and taken piece by piece.

    Args:
        label: the stream, for messages.
        mode: how channels become one.
        zero: the clock of the stream at time 0 of the clip axis, seconds.
        stop: end of the stretch wanted, seconds on the clip axis, or None.
    """

    def __init__(self, label: str, mode: SoundMode, zero: float, stop: float | None) -> None:
        self.label = label
        self.notes: list[str] = []
        self.first: float | None = None
        self.gaps: list[tuple[float, float]] = []
        self.dropped = 0.0
        self.overtaken = False
        self.not_finite = 0
        self.low = np.inf
        self.high = -np.inf
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
        if self.first is None or self.high - self.low >= SILENCE:
            return ""
        return "nothing but silence" if abs(self.high) < SILENCE else f"one constant value, {self.high:.3f}"

    def push(self, frame: Any) -> None:
        """Take a decoded PyAV frame (its pts is overwritten)."""
        if frame.sample_rate <= 0 or frame.samples <= 0:
            return
        time = self._repair(None if frame.time is None else frame.time - self._zero)
        if self._run is not None:
            follows = self._follows(time - self._run.end, self._run.end)
            if follows:
                time = self._run.end
            if not follows or _shape(frame) != self._run.key:
                self._close()
        run = self._run
        if run is None:
            run = self._run = _Run(frame, time, self._mode)
            self._place(run)
        for array in run.push(frame):
            self._append(array)

    def push_array(self, samples: np.ndarray, rate: int, start: int) -> None:
        """Take float32 samples of shape ``(n, channels)`` that begin ``start`` samples into the source."""
        mono = samples[:, :1]
        if samples.shape[1] > 1 and self._mode == "mix":
            mono = samples.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(mono.T), format="fltp", layout="mono")
        frame.sample_rate = rate
        frame.pts = start
        frame.time_base = Fraction(1, rate)
        self.push(frame)

    def finish(self, min_seconds: float = 0.0) -> None:
        """No more sound will come: complete the last run, cut at ``stop``, pad to ``min_seconds``."""
        self._close()
        if self.first is not None and self._filled < (least := round(min_seconds * RATE)):
            if self.high >= self.low:
                self.notes.append(f"sound of {self.end:.2f} s padded with silence to {min_seconds:g} s")
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
            if time is not None and time > MAX_GAP:
                self.notes.append(f"sound time stamps start {time:.0f} s late; taken as 0")
                self._zero += time
                return 0.0
            return 0.0 if time is None else time
        if time is None:
            return expected
        if time > expected + MAX_GAP or time < expected - _MAX_BACK:
            if len(self.notes) < 20:
                self.notes.append(
                    f"sound time stamps jump from {expected:.2f} s to {time:.2f} s; continued without the jump"
                )
            self._zero += time - expected
            return expected
        return time

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
        bad = len(array) - int(np.isfinite(array).sum())
        if bad:
            self.not_finite += bad
            array = np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)
        if self._stop is not None:
            array = array[: max(0, self._stop - self._filled)]
        if len(array):
            self.low = min(self.low, float(array.min()))
            self.high = max(self.high, float(array.max()))
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


def _shape(frame: Any) -> tuple:
    return frame.sample_rate, frame.layout.name, frame.format.name
