"""Whatever the caller has — path, bytes, file object, URL, array — becomes one opened source.

Decisions:

* FFmpeg never opens anything. Files are opened here, checked to be regular files, and handed over as file objects; the
  demuxer may not open further files (playlists, references), and only formats that hold their media inside are allowed.
* The content decides what a file is, never its name: a JPEG called ``.mp4`` is a picture, a web page called ``.mp4`` is
  refused as a web page.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Literal

import numpy as np
from PIL import Image

from video_salmonn.errors import EmptyMediaError, LimitError, MediaError
from video_salmonn.media.limits import MIB, Limits, display_url
from video_salmonn.media.remote import download
from video_salmonn.wording import agree, counted

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SNIFF = 4096
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"miaf")
"""Brands of still pictures; sequences (``hevc``, ``msf1``) are read as videos."""
_OPEN_REMEDY = "Pass a video, sound or picture file."


@dataclass(frozen=True, slots=True)
class ArrayVideo:
    """Frames that are already decoded.

    Attributes:
        frames: ``uint8`` of shape ``(T, H, W, 3)``, RGB.
        fps: frames per second; frame ``k`` is shown from ``k / fps`` on.
    """

    frames: np.ndarray
    fps: float


@dataclass(frozen=True, slots=True)
class ArraySound:
    """Sound that is already decoded.

    Attributes:
        samples: shape ``(n,)`` or ``(n, channels)``; floats in [-1, 1], or int16/int32/uint8 at full scale.
        rate: samples per second.
    """

    samples: np.ndarray
    rate: int


MediaSource = str | os.PathLike[str] | bytes | IO[bytes] | ArrayVideo | ArraySound | np.ndarray | Image.Image | tuple
"""What can be loaded. A tuple is ``(array, frames or samples per second)``; a bare ``(H, W, 3)`` array is a picture."""


@dataclass(slots=True)
class Opened:
    """One opened source.

    Attributes:
        name: how messages and reports call it.
        kind: ``container`` and ``picture`` read from ``file``; ``frames``, ``samples`` and ``image`` hold ``array``.
        file: the guarded file object, at position 0.
        size: bytes, where known.
        array: the decoded input.
    """

    name: str
    kind: Literal["container", "picture", "frames", "samples", "image"]
    file: GuardedFile | None = None
    size: int | None = None
    array: Any = None


class GuardedFile:
    """A seekable binary file that stops answering once the time for this media item is over."""

    name = ""  # no hint for the demuxer: content decides

    def __init__(self, file: IO[bytes], source: str, deadline: float | None, seconds: float | None) -> None:
        self._file = file
        self._source = source
        self._deadline = deadline
        self._seconds = seconds
        self.failure: OSError | None = None
        """The first error of the system while this file was read."""
        self.ends_there = False
        """Whether the file ends for its reader where it cannot be read, so that what came before is used."""

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` bytes."""
        self.check_time()
        if self.failure is not None and self.ends_there:
            return b""
        try:
            return self._file.read(size)
        except OSError as error:
            self.failure = self.failure or error
            if self.ends_there:
                return b""
            raise

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move the position."""
        try:
            return self._file.seek(offset, whence)
        except OSError as error:
            self.failure = self.failure or error
            raise

    def tell(self) -> int:
        """The position."""
        return self._file.tell()

    def check_time(self) -> None:
        """Raise LimitError when the time allowed for this item is over."""
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise LimitError(
                self._source,
                f"not decoded within {self._seconds:g} s",
                remedy="Use a shorter or smaller file, or raise Limits.max_wall_seconds.",
            )


def source_name(source: MediaSource) -> str:
    """How messages and reports call ``source``: a path, a URL without its query, ``<bytes>`` or ``<array>``."""
    if isinstance(source, str) and _SCHEME.match(source):
        return display_url(source)
    if isinstance(source, (str, os.PathLike)):
        return os.fsdecode(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "<bytes>"
    if hasattr(source, "read"):
        name = getattr(source, "name", None)
        return name if isinstance(name, str) and name else "<file object>"
    return "<array>"


@contextlib.contextmanager
def errors_name(source: MediaSource) -> Iterator[None]:
    """Whatever the system raises inside (permissions, a failing disk, a share that went away) is a MediaError."""
    try:
        yield
    except OSError as error:
        raise _unreadable(source_name(source), error) from error


def in_words(error: BaseException) -> str:
    """The reason of an error, without its number and file name."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _unreadable(name: str, error: Exception) -> MediaError:
    return MediaError(
        name, f"cannot be read ({in_words(error)})", remedy="Check the file, its permissions and its disk."
    )


