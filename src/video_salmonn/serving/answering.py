"""Answers whose clients may leave: work ends when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from video_salmonn.serving.guard import Receive, Scope, Send, log_fault
from video_salmonn.serving.problems import RequestProblem, error_events, problem_of

R = TypeVar("R")


async def unless_left(request: Request, work: Coroutine[Any, Any, R]) -> R:
    """The result of ``work``, which is cancelled when the client leaves.

    Raises:
        RequestProblem: what ``work`` raised; 499 where the client left.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_left(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise RequestProblem(499, "the client left")
        return task.result()
    finally:
        for one in (task, gone):
            one.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await one


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class JsonResponse(Response):
    """JSON whatever characters it holds, lone surrogates included."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """ASCII, so that every string can be written."""
        return json.dumps(content, allow_nan=False).encode("ascii")


class EventStream(Response):
    """Server-sent events. The first is made before the head is sent, so that errors until then have their status.

    Args:
        events: text of events; closed when the client leaves.
    """

    def __init__(self, events: AsyncIterator[str]) -> None:
        super().__init__(media_type="text/event-stream; charset=utf-8", headers={"x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until they or the client end."""
        sending = asyncio.ensure_future(self._send(send))
        gone = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for one in (sending, gone):
                one.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await one

    async def _send(self, send: Send) -> None:
        begun = False
        async with contextlib.aclosing(self._events) as events:  # type: ignore[type-var]
            try:
                async for event in events:
                    if not begun:
                        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                        begun = True
                    await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
                await send({"type": "http.response.body", "body": b""})
            except Exception as error:  # noqa: BLE001 - told to the client, in one form or the other
                problem = problem_of(error)
                if problem.status >= 500:
                    log_fault(error)
                if not begun:
                    body = json.dumps(problem.body()).encode()
                    headers = {**problem.headers, "content-type": "application/json", "content-length": str(len(body))}
                    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
                    await send({"type": "http.response.start", "status": problem.status, "headers": pairs})
                    await send({"type": "http.response.body", "body": body})
                else:
                    await send({"type": "http.response.body", "body": error_events(problem).encode()})
