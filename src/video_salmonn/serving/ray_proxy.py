"""What Ray Serve's proxies say when no replica answers, in OpenAI's shape.

A proxy by itself answers with plain text, and cuts a stream off, when the replica behind it dies. Its processes take
this middleware from the import path in ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH``; see :data:`ENVIRONMENT`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.middleware import Middleware

from video_salmonn.serving.asgi import Message, Receive, Scope, Send
from video_salmonn.serving.problems import RequestProblem, error_events

CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
ENVIRONMENT = {
    CALLBACK: "video_salmonn.serving.ray_proxy.middlewares",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
}
"""Environment of the processes of Ray Serve's controller and proxies. By default a proxy has 5 s to be ready."""
PATIENCE = {"RAY_agent_register_timeout_ms": "120000", "RAY_worker_register_timeout_seconds": "300"}
"""Environment of Ray itself on a slow machine. By default the process that prepares environments has 30 s, after which
the whole machine leaves the cluster, and other processes have 60 s."""
_REFUSALS = {
    404: "there is no such route",
    408: "the answer took longer than the cluster allows",
    429: "the cluster is full",
    503: "the cluster is full",
}


def middlewares() -> list[Middleware]:
    """For every proxy; Ray Serve calls it."""
    return [Middleware(OneClearError)]


class OneClearError:
    """ASGI middleware around a proxy: a request whose replica dies, or that no replica takes, gets one clear error.

    Only paths with ``/v1/`` in them are touched: a cluster may run other applications behind the same proxies.

    Args:
        app: the proxy.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and complete what is answered to it."""
        if "/v1/" not in scope.get("path", ""):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _http(self._app, scope, receive, send)
        elif scope["type"] == "websocket":
            await _websocket(self._app, scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _died() -> RequestProblem:
    return RequestProblem(
        503, "the replica that was answering this request has stopped", remedy="send it again", retry_after=1
    )


async def _http(app: Any, scope: Scope, receive: Receive, send: Send) -> None:
    head: list[Message] = []
    refusal: list[RequestProblem] = []
    ended = False

    async def passed_on(message: Message) -> None:
        nonlocal ended
        if message["type"] == "http.response.start":
            message["headers"] = _once(message.get("headers", []), b"x-request-id")
            head.append(message)
            refused = _refusal(message)
            if refused is not None:
                refusal.append(refused)
                return
        elif message["type"] == "http.response.body":
            ended = not message.get("more_body", False)
            if refusal:
                if ended:
                    await _respond(send, refusal[0])
                return
        await send(message)

    await app(scope, receive, passed_on)
    if ended:
        return
    if not head or refusal:
        await _respond(send, refusal[0] if refusal else _died())
    elif _header(head[0], b"content-type").startswith(b"text/event-stream"):
        await send({"type": "http.response.body", "body": error_events(_died()).encode()})


async def _websocket(app: Any, scope: Scope, receive: Receive, send: Send) -> None:
    accepted = ended = left = False

    async def passed_on(message: Message) -> None:
        nonlocal accepted, ended
        accepted = accepted or message["type"] == "websocket.accept"
        ended = ended or message["type"] == "websocket.close"
        await send(message)

    async def listening() -> Message:
        nonlocal left
        message = await receive()
        left = left or message["type"] == "websocket.disconnect"
        return message

    await app(scope, listening, passed_on)
    if ended or left:
        return
    if accepted:
        told = {"type": "error", "message": _died().body()["error"]["message"], "code": 503}
        await send({"type": "websocket.send", "text": json.dumps(told)})
    await send({"type": "websocket.close", "code": 1012, "reason": "the replica has stopped"})


def _refusal(message: Message) -> RequestProblem | None:
    """A refusal of the proxy itself: replicas of this package answer errors in JSON, always."""
    status = message["status"]
    if status not in _REFUSALS or not _header(message, b"content-type").startswith(b"text/plain"):
        return None
    again = _header(message, b"retry-after")
    default = 1.0 if status in (429, 503) else None
    return RequestProblem(status, _REFUSALS[status], retry_after=float(again) if again.isdigit() else default)


async def _respond(send: Send, problem: RequestProblem) -> None:
    body = json.dumps(problem.body()).encode()
    headers = {**problem.headers, "content-type": "application/json", "content-length": str(len(body))}
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


def _header(message: Message, name: bytes) -> bytes:
    return next((value for key, value in message.get("headers", []) if key.lower() == name), b"")


def _once(headers: Any, name: bytes) -> list[tuple[bytes, bytes]]:
    """Headers without the repetitions of one: the replica names a request as its client did, the proxy once more."""
    kept: list[tuple[bytes, bytes]] = []
    for key, value in headers:
        if key.lower() != name or all(other.lower() != name for other, _ in kept):
            kept.append((key, value))
    return kept
