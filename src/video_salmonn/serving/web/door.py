"""Access to the web page: who may enter, which paths exist, and what the browser may do.

Decisions:

* Gradio has many routes, some of which fetch URLs or read files. Those that the page needs are named here; all others
  do not exist.
* A file is served from the upload folder only, and an event may name no other file and no URL.
* The browser is told to fetch nothing from anywhere else, whatever the page or a file's name says.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable, Iterable, MutableMapping
from html import escape
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from video_salmonn.serving.asgi import Receive, Scope, Send
from video_salmonn.serving.guard import replayed
from video_salmonn.serving.settings import ServerSettings

COOKIE = "video_salmonn_key"
EVENT_BYTES = 256 * 1024
"""Most bytes of one event: a question, and what the page says of its files."""
FILE = "/gradio_api/file="
UPLOAD = "/gradio_api/upload"
EVENTS = "/gradio_api/queue/join"
READ = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/(?:assets|static|svelte)/[^?]*"
    r"|/gradio_api/(?:theme\.css|info/?|startup-events|queue/data|upload_progress|heartbeat/[\w-]+)"
    r"|/(?:view|media)/[\w-]{16,64}"
)
WRITTEN = (UPLOAD, EVENTS, "/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/reset/")
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; frame-src 'self'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'"
)
"""What the browser may fetch and run: nothing from another place. Gradio's page has scripts inline."""
_TOKEN_PATH = re.compile(r"/(?:view|media)/")
_HOSTS = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?")


