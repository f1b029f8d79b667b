"""``video-salmonn probe``: the contract of its JSON, its text, and its one-line errors."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from video_salmonn.cli.main import app
from video_salmonn.cli.probe import media_tokens


def run(*arguments: str):
    return CliRunner().invoke(app, ["probe", *arguments])


def test_json_has_the_fields_of_the_contract(made):
    result = run(str(made("a.mp4")), "--json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert {"streams", "duration", "seen", "heard", "media_tokens", "warnings"} <= told.keys()
    assert told["seen"] == {"status": "used", "from": 0.0, "to": 4.0, "frames": 8, "detail": ""}
    assert told["heard"]["status"] == "used" and told["heard"]["from"] == 0.0
    assert told["media_tokens"] == 24 and told["media_tokens_exact"] is False
    assert [s["kind"] for s in told["streams"] if s["chosen"]] == ["video", "audio"]


def test_full_decodes_and_finds_silence(clips):
    quick = json.loads(run(str(clips / "flower.webm"), "--json").stdout)
    full = json.loads(run(str(clips / "flower.webm"), "--full", "--json").stdout)
    assert quick["heard"]["status"] == "used" and "may prove silent" in quick["heard"]["detail"]
    assert full["heard"]["status"] == "silent" and full["media_tokens_exact"] is True
    assert "about" in run(str(clips / "flower.webm")).stdout
    assert "about" not in run(str(clips / "flower.webm"), "--full").stdout


def test_text_shows_streams_and_warnings(clips):
    result = run(str(clips / "nasa_13013.mp4"))
    assert result.exit_code == 0
    assert "480x270" in result.stdout and "#4 audio" in result.stdout and "media tokens" in result.stdout
    assert "2 audio streams: used #4" in result.stderr


def test_errors_are_one_line_or_one_json_value(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"")
    plain = run(str(tmp_path / "x.mp4"))
    assert plain.exit_code == 2 and "zero bytes" in plain.stderr and "remedy" in plain.stderr
    told = run(str(tmp_path / "x.mp4"), "--json")
    error = json.loads(told.stdout)["error"]
    assert told.exit_code == 2 and error["type"] == "EmptyMediaError" and error["remedy"]
    wrong = run(str(tmp_path / "x.mp4"), "--start", "5", "--end", "4", "--json")
    assert wrong.exit_code == 2 and json.loads(wrong.stdout)["error"]["type"] == "ConfigError"


def test_a_name_that_begins_with_a_dash(made, monkeypatch, tmp_path):
    (tmp_path / "-i.mp4").write_bytes(made("a.mp4").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert json.loads(run("--json", "--", "-i.mp4").stdout)["seen"]["frames"] == 8


@pytest.mark.parametrize("seconds,tokens", [(0, 0), (0.5, 3), (0.51, 6), (4.0, 24), (4.0001, 24), (30.0, 180)])
def test_media_tokens(seconds, tokens):
    assert media_tokens(seconds) == tokens
