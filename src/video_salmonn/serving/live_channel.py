"""The wire of a live session: JSON messages of one WebSocket, those that wait, and how much either may hold."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from typing import Any

from fastapi import WebSocket
from pydantic import BaseModel, ConfigDict, Field
from starlette.websockets import WebSocketDisconnect

from video_salmonn.serving.problems import RequestProblem

FRAME_BYTES = 10 << 20
"""Most base64 characters of one picture."""
AUDIO_BYTES = 4 << 20
"""Most bytes of one portion of sound."""
MESSAGE_BYTES = 12 << 20
"""Most bytes of one message; uvicorn closes the connection at larger ones."""
QUEUED_MESSAGES = 200
QUEUED_BYTES = 16 << 20
"""Most messages that wait, and bytes of them, before no more are read."""
QUEUED_FRAMES = 64


class SessionConfig(BaseModel):
    """What a client may say in ``session.config``: vLLM-Omni's fields, and this server's own."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    system_prompt: str | None = Field(default=None, max_length=20_000)
    use_audio_in_video: bool = True
    num_frames: int = Field(default=4, ge=1, le=128)
    max_frames: int = Field(default=50, ge=1, le=256)
    question: str | None = Field(default=None, max_length=20_000)
    transcribe: bool = False
    every: float | None = None
    context: float | None = None
    max_tokens: int | None = Field(default=None, ge=1)

    def without_effect(self) -> list[str]:
        """Names that were given and change nothing here: two pictures a second are seen, whatever they are."""
        known = {"model", "system_prompt", "use_audio_in_video", "question", "transcribe", "every", "context"}
        return sorted(self.model_fields_set - known - {"max_tokens"} | set(self.model_extra or {}))


class Channel:
    """JSON messages of one WebSocket, one at a time."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._sending = asyncio.Lock()

    async def send(self, kind: str, **fields: Any) -> None:
        """Send an event; nothing where the client has left."""
        text = json.dumps({"type": kind, **fields}, allow_nan=False)  # ASCII: lone surrogates can be written
        async with self._sending:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await self._websocket.send_text(text)

    async def error(self, problem: RequestProblem) -> None:
        """Send an error in vLLM-Omni's form, with its status."""
        await self.send("error", message=problem.body()["error"]["message"], code=problem.status)

    async def receive(self, seconds: float, late: str) -> tuple[dict[str, Any], int]:
        """The next message and its length.

        Raises:
            RequestProblem: it does not come in time, or is not a JSON object. WebSocketDisconnect: the client left.
        """
        try:
            async with asyncio.timeout(seconds):
                text = await self._websocket.receive_text()
        except TimeoutError:
            raise RequestProblem(408, late) from None
        except KeyError:
            text = None
        if not isinstance(text, str):
            raise RequestProblem(400, "messages are JSON text, not bytes")
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            raise RequestProblem(400, "a message is not valid JSON") from None
        if not isinstance(message, dict):
            raise RequestProblem(400, "a message must be a JSON object")
        return message, len(text)


class Inbox:
    """Messages that wait to be handled, within bounds."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[dict[str, Any] | Exception, int]] = deque()
        self._bytes = self._frames = 0
        self._changed = asyncio.Condition()

    def _full(self) -> bool:
        full = len(self._waiting) >= QUEUED_MESSAGES or self._frames >= QUEUED_FRAMES
        return full or (self._bytes >= QUEUED_BYTES)

    async def put(self, item: dict[str, Any] | Exception, size: int = 0) -> None:
        """Add a message, or why no more come; waits while the inbox is full."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._full())
            self._waiting.append((item, size))
            self._bytes += size
            self._frames += isinstance(item, dict) and item.get("type") == "video.frame"
            self._changed.notify_all()

    async def get(self) -> dict[str, Any] | Exception:
        """The oldest message; waits for one."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._waiting))
            item, size = self._waiting.popleft()
            self._bytes -= size
            self._frames -= isinstance(item, dict) and item.get("type") == "video.frame"
            self._changed.notify_all()
        return item
