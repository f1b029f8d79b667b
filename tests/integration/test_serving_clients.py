"""Other people's clients and checkers against a real server; `make test-serving` installs them in their own venv."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from serving_client import CLIP, KEY, Running, image, sound, text, video
from video_salmonn import VideoSalmonn

QUESTION = "What is said?"


@pytest.fixture(scope="module")
def server():
    with Running(VideoSalmonn.load("tiny")) as running:
        yield running


def test_langchain_asks_streams_and_continues(server):
    openai = pytest.importorskip("langchain_openai", reason="make test-serving installs it")
    from langchain_core.messages import HumanMessage

    model = openai.ChatOpenAI(model="tiny", base_url=f"{server.url}/v1", api_key=KEY, max_tokens=6)
    engine = server.service.engine
    messages = [HumanMessage([video(), text(QUESTION)])]
    first = model.invoke(messages)
    session = engine.chat(CLIP, max_new_tokens=6)
    assert first.content == session.ask(QUESTION).text
    assert first.usage_metadata["input_tokens"] > 20
    assert "".join(piece.content for piece in model.stream(messages)) == first.content
    second = model.invoke([*messages, first, HumanMessage("And what else?")])
    assert second.content == session.ask("And what else?").text
    assert model.invoke([HumanMessage([image(), sound(), text(QUESTION)])]).content


@pytest.mark.slow
def test_schemathesis_finds_no_fault_of_the_server(server, tmp_path):
    pytest.importorskip("schemathesis", reason="make test-serving installs it")
    tool = Path(sys.executable).with_name("schemathesis")
    command = [
        *(tool, "run", f"{server.url}/openapi.json", "--header", f"Authorization: Bearer {KEY}"),
        *("--checks", "not_a_server_error", "--max-examples", "20", "--phases", "examples,coverage,fuzzing"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-3000:]
    server.idle()
    assert server.chat("Hello").status_code == 200
