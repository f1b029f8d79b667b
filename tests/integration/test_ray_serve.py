"""Replicas behind one port (`make test-cluster`): they come under load, and one that is killed takes what it held."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from serving_client import text, video
from video_salmonn.errors import ConfigError

pytest.importorskip("ray.serve", reason="make test-cluster installs it", exc_type=ImportError)
from video_salmonn.serving.ray_proxy import CALLBACK, ENVIRONMENT, PATIENCE
from video_salmonn.serving.ray_serve import application

KEY = "key-of-the-cluster"
CLIENTS, AFTER = 6, 4
HEADERS = {"authorization": f"Bearer {KEY}"}
BODY = {"messages": [{"role": "user", "content": [video(), text()]}], "max_tokens": 100, "stream": True}
PATIENT = {"RAY_worker_niceness": "0", "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120"}  # other tests run beside it


TRIES = 3
"""Ray itself gives a machine 30 s to start, and nothing can change that; a busy one needs another try."""


def is_too_late(told):
    """Whether Ray gave up on a busy machine, so that the command may be run again."""
    return "timed out during startup" in told


@contextlib.contextmanager
def cluster(tmp_path, *arguments):
    """The command with two replicas at most, ready; yields (process, address)."""
    command = [sys.executable, "-m", "video_salmonn", "serve", "--model", "tiny", "--port", "0", "--json", *arguments]
    environment = {**os.environ, **PATIENT, "VIDEO_SALMONN_API_KEYS": KEY}
    with (tmp_path / "log").open("w") as log:
        for number in range(TRIES):
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True)
            told = ""
            while not told.endswith("\n}\n"):
                line = process.stdout.readline()
                assert line, told + (tmp_path / "log").read_text()
                told += line
            if not (is_too_late(told) and number + 1 < TRIES):
                break
            process.wait(180)
            process.stdout.close()
        try:
            assert '"url"' in told, told
            yield process, json.loads(told)["url"].removesuffix("/v1")
            process.send_signal(signal.SIGTERM)
            assert process.wait(180) == 0
        finally:
            for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
                with contextlib.suppress(psutil.Error):
                    child.kill()
            process.kill()
            process.stdout.close()


def replicas(process):
    """Processes of replicas below the command's."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(part.startswith("ray::ServeReplica:") for part in child.cmdline()):
                found.append(child)
    return found


@dataclass
class Seen:
    """What became of one request."""

    begun: float
    replica: str | None = None
    status: int = 0
    error: dict | None = None
    whole: bool = False
    ended: float = 0.0


@dataclass
class Load:
    """Clients that ask, each as soon as it was answered, until they are told to stop."""

    url: str
    seen: list[Seen] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def client(self):
        with httpx.Client(base_url=self.url, headers=HEADERS, timeout=300) as client:
            while not self.stop.is_set():
                one = Seen(time.monotonic())
                self.seen.append(one)
                with client.stream("POST", "/v1/chat/completions", json=BODY) as response:
                    one.status, one.replica = response.status_code, response.headers.get("x-replica")
                    lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
                if one.status != 200:
                    one.error = json.loads("".join(lines))["error"]
                    assert int(response.headers["retry-after"]) >= 1
                else:
                    one.whole = lines[-1] == "[DONE]"
                    one.error = next((json.loads(line)["error"] for line in lines if line.startswith('{"error"')), None)
                one.ended = time.monotonic()

    def until(self, done, seconds=400):
        """Wait for something that the answers show."""
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, self.seen[-20:]
            time.sleep(0.1)

    def names(self, since=0.0):
        """Replicas that have answered requests begun since then."""
        return {one.replica for one in list(self.seen) if one.replica and one.begun > since and one.ended}

    def all_busy(self):
        """Whether every replica is within an answer."""
        return all(any(not one.ended and one.replica == name for one in list(self.seen)) for name in self.names())


