"""Errors in OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``, the code being the HTTP status."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from video_salmonn.errors import ConfigError, ContextError, MediaError, MissingPartError, VideoSalmonnError

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    411: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_media_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
    499: "cancelled",
    500: "server_error",
    501: "not_implemented_error",
    503: "overloaded_error",
}
"""HTTP status -> ``error.type``."""
DONE = "data: [DONE]\n\n"
"""The last of a stream's server-sent events."""


def unfitting(errors: Sequence[Mapping[str, Any]], given: Any) -> tuple[str | None, str]:
    """Where a JSON body does not fit its description, and why, in one place's words.

    Where several forms are allowed, pydantic says for each why it does not fit, and adds the form's name to the place.
    Here the place is the body's own, and the message is about the form that fits best.

    Args:
        errors: of pydantic, at least one.
        given: the body.

    Returns:
        (field, such as ``questions[0].instructions``, or None for the whole; why, without anything of the body).
    """
    found = [(_place(error, given), error) for error in errors]
    first = found[0][0]
    same = [(place, error) for place, error in found if place[:1] == first[:1]]
    if len({error["loc"] for _, error in same}) > 1 and any(len(place) < len(error["loc"]) for place, error in same):
        fits = [one for one in same if not str(one[1].get("type", "")).endswith("_type")] or same
        first = max((place for place, _ in fits), key=len)
        same = [one for one in fits if one[0] == first]
    else:
        same = same[:1]
    why = ", or: ".join(dict.fromkeys(str(error.get("msg", "invalid")) for _, error in same))
    param = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first).lstrip(".")
    return param[:200] or None, why[:500]


def _place(error: Mapping[str, Any], given: Any) -> tuple[Any, ...]:
    """The place of an error in a body: names of forms are left out, and a name that is missing stays."""
    parts = [part for part in error.get("loc", ()) if part != "body"]
    place = []
    for number, part in enumerate(parts):
        is_item = isinstance(given, list) and isinstance(part, int) and part < len(given)
        if is_item or (isinstance(given, Mapping) and part in given):
            given = given[part]
        elif not (error.get("type") == "missing" and number == len(parts) - 1):
            continue
        place.append(part)
    return tuple(place)


class RequestProblem(VideoSalmonnError):
    """What is wrong with a request, and the status it is answered with.

    Args:
        status: of the answer.
        message: what is wrong, without anything that the client sent as media or text.
        remedy: what the client can do.
        param: the field that is to blame.
        retry_after: seconds after which trying again is sensible; None for never.
    """

    def __init__(
        self, status: int, message: str, *, remedy: str = "", param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.param = param
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Headers that state whether clients should retry."""
        if self.retry_after is not None:
            return {"retry-after": str(max(1, round(self.retry_after))), "x-should-retry": "true"}
        return {"x-should-retry": "false"} if self.status in (408, 499) else {}

    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        message = str(self)
        if self.remedy:
            message = f"{message.rstrip('.')}. {self.remedy[0].upper()}{self.remedy[1:]}"
        kind = TYPES.get(self.status, "server_error")
        return {"error": {"message": message, "type": kind, "param": self.param, "code": self.status}}


def problem_of(error: BaseException, param: str | None = None) -> RequestProblem:
    """The problem for any error; the client gets no details of unforeseen errors.

    Args:
        error: what was raised.
        param: the field it came of.
    """
    if isinstance(error, RequestProblem):
        error.param = error.param or param
        return error
    if isinstance(error, MediaError):
        named = error.source if param is None else param
        where = f"{named} ({error.stream} stream)" if error.stream else named
        return RequestProblem(422, f"{where}: {error.reason}", remedy=error.remedy, param=param)
    if isinstance(error, (ConfigError, ContextError)):
        return RequestProblem(400, str(error), remedy=error.remedy, param=param)
    if isinstance(error, MissingPartError):
        return RequestProblem(501, str(error), remedy=f"on the server: {error.remedy}" if error.remedy else "")
    if isinstance(error, MemoryError):
        return RequestProblem(503, "not enough memory for this request now", retry_after=30)
    return RequestProblem(500, "the server failed on this request; its log has the reason")


def error_events(problem: RequestProblem) -> str:
    """An error in a stream of server-sent events that has begun, and the end of the stream."""
    return f"data: {json.dumps(problem.body())}\n\n{DONE}"
