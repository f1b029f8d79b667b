"""The server on a Ray cluster: the same application in replicas that Ray Serve starts, watches and scales.

.. code-block:: console

    $ serve run video_salmonn.serving.ray_serve:application model=/shared/models/embedded max_replicas=8

Decisions:

* A replica is a whole server: engine, door, files and cache. Replicas share nothing but the folder of the weights.
* A replica holds two batches of requests, one that is answered and one whose media are read; the others wait at the
  proxies. So a replica that dies takes few requests with it, and a new one finds work at once.
* A request that a dead replica held gets 503 and ``Retry-After``, or that error as the last event of its stream
  (:mod:`video_salmonn.serving.ray_proxy`). It is not asked again in secret: its media were perhaps what killed it.
* A replica that cannot answer any more fails its health check and is replaced.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field, fields
from types import FrameType
from typing import TYPE_CHECKING, Any

from video_salmonn.errors import ConfigError, MissingPartError
from video_salmonn.serving.app import create_app
from video_salmonn.serving.listening import bound_socket, log_to_stderr
from video_salmonn.serving.ray_proxy import CALLBACK, ENVIRONMENT, PATIENCE
from video_salmonn.serving.service import Service
from video_salmonn.serving.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from ray.serve import Application

    from video_salmonn.serving.asgi import Receive, Scope, Send

NAME = "video-salmonn"
"""Of the application and of its deployment."""
KEYS = "VIDEO_SALMONN_API_KEYS"
QUIET = {"enable_access_log": False, "log_level": "WARNING"}
"""Logging of Ray Serve: the door logs routes."""
REPLICA = b"x-replica"
"""Header of every answer: the name of the replica that made it."""


@dataclass(frozen=True)
class Scaling:
    """How many replicas there are, and what each may have.

    Attributes:
        min_replicas, max_replicas: Ray Serve keeps their number between, by the requests under way.
        num_cpus, num_gpus: reserved for each replica.
        sessions: requests with the same header ``x-session-id`` go to the same replica while it lives.
        upscale_delay, downscale_delay: seconds of more, or less, work until the number changes.
    """

    min_replicas: int = 1
    max_replicas: int = 4
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    sessions: bool = False
    upscale_delay: float = 10.0
    downscale_delay: float = 300.0

    def __post_init__(self) -> None:
        if not 1 <= self.min_replicas <= self.max_replicas:
            raise ConfigError(
                f"{self.min_replicas} to {self.max_replicas} replicas are asked for", remedy="use 1 <= MIN <= MAX"
            )


@dataclass(frozen=True)
class Model:
    """What a replica loads.

    Attributes:
        name: or a folder that every machine can read.
        device, dtype: as for :meth:`VideoSalmonn.load`.
        served_name: what clients call it.
        loading: further options of :meth:`VideoSalmonn.load`.
    """

    name: str
    device: str = "cpu"
    dtype: str | None = None
    served_name: str | None = None
    loading: Mapping[str, Any] = field(default_factory=dict)


class Replica:
    """One server behind the proxies.

    Args:
        model: that it loads.
        settings: limits; each replica has them for itself.
    """

    def __init__(self, model: Model, settings: ServerSettings) -> None:
        from video_salmonn.inference.engine import VideoSalmonn

        log_to_stderr()
        logging.getLogger("video_salmonn.serving").setLevel(logging.INFO)
        engine = VideoSalmonn.load(model.name, device=model.device, dtype=model.dtype, **model.loading)
        self._service = Service(engine, settings, model.served_name)

    def __serve_build_asgi_app__(self) -> Named:
        from ray import serve

        return Named(create_app(self._service), serve.get_replica_context().replica_id.unique_id)

    def check_health(self) -> None:
        """Raise where nothing can be answered any more: Ray Serve replaces the replica."""
        trouble = self._service.trouble
        if trouble:
            raise RuntimeError(trouble)


class Named:
    """ASGI middleware: the header that says which replica answered.

    Args:
        app: the server.
        name: of the replica.
    """

    def __init__(self, app: Any, name: str) -> None:
        self._app, self._name = app, name.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def named(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (REPLICA, self._name)]
            await send(message)

        await self._app(scope, receive, named)


def deployed(model: Model, settings: ServerSettings, scaling: Scaling) -> Application:
    """The application for ``ray.serve.run``.

    Raises:
        MissingPartError: Ray Serve is not installed.
    """
    serve = _ray_serve()
    held = 2 * settings.max_batch
    queued = max(settings.max_requests - held, 1) * scaling.max_replicas
    extra: dict[str, Any] = {}
    if scaling.min_replicas < scaling.max_replicas:
        extra["autoscaling_config"] = {
            "min_replicas": scaling.min_replicas,
            "max_replicas": scaling.max_replicas,
            "target_ongoing_requests": max(settings.max_batch / 2, 1),
            "upscale_delay_s": scaling.upscale_delay,
            "downscale_delay_s": scaling.downscale_delay,
        }
    else:
        extra["num_replicas"] = scaling.min_replicas
    if scaling.sessions:
        router = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
        strict = {"num_fallback_replicas": 0}  # a busy replica is waited for: another one has not the session's files
        extra["request_router_config"] = {"request_router_class": router, "request_router_kwargs": strict}
    made = serve.deployment(
        name=NAME,
        ray_actor_options={"num_cpus": scaling.num_cpus, "num_gpus": scaling.num_gpus},
        max_ongoing_requests=held,
        max_queued_requests=queued,
        backpressure_config={"status_code": 503, "retry_after_s": 5},
        graceful_shutdown_timeout_s=settings.drain_seconds,
        health_check_period_s=5,
        health_check_timeout_s=30,
        logging_config=QUIET,
        **extra,
    )
    application: Application = made(serve.ingress()(Replica)).bind(model, settings)
    return application


def application(args: dict[str, Any]) -> Application:
    """The application for Ray's own commands ``serve run`` and ``serve deploy``.

    Args:
        args: ``model``, ``device``, ``dtype``, ``served_name``; ``api_keys`` (``a,b``; by default of the environment);
            any field of :class:`Scaling` and :class:`~video_salmonn.serving.settings.ServerSettings`. Text is
            converted.

    Raises:
        ConfigError: an argument is unknown or impossible, or there are no keys.
    """
    given = dict(args)
    keys = str(given.pop("api_keys", None) or os.environ.get(KEYS, ""))
    optional = [name for name in ("device", "dtype", "served_name") if given.get(name)]
    names: dict[str, Any] = {name: str(given.pop(name)) for name in optional}
    model = Model(str(given.pop("model", "embedded")), **names)
    if model.device.startswith("cuda"):
        given.setdefault("num_gpus", 1)
    known: dict[type, dict[str, Any]] = {Scaling: {}, ServerSettings: {}}
    for kind, found in known.items():
        for one in fields(kind):
            if one.name in given and one.name not in ("keys", "host", "port"):
                found[one.name] = _converted(one.name, given.pop(one.name), one.default)
    if given:
        raise ConfigError(f"unknown arguments: {', '.join(sorted(given))}", remedy="see docs/cluster.md")
    plain = tuple(key.strip() for key in keys.split(",") if key.strip())
    if not plain:
        raise ConfigError("there are no API keys", remedy=f"set {KEYS}, or give api_keys=KEY")
    return deployed(model, ServerSettings(keys=plain, **known[ServerSettings]), Scaling(**known[Scaling]))


def run(model: Model, settings: ServerSettings, scaling: Scaling, ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, on a Ray of this machine's own, or the one that ``RAY_ADDRESS`` names.

    Args:
        model, settings, scaling: of the replicas. Host and port are those of the proxies.
        ready: called once with the address, when ``min_replicas`` replicas answer.

    Raises:
        MissingPartError: Ray Serve is not installed.
        ConfigError: the address cannot be had, or Ray or the replicas do not start.
    """
    serve = _ray_serve()
    import ray

    is_own = not os.environ.get("RAY_ADDRESS")
    port = _free_port(settings)
    for name, value in {**ENVIRONMENT, **PATIENCE}.items():
        os.environ.setdefault(name, value)  # for the processes of a Ray of its own; those of another are told below
    options: dict[str, Any] = {}
    if is_own:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options = {"address": "local", "include_dashboard": False, "num_cpus": _cores(scaling)}
    known = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)
    except Exception as error:  # so general are Ray's own, such as that of a machine too busy to start it
        raise ConfigError(
            f"Ray cannot be started or joined: {_reason(error)}",
            remedy="try again when the machine is less busy, or set RAY_ADDRESS to that of a Ray that runs",
        ) from error
    try:
        for number in known:
            signal.signal(number, _interrupted)
        try:
            serve.start(
                proxy_location="EveryNode",
                http_options={"host": settings.host, "port": port},  # replicas limit times; live sessions have none
                logging_config=QUIET,
                controller_options={"runtime_env": {"env_vars": {name: os.environ[name] for name in ENVIRONMENT}}},
            )
        except (RuntimeError, TimeoutError, ray.exceptions.RayError) as error:  # a time-out is Ray's, after a minute
            is_late = isinstance(error, TimeoutError)
            remedy = (
                "try again when the machine is less busy" if is_late else f"correct this; unset {CALLBACK} if it is set"
            )
            raise ConfigError(f"Ray Serve cannot be started: {_reason(error)}", remedy=remedy) from error
        try:
            serve.run(deployed(model, settings, scaling), name=NAME, route_prefix="/", logging_config=QUIET)
        except (RuntimeError, TimeoutError, ray.exceptions.RayError) as error:
            raise ConfigError(
                f"the replicas could not be started: {_reason(error)}",
                remedy="start one without --replicas to see the reason",
            ) from error
        if ready is not None:
            ready(f"http://[{settings.host}]:{port}" if ":" in settings.host else f"http://{settings.host}:{port}")
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        pass
    finally:  # a second signal ends it at once
        try:
            with contextlib.suppress(Exception):  # where starting failed there may be nothing to delete
                serve.delete(NAME)  # what is under way is answered first
            if is_own:
                serve.shutdown()
        except KeyboardInterrupt:
            pass
        ray.shutdown()
        for number, handler in known.items():
            signal.signal(number, handler)