@pytest.mark.slow
@pytest.mark.distributed
def test_replicas_come_under_load_and_a_killed_one_takes_only_what_it_held(tmp_path):
    with cluster(tmp_path, "--replicas", "1:2", "--max-batch", "4") as (process, url), ThreadPoolExecutor() as pool:
        assert len(replicas(process)) == 1
        load = Load(url)
        clients = [pool.submit(load.client) for _ in range(CLIENTS)]
        try:
            load.until(lambda: len(load.names()) == 2)  # the second one came because of the load
            load.until(load.all_busy)
            killed_at = time.monotonic()
            replicas(process)[0].kill()
            load.until(lambda: sum(one.begun > killed_at and one.whole for one in list(load.seen)) >= AFTER * CLIENTS)
            load.until(lambda: len(load.names(killed_at)) == 2)  # and one in its place
        finally:
            load.stop.set()
        for one in clients:
            one.result(300)
    failed = [one for one in load.seen if one.error]
    assert failed and all(one.error["code"] == 503 and "replica" in one.error["message"] for one in failed)
    assert all(one.whole for one in load.seen if one.status == 200), "a stream that broke ends as streams do"
    assert all(one.begun < killed_at < one.ended for one in failed), "only what was under way at that moment"
    assert len({one.replica for one in failed if one.replica}) <= 1, "of one replica"
    (dead,) = {one.replica for one in load.seen if one.replica and one.begun < killed_at} - load.names(killed_at)
    assert all(one.replica in (None, dead) for one in failed)
    assert all(one.error for one in load.seen if one.replica == dead and one.ended > killed_at + 60)


@pytest.mark.slow
@pytest.mark.distributed
def test_a_proxy_that_cannot_start_is_one_clear_error():
    command = [sys.executable, "-m", "video_salmonn", "serve", "--model", "tiny", "--port", "0", "--replicas", "1"]
    environment = {**os.environ, **PATIENT, "VIDEO_SALMONN_API_KEYS": KEY, CALLBACK: "nowhere.middlewares"}
    for _ in range(TRIES):
        ended = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True, timeout=600)
        if not is_too_late(ended.stdout):
            break
    assert ended.returncode == 2, ended.stderr
    error = json.loads(ended.stdout)["error"]
    assert error["type"] == "ConfigError" and error["message"].startswith("Ray Serve cannot be started: ")
    assert "nowhere.middlewares cannot be imported" in error["message"] and CALLBACK in error["remedy"]
    assert "\n" not in error["message"] and "Traceback" not in ended.stderr


@pytest.mark.slow
@pytest.mark.distributed
def test_a_session_stays_with_its_replica(tmp_path):
    from websockets.sync.client import connect

    with (
        cluster(tmp_path, "--replicas", "2", "--sessions") as (_, url),
        httpx.Client(base_url=url, headers=HEADERS, timeout=300) as client,
    ):
        names = set()
        for number in range(8):
            session = {"x-session-id": f"session-{number}"}
            stored = client.post("/v1/files", files={"file": b"words"}, headers=session)
            assert stored.status_code == 200
            found = client.get(f"/v1/files/{stored.json()['id']}", headers=session)
            assert found.status_code == 200 and found.headers["x-replica"] == stored.headers["x-replica"]
            names.add(stored.headers["x-replica"])
        assert len(names) == 2
        with connect(f"{url.replace('http', 'ws')}/v1/video/chat/stream", additional_headers=HEADERS) as live:
            for message in ({"type": "session.config", "max_tokens": 4}, {"type": "ping"}, {"type": "video.done"}):
                live.send(json.dumps(message))
            told = [json.loads(event)["type"] for event in live]
        assert told == ["session.config", "pong", "session.done"]
        lost = client.post("/v1/chat/completions", json={**BODY, "model": "none"})
        assert lost.status_code == 404 and lost.json()["error"]["type"] == "not_found_error"


