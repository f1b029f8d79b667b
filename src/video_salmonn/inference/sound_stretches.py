"""The sound of a source in stretches that end where it is quiet: read once, in memory one after another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from video_salmonn.inference.media_store import Timer
from video_salmonn.inference.pieces import border_loudness
from video_salmonn.inference.transcript_options import STRETCH
from video_salmonn.media import iter_clip
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.types import Clip, Heard, MediaReport, Seen

RATE = 16_000
QUIET_FROM = 0.8
"""A stretch ends at its quietest place after this share of its length."""
STEP = 0.5
"""Grid in seconds of the places where sound may be cut."""


class SoundSource:
    """The sound of a source in stretches, and the report on it once they were read."""

    def __init__(
        self,
        processor: VideoSalmonnProcessor,
        media: Any,
        sound: Any,
        start: float | None,
        end: float | None,
        given: Any,
    ) -> None:
        wanted = {"start": start, "end": end, **given}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        self._processor, self._media, self._sound, self._wanted = processor, media, sound, wanted
        # What the model was trained on limits what it hears at once, not what is read.
        limits = given.get("limits") or processor.media_options().limits
        if "limits" not in given:
            limits = replace(limits, max_seconds=None)
        self._options = processor.media_options(**wanted, **({} if "limits" in given else {"limits": limits}))
        self._options = replace(self._options, use_video=False, use_audio=True, sound_mode="mix")
        self.report = MediaReport("", 0.0, Seen("off"), Heard("absent"))
        self.length: float | None = None

    def stretches(self, timer: Timer, longest: float) -> Iterator[tuple[float, NDArray[np.float32]]]:
        """(seconds from the first one's beginning, samples ``(n,)`` at 16 kHz) of every stretch."""
        return cut_quietly(self._timed(timer), longest)

    def _timed(self, timer: Timer) -> Iterator[NDArray[np.float32]]:
        parts = self._parts()
        while True:
            with timer.stage("decode"):
                part = next(parts, None)
            if part is None:
                return
            yield part

    def _parts(self) -> Iterator[NDArray[np.float32]]:
        if isinstance(self._media, Clip) or isinstance(self._sound, Clip):
            clip = self._processor.load(self._media, self._sound, **self._wanted)
            self.report, self.length = clip.report, clip.duration
            if clip.sound is not None:
                yield clip.sound.samples
            return
        with iter_clip(self._media, sound=self._sound, options=self._options) as stream:
            for piece in stream:
                if self.length is None:
                    self.length = stream.length
                if piece.sound is not None:
                    yield piece.sound.samples
            self.report = stream.report


class QuietCuts:
    """Sound that comes in parts, cut into stretches that end where it is quiet.

    Where a stretch ends is decided as soon as more than ``longest`` seconds of it are there, by these alone.

    Args:
        longest: seconds of a stretch.
    """

    def __init__(self, longest: float = STRETCH) -> None:
        self._longest = longest
        self._most = round(longest * RATE)
        self._parts: list[NDArray[np.float32]] = []
        self._count = 0
        self._place = 0

    @property
    def held_bytes(self) -> int:
        """Bytes of the open stretch."""
        return sum(part.nbytes for part in self._parts)

    def push(self, part: NDArray[np.float32]) -> list[tuple[float, NDArray[np.float32]]]:
        """Take ``(n,)`` samples at 16 kHz; returns stretches that they complete, as for :func:`cut_quietly`."""
        self._parts.append(part)
        self._count += len(part)
        found = []
        while self._count > self._most:
            held = np.concatenate(self._parts)
            loudness = border_loudness(held[: self._most], RATE, STEP).numpy()
            borders = range(max(math.ceil(QUIET_FROM * self._longest / STEP), 1), int(self._longest / STEP) + 1)
            border = min(borders, key=lambda n: (loudness[n], -n))
            count = min(round(border * STEP * RATE), self._most)
            found.append((self._place / RATE, held[:count]))
            self._parts, self._count = [held[count:].copy()], len(held) - count
            self._place += count
        return found

    def finish(self) -> list[tuple[float, NDArray[np.float32]]]:
        """The last stretch, if there is one."""
        held, self._parts = np.concatenate(self._parts) if self._count else np.zeros(0, np.float32), []
        place, self._place, self._count = self._place, self._place + len(held), 0
        return [(place / RATE, held)] if len(held) else []


def cut_quietly(
    parts: Iterable[NDArray[np.float32]], longest: float = STRETCH
) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """Sound that comes in parts as stretches of at most ``longest`` seconds that end where it is quiet.

    Yields:
        (seconds from the beginning, samples ``(n,)`` at 16 kHz).
    """
    cuts = QuietCuts(longest)
    for part in parts:
        yield from cuts.push(part)
    yield from cuts.finish()
