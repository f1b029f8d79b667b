"""``video-salmonn web``: a page to ask about clips, for a browser on this machine or, with a key, on others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from video_salmonn.cli import listening
from video_salmonn.cli import options as shared
from video_salmonn.cli.output import emit_json, reports_errors, stderr
from video_salmonn.errors import ConfigError

KEYS = "VIDEO_SALMONN_WEB_KEYS"


@reports_errors
@shared.with_placement
def command(
    model: str = shared.MODEL,
    host: str = listening.HOST,
    port: int = typer.Option(7860, "--port", min=0, max=65535, help="Port; 0 for any that is free."),
    key: list[str] = typer.Option(
        None, "--key", help=f"A key that visitors need; repeatable. Others see arguments: better set {KEYS} (a,b)."
    ),
    examples: Path = typer.Option(
        None, "--examples", help="Folder of example clips; by default those of the repository."
    ),
    max_file: float = typer.Option(64, "--max-file-mib", min=0.001, help="Largest file, in MiB."),
    max_seconds: float = listening.MAX_SECONDS,
    max_new_tokens: int = typer.Option(128, "--max-new-tokens", min=1, help="Longest answer."),
    keep_seconds: float = typer.Option(3600, "--keep-seconds", min=10, help="Unused clips are deleted after this."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object (url, model, keys) when ready."),
    *,
    placement: dict[str, Any],
) -> None:
    """Open a web page to ask about clips: drop or record one, ask, read the transcript."""
    if examples is not None and not examples.is_dir():
        raise ConfigError(f"--examples {examples} is not a folder", remedy="give a folder of media files")
    shared.check_loading(model, **placement)
    keys = shared.keys_of(key, KEYS)
    settings = listening.settings_of(
        keys,
        mib=max_file,
        seconds=max_seconds,
        host=host,
        port=port,
        max_new_tokens=max_new_tokens,
        file_seconds=keep_seconds,
        max_text=4000,
        max_batch=4,
    )
    needs_key = bool(keys) or not settings.is_loopback
    with listening.packages("web", "gradio", "gradio_client"):
        from video_salmonn.serving.listening import log_to_stderr
        from video_salmonn.serving.web.app import examples_in, own_examples, serve
    engine = shared.load_engine(model, **placement)
    log_to_stderr()

    def ready(url: str) -> None:
        made = needs_key and not keys
        opened = f"{url}/?key={settings.keys[0]}" if made else f"{url}/"
        if as_json:
            emit_json({"url": opened, "model": model, "keys": list(settings.keys) if made else []})
            return
        stderr.print(f"open {opened}", soft_wrap=True)
        listening.note_reach(settings)

    serve(engine, settings, examples=examples_in(examples or own_examples()), needs_key=needs_key, ready=ready)
