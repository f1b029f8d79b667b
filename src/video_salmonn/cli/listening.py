"""What the commands that listen for clients share: ``serve`` and ``web``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from video_salmonn.cli.output import stderr
from video_salmonn.errors import ConfigError, MissingPartError

if TYPE_CHECKING:
    from video_salmonn.serving.settings import ServerSettings

HOST = typer.Option("127.0.0.1", "--host", help="Address to listen on; by default this machine only.")
MAX_SECONDS = typer.Option(600, "--max-media-seconds", min=1, help="Longest media item.")
PACKAGES = ("fastapi", "starlette", "uvicorn", "prometheus_client", "pydantic")
"""What the extra ``serve`` brings."""


@contextmanager
def packages(extra: str, *more: str) -> Iterator[None]:
    """A block of imports that need the packages of an extra: :data:`PACKAGES` and ``more``.

    Raises:
        MissingPartError: one of them is not installed.
    """
    try:
        yield
    except ImportError as error:
        if (error.name or "").split(".")[0] not in (*PACKAGES, *more):
            raise
        raise MissingPartError(
            f"the packages of the extra {extra!r} are not installed ({error.name})",
            remedy=f'pip install "video-salmonn[{extra}]"',
        ) from error


def settings_of(keys: Sequence[str], *, mib: float, seconds: float, **more: Any) -> ServerSettings:
    """A server's settings.

    Args:
        keys: of clients; without any, a new one is made.
        mib: largest file.
        seconds: longest media item.
        **more: fields of :class:`~video_salmonn.serving.settings.ServerSettings`.

    Raises:
        ConfigError: a value is impossible, or the address cannot be had.
    """
    from video_salmonn.serving.listening import bound_socket, new_key
    from video_salmonn.serving.settings import ServerSettings

    for name, value in (("the largest file in MiB", mib), ("the longest media item in seconds", seconds)):
        if not math.isfinite(value):
            raise ConfigError(f"{name} is {value:g}", remedy="give a finite number")
    settings = ServerSettings(
        keys=tuple(dict.fromkeys(keys)) or (new_key(),),
        max_body_bytes=int(mib * (1 << 20)),
        max_media_seconds=seconds,
        max_frames=max(1200, int(2 * seconds)),
        **more,
    )
    bound_socket(settings.host, settings.port).close()  # an address that cannot be had is said before a model is loaded
    return settings


def note_reach(settings: ServerSettings) -> None:
    """Say so where other machines can reach the server."""
    if not settings.is_loopback:
        stderr.print("note: other machines can reach it; put TLS in front of it", style="yellow")
