"""From one source to a clip: the pictures, the sound, and the account of both, in a single pass.

:func:`iter_clip` hands out pieces of 30 s in bounded memory; :func:`load_clip` is the same pass, collected.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

import numpy as np

from video_salmonn.errors import ConfigError, LimitError
from video_salmonn.media.audio import RATE, RELEASED_MIN_SECONDS, SoundTrack
from video_salmonn.media.feeds import Feed, Sample, open_feed
from video_salmonn.media.options import MediaOptions
from video_salmonn.media.reporting import build_report, check_usable
from video_salmonn.media.source import MediaSource, errors_name, open_source, source_name
from video_salmonn.media.video import VideoTrack
from video_salmonn.types import Clip, FrameBatch, Heard, MediaReport, Seen, Waveform
from video_salmonn.wording import counted

SEGMENT_SECONDS = 30.0
"""Length of a piece: one window of the Whisper encoder."""
HOLD = 512 << 20
"""Bytes of frames that may wait for a sound track that lags behind in the file."""
_LATE_SOUND = 10.0
_LAG = 1.1
"""Seconds after which no sampler adds a frame any more (``released`` waits for the end of a second)."""


@dataclass(frozen=True, slots=True)
class ClipPart:
    """A stretch of a clip, on the grid of segments.

    Attributes:
        start: seconds on the clip axis, a multiple of the segment length.
        end: ``start`` plus the segment length; for the last piece the end of the clip.
        frames: the frames whose time lies in it (times on the clip axis), or None.
        sound: the sound from ``start`` on (its first sample is at ``start``), or None where none is left.
    """

    start: float
    end: float
    frames: FrameBatch | None
    sound: Waveform | None


class ClipStream:
    """An iterator over :class:`ClipPart`; ``report`` is complete once it is exhausted. Close it, or use ``with``."""

    def __init__(
        self, source: MediaSource, sound: MediaSource | None, options: MediaOptions, segment: float, hold: int
    ) -> None:
        self._source = source
        self._sound = sound
        self._options = options
        self._segment = segment
        self._main: Feed | None = None
        self._ear: Feed | None = None
        self._hold = hold
        self._pieces = self._run()

    def __iter__(self) -> Iterator[ClipPart]:
        return self

    def __next__(self) -> ClipPart:
        try:
            with errors_name(self._source):
                return next(self._pieces)
        except MemoryError:
            remedy = "Give frame_size, a stretch (start, end), or decode it on a larger machine."
            raise LimitError(source_name(self._source), "not enough memory to decode it", remedy=remedy) from None

    def __enter__(self) -> ClipStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._pieces.close()

    @property
    def report(self) -> MediaReport:
        """What was seen, heard, cut and lost so far."""
        if self._main is None:
            return MediaReport(source_name(self._source), 0.0, Seen("off"), Heard("off"))
        return build_report(self._main, self._ear, self._options)

    @property
    def length(self) -> float | None:
        """Seconds that are wanted of the clip, as the file's header has them; None where it does not say."""
        if self._main is None or self._main.duration is None:
            return None
        left = max(self._main.duration - (self._options.start or 0.0), 0.0)
        stop = self._options.stop
        return left if stop is None else min(left, stop)

    def _run(self) -> Generator[ClipPart]:
        options = self._options
        with contextlib.ExitStack() as stack:
            opened = stack.enter_context(open_source(self._source, options.limits))
            own_sound = options.use_audio and self._sound is None
            self._main = main = open_feed(opened, options, video=options.use_video, audio=own_sound)
            stack.callback(main.close)
            feeds = [main]
            if options.use_audio and self._sound is not None:
                separate = stack.enter_context(open_source(self._sound, options.limits))
                # `video_stream` belongs to the main source; `audio_stream` to the sound.
                ear = open_feed(separate, replace(options, video_stream=None), video=False, audio=True)
                stack.callback(ear.close)
                self._ear = ear
                feeds.append(ear)
            self._refuse_long(main.duration)
            room = options.limits.max_memory
            collector = _Collector(self._segment, main.video, feeds[-1].audio, min(self._hold, room), room)
            for samples in _alternate(feeds):
                collector.add(samples)
                if collector.complete:
                    yield from collector.ready()
                    self._refuse_long(main.progress + (options.start or 0.0))
            if main.video is not None:
                collector.add(main.video.finish())
            if collector.audio is not None:
                collector.audio.finish(RELEASED_MIN_SECONDS if options.sound_mode == "released" else 0.0)
            check_usable(main, self._ear, options)
            if main.video is not None:
                self._refuse_long(main.video.reached + (options.start or 0.0))
            yield from collector.rest(self.report.duration)

    def _refuse_long(self, seconds: float | None) -> None:
        limits = self._options.limits
        if limits.on_long != "raise" or seconds is None or self._main is None:
            return
        wanted = seconds - (self._options.start or 0.0)
        if self._options.end is not None:
            wanted = min(wanted, self._options.end - (self._options.start or 0.0))
        if limits.max_seconds is not None and wanted > limits.max_seconds:
            raise LimitError(
                self._main.name,
                f"lasts {wanted:.1f} s, more than the allowed {limits.max_seconds:g} s",
                remedy="Give a stretch with start and end, or raise Limits.max_seconds.",
            )
        if self._main.video is not None and self._main.video.frames_cut_at is not None:
            raise LimitError(
                self._main.name,
                f"has more than the allowed {counted(limits.max_frames or 0, 'frame')}",
                remedy="Take fewer frames per second, or raise Limits.max_frames.",
            )