@contextlib.contextmanager
def open_source(source: MediaSource, limits: Limits) -> Iterator[Opened]:
    """Open ``source`` for reading and close again what was opened here (never the caller's own file object).

    Raises:
        MediaError: no such file, not a regular file, not media, a malformed array; or reading it failed, now or later.
        EmptyMediaError: zero bytes, an empty array.
        LimitError: too large, or from a place that is not allowed.
    """
    name = source_name(source)
    with contextlib.ExitStack() as cleanup:
        try:
            if isinstance(source, str) and _SCHEME.match(source):
                file: IO[bytes] | None = cleanup.enter_context(download(source, limits))
            elif isinstance(source, (str, os.PathLike)):
                file = cleanup.enter_context(_open_path(source, name, limits))
            elif isinstance(source, (bytes, bytearray, memoryview)):
                file = io.BytesIO(source)
            elif hasattr(source, "read"):
                file = _seekable(source, name, limits, cleanup)
            else:
                file = None
            opened = _open_array(source, name) if file is None else _opened_file(file, name, limits)
        except (OSError, ValueError) as error:  # ValueError: a file object that is closed
            raise _unreadable(name, error) from error
        try:
            yield opened
        except (OSError, MediaError) as error:
            failure = None if opened.file is None else opened.file.failure
            if failure is None or isinstance(error, LimitError):
                raise  # of another file, or not for want of reading
            raise _unreadable(name, failure) from error


def _open_path(path: str | os.PathLike[str], name: str, limits: Limits) -> IO[bytes]:
    if not limits.allow_files:
        raise LimitError(name, "opening files of this machine is switched off", remedy="Upload the file itself.")
    try:
        # O_NONBLOCK so that a FIFO without a writer does not hang before fstat can refuse it.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise MediaError(name, "no such file", remedy="Check the path.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise MediaError(name, f"cannot be opened ({reason})", remedy="Check the path and its permissions.") from None
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise MediaError(name, f"is {_kind(mode)}, not a regular file", remedy=_OPEN_REMEDY)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _kind(mode: int) -> str:
    kinds = {stat.S_ISDIR: "a directory", stat.S_ISFIFO: "a named pipe", stat.S_ISSOCK: "a socket"}
    return next((text for test, text in kinds.items() if test(mode)), "a device")


def _seekable(source: Any, name: str, limits: Limits, cleanup: contextlib.ExitStack) -> IO[bytes]:
    """The caller's own file object, or a bounded temporary copy when it cannot seek."""
    if isinstance(source, io.TextIOBase):
        raise MediaError(name, "is a text file object", remedy="Open the file in binary mode ('rb').")
    if callable(getattr(source, "seekable", None)) and source.seekable():
        source.seek(0)
        return source
    copy = cleanup.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  (closed by the stack)
    received = 0
    while chunk := source.read(MIB):
        if not isinstance(chunk, bytes):
            raise MediaError(name, "does not yield bytes", remedy="Open the file in binary mode ('rb').")
        received += len(chunk)
        if received > limits.max_download_bytes:
            raise LimitError(
                name,
                f"sends more than the allowed {limits.max_download_bytes / MIB:g} MiB",
                remedy="Save it to a file first, or raise Limits.max_download_bytes.",
            )
        copy.write(chunk)
    copy.seek(0)
    return copy


def _opened_file(file: IO[bytes], name: str, limits: Limits) -> Opened:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size == 0:
        raise EmptyMediaError(name, "holds zero bytes", remedy=_OPEN_REMEDY)
    if limits.max_bytes is not None and size > limits.max_bytes:
        raise LimitError(
            name,
            f"holds {size / MIB:.1f} MiB, more than the allowed {limits.max_bytes / MIB:g} MiB",
            remedy="Use a smaller file or raise Limits.max_bytes.",
        )
    head = file.read(_SNIFF)
    file.seek(0)
    text = _looks_like_text(head)
    if text:
        raise MediaError(name, f"is {text}, not media", remedy=_OPEN_REMEDY)
    seconds = limits.max_wall_seconds
    deadline = None if seconds is None else time.monotonic() + seconds
    guarded = GuardedFile(file, name, deadline, seconds)
    return Opened(name, "picture" if is_picture(head) else "container", guarded, size)


