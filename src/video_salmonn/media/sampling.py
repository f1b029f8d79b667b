"""Which frames are taken: named strategies over a stream of frames that is seen once, in order.

* ``uniform`` — frame ``k`` is the picture on screen at ``t_k = k / rate``, for every ``t_k`` before the end. The paper
  samples 2 frames a second (section 4.1), so rate 2 is the default; any other rate works the same way.
* ``released`` — what the released checkpoint saw: the first and the last frame of every whole second, the last,
  incomplete second shifted back so that it ends at the end (``UniformClipSampler(1, backpad_last=True)`` followed by
  ``UniformTemporalSubsample(2)``).
* ``spotlight`` — for one picture: the whole of it and ``(n-1) x (n-1)`` overlapping crops, each ``2/n`` of its sides.

A sampler holds a reference to at most one second of frames; only frames that are taken are ever converted.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Generic, TypeVar

from video_salmonn.errors import ConfigError

Picture = TypeVar("Picture")

PAPER_RATE = 2.0
"""Frames per second of the paper."""
MAX_RATE = 240.0
TOLERANCE = 1.5e-3
"""Seconds by which times may be off: several containers round to whole milliseconds."""
_MAX_HALF_FRAME = 0.025


def parse_frame_times(value: str | float) -> tuple[str, float]:
    """Turn the option into ``(strategy, rate)``.

    Raises:
        ConfigError: neither a known name nor a rate within (0, 240].
    """
    if value in ("uniform", "released"):
        return str(value), PAPER_RATE
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= MAX_RATE:
        return "uniform", float(value)
    raise ConfigError(
        f"frame_times must be 'uniform', 'released' or frames per second in (0, {MAX_RATE:g}], not {value!r}",
        remedy="Use 'uniform' (2 frames per second) unless you reproduce the released checkpoint.",
    )


def half_frame(frame_rate: float | None) -> float:
    """Half the time one frame is shown (at most 25 ms): by so much container times may be rounded."""
    # The hair more settles ties (at 25 frames a second every other t_k lies exactly between two frames).
    return min(0.5 / frame_rate, _MAX_HALF_FRAME) + 1e-4 if frame_rate else TOLERANCE


def count_uniform(seconds: float, rate: float, frame_rate: float | None) -> int:
    """Number of frames :class:`UniformSampler` takes of a video of ``seconds``."""
    return max(1, math.ceil((seconds - half_frame(frame_rate)) * rate - 1e-9)) if seconds > 0 else 0


class UniformSampler(Generic[Picture]):
    """The picture on screen at each ``k / rate``.

    A picture counts as on screen from half a frame before its time until half a frame before the next one's (or the
    end), because containers round times. So the last ``t_k`` lies at least half a frame before the end.

    Args:
        rate: frames per second to take.
        frame_rate: nominal frame rate of the video, None if unknown.
        stop: end of the stretch wanted, seconds on the clip axis; None for all.
    """

    def __init__(self, rate: float, frame_rate: float | None, stop: float | None) -> None:
        self._rate = rate
        self._half = half_frame(frame_rate)
        self._stop = math.inf if stop is None else stop
        self._next = 0
        self._shown: Picture | None = None

    def push(self, time: float, picture: Picture) -> list[tuple[float, Picture]]:
        """Take note of the next frame; returns the samples that it settles, as ``(t_k, picture)``."""
        settled = self._settle(time, self._shown if self._shown is not None else picture)
        self._shown = picture
        return settled

    def finish(self, end: float) -> list[tuple[float, Picture]]:
        """The samples up to ``end``, when the last picture leaves the screen."""
        if self._shown is None:
            return []
        if self._next == 0:
            end = max(end, self._half * 1.5)  # a single, momentary frame is a frame
        return self._settle(end, self._shown)

    def _settle(self, time: float, picture: Picture) -> list[tuple[float, Picture]]:
        samples = []
        while (t := self._next / self._rate) + self._half < time and t < self._stop - TOLERANCE:
            samples.append((t, picture))
            self._next += 1
        return samples


class ReleasedSampler(Generic[Picture]):
    """First and last frame of every second, with their own times.

    Args:
        stop: end of the stretch wanted, seconds on the clip axis; None for all.
    """

    def __init__(self, stop: float | None) -> None:
        self._stop = math.inf if stop is None else stop
        self._second = 0
        self._recent: deque[tuple[float, Picture]] = deque()
        self.empty_seconds = 0

    def push(self, time: float, picture: Picture) -> list[tuple[float, Picture]]:
        """Take note of the next frame; returns the frames of the seconds that it completes."""
        samples: list[tuple[float, Picture]] = []
        if time >= self._stop or time < 0:
            return samples
        while time >= self._second + 1:
            samples += self._ends(self._second, self._second + 1)
            self._second += 1
        self._recent.append((time, picture))
        while self._recent[0][0] < time - 1:
            self._recent.popleft()
        return samples

    def finish(self, end: float) -> list[tuple[float, Picture]]:
        """The frames of the last second, shifted back to end at ``end`` if it is incomplete."""
        end = min(end, self._stop)
        samples: list[tuple[float, Picture]] = []
        while end > self._second and not math.isclose(end, self._second, rel_tol=1e-5):
            whole = end >= self._second + 1 or math.isclose(end, self._second + 1, rel_tol=1e-5)
            samples += self._ends(self._second if whole else max(0.0, end - 1), self._second + 1)
            self._second += 1
        return samples

    def _ends(self, start: float, end: float) -> list[tuple[float, Picture]]:
        inside = [item for item in self._recent if start <= item[0] < end]
        if not inside:
            self.empty_seconds += 1
            return []
        return [inside[0], inside[-1]]


def spotlight_boxes(width: int, height: int, n: int) -> list[tuple[int, int, int, int]]:
    """Boxes ``(left, top, right, bottom)``: the whole picture, then its crops row by row (paper, image spotlight).

    With ``n = 4`` these are 1 + 9 boxes, each crop half as wide and half as high as the picture.
    """
    boxes = [(0, 0, width, height)]
    for row in range(n - 1):
        for column in range(n - 1):
            left, top = round(column * width / n), round(row * height / n)
            right, bottom = round((column + 2) * width / n), round((row + 2) * height / n)
            boxes.append((left, top, max(right, left + 1), max(bottom, top + 1)))
    return boxes
