"""Where a server listens and logs, and the keys it makes: nothing here imports a server or PyTorch."""

from __future__ import annotations

import logging
import secrets
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from video_salmonn.errors import ConfigError


def new_key() -> str:
    """An API key that nobody can guess."""
    return f"vs-{secrets.token_urlsafe(24)}"


def log_to_stderr() -> None:
    """Write the log's warnings to stderr, with times."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """A block in which uvicorn runs, which SIGTERM and SIGINT end and not the process with it.

    uvicorn raises the signal that ended it once more in the end; here that is no reason to die by it.
    """
    known = {number: signal.signal(number, _ended) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in known.items():
            signal.signal(number, handler)


def _ended(number: int, frame: FrameType | None) -> None:
    """The server has ended already."""


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket at an address of this machine; port 0 is any that is free.

    Raises:
        ConfigError: the address cannot be had.
    """
    if not host:  # the system would take it for every address of this machine
        raise ConfigError("the host is empty", remedy="give --host ADDRESS, or leave it out for this machine only")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except (OSError, UnicodeError) as error:  # the latter for a name that no host can have
        sock.close()
        raise ConfigError(
            f"cannot listen on {host}:{port} ({getattr(error, 'strerror', None) or error})",
            remedy="give another --host, another --port, or --port 0 for any that is free",
        ) from error
    return sock
