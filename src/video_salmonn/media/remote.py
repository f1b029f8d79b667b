"""Fetch one media file over https into a temporary file, under the policy of :mod:`video_salmonn.media.limits`.

The standard library's client is used rather than a larger one because the connection has to go to the very address that
was checked (no second name resolution), and no client with connection pooling offers that without replacing its
transport.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import IO
from urllib.parse import urljoin

from video_salmonn.errors import LimitError, MediaError
from video_salmonn.media.limits import MIB, Limits, check_url, display_url, resolve_public
from video_salmonn.wording import counted

_CHUNK = 256 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)


def tls_context() -> ssl.SSLContext:
    """Certificate checking as the system does it."""
    return ssl.create_default_context()


class _PinnedConnection(http.client.HTTPSConnection):
    """Speaks TLS for ``host`` with the address that was checked."""

    def __init__(self, host: str, port: int, address: tuple[int, str], limits: Limits) -> None:
        self._tls = tls_context()
        super().__init__(host, port, timeout=limits.connect_seconds, context=self._tls)
        self._pinned = address
        self._limits = limits

    def connect(self) -> None:
        family, address = self._pinned
        raw = socket.socket(family, socket.SOCK_STREAM)
        try:
            self.sock = raw  # known from here on to the watchdog that cuts it
            raw.settimeout(self._limits.connect_seconds)
            raw.connect((address, self.port))
            self.sock = self._tls.wrap_socket(raw, server_hostname=self.host)
            self.sock.settimeout(self._limits.idle_seconds)
        except BaseException:
            self.sock = None
            raw.close()
            raise


def download(url: str, limits: Limits) -> IO[bytes]:
    """Fetch ``url`` and return a seekable temporary file at position 0 (deleted when closed).

    Raises:
        LimitError: forbidden scheme, host or address; too many redirects; too large; too slow.
        MediaError: the server cannot be reached, answers with an error, or sends nothing.
    """
    deadline = time.monotonic() + limits.download_seconds
    for _ in range(limits.max_redirects + 1):
        target = _attempt(url, limits, deadline)
        if not isinstance(target, str):
            return target
        url = target
    raise LimitError(
        display_url(url),
        f"more than {limits.max_redirects} redirects",
        remedy="Use the address the redirects end at, or raise Limits.max_redirects.",
    )


def _attempt(url: str, limits: Limits, deadline: float) -> IO[bytes] | str:
    """One request: the body in a temporary file, or the URL that the server redirects to."""
    name = display_url(url)
    parts = check_url(url, limits)
    host, port = str(parts.hostname), parts.port or 443
    failure: Exception | None = None
    for address in resolve_public(host, port, limits, name):
        connection = _PinnedConnection(host, port, address, limits)
        try:
            with _closed_at(connection, deadline):
                connection.connect()
                path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                headers = {"Accept": "video/*, audio/*, image/*", "Accept-Encoding": "identity"}
                connection.request("GET", path, headers=headers)
                return _answer(connection.getresponse(), url, limits, deadline)
        except (OSError, http.client.HTTPException, ValueError) as error:
            _raise_if_slow(error, name, limits, deadline)
            failure = error
            if connection.sock is not None:  # it did connect: another address would not help
                break
        finally:
            connection.close()
    raise MediaError(name, f"cannot be fetched ({failure})", remedy="Check the URL and the network.") from failure


def _answer(response: http.client.HTTPResponse, url: str, limits: Limits, deadline: float) -> IO[bytes] | str:
    name = display_url(url)
    if response.status in _REDIRECTS:
        location = response.getheader("Location")
        if not location:
            raise MediaError(name, f"HTTP {response.status} without a Location", remedy="Check the URL.")
        if limits.max_redirects == 0:
            raise LimitError(
                name, "the server redirects and redirects are not followed", remedy="Use the final address."
            )
        return urljoin(url, location)
    if response.status != 200:
        raise MediaError(name, f"the server answered HTTP {response.status}", remedy="Check that the URL is reachable.")
    announced = response.length
    if announced is not None and announced > limits.max_download_bytes:
        _too_large(name, limits)
    body = tempfile.TemporaryFile()  # noqa: SIM115  (the caller closes it)
    try:
        received = 0
        while chunk := response.read1(_CHUNK):
            received += len(chunk)
            if received > limits.max_download_bytes:
                _too_large(name, limits)
            if time.monotonic() > deadline:
                raise TimeoutError
            body.write(chunk)
        if time.monotonic() >= deadline - 0.05:  # the end may be the watchdog's cut
            raise TimeoutError
        if announced is not None and received < announced:
            raise MediaError(
                name, f"the connection ended after {received} of {counted(announced, 'byte')}", remedy="Fetch it again."
            )
        body.seek(0)
    except BaseException:
        body.close()
        raise
    return body


def _too_large(name: str, limits: Limits) -> None:
    raise LimitError(
        name,
        f"larger than the allowed {limits.max_download_bytes / MIB:g} MiB",
        remedy="Use a smaller file or raise Limits.max_download_bytes.",
    )


def _raise_if_slow(error: Exception, name: str, limits: Limits, deadline: float) -> None:
    if time.monotonic() >= deadline - 0.05:
        raise LimitError(
            name,
            f"not fetched within {limits.download_seconds:g} s",
            remedy="Use a faster server or raise Limits.download_seconds.",
        ) from error
    if isinstance(error, TimeoutError):
        raise LimitError(
            name,
            "the server stopped sending"
            f" (nothing for {limits.idle_seconds:g} s, or no connection within {limits.connect_seconds:g} s)",
            remedy="Use a faster server or raise Limits.idle_seconds.",
        ) from error


@contextlib.contextmanager
def _closed_at(connection: http.client.HTTPSConnection, deadline: float) -> Iterator[None]:
    """Cut the connection at the deadline: a server that drips one byte at a time never trips an idle time-out."""

    def cut() -> None:
        sock = connection.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                # The raw socket, not the TLS layer, which would wait for the peer.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
