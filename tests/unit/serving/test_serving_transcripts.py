"""Transcripts over HTTP: the engine's own, in every format that OpenAI's clients ask for."""

from __future__ import annotations

import httpx
import openai
import pytest

from serving_client import CLIP, EXAMPLES, KEY
from video_salmonn.inference.transcript import render

PATH = "/v1/audio/transcriptions"


def send(server, path=PATH, data=None, **fields):
    files = {"file": ("clip.mp4", CLIP.read_bytes() if data is None else data)}
    return server.client.post(path, files=files, data=fields)


@pytest.fixture(scope="module")
def wanted(tiny):
    return tiny.transcribe(CLIP)


@pytest.mark.parametrize(("form", "own"), [("text", "txt"), ("srt", "srt"), ("vtt", "vtt")])
def test_text_formats_are_those_of_the_command(server, wanted, form, own):
    response = send(server, response_format=form, model="tiny")
    assert response.status_code == 200 and response.text == render(wanted, own)
    assert response.headers["content-type"].startswith("text/vtt" if form == "vtt" else "text/plain")


def test_the_official_client_reads_both_json_forms(server, wanted):
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0)
    with CLIP.open("rb") as file:
        short = client.audio.transcriptions.create(file=file, model="tiny")
    assert short.text == wanted.text
    with CLIP.open("rb") as file:
        long = client.audio.transcriptions.create(file=file, model="tiny", response_format="verbose_json")
    assert (long.text, long.duration) == (wanted.text, pytest.approx(wanted.duration, abs=1e-3))
    assert [one.text for one in long.segments] == [one.text for one in wanted.segments]
    assert long.model_extra["video_salmonn"]["media"][0]["heard"]["status"] == "used"


def test_fields_are_checked_and_others_listed(server):
    assert send(server, prompt="x", temperature="0").json()["video_salmonn"]["ignored_fields"] == [
        "prompt",
        "temperature",
    ]
    unused = send(server, language="de", **{"timestamp_granularities[]": "word"}).json()["video_salmonn"]
    assert unused["ignored_fields"] == ["language", "timestamp_granularities[]"]
    whole = send(server, response_format="verbose_json", **{"timestamp_granularities[]": "word"}).json()
    assert whole["video_salmonn"]["ignored_fields"] == []
    for fields, param in (
        ({"response_format": "xml"}, "response_format"),
        ({"decoder": "ear"}, "decoder"),
        ({"stream": "true"}, "stream"),
        ({"start": "x"}, "start"),
        ({"start": "nan"}, "start"),
        ({"model": "gpt-4o-transcribe"}, "model"),
        ({"start": "2", "end": "1"}, "file"),
    ):
        response = send(server, **fields)
        assert response.status_code in (400, 404) and response.json()["error"]["param"] == param, fields


def test_files_without_sound_and_broken_ones_are_422(server):
    for data in (b"x" * 1000, (EXAMPLES / "shirt.jpg").read_bytes()):
        response = send(server, data=data)
        assert (response.status_code, response.json()["error"]["type"]) == (422, "invalid_media_error")
    assert send(server, data=b"").status_code == 400
    assert server.client.post(PATH, json={"file": "x"}).status_code == 400
    assert server.client.post(PATH, data={"file": "x"}).status_code == 400
    assert httpx.post(server.url + PATH).status_code == 401


def test_what_a_model_cannot_do_is_501(server):
    for path, fields in ((PATH, {"decoder": "whisper"}), ("/v1/audio/translations", {})):
        response = send(server, path=path, **fields)
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["type"]) == (501, 501, "not_implemented_error")
        assert "whisper" in error["message"].lower()
