"""``/v1/video/chat/stream``: a WebSocket that is sent pictures and sound as they come, with vLLM-Omni's event names."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from fastapi import FastAPI, WebSocket
from starlette.websockets import WebSocketDisconnect

from video_salmonn.serving.guard import log_fault
from video_salmonn.serving.live_channel import Channel
from video_salmonn.serving.live_stream import LiveStream
from video_salmonn.serving.problems import RequestProblem, problem_of
from video_salmonn.serving.service import Service

PATH = "/v1/video/chat/stream"


class Rooms:
    """Sessions that are open, by key.

    Args:
        service: whose settings say how many there may be.
    """

    def __init__(self, service: Service) -> None:
        self._settings = service.settings
        self._by_key: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """Sessions of all keys."""
        return self._by_key.total()

    @contextlib.contextmanager
    def room(self, owner: str) -> Iterator[None]:
        """A place for a session. Raises RequestProblem where there is none."""
        settings = self._settings
        if self.open >= settings.max_sessions:
            raise RequestProblem(503, "the server has reached its limit of live sessions", remedy="try again later")
        if self._by_key[owner] >= settings.max_sessions_per_key:
            raise RequestProblem(
                429, f"this key has {settings.max_sessions_per_key} live sessions, which is the limit", remedy="end one"
            )
        self._by_key[owner] += 1
        try:
            yield
        finally:
            self._by_key[owner] -= 1


def add_live(app: FastAPI, service: Service) -> None:
    """Add the route."""
    rooms = Rooms(service)
    service.metrics.gauge("websocket_connections_active", "Live sessions.", lambda: rooms.open)

    @app.websocket(PATH)
    async def chat_stream(websocket: WebSocket) -> None:
        await websocket.accept()
        channel = Channel(websocket)
        code = 1000
        try:
            with rooms.room(websocket.state.owner):
                await LiveStream(channel, service).run()
        except WebSocketDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - told to the client in one form
            problem = problem_of(error)
            if problem.status >= 500 and problem.status != 503:
                log_fault(error)
            code = 1013 if problem.status in (429, 503) else 1008 if problem.status < 500 else 1011
            await channel.error(problem)
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await websocket.close(code)