def _reason(error: BaseException) -> str:
    """What a Ray error says in one line: where it quotes the trace of another process, that trace's last line."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in str(error).splitlines() if line.strip()]
    is_trace = any(line.startswith('  File "') for line in lines)
    return lines[-1].strip() if is_trace else " ".join(map(str.strip, lines)) or type(error).__name__


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _ray_serve() -> Any:
    try:
        from ray import serve
    except ImportError as error:
        raise MissingPartError(
            f"Ray Serve is not installed ({error.name})", remedy='pip install "video-salmonn[cluster]"'
        ) from error
    return serve


def _cores(scaling: Scaling) -> int:
    """What a Ray of one machine is told to have: a replica waits for ever for a core that is not there."""
    return max(os.cpu_count() or 1, int(scaling.num_cpus * scaling.max_replicas + 0.999))


def _free_port(settings: ServerSettings) -> int:
    """The port, or any that is free. Raises ConfigError where it cannot be had."""
    with bound_socket(settings.host, settings.port) as sock:
        return int(sock.getsockname()[1])


def _converted(name: str, value: Any, default: Any) -> Any:
    """A value of an argument, which ``serve run`` gives as text, in the type of its default."""
    try:
        if isinstance(value, str) and isinstance(default, bool):
            return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
        if isinstance(default, tuple):
            parts = value.split(",") if isinstance(value, str) else value
            return tuple(str(part).strip() for part in parts if str(part).strip())
        made = type(default)(value)
        if not isinstance(value, str) and made != value:
            raise ValueError(value)
        return made
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{name} is {value!r}", remedy=f"give a value such as {default!r}") from error
