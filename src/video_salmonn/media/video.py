"""Decoded pictures in, wanted frames out: time stamps put in order, only wanted pictures converted.

Decisions:

* Scaling, colour conversion and chroma upsampling are one step of FFmpeg's scaler, done for wanted frames only. The
  scaler widens its filter when it makes pictures smaller, so small details average out instead of flickering.
* Transparent pictures are laid on white; turned and mirrored ones are shown as the display matrix says.
* High dynamic range is not tone-mapped; the report says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import VideoReformatter

from video_salmonn.errors import LimitError
from video_salmonn.media.limits import Limits
from video_salmonn.media.options import Scaling
from video_salmonn.media.sampling import ReleasedSampler, UniformSampler
from video_salmonn.wording import agree, counted

MAX_GAP = 600.0
"""A jump of the clock by more seconds than this needs a witness: the other stream, or the header's duration. Without
one it is an error of the file's time stamps, not a long still picture or a long silence."""
_MAX_BACK = 1.0
_DEFAULT_FRAME = 0.04
_HDR = {16: "PQ", 18: "HLG"}


Orientation = tuple[bool, bool, bool]
"""Whether rows and columns change places, and whether the result is then mirrored left-right and top-bottom."""
_UPRIGHT: Orientation = (False, False, False)


def orientation(matrix: bytes) -> Orientation | None:
    """What FFmpeg's display matrix (nine int32) asks for: any of the eight quarter turns and mirror images, else None.

    A pixel at ``(x, y)`` goes to ``(a x + c y, b x + d y)``.
    """
    if len(matrix) < 36:
        return None
    a, b, _, c, d = np.frombuffer(matrix, np.int32, 5).tolist()
    small = max(abs(value) for value in (a, b, c, d)) // 256  # what rounding leaves
    straight, crossed = min(abs(a), abs(d)) > small, min(abs(b), abs(c)) > small
    if straight == crossed or (max(abs(b), abs(c)) if straight else max(abs(a), abs(d))) > small:
        return None
    return (False, a < 0, d < 0) if straight else (True, c < 0, b < 0)


def oriented(array: np.ndarray, orient: Orientation) -> np.ndarray:
    """``(H, W, 3)`` turned and mirrored."""
    swapped, across, down = orient
    turned = array.transpose(1, 0, 2) if swapped else array
    return np.ascontiguousarray(turned[:: -1 if down else 1, :: -1 if across else 1])