def is_picture(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is read as a picture (or animated picture) rather than a container."""
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*")):
        return True
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return True
    return (head[:2] == b"BM" and head[6:10] == b"\0\0\0\0") or bool(heif_kind(head))


def heif_kind(head: bytes) -> str:
    """``avif`` or ``heif`` for a file that begins with ``head`` and is a picture in that container, else ""."""
    if head[4:8] != b"ftyp":
        return ""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, size - 3, 4))]
    if brands[0] in (b"avif", b"avis") or (brands[0] in _HEIF and b"avif" in brands):
        return "avif"
    return "heif" if brands[0] in _HEIF else ""


def _looks_like_text(head: bytes) -> str:
    lowered = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if lowered.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a web page (HTML)"
    if lowered.startswith((b"<?xml", b"<svg")):
        return "an XML document"
    if lowered.startswith(b"#extm3u"):
        return "a playlist that points to other files"
    if b"\0" not in head and not head.startswith(b"ID3"):
        with contextlib.suppress(UnicodeDecodeError):
            printable = head[: max(1, len(head) - 3)].decode("utf-8")
            if sum(c.isprintable() or c in "\r\n\t\f" for c in printable) == len(printable):
                return "a text file"
    return ""


def _open_array(source: Any, name: str) -> Opened:
    if isinstance(source, Image.Image):
        return Opened(name, "image", array=source)
    if isinstance(source, np.ndarray):
        if source.ndim == 3 and source.shape[-1] == 3 and source.dtype == np.uint8 and source.size:
            return Opened(name, "image", array=Image.fromarray(source))
        raise MediaError(
            name,
            f"a bare array must be a picture, uint8 (H, W, 3), not {source.dtype} {source.shape}",
            remedy="Pass ArrayVideo(frames, fps) or ArraySound(samples, rate).",
        )
    if isinstance(source, tuple) and len(source) == 2 and isinstance(source[0], np.ndarray):
        array, rate = source
        source = ArrayVideo(array, rate) if array.ndim == 4 else ArraySound(array, rate)
    if isinstance(source, ArrayVideo):
        return Opened(name, "frames", array=_checked_frames(source, name))
    if isinstance(source, ArraySound):
        return Opened(name, "samples", array=_checked_samples(source, name))
    raise MediaError(
        name,
        f"cannot load media from {type(source).__name__}",
        remedy="Pass a path, bytes, binary file object, https URL, ArrayVideo or ArraySound.",
    )


def _checked_frames(video: ArrayVideo, name: str) -> ArrayVideo:
    frames = np.asarray(video.frames)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise MediaError(
            name,
            f"frames must be uint8 (T, H, W, 3), not {frames.dtype} {frames.shape}",
            stream="video",
            remedy="Convert the frames to RGB bytes, time first and channels last.",
        )
    if not frames.size:
        raise EmptyMediaError(name, f"an empty array {frames.shape}", stream="video", remedy="Pass at least one frame.")
    if not (np.isfinite(video.fps) and 0 < video.fps <= 10_000):
        raise MediaError(name, f"fps is {video.fps!r}", stream="video", remedy="Give frames per second, above 0.")
    return ArrayVideo(frames, float(video.fps))


def _checked_samples(sound: ArraySound, name: str) -> ArraySound:
    """Float32 samples of shape ``(n, channels)`` in [-1, 1]."""
    samples = np.asarray(sound.samples)
    where = {"stream": "audio"}
    if samples.ndim == 1:
        samples = samples[:, None]
    if samples.ndim != 2 or samples.shape[1] > 64 or samples.dtype.kind not in "fiu":
        raise MediaError(
            name,
            f"samples must be numbers of shape (n,) or (n, channels), not {samples.dtype} {samples.shape}",
            remedy="Put time first and channels last.",
            **where,
        )
    if not samples.size:
        raise EmptyMediaError(name, "an empty array of samples", remedy="Pass at least one sample.", **where)
    if not (np.isfinite(sound.rate) and 100 <= sound.rate <= 1_000_000 and int(sound.rate) == sound.rate):
        raise MediaError(name, f"rate is {sound.rate!r}", remedy="Give whole samples per second, 100 to 1e6.", **where)
    if samples.dtype.kind == "f":
        bad = samples.size - int(np.isfinite(samples).sum())
        if bad:
            raise MediaError(
                name,
                f"{bad} of {counted(samples.size, 'sample')} {agree(bad, 'are')} NaN or infinite",
                remedy="Clean it.",
                **where,
            )
        if np.abs(samples).max() > 1e4:
            raise MediaError(
                name, "float samples far outside [-1, 1]", remedy="Scale to [-1, 1], or pass integers.", **where
            )
        scaled = samples.astype(np.float32)
    elif samples.dtype in (np.int16, np.int32):
        scaled = (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
    elif samples.dtype == np.uint8:
        scaled = ((samples.astype(np.float32) - 128) / 128).astype(np.float32)
    else:
        raise MediaError(
            name, f"samples of type {samples.dtype} have no known scale", remedy="Use float, int16, int32.", **where
        )
    return ArraySound(np.ascontiguousarray(scaled), int(sound.rate))
