"""A container opened for reading: its streams described, one of each kind chosen, its packets decoded one by one.

Decisions:

* Time 0 of the clip axis is where the earliest picture or sound starts. Sound that starts at most 0.1 s before the
  picture is an encoder's run-in: the picture's start is 0 then, and the sound before it is dropped.
* A damaged packet costs what it held and a line in the report, not the file (``on_corrupt="keep"``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import av
import av.error

from video_salmonn.errors import LimitError, MediaError
from video_salmonn.media.limits import Limits
from video_salmonn.media.opening import mp4_boxes, open_container
from video_salmonn.media.source import Opened, in_words
from video_salmonn.wording import counted

GUESSED = ("mp3", "aac", "amr", "loas", "mpegvideo", "h264", "hevc", "ac3", "eac3", "dts", "mjpeg")
"""Formats without a duration in their header. FFmpeg guesses it from the bit rate, so its value is not used."""
DERIVED = ("mpegts", "mpeg", "ogg")
"""Formats whose duration FFmpeg takes from the last time stamps."""
DECODING_ERRORS = (av.error.FFmpegError, OSError, ValueError, MemoryError, OverflowError)
"""What PyAV raises for damaged or impossible data."""

_RUN_IN = 0.1
"""Seconds before the picture (or 0) up to which sound counts as encoder run-in (AAC, Opus and MP3 stay below)."""
_SEEKABLE = ("mov", "matroska", "wav")
"""Formats whose index makes seeking exact. Others are decoded from the beginning."""
_RETRIES = 50
_STILLS = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
_HOPELESS = 200


@dataclass(slots=True)
class Track:
    """One chosen stream.

    Attributes:
        kind: ``video`` or ``audio``.
        index: of the stream (a closed container's streams must not be asked any more).
        stream: PyAV's stream.
        label: for messages, ``video`` or ``audio #1``.
        start: when it starts on the file's own clock, in seconds; None if the header does not say.
        end: when the header says that it ends, in seconds on the same clock; None if it does not say.
        lost: times (clip axis) of packets that could not be decoded; None where even the time is unknown.
        decoded: number of frames that were decoded.
        error: the first decoding error, in words.
    """

    kind: Literal["video", "audio"]
    index: int
    stream: Any
    label: str
    start: float | None
    end: float | None
    lost: list[float | None] = field(default_factory=list)
    decoded: int = 0
    error: str = ""


class Container:
    """An opened container; to be closed.

    Attributes:
        name: for messages.
        streams: one description a stream (``MediaReport.streams``).
        video, audio: the chosen tracks, None where there is none or it is switched off.
        zero: the file's clock at time 0 of the clip axis (without ``start``), seconds.
        duration: seconds from ``zero`` to the end the header claims, None if it claims none.
        notes: sentences for the report's warnings.
        ended_early: why reading stopped before the end of the file, or "".
    """

    def __init__(self, opened: Opened, limits: Limits, threads: int = 0) -> None:
        self.name = opened.name
        self._opened = opened
        self._threads = threads
        self.notes: list[str] = []
        self.ended_early = ""
        self._limits = limits
        self._guard = opened.file
        assert opened.file is not None
        opened.file.ends_there = True
        missing = mp4_boxes(opened)[1]
        if missing:
            self.notes.append(f"the file is cut off: {counted(missing, 'byte', 'are')} missing at its end")
        self._av = open_container(opened, limits)
        self.format = self._av.format.name
        self.video: Track | None = None
        self.audio: Track | None = None
        self.zero = find_zero(self._av.streams)
        self.streams = [_describe(stream, self.zero) for stream in self._av.streams]
        self.duration = self._find_duration()

    def choose(self, kind: Literal["video", "audio"], index: int | None) -> Track | None:
        """Choose the stream of a kind: ``index`` if given, else the default one, the largest picture, most channels.

        Raises:
            MediaError: the stream asked for does not exist, is of another kind, or no decoder knows it.
            LimitError: the picture is larger than ``Limits.max_pixels``.
        """
        candidates = [s for s in self.streams if s["kind"] == kind]
        if index is not None:
            found = next((s for s in self.streams if s["index"] == index), None)
            if found is None or found["kind"] != kind:
                have = ", ".join(str(s["index"]) for s in candidates) or "none"
                what = "does not exist" if found is None else f"is {found['kind']}, not {kind}"
                raise MediaError(
                    self.name,
                    f"stream {index} {what}",
                    stream=kind,
                    remedy=f"Streams of this kind: {have}. `video-salmonn probe` lists them.",
                )
            candidates = [found]
        usable = [s for s in candidates if s["decodable"]]
        if not usable:
            return None
        best = max(usable, key=_preference)
        best["chosen"] = True
        if len(candidates) > 1:
            others = ", ".join(_short(s) for s in candidates if s is not best)
            self.notes.append(f"{len(candidates)} {kind} streams: used {_short(best)}, not {others}")
        stream = self._av.streams[best["index"]]
        label = kind if len(candidates) == 1 and index is None else f"{kind} #{best['index']}"
        if kind == "video":
            self._check_pixels(best, label)
        self._prepare(stream)
        track = Track(kind, best["index"], stream, label, best["start"], best["end"])
        setattr(self, kind, track)
        return track

    def undecodable(self, kind: str) -> list[str]:
        """Codecs of this kind that the file has and no decoder here knows."""
        return [s["codec"] for s in self.streams if s["kind"] == kind and not s["decodable"]]

    def _prepare(self, stream: Any) -> None:
        if stream.type == "video":
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = self._threads
            stream.codec_context.options = {"max_pixels": str(self._limits.max_pixels)}

    def seek(self, seconds: float) -> bool:
        """Go to a key frame at or before ``seconds`` on the clip axis. False where the format cannot do so exactly."""
        if seconds <= 0 or not self.format.startswith(_SEEKABLE):
            return False
        try:
            self._av.seek(int((seconds + self.zero) * av.time_base))
        except (av.error.FFmpegError, OSError, OverflowError):
            self.reopen()
            return False
        return True

    def reopen(self) -> None:
        """Back to the first packet, with fresh decoders for the chosen tracks."""
        self._av.close()
        assert self._guard is not None
        self._guard.seek(0)
        self._av = open_container(self._opened, self._limits)
        for track in (self.video, self.audio):
            if track is not None:
                if track.index >= len(self._av.streams):
                    raise MediaError(self.name, "its streams change within the file", remedy="Re-encode the file.")
                track.stream = self._av.streams[track.index]
                self._prepare(track.stream)

    def close(self) -> None:
        """Close the demuxer and its decoders."""
        self._av.close()

    def decode(
        self, on_corrupt: Literal["keep", "raise"], axis: float, *, give_up: bool = False
    ) -> Iterator[tuple[Track, Any]]:
        """Yield ``(track, frame)`` in file order for the chosen tracks; ``axis`` is the clock at clip time 0.

        With ``give_up``, stop when a track has failed 200 times without one success.

        Raises:
            LimitError: the time allowed for this item is over.
            MediaError: a packet is damaged and ``on_corrupt`` is ``"raise"``.
        """
        tracks = {t.index: t for t in (self.video, self.audio) if t is not None}
        for packet in self._packets([t.stream for t in tracks.values()], on_corrupt):
            track = tracks[packet.stream.index]
            try:
                frames = packet.decode()
            except EOFError:
                continue
            except DECODING_ERRORS as error:
                time = None if packet.pts is None else float(packet.pts * packet.time_base) - axis
                self.lost(track, time, error, on_corrupt)
                if give_up and not track.decoded and len(track.lost) >= _HOPELESS:
                    return
                continue
            for frame in frames:
                track.decoded += 1
                yield track, frame

    def lost(
        self, track: Track, time: float | None, error: BaseException, on_corrupt: Literal["keep", "raise"]
    ) -> None:
        """Take note of something that could not be decoded or converted.

        Raises:
            MediaError: with ``on_corrupt="raise"``.
        """
        self._raise_limits(error)
        track.lost.append(time)
        track.error = track.error or in_words(error)
        if on_corrupt == "raise":
            raise self._damaged(track, time, error) from error

    def scan(self) -> float:
        """Read every packet without decoding and return the end of the chosen tracks, seconds on the clip axis."""
        end = 0.0
        tracks = [t.stream for t in (self.video, self.audio) if t is not None]
        for packet in self._packets(tracks, "keep"):
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base) - self.zero)
        return end

    def _packets(self, streams: list[Any], on_corrupt: str) -> Iterator[Any]:
        failures = 0
        while failures < _RETRIES:
            try:
                for packet in self._av.demux(streams):
                    if self._guard is not None:
                        self._guard.check_time()
                    yield packet
                self._note_failure(on_corrupt)
                return
            except EOFError:
                self._note_failure(on_corrupt)
                return
            except DECODING_ERRORS as error:
                self._raise_limits(error)
                failures += 1
                self._stopped(error, on_corrupt)
        for stream in streams:  # what the decoders still hold
            packet = av.Packet(0)
            packet.stream = stream
            yield packet

    def _note_failure(self, on_corrupt: str) -> None:
        if self._guard is not None and self._guard.failure is not None:
            self._stopped(self._guard.failure, on_corrupt)

    def _stopped(self, error: BaseException, on_corrupt: str) -> None:
        self.ended_early = in_words(error)
        if on_corrupt == "raise":
            raise MediaError(
                self.name,
                f"reading stopped: {in_words(error)}",
                remedy="Repair the file, or use on_corrupt='keep' for what can be read.",
            ) from error

    def _damaged(self, track: Track, time: float | None, error: BaseException) -> MediaError:
        where = "" if time is None else f" at {time:.2f} s"
        return MediaError(
            self.name,
            f"damaged{where}: {in_words(error)}",
            stream=track.label,
            remedy="Repair the file, or use on_corrupt='keep' for what can be decoded.",
        )

    def _raise_limits(self, error: BaseException) -> None:
        if isinstance(error, LimitError):
            raise error

    def _check_pixels(self, description: dict[str, Any], label: str) -> None:
        width, height = description["width"], description["height"]
        if width * height > self._limits.max_pixels:
            raise LimitError(
                self.name,
                f"the picture is {width}x{height}, more than the allowed {self._limits.max_pixels} pixels",
                stream=label,
                remedy="Scale it down first, or raise Limits.max_pixels.",
            )

    def _find_duration(self) -> float | None:
        ends = [s["end"] for s in self.streams if s["kind"] in ("video", "audio") and s["end"] is not None]
        if ends:
            return max(0.0, max(ends))
        if self._av.duration is None:
            return None
        # Matroska writes the time of the end, others the time from start to end.
        start = 0 if self.format.startswith("matroska") else self._av.start_time or 0
        return max(0.0, (start + self._av.duration) / av.time_base - self.zero)


def find_zero(streams: Iterable[Any]) -> float:
    """The clock of a container's streams at time 0 of the clip axis, in seconds."""
    starts: dict[str, list[float]] = {"video": [], "audio": []}
    for stream in streams:
        kind = _kind(stream)
        if kind in starts and stream.start_time is not None and stream.time_base is not None:
            starts[kind].append(float(stream.start_time * stream.time_base))
    picture = min(starts["video"], default=0.0)
    sound = min(starts["audio"], default=picture)
    if -_RUN_IN <= sound - picture < 0:
        return picture
    return min(sound, picture) if starts["video"] else sound


def _kind(stream: Any) -> str:
    if stream.type == "video" and stream.disposition & _STILLS:
        return "cover"
    return str(stream.type)


def _describe(stream: Any, zero: float) -> dict[str, Any]:
    context = stream.codec_context
    start = None if stream.start_time is None else float(stream.start_time * stream.time_base) - zero
    end = None
    if stream.duration is not None and stream.duration > 0 and stream.container.format.name not in GUESSED:
        end = (start or 0.0) + float(stream.duration * stream.time_base)
    kind = _kind(stream)
    told: dict[str, Any] = {
        "index": stream.index,
        "kind": kind,
        "codec": context.name if context is not None else "unknown",
        "decodable": context is not None and kind in ("video", "audio", "cover"),
        "chosen": False,
        "default": bool(stream.disposition & av.stream.Disposition.default),
        "language": stream.language,
        "start": start,
        "end": end,
    }
    if context is not None and kind in ("video", "cover"):
        rate = stream.average_rate or stream.guessed_rate
        told |= {
            "width": context.width,
            "height": context.height,
            "pixel_format": context.pix_fmt,
            "frame_rate": float(rate) if rate else None,
            "frames": stream.frames or None,
        }
    elif context is not None and kind == "audio":
        told |= {"sample_rate": context.rate, "channels": context.layout.nb_channels, "layout": context.layout.name}
    return told


def _preference(description: dict[str, Any]) -> tuple:
    size = description.get("width", 0) * description.get("height", 0) or description.get("channels", 0)
    return (description["default"], size, description.get("sample_rate", 0), -description["index"])


def _short(description: dict[str, Any]) -> str:
    if description["kind"] == "video":
        detail = f"{description.get('width')}x{description.get('height')}"
    else:
        detail = f"{description.get('sample_rate')} Hz {description.get('layout')}"
    language = f" {description['language']}" if description.get("language") else ""
    return f"#{description['index']} ({description['codec']} {detail}{language})"
