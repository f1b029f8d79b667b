"""Media that come while they happen: a file at the pace of a clock, a pipe that another program writes, a camera.

Decisions:

* A file is decoded as always (:func:`~video_salmonn.media.iter_clip`) and handed out when its time has come.
* A pipe is read once, forward, in any container that FFmpeg reads so; it may point to no other file. Pictures and
  sound are placed on the time axis by the same classes as a file's.
* A camera is a pipe that the ``ffmpeg`` program writes: it knows every platform's devices and keeps picture and sound
  in step. PyAV's own builds know no cameras.
* What comes is read by a thread into a short queue. When that is full the pipe is not read, so its writer waits; a
  camera drops pictures by itself.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import av
import av.error
import numpy as np

from video_salmonn.errors import ConfigError, EmptyMediaError, MediaError, MissingPartError
from video_salmonn.media.audio import SoundTrack
from video_salmonn.media.clip import iter_clip
from video_salmonn.media.container import DECODING_ERRORS, find_zero
from video_salmonn.media.limits import Limits
from video_salmonn.media.opening import FORMATS
from video_salmonn.media.options import MediaOptions
from video_salmonn.media.sampling import UniformSampler, parse_frame_times
from video_salmonn.media.source import in_words
from video_salmonn.media.video import FrameConverter, VideoTrack

PORTION = 1.0
"""Seconds of a file that are handed out at once."""
QUEUED = 32
"""Portions of a pipe that wait to be taken."""
HANDED = 0.25
"""Seconds of sound of a pipe that are handed out at once."""
DEVICES = {"linux": ("v4l2", "alsa"), "darwin": ("avfoundation", "avfoundation"), "win32": ("dshow", "dshow")}
"""FFmpeg's names for cameras and microphones of a platform."""


@dataclass(frozen=True, slots=True)
class Portion:
    """What came of a stream.

    Attributes:
        pictures: (seconds, ``uint8 (H, W, 3)`` RGB), two a second.
        sound: samples ``(n,)`` at 16 kHz, or None.
        start: seconds at which the sound begins.
        arrived: when its end was there, on ``time.monotonic``.
    """

    pictures: tuple[tuple[float, np.ndarray], ...]
    sound: np.ndarray | None
    start: float
    arrived: float


@dataclass(frozen=True)
class Paced:
    """A file as if it were recorded now.

    Args:
        source: path or https URL.
        options: how it is seen and heard.
        speed: seconds of the file in a second.
    """

    source: str
    options: MediaOptions
    speed: float = 1.0

    def __iter__(self) -> Iterator[Portion]:
        """Hand out portions when their time has come; never faster."""
        begun = None
        with iter_clip(self.source, options=self.options, segment=PORTION) as stream:
            for piece in stream:
                if begun is None:
                    begun = time.monotonic()
                due = begun + piece.end / self.speed
                time.sleep(max(due - time.monotonic(), 0.0))
                frames = piece.frames
                pictures = () if frames is None else tuple(zip(frames.times.tolist(), frames.frames))
                yield Portion(pictures, None if piece.sound is None else piece.sound.samples, piece.start, due)


