"""A conversation keeps what it encoded: nothing is fetched, read or decoded for a second question."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from video_salmonn import VideoSalmonn
from video_salmonn.cache import Cache
from video_salmonn.cli.main import app
from video_salmonn.errors import ConfigError, LimitError, MediaError
from video_salmonn.media import Limits, source

FLOWER = Path(__file__).parents[1] / "fixtures" / "media" / "flower.webm"
SHORT = {"max_new_tokens": 3}


@pytest.fixture(scope="module")
def engine():
    return VideoSalmonn.load("tiny")


@pytest.fixture
def fresh(engine):
    """Without a memory of what other tests asked, and without room to keep anything: only the session does."""
    return VideoSalmonn(engine.model, engine.processor, cache=Cache(memory_bytes=0))


class Pipe(io.RawIOBase):
    """Bytes that come once and cannot be sought in, as from a socket or a shell's pipe."""

    name = "<stdin>"

    def __init__(self, data):
        self.left = io.BytesIO(data)

    def readable(self):
        return True

    def read(self, size=-1):
        return self.left.read(size)


def test_a_url_is_fetched_once_for_a_whole_conversation(fresh, monkeypatch):
    fetched = []

    def download(url, limits):
        fetched.append(url)
        return FLOWER.open("rb")

    monkeypatch.setattr(source, "download", download)
    session = fresh.chat("https://example.com/flower.webm", **SHORT)
    first = session.ask("What is this?")
    second = session.ask("And then?")
    assert len(fetched) == 1 and fresh.media.encoded == 1
    assert not first.report["media"][0]["reused"] and second.report["media"][0]["reused"]
    assert first.report["seconds"]["encode"] > 0 == second.report["seconds"]["encode"]
    session.reset()
    assert session.ask("What is this?").text == first.text and len(fetched) == 1


def test_what_a_pipe_sent_is_there_for_the_second_question_and_for_another_stretch(fresh):
    session = fresh.chat(Pipe(FLOWER.read_bytes()), **SHORT)
    first = session.ask("What is this?")
    assert session.ask("And then?").report["media"][0]["seen"] == first.report["media"][0]["seen"]
    assert fresh.media.encoded == 1
    short = session.ask("And in the first second?", end=1.0)
    assert short.report["media"][0]["duration"] == pytest.approx(1.0, abs=0.1)
    assert short.report["media"][0]["source"] == "<stdin>"
    assert session.ask("And in all?").report["media"][0]["reused"]
    assert fresh.media.encoded == 2
    assert first.text == fresh.ask(FLOWER, "What is this?", **SHORT).text


def test_a_file_may_be_gone_by_the_second_question(fresh, tmp_path):
    path = tmp_path / "upload.webm"
    shutil.copy(FLOWER, path)
    session = fresh.chat(path, **SHORT)
    first = session.ask("What is this?")
    path.unlink()
    assert session.ask("And then?").report["media"][0]["seen"] == first.report["media"][0]["seen"]
    with pytest.raises(MediaError, match="no such file"):
        session.ask("And of its second second?", start=1.0)
    assert len(session.messages) == 4  # a question that failed leaves no trace


def test_a_pipe_that_sends_too_much_is_refused(fresh):
    session = fresh.chat(Pipe(FLOWER.read_bytes()), limits=Limits(max_download_bytes=1000))
    with pytest.raises(LimitError, match="<stdin>"):
        session.ask("What is this?")


def test_options_of_a_conversation_are_checked_as_everywhere(fresh):
    with pytest.raises(ConfigError, match="nonsense"):
        fresh.chat(FLOWER, nonsense=1).ask("What?")


def chat(*arguments, lines):
    return CliRunner().invoke(app, ["chat", *map(str, arguments), "--model", "tiny"], input=lines)


def test_chat_with_json_keeps_the_answers_before_and_after_a_question_that_fails():
    lines = b"What?\n\xff is not UTF-8\nAnd then?\n/quit\n"
    result = chat(FLOWER, "--max-new-tokens", 3, "--json", lines=lines)
    first, failed, last = json.loads(result.stdout)
    assert result.exit_code == 1 and {"answer", "media"} <= set(first) and {"answer", "media"} <= set(last)
    assert failed["error"]["type"] == "ConfigError" and "Unicode" in failed["error"]["message"]
    result = chat(FLOWER, "--max-new-tokens", 3, lines=lines)
    assert result.exit_code == 1 and "Unicode" in result.stderr
    assert len(result.stdout.strip().splitlines()) >= 1


def test_chat_with_json_prints_one_value_where_the_file_cannot_be_used(tmp_path):
    for arguments in (["nowhere.mp4"], [str(tmp_path)], [FLOWER, "--start", "9", "--end", "3"], []):
        result = chat(*arguments, "--json", lines="What?\n")
        assert result.exit_code == 2 and set(json.loads(result.stdout)) == {"error"}


def test_a_streamed_answer_joins_the_conversation_when_it_is_complete(engine):
    expected, session = engine.chat(FLOWER, **SHORT), engine.chat(FLOWER, **SHORT)
    for question in ("What is this?", "And then?"):
        pieces = list(session.stream(question))
        assert "".join(pieces) == expected.ask(question).text
    assert session.messages == expected.messages and len(session.messages) == 4
    stopped = session.stream("And last?", max_new_tokens=40)
    next(stopped)
    stopped.close()
    assert session.messages == expected.messages
