"""Opening a source with FFmpeg: which formats, and that nothing else is opened along with it."""

from __future__ import annotations

from typing import Any

import av
import av.error
from av.container import InputContainer

from video_salmonn.errors import LimitError, MediaError
from video_salmonn.media.limits import Limits
from video_salmonn.media.source import Opened, in_words

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,av1,obu,ivf,asf,flv,ogg,"
    "wav,w64,flac,mp3,aac,loas,amr,aiff,au,caf,ac3,eac3,ape,wv,tta,dts,mjpeg,nut,mxf,dv,rm,yuv4mpegpipe"
)
"""Demuxers that read everything from the one file they are given. Playlists and device inputs are not among them."""

_MAX_BOXES = 64


class _OtherFileError(PermissionError):
    """The file points to another one."""


def open_container(opened: Opened, limits: Limits) -> InputContainer:
    """Open a source with FFmpeg, which may open nothing else.

    Raises:
        MediaError: it is of no format that is read.
        LimitError: it points to other files.
    """

    def refuse(url: str, flags: int, options: dict[str, str]) -> Any:
        raise _OtherFileError(f"the file asks to open {url!r}")

    remedy = "Check that the file is a complete video, sound or picture file; re-encode it if a player opens it."
    try:
        return av.open(
            opened.file,
            mode="r",
            container_options={"format_whitelist": FORMATS},
            options={"max_pixels": str(limits.max_pixels)},
            buffer_size=256 * 1024,
            metadata_errors="replace",
            io_open=refuse,
        )
    except LimitError:
        raise
    except _OtherFileError as error:
        raise LimitError(
            opened.name, f"points to other files ({error})", remedy="Pass the media file itself."
        ) from None
    except (av.error.FFmpegError, OSError, ValueError, MemoryError, EOFError) as error:
        # FFmpeg's word for a format that is not on the list is "Invalid argument".
        detail = "of no format that is read here" if isinstance(error, av.error.ArgumentError) else in_words(error)
        names, _ = mp4_boxes(opened)
        if names and b"moov" not in names:
            detail = "its index (moov) is missing: the file was cut off or its recording was not finished"
        raise MediaError(opened.name, f"not readable as media: {detail}", remedy=remedy) from error


def mp4_boxes(opened: Opened) -> tuple[list[bytes], int]:
    """Names of the top-level boxes of an MP4 or MOV file, and how many bytes are missing at its end. Else nothing."""
    file, position = opened.file, 0
    names: list[bytes] = []
    assert file is not None
    size = 0
    while len(names) < _MAX_BOXES:
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            break
        size, name = int.from_bytes(header[:4], "big"), header[4:8]
        if size == 1 and len(header) == 16:
            size = int.from_bytes(header[8:], "big")
        if not names and name not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            break
        names.append(name)
        if size < 8:  # 0: up to the end of the file
            break
        position += size
    file.seek(0)
    missing = position - (opened.size or 0)
    return names, missing if names and size >= 8 and missing > 0 else 0
