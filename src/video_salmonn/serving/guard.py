"""Access control before every route: keys, numbers of requests and sizes of bodies.

A request gets here with its head alone. Its key is compared before anything else, then it takes one of the places there
are, and only then is its body read, within limits of size and time. The place is free again when the answer has ended,
however it ended.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import re
import time
from collections import Counter
from collections.abc import MutableMapping
from typing import Any
from uuid import uuid4

from video_salmonn.serving.asgi import Receive, Scope, Send
from video_salmonn.serving.metrics import Metrics
from video_salmonn.serving.problems import RequestProblem, problem_of
from video_salmonn.serving.settings import ServerSettings

OPEN = ("/health",)
"""Routes without a key."""
LIGHT = ("/health", "/metrics", "/openapi.json", "/v1/models", "/version")
"""Routes that take no place."""
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_DRAIN_SECONDS = 5.0
HEAD_BYTES = 16 * 1024
"""Most bytes of a request's headers and path."""
logger = logging.getLogger("video_salmonn.serving")


class Keys:
    """API keys, compared in constant time.

    Args:
        keys: that open the door.
    """

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._digests = [_digest(key.encode()) for key in keys]

    def owner(self, headers: list[tuple[bytes, bytes]]) -> str | None:
        """A name for the key that a request brings; None where it brings none that fits."""
        values = [value for name, value in headers if name.lower() == b"authorization"]
        given = values[0] if len(values) == 1 else b""
        scheme, _, key = given.partition(b" ")
        digest = _digest(key.strip())
        found = None
        for known in self._digests:  # all of them, however early one fits
            if hmac.compare_digest(known, digest):
                found = digest.hex()[:16]
        return found if scheme.lower() == b"bearer" else None


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(b"key of video-salmonn: " + key).digest()


