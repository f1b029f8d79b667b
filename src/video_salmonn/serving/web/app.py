"""The web page's application, and its server."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse, Response

from video_salmonn.inference.engine import VideoSalmonn
from video_salmonn.serving.listening import bound_socket, ended_by_signals
from video_salmonn.serving.server import HEAD_BYTES, timed_heads
from video_salmonn.serving.settings import ServerSettings
from video_salmonn.serving.web import page
from video_salmonn.serving.web.door import Door
from video_salmonn.serving.web.talk import Desk

MEDIA = (".mp4", ".webm", ".mkv", ".mov", ".wav", ".flac", ".mp3", ".ogg", ".jpg", ".jpeg", ".png", ".webp")
MOST_EXAMPLES = 40
FRAME_POLICY = "sandbox allow-scripts; frame-ancestors 'self'"
_HOST = re.compile(r"[A-Za-z0-9.\-\[\]:]{1,255}")


def examples_in(folder: Path | None) -> dict[str, Path]:
    """Clips that a visitor can pick: name -> file, in the folder and those below it; none where there is no folder."""
    if folder is None or not folder.is_dir():
        return {}
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in MEDIA and path.is_file())
    found.sort(key=lambda path: len(path.relative_to(folder).parts))
    return {path.relative_to(folder).as_posix(): path for path in found[:MOST_EXAMPLES]}


def own_examples() -> Path | None:
    """The folder ``examples`` of the repository that this package runs from; None for an installed package."""
    folder = Path(__file__).resolve().parents[4] / "examples"
    return folder if (folder / "README.md").is_file() and (folder.parent / "pyproject.toml").is_file() else None


def create_app(desk: Desk, uploads: Path, *, examples: Mapping[str, Path], needs_key: bool) -> Door:
    """The application: the page, clips' own pages, and their media.

    Args:
        desk: opens files.
        uploads: folder that uploaded files lie in until they are opened.
        examples: clips that can be picked, by name.
        needs_key: whether visitors need one of ``desk.settings.keys``.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    script = page.asset("frame.js")

    @app.get("/view/{token}")
    def view(token: str, request: Request) -> Response:
        talk = desk.find(token)
        if talk is None:
            return PlainTextResponse("This clip was deleted.", 404)
        host = request.headers.get("host", "")
        origin = f"{request.url.scheme}://{host}" if _HOST.fullmatch(host) else ""
        headers = {"content-security-policy": FRAME_POLICY, "cache-control": "no-store"}
        return HTMLResponse(talk.page(origin, script), headers=headers)

    @app.api_route("/media/{token}", methods=["GET", "HEAD"])
    def media(token: str) -> Response:
        talk = desk.find(token)
        if talk is None or talk.player.main is None or not talk.path.is_file():
            return PlainTextResponse("This clip was deleted.", 404)
        headers = {"content-security-policy": FRAME_POLICY, "cache-control": "no-store"}
        return FileResponse(talk.path, media_type=talk.player.main.mime, headers=headers)

    notes = " ".join(f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in desk.engine.notices)
    model = str(desk.engine.name).replace("\\", "/").rstrip("/").rpartition("/")[2]
    blocks = page.build(page.Handlers(desk, examples), model, notes)
    mounted = page.gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        server_name=desk.settings.host,
        footer_links=[],
        run_history=False,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        allowed_paths=[],
        show_error=False,
        max_file_size=desk.settings.max_body_bytes,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=page.theme(),
        head=f"<style>{page.asset('page.css')}</style><script>{page.asset('host.js')}</script>",
    )
    return Door(mounted, desk.settings, uploads, needs_key)


@contextmanager
def web_page(
    engine: VideoSalmonn, settings: ServerSettings, *, examples: Mapping[str, Path], needs_key: bool
) -> Iterator[Door]:
    """The application with a folder for files of its own, which is deleted in the end."""
    with tempfile.TemporaryDirectory(prefix="video-salmonn-web-") as folder:
        uploads = Path(folder).resolve() / "uploads"
        uploads.mkdir(mode=0o700)
        desk = Desk(engine, settings, uploads.parent / "clips")
        try:
            yield create_app(desk, uploads, examples=examples, needs_key=needs_key)
        finally:
            desk.close()


class WebServer(uvicorn.Server):
    """A uvicorn server that says when it is ready.

    Args:
        app: is served.
        settings: where.
        ready: called once with the address.
    """

    def __init__(self, app: Any, settings: ServerSettings, ready: Callable[[str], None] | None = None) -> None:
        config = uvicorn.Config(
            app,
            http=timed_heads(settings.header_seconds),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,  # it writes whole paths, and the key may be in one
            server_header=False,
            h11_max_incomplete_event_size=HEAD_BYTES,
            timeout_graceful_shutdown=2,  # streams of open pages end only when these are closed
            proxy_headers=False,
        )
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: Any = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.started and self._ready is not None and sockets:
            host, port = sockets[0].getsockname()[:2]
            self._ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")


def serve(
    engine: VideoSalmonn,
    settings: ServerSettings,
    *,
    examples: Mapping[str, Path],
    needs_key: bool,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the page until SIGTERM or SIGINT.

    Raises:
        ConfigError: the address cannot be had.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    sock = bound_socket(settings.host, settings.port)
    try:
        with web_page(engine, settings, examples=examples, needs_key=needs_key) as app, ended_by_signals():
            WebServer(app, settings, ready).run(sockets=[sock])
    finally:
        sock.close()