def _alternate(feeds: list[Feed]) -> Iterator[list[Sample]]:
    """Read the feed that is furthest behind, until all have ended."""
    if len(feeds) == 1:
        yield from feeds[0].run()
        return
    running = [(feed, feed.run()) for feed in feeds]
    while running:
        turn = min(running, key=lambda item: item[0].progress)
        samples = next(turn[1], None)
        if samples is None:
            running.remove(turn)
        else:
            yield samples


class _Collector:
    """Frames and sound that wait until their piece is complete.

    Args:
        segment: length of a piece in seconds.
        video, audio: the tracks that are waited for.
        hold: bytes that may wait for a sound track that lags behind; after that pieces go out without it.
        room: bytes that a single piece may take.
    """

    def __init__(
        self, segment: float, video: VideoTrack | None, audio: SoundTrack | None, hold: int, room: int
    ) -> None:
        self.audio = audio
        self._segment = segment
        self._video = video
        self._hold = hold
        self._room = room
        self._samples: list[Sample] = []
        self._bytes = 0
        self._piece = 0

    def add(self, samples: list[Sample]) -> None:
        for sample in samples:
            self._samples.append(sample)
            self._bytes += sample[1].nbytes
        if samples and self._video is not None and self._bytes > self._room:
            raise LimitError(
                self._video.name,
                f"its frames take more than {self._room / 2**20:.0f} MiB of memory (reached at {samples[-1][0]:.0f} s)",
                stream=self._video.label,
                remedy="Give frame_size, a stretch (start, end) or max_seconds; or raise Limits.max_memory.",
            )

    @property
    def complete(self) -> bool:
        """Whether both streams have passed the end of the next piece."""
        return self._reached() > (self._piece + 1) * self._segment

    def _reached(self) -> float:
        full = self._bytes > self._hold
        reached = []
        if self._video is not None and not self._video.done:
            reached.append(self._video.reached - (_LATE_SOUND if full else _LAG))
        if self.audio is not None and not self.audio.done and not (full and self._video is not None):
            reached.append(self.audio.end)
        return min(reached, default=-math.inf)

    def ready(self) -> Iterator[ClipPart]:
        """The pieces that are complete."""
        while self.complete:
            yield self._cut((self._piece + 1) * self._segment)

    def rest(self, end: float) -> Iterator[ClipPart]:
        """The last pieces."""
        while self._samples or (self.audio is not None and self.audio.held):
            boundary = (self._piece + 1) * self._segment
            last = boundary >= end - 1e-9
            yield self._cut(boundary, end if last else boundary, everything=last)

    def _cut(self, boundary: float, end: float | None = None, everything: bool = False) -> ClipPart:
        start = self._piece * self._segment
        inside = [s for s in self._samples if everything or s[0] < boundary - 1e-9]
        self._samples = [] if everything else [s for s in self._samples if s[0] >= boundary - 1e-9]
        self._bytes = sum(s[1].nbytes for s in self._samples)
        frames = None
        if inside:
            frames = FrameBatch(np.stack([s[1] for s in inside]), np.array([s[0] for s in inside], np.float64))
        sound = None
        if self.audio is not None:
            samples = self.audio.take(None if everything else round(boundary * RATE))
            sound = Waveform(samples, RATE) if len(samples) else None
        self._piece += 1
        return ClipPart(start, boundary if end is None else end, frames, sound)


def iter_clip(
    source: MediaSource,
    *,
    sound: MediaSource | None = None,
    options: MediaOptions | None = None,
    segment: float = SEGMENT_SECONDS,
) -> ClipStream:
    """Decode a clip piece by piece, in memory that does not grow with its length.

    Args and errors are those of :func:`load_clip` (errors come while iterating); ``segment`` is the length of a piece.
    """
    if not (math.isfinite(segment) and segment >= 1):
        raise ConfigError(f"segment must be 1 or more seconds, not {segment!r}", remedy="Use 30.")
    return ClipStream(source, sound, options or MediaOptions(), segment, HOLD)


def load_clip(source: MediaSource, *, sound: MediaSource | None = None, options: MediaOptions | None = None) -> Clip:
    """Decode a whole clip into memory.

    Args:
        source: path, bytes, binary file object, https URL, :class:`ArrayVideo`, :class:`ArraySound`, a tuple
            ``(array, rate)``, or a picture as array or Pillow image.
        sound: a separate sound, which replaces the source's own.
        options: how to see and hear; None for the defaults (the whole file, 2 frames per second, native size).

    Returns:
        :class:`~video_salmonn.types.Clip` with ``frames`` ``(T, H, W, 3)``, ``sound`` ``(n,)`` at 16 kHz, and report.

    Raises:
        MediaError: nothing of it can be used.
        EmptyMediaError: there is nothing to see or hear in it.
        LimitError: it is larger, longer or slower than ``options.limits`` allow, or from a forbidden place.
    """
    options = options or MediaOptions()
    frames: list[FrameBatch] = []
    sounds: list[np.ndarray] = []
    held = 0
    with ClipStream(source, sound, options, SEGMENT_SECONDS, options.limits.max_memory) as stream:
        for piece in stream:
            if piece.frames is not None:
                frames.append(piece.frames)
                held += piece.frames.frames.nbytes
            if piece.sound is not None:
                sounds.append(piece.sound.samples)
                held += piece.sound.samples.nbytes
            if held > options.limits.max_memory:
                raise LimitError(
                    stream.report.source,
                    f"decoded, it takes more than {options.limits.max_memory / 2**20:.0f} MiB of memory "
                    f"(reached at {piece.end:.0f} s)",
                    remedy="Give frame_size, a stretch (start, end) or max_seconds; or use iter_clip.",
                )
        report = stream.report
    batch = None
    if frames:
        batch = FrameBatch(_joined([f.frames for f in frames]), _joined([f.times for f in frames]))
    wave = Waveform(_joined(sounds), RATE) if sounds else None
    return Clip(batch, wave, report.duration, report)


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