class Door:
    """ASGI middleware before the page.

    Args:
        app: the page.
        settings: limits, and keys.
        uploads: the folder that uploaded files lie in.
        needs_key: whether a visitor has to bring one of the keys.
    """

    def __init__(self, app: Any, settings: ServerSettings, uploads: Path, needs_key: bool) -> None:
        self._app = app
        self._settings = settings
        self._uploads = uploads.resolve()
        self._needs_key = needs_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or answer why not."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        path, method = scope["path"], scope["method"]
        refused = self._foreign(headers)
        if refused:
            await _answer(send, 403, refused)
            return
        capability = _TOKEN_PATH.match(path) is not None  # the token in it is the key
        if self._needs_key and not capability and not await self._entered(scope, receive, send, headers):
            return
        if method in ("GET", "HEAD"):
            fits = READ.fullmatch(path) is not None or (path.startswith(FILE) and self._is_upload(path[len(FILE) :]))
        else:
            fits = method == "POST" and path in WRITTEN
        if not fits:
            await _answer(send, 404, "there is nothing here")
            return
        if path == UPLOAD:
            refused = self._too_much(headers)
            if refused:
                await _answer(send, 413, refused)
                return
        elif method == "POST":
            body = await _body(receive, EVENT_BYTES)
            if body is None:
                await _answer(send, 413, "the event is too large")
                return
            if not self._names_only_uploads(body):
                await _answer(send, 403, "only uploaded files can be used")
                return
            receive = replayed(body, receive)

        async def told(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
                if not capability:
                    message["headers"].append((b"content-security-policy", PAGE_POLICY.encode()))
            await send(message)

        await self._app(scope, receive, told)

    # ------------------------------------------------------------------------------------------------------ who

    def _foreign(self, headers: MutableMapping[str, str]) -> str:
        """Why a request comes from a page of another place; empty where it does not."""
        host = headers.get("host", "")
        if self._settings.is_loopback and not _HOSTS.fullmatch(host.lower()):
            return "this page is for this machine only"  # a name that somebody else points here (DNS rebinding)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower() and origin != "null":
            return "requests of other pages are not answered"
        if origin == "null" and headers.get("sec-fetch-dest") not in ("video", "audio", "iframe"):
            return "requests of other pages are not answered"
        return ""

    async def _entered(self, scope: Scope, receive: Receive, send: Send, headers: MutableMapping[str, str]) -> bool:
        """Whether a visitor has a key; who does not is asked for one."""
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            cookie = None
        if cookie is not None and self._fits(cookie.value):
            return True
        given, wrong = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("key", [""])[0], 401
        if scope["method"] == "POST" and scope["path"] == "/enter":
            given = parse_qs((await _body(receive, 4096) or b"").decode("latin-1")).get("key", [""])[0]
        if given and self._fits(given):
            flags = "HttpOnly; SameSite=Lax; Path=/" + ("; Secure" if scope.get("scheme") == "https" else "")
            value = f"{COOKIE}={given}; {flags}".encode("latin-1")
            await _answer(send, 303, "welcome", ((b"location", b"/"), (b"set-cookie", value)))
            return False
        form = (
            '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            "<title>video-SALMONN</title><form method=post action=/enter><p>This page needs its key. The command that "
            "started it printed one.</p><p><label>Key <input type=password name=key autofocus></label> "
            f"<button>Enter</button></p>{'<p>This key does not fit.</p>' if given else ''}</form>"
        )
        await _answer(send, wrong, form, ((b"content-type", b"text/html; charset=utf-8"),))
        return False

    def _fits(self, key: str) -> bool:
        found = False
        for known in self._settings.keys:  # all of them, however early one fits
            found |= hmac.compare_digest(known.encode(), key.encode("utf-8", "surrogateescape"))
        return found

    # ----------------------------------------------------------------------------------------------------- files

    def _is_upload(self, name: str) -> bool:
        """Whether a path is a file in the upload folder, with all links followed."""
        try:
            found = Path(unquote(name) if "%" in name else name).resolve()
            return found.is_relative_to(self._uploads) and found.is_file()
        except (OSError, ValueError, RuntimeError):
            return False

    def _too_much(self, headers: MutableMapping[str, str]) -> str:
        """Why an upload is refused before it is read."""
        length = headers.get("content-length", "")
        if not length.isdigit():
            return "the upload does not say how long it is"
        most = self._settings.max_body_bytes
        if int(length) > most + EVENT_BYTES:
            return f"files of at most {most >> 20} MiB are taken"
        if int(length) + _size_of(self._uploads) > self._settings.max_files_bytes:
            return "this server holds as many files as it may; try again later"
        return ""

    def _names_only_uploads(self, body: bytes) -> bool:
        """Whether an event names no files but uploaded ones."""
        try:
            event = json.loads(body or b"null")
        except (ValueError, RecursionError):
            return False
        waiting: list[Any] = [event]
        while waiting:
            value = waiting.pop()
            if isinstance(value, dict):
                named = value.get("path")
                if isinstance(named, str) and named and not self._is_upload(named):
                    return False
                if isinstance(value.get("url"), str) and not _is_local(value["url"], self._is_upload):
                    return False
                waiting += value.values()
            elif isinstance(value, list):
                waiting += value
        return True


def _is_local(url: str, is_upload: Callable[[str], bool]) -> bool:
    """Whether an address that the page gives a file is one of an upload here."""
    _, found, name = url.partition(FILE)
    return not url or (bool(found) and is_upload(unquote(name)))


def _size_of(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # deleted meanwhile
            continue
    return total


async def _body(receive: Receive, most: int) -> bytes | None:
    """A request's body; None where it is larger than ``most``."""
    held = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return held
        held += message.get("body", b"")
        if len(held) > most:
            return None
        if not message.get("more_body"):
            return held


async def _answer(send: Send, status: int, text: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    own = dict([(b"content-type", b"text/plain; charset=utf-8"), *headers])
    body = text.encode() if own[b"content-type"].startswith(b"text/html") else escape(text).encode()
    own |= {b"content-length": str(len(body)).encode(), b"cache-control": b"no-store"}
    policy = (b"content-security-policy", b"default-src 'none'; form-action 'self'; frame-ancestors 'none'")
    await send({"type": "http.response.start", "status": status, "headers": [*own.items(), *HEADERS, policy]})
    await send({"type": "http.response.body", "body": body})
