"""The door of the server: keys on every route, limits of size, time and number, and places that are given back."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from serving_client import KEY, OTHER, text, video
from video_salmonn.serving.app import create_app

CHAT = "/v1/chat/completions"


def routes(server):
    schema = create_app(server.service).openapi()["paths"]
    return [(method.upper(), path.replace("{name}", "x")) for path, item in schema.items() for method in item]


def test_every_route_but_health_asks_for_a_key(server):
    found = [
        *routes(server),
        ("GET", "/openapi.json"),
        ("GET", "/nowhere"),
        ("GET", "/docs"),
        ("POST", "/health/../v1"),
    ]
    assert len(found) >= 9
    plain = httpx.Client()
    for method, path in found:
        for headers in (
            {},
            {"authorization": "Bearer wrong-key-wrong"},
            {"authorization": f"Basic {KEY}"},
            {"authorization": "Bearer"},
            {"authorization": f"Bearer {KEY}x"},
            [("authorization", f"Bearer {KEY}"), ("authorization", f"Bearer {OTHER}")],
        ):
            response = plain.request(method, f"{server.url}{path}", headers=headers)
            if path == "/health":
                assert response.status_code == 200
            else:
                assert (response.status_code, response.json()["error"]["code"]) == (401, 401), (method, path, headers)
                assert response.headers["www-authenticate"] == "Bearer"


def test_the_request_id_is_echoed_if_it_is_one(server):
    assert server.client.get("/v1/models", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    for odd in ("a b", "<script>", "x" * 200):
        assert server.client.get("/v1/models", headers={"x-request-id": odd}).headers["x-request-id"][:4] == "req-"


def test_a_body_over_the_limit_is_413_announced_or_not(start):
    server = start(max_body_bytes=20_000)
    large = b'{"messages": "' + b"x" * 50_000 + b'"}'
    announced = server.client.post(CHAT, content=large)
    unannounced = server.client.post(CHAT, content=iter([large[:10_000], large[10_000:]]))
    for response in (announced, unannounced):
        assert response.status_code == 413 and response.json()["error"]["type"] == "invalid_request_error"
    assert server.chat("Hello").status_code == 200
    server.idle()


def test_a_body_that_drips_is_408_and_leaves_no_place_taken(start):
    server = start(body_seconds=0.5)
    host, port = server.sock.getsockname()
    with socket.create_connection((host, port)) as slow:
        slow.sendall(
            f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: 100\r\n\r\n".encode()
        )
        slow.sendall(b"{")
        answer = slow.recv(4096)
    assert b" 408 " in answer.split(b"\r\n")[0]
    server.idle()


def test_a_connection_that_sends_no_request_is_closed(start):
    server = start(header_seconds=0.3)
    with socket.create_connection(server.sock.getsockname()) as silent:
        silent.sendall(b"POST / HT")
        silent.settimeout(5)
        assert silent.recv(10) == b""
    assert server.chat("Hello").status_code == 200


def busy(server):
    """Hold the model until the event is set; what is asked meanwhile waits."""
    gate = threading.Event()
    server.service.scheduler.call(lambda: gate.wait(20))
    return gate


def test_a_full_server_says_so_at_once_and_recovers(start):
    server = start(max_requests=2, max_requests_per_key=2)
    gate = busy(server)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(server.chat, "Hello") for _ in range(2)]
        while server.guard.inside < 2:
            time.sleep(0.01)
        begun = time.monotonic()
        response = server.chat("Hello")
        assert time.monotonic() - begun < 1
        assert response.status_code == 503 and int(response.headers["retry-after"]) >= 1
        assert server.client.get("/health").status_code == server.client.get("/v1/models").status_code == 200
        gate.set()
        assert [one.result().status_code for one in waiting] == [200, 200]
    assert server.chat("Hello").status_code == 200
    server.idle()


def test_one_key_cannot_take_every_place(start):
    server = start(max_requests=8, max_requests_per_key=1)
    gate = busy(server)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.chat, "Hello")
        while server.guard.inside < 1:
            time.sleep(0.01)
        again = server.chat("Hello")
        assert (again.status_code, again.json()["error"]["type"]) == (429, "rate_limit_error")
        assert "retry-after" in again.headers
        messages = [{"role": "user", "content": "Hello"}]
        other = pool.submit(
            httpx.post,
            server.url + CHAT,
            json={"messages": messages, "max_tokens": 2},
            headers={"authorization": f"Bearer {OTHER}"},
            timeout=30,
        )
        while server.guard.inside < 2:
            time.sleep(0.01)
        gate.set()
        assert first.result().status_code == other.result().status_code == 200


def test_twenty_streams_that_are_left_leave_no_place_taken(start, endless):
    server = start(engine=endless, max_new_tokens=4000)
    begun = time.monotonic()

    def leave(number):
        messages = [{"role": "user", "content": "Hello"}]
        body = {"messages": messages, "max_tokens": 1500, "stream": number % 3 > 0}
        if body["stream"]:
            with server.client.stream("POST", CHAT, json=body) as response:
                lines = response.iter_lines()
                for _ in range(number % 3):
                    next(lines)
        else:
            with pytest.raises(httpx.ReadTimeout):
                server.client.post(CHAT, json=body, timeout=0.3)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(leave, range(20)))
    server.idle()
    assert time.monotonic() - begun < 15
    assert server.chat("Hello").status_code == 200


def test_a_request_that_takes_too_long_is_408(start):
    server = start(request_seconds=0.2)
    gate = busy(server)
    threading.Timer(0.5, gate.set).start()
    response = server.chat("Hello")
    assert (response.status_code, response.headers["x-should-retry"]) == (408, "false")
    server.idle()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_health_says_when_the_model_cannot_answer(start):
    server = start(stall_seconds=0.2)
    gate = busy(server)
    time.sleep(0.4)
    stalled = server.client.get("/health")
    assert stalled.status_code == 503 and "no token" in stalled.json()["error"]["message"]
    assert server.chat("Hello").status_code == 503
    gate.set()
    server.idle()
    assert server.client.get("/health").status_code == 200

    def die():
        raise SystemExit

    server.service.scheduler.call(die)
    server.service.scheduler._thread.join(5)
    for response in (server.client.get("/health"), server.chat("Hello")):
        assert response.status_code == 503


def test_a_fault_is_told_to_the_log_without_what_the_client_said(start, caplog, monkeypatch):
    server = start()

    def broken(items):
        raise RuntimeError("about secret-words")

    monkeypatch.setattr(server.service.engine, "batch", broken)
    with caplog.at_level(logging.INFO):
        response = server.chat([video(), text("secret-words")])
    assert response.status_code == 500 and "secret" not in response.text
    assert "a request failed: RuntimeError at" in caplog.text
    assert "secret" not in caplog.text and KEY not in caplog.text and "base64" not in caplog.text
    monkeypatch.undo()
    caplog.clear()
    monkeypatch.setattr(server.service.engine, "prepare", broken)
    asked = {"input": "secret-words", "questions": [{"type": "predicate", "instructions": "secret-words?"}]}
    with caplog.at_level(logging.INFO):
        response = server.client.post("/v1/decisions", json=asked)
    assert (response.status_code, response.json()["error"]["code"]) == (500, 500)
    assert "a request failed: " in caplog.text and "secret" not in caplog.text + response.text
    monkeypatch.undo()
    assert server.chat("Hello").status_code == 200


def test_one_request_of_a_batch_that_cannot_be_answered_costs_no_other(start):
    server = start()
    gate = busy(server)
    long = "word " * 12_000
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(server.chat, words) for words in ("Hello", long, "Hello again")]
        while server.service.scheduler.waiting < 3:
            time.sleep(0.01)
        gate.set()
        found = [one.result() for one in asked]
    assert [one.status_code for one in found] == [200, 400, 200]
    assert "context" in found[1].json()["error"]["message"]


def test_running_requests_are_answered_after_the_server_was_told_to_end(start):
    server = start()
    gate = busy(server)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.chat, "Hello")
        while server.service.scheduler.waiting < 1:
            time.sleep(0.01)
        server.server.should_exit = True
        time.sleep(0.5)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/health")
        gate.set()
        assert asked.result().status_code == 200
    server.thread.join(10)
    assert not server.thread.is_alive()


def test_metrics_count_what_happened(server):
    server.chat([video(), text()])
    server.chat([video(), text()])
    page = server.client.get("/metrics").text
    values = dict(line.rsplit(" ", 1) for line in page.splitlines() if line and line[0] != "#")
    assert float(values["video_salmonn:mm_cache_hits_total"]) >= 1
    for stage in ("decode", "features", "encode", "connect"):
        assert float(values[f"video_salmonn:media_{stage}_seconds_count"]) >= 1
    assert float(values["video_salmonn:num_requests_running"]) == 0
    assert float(values['video_salmonn:http_responses_total{route="/v1/chat/completions",status="200"}']) >= 2
    assert json.loads(server.client.get("/version").text)["version"]