def test_arguments_of_rays_own_commands_are_checked_and_converted(monkeypatch):
    monkeypatch.delenv("VIDEO_SALMONN_API_KEYS", raising=False)
    with pytest.raises(ConfigError, match="no API keys"):
        application({"model": "tiny"})
    for wrong, message in (
        ({"modle": "tiny"}, "modle"),
        ({"max_replicas": "many"}, "max_replicas"),
        ({"max_batch": 2.5}, "max_batch"),
        ({"sessions": "perhaps"}, "sessions"),
        ({"drain_seconds": None}, "drain_seconds"),
        ({"min_replicas": 3, "max_replicas": "2"}, "3 to 2"),
        ({"host": "0.0.0.0"}, "host"),
    ):
        with pytest.raises(ConfigError, match=message):
            application({"api_keys": KEY, **wrong})
    wanted = {"max_replicas": "3", "sessions": "true", "max_batch": "2", "upscale_delay": "0.5"}
    made = application({"api_keys": KEY, "model": "tiny", **wanted})
    deployment = made._bound_deployment
    assert deployment._deployment_config.autoscaling_config.max_replicas == 3
    assert deployment.max_ongoing_requests == 4
    monkeypatch.setenv("VIDEO_SALMONN_API_KEYS", f"{KEY},another-long-key")
    fixed = application({"min_replicas": 2, "max_replicas": 2, "device": "cuda", "allow_urls": "a.example, b.example"})
    assert fixed._bound_deployment.num_replicas == 2
    assert fixed._bound_deployment.ray_actor_options["num_gpus"] == 1
    _, settings = fixed._bound_deployment.init_args
    assert settings.keys == (KEY, "another-long-key") and settings.allow_urls == ("a.example", "b.example")


def test_the_configuration_in_the_docs_is_one_that_ray_serve_takes(monkeypatch):
    yaml = pytest.importorskip("yaml")
    from ray.serve.schema import ServeDeploySchema

    page = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text("utf-8")
    config = ServeDeploySchema.model_validate(yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1]))
    (one,) = config.applications
    module, _, name = one.import_path.partition(":")
    monkeypatch.setenv("VIDEO_SALMONN_API_KEYS", one.runtime_env["env_vars"]["VIDEO_SALMONN_API_KEYS"])
    made = getattr(importlib.import_module(module), name)(one.args)
    assert made._bound_deployment.ray_actor_options["num_gpus"] == 1
    assert config.controller_options.runtime_env["env_vars"] == ENVIRONMENT
    module, _, name = ENVIRONMENT[CALLBACK].rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))
    assert all(f"{name}={value}" in page for name, value in {**ENVIRONMENT, **PATIENCE}.items())


def _hears_interrupts() -> None:
    """In a child: what a shell starts in the background ignores Ctrl-C, and so would the child."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.distributed
def test_rays_own_command_serves_the_configuration_in_the_docs(tmp_path):
    yaml = pytest.importorskip("yaml")
    page = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text("utf-8")
    config = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    config["http_options"] = {"host": "127.0.0.1", "port": port}
    (one,) = config["applications"]
    one["runtime_env"]["env_vars"]["VIDEO_SALMONN_API_KEYS"] = KEY
    one["args"] |= {"model": "tiny", "device": "cpu", "min_replicas": 1, "max_replicas": 1}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(config), "utf-8")
    command = [str(Path(sys.executable).with_name("serve")), "run", str(tmp_path / "cluster.yaml")]
    environment = {**os.environ, **PATIENCE, "RAY_ADDRESS": "local", "RAY_USAGE_STATS_ENABLED": "0"}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, preexec_fn=_hears_interrupts)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=HEADERS, timeout=300) as client:
            end = time.monotonic() + 600
            while True:
                assert process.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()[-4000:]
                with contextlib.suppress(httpx.TransportError):
                    if client.get("/health").status_code == 200:
                        break
                time.sleep(1)
            assert client.get("/v1/models", headers={"authorization": "Bearer another-key"}).status_code == 401
            asked = client.post("/v1/chat/completions", json={**BODY, "stream": False, "max_tokens": 4})
            assert asked.status_code == 200 and asked.json()["usage"]["completion_tokens"] <= 4
            lost = client.get("/nowhere")
            assert lost.status_code == 404 and lost.json()["error"]["type"] == "not_found_error"
        process.send_signal(signal.SIGINT)
        process.wait(300)
    finally:
        for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
            with contextlib.suppress(psutil.Error):
                child.kill()
        process.kill()
