"""`video-salmonn serve` as users run it: ready, asked, told to end, ended; and what it refuses to start with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from serving_client import CLIP, text, video
from video_salmonn import VideoSalmonn
from video_salmonn.cli.main import app

COMMAND = [sys.executable, "-m", "video_salmonn", "serve", "--model", "tiny", "--port", "0", "--json"]


@pytest.mark.slow
def test_the_command_serves_drains_and_ends_cleanly(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment.pop("VIDEO_SALMONN_API_KEYS", None)
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    try:
        told = ""
        while not told.endswith("}\n"):
            line = process.stdout.readline().decode()
            assert line, process.stderr.read()
            told += line
        ready = json.loads(told)
        headers = {"authorization": f"Bearer {ready['api_keys'][0]}"}
        body = {"messages": [{"role": "user", "content": [video(), text("secret-words")]}], "max_tokens": 300}
        with httpx.Client(base_url=ready["url"], headers=headers, timeout=60) as client, ThreadPoolExecutor(1) as pool:
            assert client.get("/models").json()["data"][0]["id"] == ready["model"] == "tiny"
            begun = threading.Event()

            def stream():
                with client.stream("POST", "/chat/completions", json={**body, "stream": True}) as response:
                    lines = []
                    for line in response.iter_lines():
                        lines.append(line)
                        begun.set()
                return lines

            asked = pool.submit(stream)
            assert begun.wait(60)
            process.send_signal(signal.SIGTERM)
            assert "data: [DONE]" in asked.result(60), "what was under way was answered to its end"
        assert process.wait(60) == 0
        log = process.stderr.read().decode()
        assert "POST /v1/chat/completions 200" in log
        assert "secret-words" not in log and "base64" not in log and ready["api_keys"][0] not in log
        assert list(Path(tmp_path).iterdir()) == [], "uploaded files' folder is gone"
    finally:
        process.kill()
        process.stdout.close()
        process.stderr.close()


def refused(*arguments):
    result = CliRunner().invoke(app, ["serve", "--json", *arguments])
    assert result.exit_code == 2, result.output
    return json.loads(result.stdout)["error"]


def test_what_cannot_be_served_is_refused_before_a_model_is_loaded(monkeypatch):
    monkeypatch.setattr(VideoSalmonn, "load", lambda *a, **k: pytest.fail("loaded"))
    for key in ("short", " long-but-with-a-space", "with-a-line\nbreak", "schlüssel-of-letters"):
        assert "8 printable ASCII characters" in refused("--api-key", key)["message"]
    assert "not a host" in refused("--allow-url", "http://x/y")["message"]
    for wrong in ("0", "3:2", "many", "1:", ":2", "-1"):
        assert "--replicas" in refused(f"--replicas={wrong}")["message"]
    assert "--sessions" in refused("--sessions")["message"]
    assert "no model here" in refused("--replicas", "2", "--model", tempfile.gettempdir())["message"]
    assert "no model here" in refused("--model", tempfile.gettempdir())["message"]


@pytest.mark.parametrize("more", [(), ("--replicas", "2")])
def test_a_port_that_is_taken_is_one_clear_error_before_a_model_is_loaded(monkeypatch, more):
    import socket

    monkeypatch.setattr(VideoSalmonn, "load", lambda *a, **k: pytest.fail("loaded"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        error = refused("--model", "tiny", "--port", str(taken.getsockname()[1]), *more)
    assert "cannot listen on 127.0.0.1" in error["message"] and "--port" in error["remedy"]


def test_a_broken_model_is_one_clear_error_at_once(tmp_path):
    from video_salmonn.checkpoints.directory import CONFIG, MODEL_TYPE, WEIGHTS

    named = json.dumps({"model_type": MODEL_TYPE}).encode()
    for written, message in (
        ({CONFIG: b'{"model_type":'}, "not JSON"),
        ({CONFIG: b"[]"}, "holds no JSON object"),
        ({CONFIG: b"{}"}, "describes a None model"),
        ({CONFIG: named}, "no weights here"),
        ({WEIGHTS: (1 << 20).to_bytes(8, "little") + b"{"}, "is cut off"),
    ):
        for name, data in written.items():
            (tmp_path / name).write_bytes(data)
        for more in ((), ("--replicas", "2")):
            error = refused("--model", str(tmp_path), "--port", "0", *more)
            assert message in error["message"] and error["remedy"]
    command = [sys.executable, "-X", "importtime", "-m", "video_salmonn", "serve", "--model", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and "is cut off" in ended.stderr
    assert "torch" not in {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}, "nothing heavy"


@pytest.fixture(scope="module")
def embedded():
    from video_salmonn.errors import MissingPartError

    try:
        return VideoSalmonn.load("embedded")
    except MissingPartError as error:
        pytest.skip(f"the embedded model's parts are not installed: {error}")


def test_the_small_model_says_over_http_what_it_says_without(embedded):
    from serving_client import Running

    question = "What words are spoken?"
    with Running(embedded) as server:
        body = server.chat([video(), text(question)], max_tokens=40).json()
        again = server.chat([video(), text(question)], max_tokens=40, stream=True).text
    wanted = embedded.ask(CLIP, question, max_new_tokens=40).text
    assert body["choices"][0]["message"]["content"] == wanted and "white" in wanted
    pieces = [json.loads(line[6:]) for line in again.splitlines() if line.startswith("data: {")]
    assert "".join(piece["choices"][0]["delta"].get("content", "") for piece in pieces) == wanted
