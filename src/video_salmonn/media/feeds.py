"""What a clip is read from. Each feed pushes one opened source, in a single pass, into a picture and a sound track."""

from __future__ import annotations

import functools
from collections.abc import Generator
from typing import Any, Literal

import numpy as np

from video_salmonn.errors import MediaError
from video_salmonn.media import image as pictures
from video_salmonn.media.audio import SoundTrack
from video_salmonn.media.container import DECODING_ERRORS, DERIVED, GUESSED, Container, Track
from video_salmonn.media.options import MediaOptions
from video_salmonn.media.sampling import ReleasedSampler, UniformSampler, parse_frame_times
from video_salmonn.media.source import ArraySound, ArrayVideo, Opened
from video_salmonn.media.video import FrameConverter, VideoTrack

Sample = tuple[float, np.ndarray]

_SEEK_FROM = 10.0
_PREROLL = 1.0
_SLACK = 10.0
"""Seconds by which one stream may run ahead of the other in a file."""
MAX_CLAIM = 86_400.0
"""Longest duration of a header that is believed where the time stamps jump."""
_STRIDE = 16
"""Decoded frames between two looks at whether a piece is complete: looking at each would cost some per cent."""


class Feed:
    """One source being read.

    Attributes:
        name: the source, for messages and the report.
        streams: entries of ``MediaReport.streams``.
        notes: sentences for ``MediaReport.warnings``.
        video, audio: what was seen and heard; None where the source has none or it is switched off.
        tracks: decoding statistics by kind, where a container is decoded.
        undecodable: codecs by kind that are there and that no decoder knows.
        duration: seconds the source claims to last, from its beginning; None if it does not say.
        options: how it is read.
        partial: whether reading was ended on purpose after the first frames.
        is_picture: whether this is a single picture, which has no time of its own.
        broken: why reading stopped early, or "".
    """

    def __init__(self, opened: Opened, options: MediaOptions) -> None:
        self.name = opened.name
        self.streams: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.video: VideoTrack | None = None
        self.audio: SoundTrack | None = None
        self.tracks: dict[str, Track] = {}
        self.undecodable: dict[str, list[str]] = {"video": [], "audio": []}
        self.duration: float | None = None
        self.is_picture = False
        self.partial = False
        self.options = options
        self._start = options.start or 0.0

    @property
    def broken(self) -> str:
        """Why reading stopped early, or ""."""
        return ""

    @property
    def progress(self) -> float:
        """How far on the clip axis this feed has been read."""
        reached = [] if self.video is None else [self.video.reached]
        if self.audio is not None:
            reached.append(self.audio.end)
        return min(reached, default=0.0)

    @property
    def done(self) -> bool:
        """Whether the stretch wanted has been read."""
        tracks = [track for track in (self.video, self.audio) if track is not None]
        return bool(tracks) and all(track.done for track in tracks)

    def run(self, *, give_up: bool = False) -> Generator[list[Sample]]:
        """Read on; every step yields the frames that it settled (often none).

        With ``give_up``, stop early when a stream looks undecodable.
        """
        raise NotImplementedError

    def measure(self) -> float:
        """Seconds from the beginning of the source to its end, as cheaply as can be."""
        return self.duration or 0.0

    def close(self) -> None:
        """Give back what the feed opened itself."""

    def _watch(self, label: str, frame_rate: float | None, zero: float) -> VideoTrack:
        options = self.options
        strategy, rate = parse_frame_times(options.frame_times)
        sampler: UniformSampler[Any] | ReleasedSampler[Any]
        sampler = (
            ReleasedSampler(options.stop) if strategy == "released" else UniformSampler(rate, frame_rate, options.stop)
        )
        converter = FrameConverter(options.frame_size, options.scaling)
        return VideoTrack(self.name, label, sampler, converter, frame_rate, zero, options.stop, options.limits)

    def _listen(self, label: str, zero: float) -> SoundTrack:
        options = self.options
        return SoundTrack(label, options.sound_mode, zero, options.stop, options.limits.max_memory // 2)


class ContainerFeed(Feed):
    """A container file, read through FFmpeg."""

    def __init__(self, opened: Opened, options: MediaOptions, *, video: bool, audio: bool) -> None:
        super().__init__(opened, options)
        self.container = Container(opened, options.limits, options.threads)
        try:
            self._choose(options, video, audio)
        except BaseException:
            self.container.close()
            raise
        self.streams, self.notes = self.container.streams, self.container.notes
        self.duration = None if self.container.format in GUESSED else self.container.duration

    def _choose(self, options: MediaOptions, video: bool, audio: bool) -> None:
        wanted: list[tuple[Literal["video", "audio"], bool, int | None]] = [
            ("video", video, options.video_stream),
            ("audio", audio, options.audio_stream),
        ]
        for kind, want, index in wanted:
            if not want:
                continue
            track = self.container.choose(kind, index)
            if track is None:
                self.undecodable[kind] = self.container.undecodable(kind)
            else:
                self.tracks[kind] = track
        self._make_tracks()

    def _make_tracks(self) -> None:
        axis = self.container.zero + self._start
        for kind, track in self.tracks.items():
            if kind == "video":
                rate = track.stream.average_rate or track.stream.guessed_rate
                self.video = self._watch(track.label, float(rate) if rate else None, axis)
            else:
                self.audio = self._listen(track.label, axis)
        claimed = self._claimed()
        if self.video is not None:
            self.video.covered = functools.partial(_covered, claimed, self.audio)
        if self.audio is not None:
            self.audio.covered = functools.partial(_covered, claimed, self.video)

    def _claimed(self) -> float:
        """Where the header says that the clip ends, seconds on the clip axis; 0 where it does not say or only derives
        it from the last time stamps, whose error a jump may be."""
        if self.container.duration is None or self.container.format in (*GUESSED, *DERIVED):
            return 0.0
        return min(self.container.duration, MAX_CLAIM) - self._start

    @property
    def broken(self) -> str:
        """Why reading stopped early, or ""."""
        return self.container.ended_early

    def run(self, *, give_up: bool = False) -> Generator[list[Sample]]:
        """Decode; see :class:`Feed`."""
        if not self.tracks:
            return
        sought = self._start >= _SEEK_FROM and self.container.seek(self._start - _PREROLL)
        if sought and not (yield from self._decode(checked=True, give_up=give_up)):
            self.container.reopen()
            self._make_tracks()
            sought = False
        if not sought:
            yield from self._decode(checked=False, give_up=give_up)

    def _decode(self, *, checked: bool, give_up: bool) -> Generator[list[Sample], None, bool]:
        """Decode to the end. With ``checked``, give up (False) if the first frame lies behind the start."""
        axis = self.container.zero + self._start
        first, lost = True, 0
        frames = self.container.decode(self.options.on_corrupt, axis, give_up=give_up)
        for step, (track, frame) in enumerate(frames, start=1):
            if first and checked:
                first = False
                if frame.time is None or frame.time > axis:
                    return False
            samples: list[Sample] = []
            try:
                if track.kind == "video":
                    samples = self._see(frame)
                else:
                    if len(track.lost) != lost:
                        lost = len(track.lost)
                        self._hear_damage()
                    self._hear(frame)
            except MemoryError:
                raise  # a fault of this machine, not of the file
            except DECODING_ERRORS as error:
                time = None if frame.time is None else frame.time - axis
                self.container.lost(track, time, error, self.options.on_corrupt)
            if samples or step % _STRIDE == 0:
                yield samples
                if self.done:
                    break
        return not (checked and first)

    def _see(self, frame: Any) -> list[Sample]:
        assert self.video is not None
        return [] if self.video.done else self.video.push(frame)

    def _hear(self, frame: Any) -> None:
        assert self.audio is not None
        if not self.audio.done:
            self.audio.push(frame)

    def _hear_damage(self) -> None:
        assert self.audio is not None
        self.audio.damaged()

    def measure(self) -> float:
        """The header's duration; where the format has none, the packets are read (not decoded) to find it."""
        if self.duration is not None:
            return self.duration
        length = self.container.scan()
        self.container.reopen()
        self._make_tracks()
        return length

    def close(self) -> None:
        """Close the container."""
        self.container.close()


class PictureFeed(Feed):
    """A picture file, an animated picture, or a picture in memory."""

    def __init__(self, opened: Opened, options: MediaOptions, *, video: bool) -> None:
        super().__init__(opened, options)
        self._opened = opened
        with pictures.open_picture(opened, options.limits) as image:
            self.streams = [pictures.describe(image)]
            self.is_picture = not pictures.is_animated(image)
        if video:
            self.streams[0]["chosen"] = True
            self.video = self._watch("video", None, 0.0)

    def run(self, *, give_up: bool = False) -> Generator[list[Sample]]:
        """Decode; see :class:`Feed`."""
        if self.video is None:
            return
        if self._opened.file is not None:
            self._opened.file.seek(0)
        options = self.options
        with pictures.open_picture(self._opened, options.limits) as image:
            if self.is_picture:
                frames, notes = pictures.still(image, self.name, options)
                self.notes += notes
                yield self.video.show(frames, parse_frame_times(options.frame_times)[1])
                return
            if options.spotlight:
                self.notes.append("spotlight applies to single pictures; this one is animated")
            try:
                for time, duration, frame in pictures.animation(image, self.name):
                    yield self.video.push_picture(time - self._start, duration, frame)
                    if self.video.done:
                        break
            except MediaError as error:
                if options.on_corrupt == "raise" or self.video.first is None:
                    raise
                self.notes.append(error.reason)

    def measure(self) -> float:
        """The time of one frame for each picture shown, or the length of the animation."""
        if self.is_picture:
            return (1 + max(0, self.options.spotlight - 1) ** 2) / parse_frame_times(self.options.frame_times)[1]
        if self._opened.file is not None:
            self._opened.file.seek(0)
        with pictures.open_picture(self._opened, self.options.limits) as image:
            return pictures.animation_seconds(image)


class FramesFeed(Feed):
    """Frames in memory."""

    def __init__(self, opened: Opened, options: MediaOptions, *, video: bool) -> None:
        super().__init__(opened, options)
        array: ArrayVideo = opened.array
        self._array = array
        count, height, width, _ = array.frames.shape
        self.duration = count / array.fps
        self.streams = [
            {
                "index": 0, "kind": "video", "codec": "array", "decodable": True, "chosen": video,
                "width": width, "height": height, "frame_rate": array.fps, "frames": count,
            }
        ]  # fmt: skip
        if video:
            self.video = self._watch("video", array.fps, 0.0)

    def run(self, *, give_up: bool = False) -> Generator[list[Sample]]:
        """Hand over frame by frame; see :class:`Feed`."""
        if self.video is None:
            return
        for index, frame in enumerate(self._array.frames):
            yield self.video.push_picture(index / self._array.fps - self._start, 1 / self._array.fps, frame)
            if self.video.done:
                break


class SamplesFeed(Feed):
    """Sound in memory."""

    def __init__(self, opened: Opened, options: MediaOptions, *, audio: bool) -> None:
        super().__init__(opened, options)
        array: ArraySound = opened.array
        self._array = array
        self.duration = len(array.samples) / array.rate
        self.streams = [
            {
                "index": 0, "kind": "audio", "codec": "array", "decodable": True, "chosen": audio,
                "sample_rate": array.rate, "channels": array.samples.shape[1],
            }
        ]  # fmt: skip
        if audio:
            self.audio = self._listen("audio", self._start)

    def run(self, *, give_up: bool = False) -> Generator[list[Sample]]:
        """Resample second by second; see :class:`Feed`."""
        if self.audio is None:
            return
        for start in range(0, len(self._array.samples), self._array.rate):
            self.audio.push_array(self._array.samples[start : start + self._array.rate], self._array.rate, start)
            yield []
            if self.audio.done:
                break


def _covered(claimed: float, other: VideoTrack | SoundTrack | None) -> float:
    """The latest time that the header's duration or the other stream vouches for, with some slack."""
    reached = 0.0 if other is None else other.end if isinstance(other, SoundTrack) else other.reached
    return max(claimed, reached) + _SLACK


def open_feed(opened: Opened, options: MediaOptions, *, video: bool, audio: bool) -> Feed:
    """The feed for an opened source; ``video`` and ``audio`` say what is wanted of it."""
    if opened.kind == "container":
        return ContainerFeed(opened, options, video=video, audio=audio)
    if opened.kind in ("picture", "image"):
        return PictureFeed(opened, options, video=video)
    if opened.kind == "frames":
        return FramesFeed(opened, options, video=video)
    return SamplesFeed(opened, options, audio=audio)