class Pipe:
    """A container that is written while it is read.

    Args:
        file: binary, need not seek.
        name: for messages.
        options: how it is seen and heard; stretches (``start``, ``end``) are of files only.
        closes: called when it was read or is left.

    Iterating reads it. Raises MediaError if it is not a container that can be read forward, EmptyMediaError if it
    contains nothing that is wanted.
    """

    def __init__(
        self, file: IO[bytes], name: str, options: MediaOptions, closes: Callable[[], None] | None = None
    ) -> None:
        self.name, self.options = name, options
        self.lost = 0
        """Packets that could not be decoded."""
        self._file, self._closes = file, closes
        self._left = threading.Event()

    def __iter__(self) -> Iterator[Portion]:
        waiting: queue.Queue[Portion | BaseException | None] = queue.Queue(QUEUED)

        def put(item: Portion | BaseException | None) -> bool:
            while not self._left.is_set():
                with contextlib.suppress(queue.Full):
                    waiting.put(item, timeout=0.2)
                    return True
            return False

        def read() -> None:
            try:
                for portion in self._read():
                    if not put(portion):
                        return
                put(None)
            except BaseException as error:  # noqa: BLE001 - raised again where it is taken
                put(error)

        threading.Thread(target=read, name="pipe", daemon=True).start()
        try:
            while (item := waiting.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self._left.set()
            if self._closes is not None:
                self._closes()

    def _read(self) -> Iterator[Portion]:
        limits = self.options.limits
        with _opened(self._file, self.name, limits) as container:
            tracks = self._tracks(container)
            video = next((track for track in tracks.values() if isinstance(track, VideoTrack)), None)
            sound = next((track for track in tracks.values() if isinstance(track, SoundTrack)), None)
            taken = 0.0
            pictures: list[tuple[float, np.ndarray]] = []
            for frame, track in self._frames(container, tracks):
                if isinstance(track, VideoTrack):
                    pictures += track.push(frame)
                else:
                    track.push(frame)
                fresh = 0.0 if sound is None else sound.end - taken
                if fresh >= HANDED or (pictures and (sound is None or len(pictures) >= 4)):
                    yield _portion(pictures, sound, taken)
                    taken, pictures = (taken if sound is None else max(sound.end, taken)), []
            if video is not None:
                pictures += video.finish()
            if sound is not None:
                sound.finish()
            if pictures or (sound is not None and sound.held):
                yield _portion(pictures, sound, taken)

    def _tracks(self, container: Any) -> dict[int, VideoTrack | SoundTrack]:
        options = self.options
        zero = find_zero(container.streams)
        found: dict[int, VideoTrack | SoundTrack] = {}
        if options.use_video and container.streams.video:
            stream = container.streams.best("video") or container.streams.video[0]
            rate = float(stream.average_rate or stream.guessed_rate or 0) or None
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = options.threads
            stream.codec_context.options = {"max_pixels": str(options.limits.max_pixels)}
            sampler: UniformSampler[Any] = UniformSampler(parse_frame_times(options.frame_times)[1], rate, None)
            converter = FrameConverter(options.frame_size, options.scaling)
            track = VideoTrack(self.name, "video", sampler, converter, rate, zero, None, options.limits)
            found[stream.index] = track
        if options.use_audio and container.streams.audio:
            stream = container.streams.best("audio") or container.streams.audio[0]
            found[stream.index] = SoundTrack("audio", options.sound_mode, zero, None, options.limits.max_memory // 2)
        if not found:
            wanted = " or ".join(
                word for word, on in (("picture", options.use_video), ("sound", options.use_audio)) if on
            )
            raise EmptyMediaError(self.name, f"has no {wanted}", remedy="send a video or a sound")
        return found

    def _frames(self, container: Any, tracks: dict[int, Any]) -> Iterator[tuple[Any, Any]]:
        packets = container.demux([container.streams[index] for index in tracks])
        while not self._left.is_set():
            try:
                packet = next(packets, None)
            except EOFError:
                return
            except DECODING_ERRORS as error:
                raise MediaError(
                    self.name, f"cannot be read on ({in_words(error)})", remedy="start it again"
                ) from error
            if packet is None:
                return
            try:
                frames = packet.decode()
            except EOFError:
                continue
            except DECODING_ERRORS:
                self.lost += 1
                continue
            for frame in frames:
                yield frame, tracks[packet.stream.index]


def _portion(pictures: list[tuple[float, np.ndarray]], sound: SoundTrack | None, start: float) -> Portion:
    samples = None if sound is None else sound.take()
    return Portion(tuple(pictures), samples if samples is not None and len(samples) else None, start, time.monotonic())


@contextlib.contextmanager
def _opened(file: IO[bytes], name: str, limits: Limits) -> Iterator[Any]:
    """A container that is read forward and opens no other file."""

    def refuse(url: str, flags: int, options: dict[str, str]) -> Any:
        raise PermissionError(f"it asks to open {url!r}")

    forward = _Forward(file)
    try:
        container = av.open(
            forward,
            mode="r",
            container_options={"format_whitelist": FORMATS},
            options={"max_pixels": str(limits.max_pixels)},
            buffer_size=32 * 1024,
            metadata_errors="replace",
            io_open=refuse,
        )
    except (av.error.FFmpegError, OSError, ValueError, EOFError) as error:
        if forward.is_at_end and not forward.count:
            reason = "cannot be read as it comes: it ended before any data arrived"
            raise MediaError(name, reason, remedy="check the program that writes to it") from error
        detail = "of no format that is read here" if isinstance(error, av.error.ArgumentError) else in_words(error)
        raise MediaError(
            name,
            f"cannot be read as it comes: {detail}",
            remedy="send a container that is read forward, such as Matroska, MPEG-TS, NUT or WAV (MP4 is not)",
        ) from error
    with container:
        yield container


class _Forward:
    """A file of which FFmpeg knows only how to read on: it gives what is there rather than wait for a whole buffer.

    Attributes:
        count: bytes that were read.
        is_at_end: whether nothing more came.
    """

    name = ""

    def __init__(self, file: IO[bytes]) -> None:
        self._read: Callable[[int], bytes | None] = getattr(file, "read1", file.read)
        self.count, self.is_at_end = 0, False

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes; none at the end."""
        data = self._read(size) or b""
        self.count += len(data)
        self.is_at_end = not data
        return data


def open_live(
    source: str,
    options: MediaOptions,
    *,
    speed: float = 1.0,
    microphone: str | None = None,
) -> Paced | Pipe:
    """A live source by its name.

    Args:
        source: a file or https URL, which is paced; ``-`` or a named pipe; or a camera: ``camera`` (the first one),
            ``/dev/videoN``, or ``camera:NAME`` with FFmpeg's name of a device.
        options: how it is seen and heard.
        speed: of a file.
        microphone: FFmpeg's name of the device that is heard with a camera; None hears nothing.

    Raises:
        ConfigError: an option that this source does not have.
        MediaError: a named pipe that cannot be opened. MissingPartError: there is no ``ffmpeg`` for a camera.
    """
    check_source(source, start=options.start, end=options.end, speed=speed, microphone=microphone)
    kind = source_kind(source)
    if kind == "file":
        return Paced(source, options, speed)
    if kind == "camera":
        return camera(source, microphone, options)
    if source == "-":
        return Pipe(sys.stdin.buffer, "<stdin>", options)
    try:
        file = Path(source).open("rb")  # noqa: SIM115 - closed by the pipe
    except OSError as error:
        raise MediaError(source, f"cannot be opened ({error.strerror})", remedy="check its permissions") from error
    return Pipe(file, source, options, file.close)


def check_source(source: str, *, start: float | None, end: float | None, speed: float, microphone: str | None) -> None:
    """Raise ConfigError for an option that a source of this kind does not have, and for a stdin that is no stream."""
    kind = source_kind(source)
    if kind != "camera" and microphone is not None:
        raise ConfigError("--microphone is for cameras", remedy="leave it out: a file or pipe brings its own sound")
    given = {"start": start is not None, "end": end is not None, "speed": speed != 1.0}
    named = ", ".join(name for name, there in given.items() if there)
    if kind != "file" and named:
        raise ConfigError(f"{named} is for files: a {kind} comes as it comes", remedy="leave it out")
    if source == "-" and (sys.stdin is None or sys.stdin.isatty()):
        reason = "is closed" if sys.stdin is None else "is a terminal, not a stream"
        raise ConfigError(f"the standard input {reason}", remedy="pipe a stream into the command")


def source_kind(source: str) -> str:
    """``file``, ``pipe`` or ``camera``."""
    if source == "camera" or source.startswith(("camera:", "/dev/video")):
        return "camera"
    if source == "-":
        return "pipe"
    with contextlib.suppress(OSError, ValueError):
        if Path(source).is_fifo():
            return "pipe"
    return "file"


def check_camera(source: str, sight: bool = True) -> None:
    """Raise unless what reads a camera is here, and, as far as a look at its path can tell, the camera itself.

    Args:
        source: as for :func:`open_live`.
        sight: whether its picture is wanted.

    Raises:
        MissingPartError: there is no ``ffmpeg``. MediaError: there is no such device. ConfigError: no device is named.
    """
    camera_program()
    device = camera_device(source)
    if sight and device.startswith("/dev/") and not Path(device).exists():
        raise MediaError(
            source, f"there is no camera at {device}", remedy="connect it, or name another: ls /dev/video*"
        )


def camera_program() -> str:
    """Path of ``ffmpeg``. Raises MissingPartError where it is not installed."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise MissingPartError(
            "reading a camera needs the program ffmpeg, which is not installed",
            remedy="install ffmpeg, or pipe a stream of another program into: video-salmonn live -",
        )
    return program


def camera_device(source: str, platform: str = sys.platform) -> str:
    """FFmpeg's name of a camera. Raises ConfigError for a platform whose devices are not known, or without a name."""
    if platform not in DEVICES:
        raise ConfigError(f"cameras on {platform} are not supported", remedy="pipe a stream into: video-salmonn live -")
    first = {"v4l2": "/dev/video0", "avfoundation": "0", "dshow": ""}[DEVICES[platform][0]]
    device = source.partition(":")[2] if source.startswith("camera:") else first if source == "camera" else source
    if not device:
        raise ConfigError(
            "which camera?", remedy="give camera:NAME; ffmpeg -list_devices true -f dshow -i x names them"
        )
    return device


def camera(source: str, microphone: str | None, options: MediaOptions) -> Pipe:
    """A camera, with a microphone or without, as a pipe that the ``ffmpeg`` program writes.

    Raises:
        MissingPartError: there is no such program. ConfigError: a platform whose devices are not known here.
    """
    process = subprocess.Popen(
        [camera_program(), *camera_arguments(source, microphone, options)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None

    def close() -> None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()

    return Pipe(process.stdout, source, options, close)


def camera_arguments(
    source: str, microphone: str | None, options: MediaOptions, platform: str = sys.platform
) -> list[str]:
    """What ``ffmpeg`` is called with for a camera. Raises ConfigError for a platform whose devices are not known."""
    device = camera_device(source, platform)
    seen, heard = DEVICES[platform]
    found = ["-hide_banner", "-loglevel", "error", "-nostdin", "-fflags", "nobuffer"]
    apart = seen != heard
    if options.use_video:
        name = device if apart else {"avfoundation": f"{device}:none", "dshow": f"video={device}"}[seen]
        found += ["-thread_queue_size", "64", "-f", seen, "-i", name]
    if options.use_audio and microphone is not None:
        name = microphone if apart else {"avfoundation": f"none:{microphone}", "dshow": f"audio={microphone}"}[heard]
        found += ["-thread_queue_size", "1024", "-f", heard, "-i", name]
    if "-i" not in found:
        raise ConfigError("picture and sound of the camera are both switched off", remedy="leave --no-video out")
    return [
        *found,
        "-r",
        "10",
        "-c:v",
        "mjpeg",
        "-q:v",
        "3",
        "-c:a",
        "pcm_s16le",
        "-flush_packets",
        "1",
        "-f",
        "nut",
        "-",
    ]
