"""The door of the web page, before an application that shows what comes through."""

from __future__ import annotations

import asyncio
import json
import os

import httpx
import pytest

from video_salmonn.serving.settings import ServerSettings
from video_salmonn.serving.web.door import COOKIE, EVENT_BYTES, FILE, Door

KEY = "a-key-of-a-visitor"
LOCAL = "http://127.0.0.1:7860"


async def shows(scope, receive, send):
    """Answers with what arrived."""
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps([scope["path"], body.decode()]).encode()})


@pytest.fixture
def uploads(tmp_path):
    folder = tmp_path / "uploads"
    (folder / "digest").mkdir(parents=True)
    (folder / "digest" / "clip.mp4").write_bytes(b"media")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "digest" / "link").symlink_to(tmp_path / "secret.txt")
    return folder


@pytest.fixture
def ask(uploads):
    """Send one request; the response."""

    def send(method, path, *, base=LOCAL, host="127.0.0.1", needs_key=False, settings=None, **sent):
        options = {"keys": (KEY,), "host": host, **(settings or {})}
        door = Door(shows, ServerSettings(**options), uploads, needs_key)

        async def run():
            transport = httpx.ASGITransport(app=door)
            async with httpx.AsyncClient(transport=transport, base_url=base) as client:
                return await client.request(method, path, **sent)

        return asyncio.run(run())

    return send


def event(**data):
    return json.dumps({"data": [data], "fn_index": 0, "session_hash": "abc"}).encode()


@pytest.mark.parametrize(
    "path",
    ["/", "/config", "/assets/index.js", "/theme.css", "/gradio_api/queue/data?session_hash=a", "/view/" + 32 * "a"],
)
def test_what_the_page_needs_is_there_and_the_browser_may_fetch_nothing_from_elsewhere(ask, path):
    found = ask("GET", path)
    assert found.status_code == 200 and found.json()[0] == path.partition("?")[0]
    assert found.headers["x-content-type-options"] == "nosniff"
    policy = found.headers.get("content-security-policy", "")
    assert path.startswith("/view") or ("default-src 'self'" in policy and "http" not in policy)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/proxy=https://example.org/"),
        ("GET", "/gradio_api/file=https://example.org/a.mp4"),
        ("GET", "/gradio_api/file=/etc/passwd"),
        ("GET", "/gradio_api/file/etc/passwd"),
        ("GET", "/monitoring"),
        ("GET", "/gradio_api/openapi.json"),
        ("GET", "/gradio_api/deep_link"),
        ("GET", "/view/short"),
        ("GET", "/media/../../etc/passwd"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/run/opened"),
        ("POST", "/gradio_api/call/opened"),
        ("POST", "/gradio_api/run-history/connect"),
        ("POST", "/login"),
        ("PUT", "/gradio_api/upload"),
        ("DELETE", "/"),
    ],
)
def test_other_routes_of_gradio_do_not_exist(ask, method, path):
    assert ask(method, path).status_code == 404


def test_a_file_is_served_from_the_uploads_only(ask, uploads):
    inside = uploads / "digest" / "clip.mp4"
    assert ask("GET", f"{FILE}{inside}").status_code == 200
    for outside in (
        uploads.parent / "secret.txt",
        uploads / ".." / "secret.txt",
        uploads / "digest" / "link",
        uploads,
        uploads / "digest" / "none.mp4",
    ):
        assert ask("GET", f"{FILE}{outside}").status_code == 404, outside
    assert ask("GET", f"{FILE}{uploads}/%2e%2e/secret.txt").status_code == 404
    assert ask("GET", f"{FILE}{uploads}/%252e%252e/secret.txt").status_code == 404


def test_an_event_names_uploads_only_and_no_url(ask, uploads):
    inside = str(uploads / "digest" / "clip.mp4")
    fine = event(path=inside, url=f"{LOCAL}{FILE}{inside}", meta={"_type": "gradio.FileData"})
    found = ask("POST", "/gradio_api/queue/join", content=fine)
    assert found.status_code == 200 and found.json()[1] == fine.decode()
    for bad in (
        event(path="/etc/passwd"),
        event(path="https://example.org/a.mp4"),
        event(path=os.path.relpath(uploads.parent / "secret.txt")),
        event(path=inside, url="http://169.254.169.254/latest/"),
        event(path=inside, url=f"{LOCAL}{FILE}/etc/passwd"),
        event(video={"path": "/etc/passwd"}),
        event(deep=[[{"path": str(uploads / "digest" / "link")}]]),
        b"not json",
        b"[" * 100_000,
    ):
        assert ask("POST", "/gradio_api/queue/join", content=bad).status_code == 403, bad[:80]
    assert ask("POST", "/gradio_api/queue/join", content=event(text="a" * EVENT_BYTES)).status_code == 413


def test_uploads_are_limited_one_by_one_and_together(ask):
    small = {"max_body_bytes": 1 << 20, "max_files_bytes": 2 << 20}
    assert ask("POST", "/gradio_api/upload", content=b"a" * 1000, settings=small).status_code == 200
    large = ask("POST", "/gradio_api/upload", content=b"a" * (3 << 20), settings=small)
    assert large.status_code == 413 and "1 MiB" in large.text
    full = ask("POST", "/gradio_api/upload", content=b"a" * 1000, settings={**small, "max_files_bytes": 500})
    assert full.status_code == 413 and "as many files" in full.text

    async def endless():
        yield b"a"

    assert ask("POST", "/gradio_api/upload", content=endless(), settings=small).status_code == 413


def test_other_names_and_other_pages_are_refused_on_this_machine(ask):
    assert ask("GET", "/", base="http://localhost:1").status_code == 200
    assert ask("GET", "/", base="http://[::1]:1").status_code == 200
    assert ask("GET", "/", base="http://rebound.example").status_code == 403
    assert ask("GET", "/", headers={"origin": LOCAL}).status_code == 200
    for origin in ("https://evil.example", "null", "http://127.0.0.1:9"):
        refused = ask("POST", "/gradio_api/queue/join", content=event(), headers={"origin": origin})
        assert refused.status_code == 403


def test_with_a_key_nothing_is_there_without_it(ask):
    far = {"host": "0.0.0.0", "base": "http://far.example:7860", "needs_key": True}
    for method, path in (("GET", "/"), ("GET", "/config"), ("POST", "/gradio_api/upload"), ("GET", "/nothing")):
        refused = ask(method, path, **far)
        assert refused.status_code == 401 and "needs its key" in refused.text
    assert ask("GET", "/?key=wrong-key", **far).status_code == 401
    assert ask("POST", "/enter", content=b"key=w", **far).status_code == 401
    for entered in (ask("GET", f"/?key={KEY}", **far), ask("POST", "/enter", content=f"key={KEY}".encode(), **far)):
        assert entered.status_code == 303 and entered.headers["location"] == "/"
        cookie = entered.headers["set-cookie"]
        assert cookie.startswith(f"{COOKIE}={KEY};") and "HttpOnly" in cookie and "SameSite=Lax" in cookie
    assert ask("GET", "/config", headers={"cookie": f"{COOKIE}={KEY}"}, **far).status_code == 200
    assert ask("GET", "/config", headers={"cookie": f"{COOKIE}=nearly"}, **far).status_code == 401
    assert ask("GET", "/media/" + 32 * "t", **far).status_code == 200  # the token that nobody can guess is the key
