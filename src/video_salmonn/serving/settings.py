"""What a server allows: every limit has a default, and a request over one gets a 4xx that names it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from video_salmonn.errors import ConfigError
from video_salmonn.media import Limits
from video_salmonn.media.limits import GIB, MIB

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _fits_header(key: str) -> bool:
    """Whether a client can send a key in a header and it arrives as it was."""
    return key.isascii() and key.isprintable() and key == key.strip()


@dataclass(frozen=True)
class ServerSettings:
    """Limits and places of one server.

    Attributes:
        keys: API keys; a request must bring one of them on every route but ``/health``.
        host: address that is listened on.
        port: its port; 0 for any that is free.
        allow_urls: hosts (``host`` or ``host:port``) that media may be fetched from; none by default.
        max_body_bytes: most bytes of one request body, and of one uploaded file.
        max_bodies_bytes: most bytes of all request bodies that are held at once.
        body_seconds: longest time a client may take to send its body.
        header_seconds: longest time a client may take to send its request's head.
        max_messages: messages of one request.
        max_text: characters of text of one request.
        max_media: media items of one request; images that are frames of one video count once.
        max_media_seconds: longest media item.
        max_frames: images that make one video, and frames taken of one.
        max_pixels: width x height of one picture.
        max_new_tokens: longest answer.
        max_sessions: live sessions (WebSockets) at once.
        max_sessions_per_key: those of one key.
        max_questions: questions of one ``/v1/decisions`` request.
        request_seconds: longest time from the end of a request's body to the end of its answer.
        decode_seconds: longest time for decoding one item, after which its process is killed.
        decode_memory: address space of one decoding process.
        decode_processes: decoding processes.
        max_requests: requests that are read, waiting or answered at once; more get 503 and Retry-After.
        max_requests_per_key: those of one key; more get 429 and Retry-After.
        max_batch: requests that are answered together.
        cache_bytes: encoded media kept for each key.
        max_files: uploaded files of one key.
        max_files_bytes: their bytes.
        file_seconds: how long an uploaded file is kept.
        frames_above: more images than this in one message are read as the frames of one video.
        stall_seconds: without a new token for this long while answering, ``/health`` is 503.
        drain_seconds: after SIGTERM, how long running requests may take to end.
        fetch_seconds: longest time for fetching one URL.
    """

    keys: tuple[str, ...]
    host: str = "127.0.0.1"
    port: int = 8000
    allow_urls: tuple[str, ...] = ()
    max_body_bytes: int = 64 * MIB
    max_bodies_bytes: int = 512 * MIB
    body_seconds: float = 60.0
    header_seconds: float = 10.0
    max_messages: int = 256
    max_text: int = 200_000
    max_media: int = 16
    max_media_seconds: float = 600.0
    max_frames: int = 1200
    max_pixels: int = 36_000_000
    max_new_tokens: int = 512
    max_sessions: int = 16
    max_sessions_per_key: int = 4
    max_questions: int = 200
    request_seconds: float = 300.0
    decode_seconds: float = 60.0
    decode_memory: int = 3 * GIB
    decode_processes: int = 2
    max_requests: int = 64
    max_requests_per_key: int = 32
    max_batch: int = 16
    cache_bytes: int = 256 * MIB
    max_files: int = 100
    max_files_bytes: int = GIB
    file_seconds: float = 24 * 3600.0
    frames_above: int = 8
    stall_seconds: float = 120.0
    drain_seconds: float = 60.0
    fetch_seconds: float = 30.0

    def __post_init__(self) -> None:
        if not self.keys or any(not _fits_header(key) or len(key) < 8 for key in self.keys):
            raise ConfigError(
                "every API key needs at least 8 printable ASCII characters, without spaces around them",
                remedy="give longer or plainer keys, or none at all: one is made then",
            )
        for field in fields(self):
            value: Any = getattr(self, field.name)
            least = 0 if field.name in ("port", "cache_bytes", "frames_above") else 1e-3
            if isinstance(value, (int, float)) and not (value >= least and math.isfinite(value)):
                raise ConfigError(f"{field.name} is {value!r}", remedy="give a finite number above 0")
        if self.port > 65535:
            raise ConfigError(f"port is {self.port}", remedy="give a port of at most 65535, or 0 for any")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOOPBACK

    def limits(self) -> Limits:
        """What decoding one item may cost: no paths and no URLs, everything bounded."""
        return Limits.server(
            max_bytes=self.max_body_bytes,
            max_pixels=self.max_pixels,
            max_seconds=self.max_media_seconds,
            max_frames=self.max_frames,
            on_long="raise",
            max_wall_seconds=self.decode_seconds,
        )