class Guard:
    """ASGI middleware that admits requests.

    Args:
        app: what is behind the door.
        settings: limits.
        metrics: counts refusals and responses.
    """

    def __init__(self, app: Any, settings: ServerSettings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._keys = Keys(settings.keys)
        self._by_key: Counter[str] = Counter()
        self._bytes = 0
        self.inside = 0
        """Requests that hold a place."""
        self._seconds = 1.0  # a request takes, of late

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit one request, or answer why not."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = list(scope.get("headers", []))
        owner = self._keys.owner(headers)
        path = scope["path"]
        if scope["type"] == "websocket":
            if owner is None:
                await receive()
                await send({"type": "websocket.close", "code": 1008, "reason": "no valid API key"})
                return
            scope.setdefault("state", {})["owner"] = owner
            await self._app(scope, receive, send)
            return
        name = _request_id(headers)
        scope.setdefault("state", {}).update(owner=owner, request_id=name)
        start, status = time.monotonic(), [0]

        async def told(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                message["headers"] = [
                    *((k, v) for k, v in message.get("headers", []) if k.lower() != b"x-request-id"),
                    (b"x-request-id", name.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"cache-control", b"no-store"),
                ]
            await send(message)

        try:
            if sum(len(name) + len(value) for name, value in headers) + len(scope["raw_path"]) > HEAD_BYTES:
                problem = RequestProblem(431, f"the request's head is larger than {HEAD_BYTES >> 10} KiB")
                await self._refuse(problem, scope, receive, told)
            elif owner is None and path not in OPEN:
                self._metrics.rejections.labels("key").inc()
                await self._refuse(
                    RequestProblem(401, "no valid API key", remedy="send the header Authorization: Bearer KEY"),
                    scope,
                    receive,
                    told,
                )
            else:
                await self._admit(scope, receive, told, owner or "", path)
        except Exception as error:  # noqa: BLE001 - whatever nobody foresaw is one clear error, and its place is logged
            log_fault(error)
            if not status[0]:
                await respond(told, problem_of(error))
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            self._metrics.responses.labels(route, str(status[0] or "none")).inc()
            logger.info(  # the path may hold anything; the route is one of ours
                "%s %s %s %.3f s %s", scope["method"], route, status[0] or "left", time.monotonic() - start, name
            )

    async def _admit(self, scope: Scope, receive: Receive, send: Send, owner: str, path: str) -> None:
        if path in LIGHT or scope["method"] == "GET":
            await self._app(scope, _without_body(receive), send)
            return
        problem = self._full(owner)
        if problem is not None:
            self._metrics.rejections.labels("queue" if problem.status == 503 else "key_queue").inc()
            await self._refuse(problem, scope, receive, send)
            return
        self.inside += 1
        self._by_key[owner] += 1
        held = [0]
        start = time.monotonic()
        try:
            try:
                body = await self._body(scope, receive, held)
            except RequestProblem as error:
                self._metrics.rejections.labels("body").inc()
                if error.status == 413:
                    await self._refuse(error, scope, receive, send)
                elif error.status != 499:
                    await respond(send, error)
                return
            await self._app(scope, replayed(body, receive), send)
            self._seconds += 0.1 * (time.monotonic() - start - self._seconds)
        finally:
            self.inside -= 1
            self._by_key[owner] -= 1
            self._bytes -= held[0]

    def _full(self, owner: str) -> RequestProblem | None:
        settings = self._settings
        if self.inside >= settings.max_requests or self._bytes >= settings.max_bodies_bytes:
            again = min(60.0, self._seconds * self.inside / settings.max_batch)
            return RequestProblem(503, "the server is full", remedy="try again later", retry_after=max(1.0, again))
        if self._by_key[owner] >= settings.max_requests_per_key:
            most = settings.max_requests_per_key
            return RequestProblem(
                429,
                f"this key has {most} requests in progress, which is the limit",
                remedy="wait for one of them",
                retry_after=max(1.0, min(60.0, self._seconds)),
            )
        return None

    async def _body(self, scope: Scope, receive: Receive, held: list[int]) -> bytes:
        """The whole body.

        Raises:
            RequestProblem: it is too large, too slow, or breaks off.
        """
        settings = self._settings
        most = settings.max_body_bytes
        announced = next((value for name, value in scope["headers"] if name.lower() == b"content-length"), b"0")
        large = RequestProblem(
            413,
            f"the request body is larger than the {most >> 20} MiB that this server takes",
            remedy="send a shorter or smaller file",
        )
        if not announced.isdigit() or int(announced[:20]) > most:
            raise large
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(settings.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RequestProblem(499, "the client left")
                    chunk = message.get("body", b"")
                    held[0] += len(chunk)
                    self._bytes += len(chunk)
                    chunks.append(chunk)
                    scope["state"]["read"] = not message.get("more_body")
                    if held[0] > most:
                        raise large
                    if self._bytes > settings.max_bodies_bytes:
                        raise RequestProblem(503, "the server is full", remedy="try again later", retry_after=5)
                    if not message.get("more_body"):
                        return b"".join(chunks)
        except TimeoutError:
            raise RequestProblem(
                408, f"the request body did not arrive within {settings.body_seconds:g} s", remedy="send it faster"
            ) from None

    async def _refuse(self, problem: RequestProblem, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer without having read the body; most clients read no answer before they have sent all of it."""
        left = self._settings.max_body_bytes
        if scope["state"].get("read") or any(name.lower() == b"expect" for name, _ in scope["headers"]):
            left = 0  # nothing is on its way: all of it was read, or the client waits for leave to send it
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while left > 0 and scope["method"] not in ("GET", "HEAD"):
                    message = await receive()
                    left -= len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body"):
                        break
        except TimeoutError:
            pass
        await respond(send, problem)


async def respond(send: Send, problem: RequestProblem) -> None:
    """Send a problem as the answer, and close the connection."""
    body = json.dumps(problem.body()).encode()
    headers = {**problem.headers, "content-type": "application/json", "content-length": str(len(body))}
    headers["connection"] = "close"
    if problem.status == 401:
        headers["www-authenticate"] = "Bearer"
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


def log_fault(error: BaseException) -> None:
    """Log where an error was raised, without its words: they may be a client's."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = "" if place is None else f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}"
    logger.error("a request failed: %s at %s", type(error).__name__, where)


def _request_id(headers: list[tuple[bytes, bytes]]) -> str:
    given = next((value.decode("latin-1") for name, value in headers if name.lower() == b"x-request-id"), "")
    return given if _ID.fullmatch(given) else f"req-{uuid4().hex}"


def replayed(body: bytes, receive: Receive) -> Receive:
    """A body that was read, once more; then what else the client says."""
    given = False

    async def receive_again() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _without_body(receive: Receive) -> Receive:
    """What follows a head whose body nobody reads: only the client's leaving."""
    given = False

    async def receive_none() -> MutableMapping[str, Any]:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return message

    return receive_none
