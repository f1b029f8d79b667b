"""``video-salmonn serve``: an OpenAI-compatible server for one model."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from video_salmonn.cli import listening
from video_salmonn.cli import options as shared
from video_salmonn.cli.output import emit_json, reports_errors, stderr
from video_salmonn.errors import ConfigError

if TYPE_CHECKING:
    from video_salmonn.serving.settings import ServerSettings

KEYS = "VIDEO_SALMONN_API_KEYS"


@reports_errors
@shared.with_placement
def command(
    model: str = shared.MODEL,
    host: str = listening.HOST,
    port: int = typer.Option(8000, "--port", min=0, max=65535, help="Port; 0 for any that is free."),
    api_key: list[str] = typer.Option(
        None, "--api-key", help=f"A key that clients need; repeatable. Others see arguments: better set {KEYS} (a,b)."
    ),
    served_name: str = typer.Option(None, "--served-name", help="What clients call the model."),
    allow_url: list[str] = typer.Option(
        None, "--allow-url", help="HOST or HOST:PORT from which media may be fetched by https; repeatable."
    ),
    max_requests: int = typer.Option(64, "--max-requests", min=1, help="Requests at once; more get 503."),
    max_per_key: int = typer.Option(
        32, "--max-requests-per-key", min=1, help="Requests per key at once; more get 429."
    ),
    max_batch: int = typer.Option(16, "--max-batch", min=1, help="Largest number of requests answered together."),
    max_body: float = typer.Option(64, "--max-body-mib", min=0.001, help="Largest request body and file, in MiB."),
    max_seconds: float = listening.MAX_SECONDS,
    max_new_tokens: int = typer.Option(512, "--max-new-tokens", min=1, help="Longest answer."),
    request_seconds: float = typer.Option(300, "--request-seconds", min=1, help="Longest time for one request."),
    decode_processes: int = typer.Option(2, "--decode-processes", min=1, help="Processes that decode media."),
    cache_mib: int = typer.Option(256, "--cache-mib", min=0, help="Encoded media kept for each key, in MiB."),
    drain_seconds: float = typer.Option(60, "--drain-seconds", min=1, help="After SIGTERM, time for running requests."),
    replicas: str = typer.Option(
        None, "--replicas", help="N or MIN:MAX servers behind one port, as a Ray Serve application on this machine."
    ),
    sessions: bool = typer.Option(
        False, "--sessions", help="With --replicas: requests of one x-session-id header go to the same replica."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object (url, model, api_keys) when ready."),
    *,
    placement: dict[str, Any],
) -> None:
    """Serve a model over HTTP with OpenAI's routes."""
    shared.check_loading(model, **placement)
    keys = shared.keys_of(api_key, KEYS)
    made = not keys
    settings = listening.settings_of(
        keys,
        mib=max_body,
        seconds=max_seconds,
        host=host,
        port=port,
        allow_urls=tuple(_host(name) for name in allow_url or []),
        max_requests=max_requests,
        max_requests_per_key=max_per_key,
        max_batch=max_batch,
        max_new_tokens=max_new_tokens,
        request_seconds=request_seconds,
        decode_processes=decode_processes,
        cache_bytes=cache_mib << 20,
        drain_seconds=drain_seconds,
    )
    wanted = None if replicas is None else _replicas(replicas)
    if wanted is None and sessions:
        raise ConfigError("--sessions goes with --replicas", remedy="give --replicas MIN:MAX too")
    with listening.packages("serve"):
        from video_salmonn.serving.listening import log_to_stderr
        from video_salmonn.serving.server import serve
        from video_salmonn.serving.service import Service, name_of
    service = None
    if wanted is None:
        service = Service(shared.load_engine(model, **placement), settings, served_name)
    name = served_name or name_of(model)
    log_to_stderr()
    logging.getLogger("video_salmonn.serving").setLevel(logging.INFO)

    def ready(url: str) -> None:
        if as_json:
            emit_json({"url": f"{url}/v1", "model": name, "api_keys": list(settings.keys) if made else []})
            return
        stderr.print(f"serving {name} at {url}/v1")
        if made:
            stderr.print(f"API key (of this run; set {KEYS} for your own): {settings.keys[0]}", soft_wrap=True)
        listening.note_reach(settings)

    if service is not None:
        serve(service, ready)
    elif wanted is not None:
        least, most = wanted
        _serve_replicas(model, served_name, placement, settings, least, most, sessions, ready)


def _replicas(text: str) -> tuple[int, int]:
    """(least, most) of ``N`` or ``MIN:MAX``. Raises ConfigError."""
    least, colon, most = text.partition(":")
    most = most if colon else least
    if not (least.isdecimal() and most.isdecimal() and 1 <= int(least) <= int(most)):
        raise ConfigError(f"--replicas is {text!r}", remedy="give N or MIN:MAX, such as 1:4")
    return int(least), int(most)


def _serve_replicas(
    model: str,
    served_name: str | None,
    placement: dict[str, Any],
    settings: ServerSettings,
    least: int,
    most: int,
    sessions: bool,
    ready: Callable[[str], None],
) -> None:
    """Serve by replicas on Ray; each loads the model for itself."""
    from video_salmonn.serving.ray_serve import Model, Scaling, run

    device, dtype = shared.choose_device(placement.pop("device")), placement.pop("dtype")
    is_cuda = device.startswith("cuda")
    if is_cuda:
        import torch

        if torch.cuda.device_count() < least:  # Ray would wait for more, and gives each replica one of its own
            raise ConfigError(f"there are fewer than {least} GPUs", remedy="give fewer --replicas, or --device cpu")
        device = "cuda"
    cores = max(1, (os.cpu_count() or 1) // most)
    scaling = Scaling(least, most, num_cpus=1 if is_cuda else cores, num_gpus=int(is_cuda), sessions=sessions)
    run(Model(model, device, dtype, served_name, placement), settings, scaling, ready)


def _host(name: str) -> str:
    """A host of ``--allow-url``, plain. Raises ConfigError."""
    plain = name.strip().lower().rstrip("/").removeprefix("https://")
    if not plain or "/" in plain or "://" in plain or "@" in plain:
        raise ConfigError(f"--allow-url {name!r} is not a host", remedy="give HOST or HOST:PORT, such as media.example")
    return plain.removesuffix(":443")
