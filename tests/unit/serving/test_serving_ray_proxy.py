"""What a client of a cluster gets when a replica dies or none is free: one clear error in OpenAI's shape."""

from __future__ import annotations

import asyncio
import json

import pytest

from video_salmonn.serving.problems import DONE
from video_salmonn.serving.ray_proxy import OneClearError, middlewares

PATH = "/v1/chat/completions"


def passed(messages, path=PATH, kind="http", incoming=()):
    """What a client is sent where the proxy sends these messages and returns."""
    sent, waiting = [], list(incoming)

    async def proxy(scope, receive, send):
        while waiting:
            await receive()
        for message in messages:
            await send(dict(message))

    async def receive():
        return waiting.pop(0)

    async def send(message):
        sent.append(message)

    asyncio.run(OneClearError(proxy)({"type": kind, "path": path}, receive, send))
    return sent


def head(status=200, kind=b"application/json", *more):
    return {"type": "http.response.start", "status": status, "headers": [(b"content-type", kind), *more]}


def body(data, more=False):
    return {"type": "http.response.body", "body": data, "more_body": more}


def problem_in(sent):
    start, end = sent
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"application/json" and int(headers[b"content-length"]) == len(end["body"])
    return start["status"], json.loads(end["body"])["error"], headers


def test_ray_serve_is_given_one_middleware():
    (one,) = middlewares()
    assert one.cls is OneClearError


def test_what_a_replica_says_is_passed_on_as_it_is():
    said = [head(422), body(b"{}", True), body(b"")]
    assert passed(said) == said


def test_a_replica_that_dies_before_it_answers_is_one_error_that_clients_retry():
    status, error, headers = problem_in(passed([]))
    assert status == error["code"] == 503 and "stopped" in error["message"]
    assert headers[b"retry-after"] == b"1" and headers[b"x-should-retry"] == b"true"


def test_a_replica_that_dies_within_a_stream_ends_it_with_the_error():
    sent = passed([head(200, b"text/event-stream; charset=utf-8"), body(b"data: {}\n\n", True)])
    assert len(sent) == 3 and not sent[-1].get("more_body")
    event, done = sent[-1]["body"].decode().removeprefix("data: ").split("\n\n", 1)
    assert json.loads(event)["error"]["code"] == 503 and done == DONE


@pytest.mark.parametrize(("status", "again"), [(503, b"5"), (429, b"2"), (503, None), (404, None), (408, None)])
def test_a_refusal_of_the_proxy_gets_the_shape_of_ours(status, again):
    more = [(b"retry-after", again)] if again else []
    status_sent, error, headers = problem_in(passed([head(status, b"text/plain", *more), body(b"Request dropped")]))
    assert status_sent == error["code"] == status and "dropped" not in error["message"]
    expected = again or (b"1" if status in (429, 503) else None)
    assert headers.get(b"retry-after") == expected


def test_other_applications_of_the_cluster_are_left_alone():
    said = [head(503, b"text/plain"), body(b"Full")]
    assert passed(said, "/other") == said and passed([], "/-/healthz") == []


def test_a_request_has_one_name():
    first = (b"x-request-id", b"mine")
    sent = passed([head(200, b"application/json", first, (b"X-Request-ID", b"the proxy's")), body(b"")])
    assert [value for key, value in sent[0]["headers"] if key.lower() == b"x-request-id"] == [b"mine"]


def test_a_live_session_whose_replica_dies_is_told_and_closed():
    told, closed = passed([{"type": "websocket.accept"}], kind="websocket")[1:]
    assert json.loads(told["text"])["code"] == 503 and json.loads(told["text"])["type"] == "error"
    assert closed["type"] == "websocket.close" and closed["code"] == 1012
    (refused,) = passed([], kind="websocket")
    assert refused["type"] == "websocket.close"


def test_a_live_session_that_ends_by_itself_is_not_closed_again():
    ended = [{"type": "websocket.accept"}, {"type": "websocket.close", "code": 1000}]
    assert passed(ended, kind="websocket") == ended
    left = passed(ended[:1], kind="websocket", incoming=[{"type": "websocket.disconnect", "code": 1001}])
    assert left == ended[:1]
