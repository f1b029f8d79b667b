"""What the page plays: the media file itself, within the page where it is small, or by its place beside the page.

Nothing is fetched from the network and nothing is converted: what browsers cannot play is named, not played.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from video_salmonn.inspection.timeline import Timeline

EMBEDDED = 2 << 20
"""Largest file in bytes that is put into the page (a third more as text)."""
_HEAD = 64


@dataclass(frozen=True)
class PlayedFile:
    """A file to play: its address, and its bytes' kind as far as it is known."""

    address: str
    mime: str


@dataclass(frozen=True)
class Player:
    """What the page plays.

    Attributes:
        main: the picture's file, or the sound's where there is no moving picture; None where nothing can be played.
        moving: whether ``main`` has moving pictures.
        sound: a separate sound file that plays along.
        muted: the file's own sound was not listened to.
        reason: why nothing is played, or where the file has to stay; "" where neither.
    """

    main: PlayedFile | None
    moving: bool = False
    sound: PlayedFile | None = None
    muted: bool = False
    reason: str = ""


def player_of(
    timeline: Timeline, source: Any, sound: Any = None, page: Path | None = None, address: str | None = None
) -> Player:
    """How a page plays a clip.

    Args:
        timeline: of the clip.
        source, sound: as they were given to :func:`~video_salmonn.inspection.inspecting.inspect_media`.
        page: where the page will lie; None where that is not known: then only small files are played.
        address: of the source file, for a page that a server sends: then nothing is put into the page.
    """
    own = [stream for stream in timeline.report.streams if not stream.get("source")]  # not those of a separate sound
    kinds = {stream.get("kind") for stream in own}
    moving = "video" in kinds and timeline.report.seen.status != "absent"
    tracks: list[PlayedFile] = []
    for given in (source, sound):
        if given is None or (given is source and not moving and "audio" not in kinds):  # a still picture
            continue
        kind = "video" if given is source and moving else "audio"
        found = _track(given, page, kind, address if given is source else None)
        if isinstance(found, str):
            return Player(None, reason=found)
        tracks.append(found)
    if not tracks:
        return Player(None, reason="A picture is not played; the frames below show it.")
    linked = [track for track in tracks if not track.address.startswith("data:") and track.address != address]
    reason = "The page plays the file from where it lies: keep page and file at their places." if linked else ""
    muted = sound is None and timeline.report.heard.status == "off"
    return Player(tracks[0], moving, tracks[1] if len(tracks) > 1 else None, muted, reason)


def _track(source: Any, page: Path | None, kind: str, address: str | None = None) -> PlayedFile | str:
    """A file to play, or the reason why not."""
    if isinstance(source, bytes):
        head, size, path = source[:_HEAD], len(source), None
    elif isinstance(source, (str, os.PathLike)) and Path(source).is_file():
        path = Path(source)
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    elif isinstance(source, str) and "://" in source:
        return "The media came from the network; the page fetches nothing, so it does not play them."
    else:
        return "The media are not a file, so the page cannot play them."
    mime = _mime(head, kind)
    if mime is None:
        return "Browsers do not play files of this kind; the page shows what the model saw and heard."
    if address is not None:
        return PlayedFile(address, mime)
    if size <= EMBEDDED:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        return PlayedFile(f"data:{mime};base64,{base64.b64encode(data).decode()}", mime)
    if path is None or page is None:
        return f"The media are larger than the {EMBEDDED >> 20} MiB that are put into a page."
    return PlayedFile(_address(path, page), mime)


def _address(path: Path, page: Path) -> str:
    """The file as seen from the page's folder, as a URL."""
    try:
        relative = os.path.relpath(path.absolute(), page.absolute().parent)
    except ValueError:  # another drive
        return path.absolute().as_uri()
    return "./" + quote(os.fsencode(Path(relative).as_posix()))


def _mime(head: bytes, kind: str) -> str | None:
    """The kind of file by its first bytes, as far as browsers play it."""
    if head[4:8] == b"ftyp":
        return f"{kind}/mp4"
    if head[:4] == b"\x1aE\xdf\xa3":
        return f"{kind}/webm"
    if head[:4] == b"OggS":
        return f"{kind}/ogg"
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "audio/wav"
    if head[:4] == b"fLaC":
        return "audio/flac"
    if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2):
        return "audio/mpeg"
    return None