class FrameConverter:
    """Pictures to upright RGB arrays of one size.

    Args:
        size: ``(H, W)`` of the result, or None for the size of the first picture.
        scaling: filter of the scaler.
    """

    def __init__(self, size: tuple[int, int] | None, scaling: Scaling) -> None:
        self.size = size
        self.resized = 0
        self.notes: dict[str, None] = {}
        self._fixed = size is not None
        self._scaling = scaling.upper()
        self._reformatter = VideoReformatter()
        self._last: tuple[Any, np.ndarray] | None = None

    def convert(self, picture: Any) -> np.ndarray:
        """A PyAV frame or a ``uint8 (H, W, 3|4)`` array as ``uint8 (H, W, 3)``, RGB."""
        if self._last is not None and self._last[0] is picture:
            return self._last[1]
        if isinstance(picture, np.ndarray):
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(picture), "rgba" if picture.shape[2] == 4 else "rgb24"
            )
            orient = _UPRIGHT
        else:
            frame = picture
            orient = self._orientation(frame)
        swapped = orient[0]
        upright = (frame.width, frame.height) if swapped else (frame.height, frame.width)
        if self.size is None:
            self.size = upright
        elif not self._fixed and upright != self.size:
            self.resized += 1
        height, width = (self.size[1], self.size[0]) if swapped else self.size
        if isinstance(picture, np.ndarray) and picture.shape == (height, width, 3):
            array = picture
        else:
            array = self._scale(frame, width, height)
        if orient != _UPRIGHT:
            array = oriented(array, orient)
        self._last = (picture, array)
        return array

    def _orientation(self, frame: Any) -> Orientation:
        """How the picture becomes upright; notes what is peculiar about the frame."""
        if frame.color_trc in _HDR:
            self.notes[f"high dynamic range ({_HDR[frame.color_trc]}) is shown without tone mapping"] = None
        if frame.interlaced_frame:
            self.notes["interlaced picture: both fields of a frame are shown together"] = None
        matrix = frame.side_data.get(SideDataType.DISPLAYMATRIX)
        if matrix is None:
            return _UPRIGHT
        orient = orientation(bytes(matrix))
        if orient is None:
            self.notes[f"rotation by {frame.rotation} degrees is not a quarter turn and was not applied"] = None
            return _UPRIGHT
        return orient

    def _scale(self, frame: Any, width: int, height: int) -> np.ndarray:
        see_through = frame.format.name == "pal8" or any(c.is_alpha for c in frame.format.components)
        scaled = self._reformatter.reformat(
            frame, width, height, "rgba" if see_through else "rgb24", interpolation=self._scaling
        )
        array = scaled.to_ndarray()
        if not see_through:
            return array
        alpha = array[..., 3:].astype(np.uint16)
        if alpha.min() == 255:
            return np.ascontiguousarray(array[..., :3])
        self.notes["transparent parts are shown on white"] = None
        blended = array[..., :3] * alpha + 255 * (255 - alpha)
        return ((blended + 127) // 255).astype(np.uint8)


class VideoTrack:
    """What was seen of one picture stream, fed in presentation order.

    Args:
        name: the source, for messages.
        label: the stream, for messages.
        sampler: which frames are taken.
        converter: how they become arrays.
        frame_rate: nominal frame rate, None if unknown.
        zero: the clock of the stream at time 0 of the clip axis, seconds.
        stop: end of the stretch wanted, seconds on the clip axis, or None.
        limits: ``max_pixels`` is checked for every picture, ``max_frames`` stops taking.

    Attributes:
        covered: the latest time on the clip axis that something besides this stream's own clock vouches for.
    """

    def __init__(
        self,
        name: str,
        label: str,
        sampler: UniformSampler[Any] | ReleasedSampler[Any],
        converter: FrameConverter,
        frame_rate: float | None,
        zero: float,
        stop: float | None,
        limits: Limits,
    ) -> None:
        self.name = name
        self.label = label
        self.converter = converter
        self.taken = 0
        self.frames_cut_at: float | None = None
        self.damaged: list[float] = []
        self.first: float | None = None
        self.notes: list[str] = []
        self._sampler = sampler
        self._frame_rate = frame_rate
        self._zero = zero
        self._stop = stop
        self._limits = limits
        self._time = 0.0
        self._duration = 1 / frame_rate if frame_rate else _DEFAULT_FRAME
        self._still = False
        self.covered: Callable[[], float] = lambda: 0.0

    @property
    def end(self) -> float:
        """When the last picture so far leaves the screen, seconds on the clip axis."""
        if self.first is None:
            return 0.0
        end = self._time + self._duration
        return max(0.0, end if self._stop is None else min(end, self._stop))

    @property
    def reached(self) -> float:
        """Time of the latest picture; no later call returns a sample much before it."""
        return self._time

    @property
    def done(self) -> bool:
        """Whether nothing later can matter any more."""
        if self.frames_cut_at is not None:
            return True
        return self._stop is not None and self.first is not None and self._time > self._stop + 0.1

    def push(self, frame: Any) -> list[tuple[float, np.ndarray]]:
        """A decoded PyAV frame; returns the samples that it settles as ``(time, uint8 (H, W, 3))``."""
        if frame.width * frame.height > self._limits.max_pixels:
            raise LimitError(
                self.name,
                f"the picture grows to {frame.width}x{frame.height}, more than {self._limits.max_pixels} pixels",
                stream=self.label,
                remedy="Scale it down first, or raise Limits.max_pixels.",
            )
        time = None if frame.time is None else frame.time - self._zero
        duration = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 0.0
        samples = self.push_picture(time, duration, frame)
        if frame.is_corrupt and (self._stop is None or self._time < self._stop):
            self.damaged.append(self._time)
        return samples

    def push_picture(self, time: float | None, duration: float, picture: Any) -> list[tuple[float, np.ndarray]]:
        """A picture with its time on the clip axis (None: right after the one before)."""
        time = self._repair(time)
        if self.first is None:
            self.first = time
        elif not self._frame_rate and time > self._time:
            self._duration = time - self._time
        if 0 < duration <= MAX_GAP or (duration > 0 and time + duration <= self.covered()):
            self._duration = duration
        self._time = time
        return self._take(self._sampler.push(time, picture))

    def show(self, frames: np.ndarray, rate: float) -> list[tuple[float, np.ndarray]]:
        """Pictures that have no time of their own, ``(T, H, W, 3)``: one after the other, ``rate`` a second."""
        self.first = 0.0
        self._still = True
        self._duration = 1 / rate
        self._time = (len(frames) - 1) / rate
        return self._take([(index / rate, frame) for index, frame in enumerate(frames)])

    def finish(self) -> list[tuple[float, np.ndarray]]:
        """The samples that were waiting for the end."""
        if self._still:
            return []
        samples = self._take(self._sampler.finish(self.end)) if self.end > 0 else []
        empty = getattr(self._sampler, "empty_seconds", 0)
        if empty:
            what = f"{counted(empty, 'second')} without a single picture {agree(empty, 'were')}"
            self.notes.append(f"{what} left out")
        if self.converter.resized:
            width, height = (self.converter.size or (0, 0))[::-1]
            scaled = counted(self.converter.resized, "frame")
            self.notes.append(f"the picture changes size; {scaled} scaled to {width}x{height}")
        self.notes += list(self.converter.notes)
        return samples

    def _repair(self, time: float | None) -> float:
        """Continue a clock that is missing, jumps back, or jumps absurdly far ahead."""
        if self.first is None:
            if time is not None and time > max(MAX_GAP, self.covered()):
                self._zero += time
                self.notes.append(f"picture time stamps start {time:.0f} s late; taken as 0")
                return 0.0
            return 0.0 if time is None else time
        following = self._time + self._duration
        if time is None:
            note = "pictures without time stamps were placed by the frame rate"
            if note not in self.notes:
                self.notes.append(note)
            return following
        if time > max(self._time + MAX_GAP, self.covered()) or time < self._time - _MAX_BACK:
            if len(self.notes) < 20:
                self.notes.append(
                    f"picture time stamps jump from {self._time:.2f} s to {time:.2f} s; continued without the jump"
                )
            self._zero += time - following
            return following
        return max(time, self._time)

    def _take(self, samples: list[tuple[float, Any]]) -> list[tuple[float, np.ndarray]]:
        taken = []
        for time, picture in samples:
            if self._limits.max_frames is not None and self.taken >= self._limits.max_frames:
                self.frames_cut_at = time if self.frames_cut_at is None else self.frames_cut_at
                break
            taken.append((time, self.converter.convert(picture)))
            self.taken += 1
        return taken
