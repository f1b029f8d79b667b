"""Running the application: uvicorn, with a limit on how long a request's head may take, and an end that drains."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from video_salmonn.serving.app import create_app
from video_salmonn.serving.guard import HEAD_BYTES
from video_salmonn.serving.listening import bound_socket, ended_by_signals
from video_salmonn.serving.live_channel import MESSAGE_BYTES
from video_salmonn.serving.service import Service


def timed_heads(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's protocol, which by itself waits for the first request of a connection for ever.

    Args:
        seconds: from a connection's beginning to the end of its first request's head.
    """

    class TimedHeads(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.timer = self.loop.call_later(seconds, self._close_if_silent)

        def _close_if_silent(self) -> None:
            live = self.transport.get_protocol() is not self  # the connection became a WebSocket
            if self.cycle is None and not live and not self.transport.is_closing():
                self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            self.timer.cancel()
            super().connection_lost(exc)

    return TimedHeads


class Server(uvicorn.Server):
    """A uvicorn server that says when it is ready.

    Args:
        service: answers.
        ready: called once with the address it listens on.
    """

    def __init__(self, service: Service, ready: Callable[[str], None] | None = None) -> None:
        settings = service.settings
        config = uvicorn.Config(
            create_app(service),
            http=timed_heads(settings.header_seconds),
            ws="websockets-sansio",
            ws_max_size=MESSAGE_BYTES,
            ws_per_message_deflate=False,  # a small message could inflate to any size
            lifespan="on",
            log_config=None,
            access_log=False,  # it writes whole paths; the guard logs the route
            server_header=False,
            date_header=True,
            h11_max_incomplete_event_size=4 * HEAD_BYTES,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=int(max(1, settings.drain_seconds)),
            limit_concurrency=4 * settings.max_requests + 64,
            proxy_headers=False,
        )
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.started and self._ready is not None and sockets:
            host, port = sockets[0].getsockname()[:2]
            self._ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")


def serve(service: Service, ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first, for ``drain_seconds`` at most.

    Args:
        service: answers.
        ready: called once with the address.

    Raises:
        ConfigError: the address cannot be had.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    sock = bound_socket(service.settings.host, service.settings.port)
    server = Server(service, ready)
    try:
        with ended_by_signals():
            server.run(sockets=[sock])
    finally:
        sock.close()
