"""Every hostile request gets what the table says, in OpenAI's error shape, and the server answers on."""

from __future__ import annotations

import json
import re

import pytest
from hostile import CASES, INTERNAL, PAGE, renewed

from video_salmonn.media import limits
from video_salmonn.serving.guard import HEAD_BYTES
from video_salmonn.serving.settings import ServerSettings


@pytest.fixture(scope="module")
def fetching(tiny):
    from serving_client import Running

    with Running(tiny, allow_urls=tuple(host for host in INTERNAL)) as running:
        yield running


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what[:60])
def test_hostile_request(case, server, fetching, monkeypatch):
    known = limits._getaddrinfo

    def local(host, port, seconds, name):
        assert "example" not in host, "a name was looked up that nobody allowed"
        return known(host, port, seconds, name)

    monkeypatch.setattr(limits, "_getaddrinfo", local)
    asked = fetching if case.fetches else server
    status, said = case.send(asked)
    assert (status, bool(re.search(case.says, said))) == (case.status, True), said[:400]
    if status >= 400 and '"error"' in said:
        error = json.loads(said[said.index("{") :])["error"]
        assert set(error) == {"message", "type", "param", "code"} and error["code"] == status
        assert len(error["message"]) < 600 and "Traceback" not in said
    asked.idle()
    assert asked.client.get("/health").status_code == 200


def test_there_are_many():
    assert len(CASES) >= 60 and len({case.what for case in CASES}) == len(CASES)


def test_the_table_in_the_docs_is_this_one():
    page = PAGE.read_text("utf-8")
    assert renewed(page) == page, "python tests/unit/serving/hostile.py"


def test_the_docs_state_the_limits_that_there_are():
    row = dict(re.findall(r"^\| ([\w ,]+?) \| ([^|]+?) \|", PAGE.read_text("utf-8").split("## Limits")[1], re.M))
    known = ServerSettings(keys=("a-test-key",))
    assert row["requests read, waiting or answered"] == str(known.max_requests)
    assert row["of one key"] == str(known.max_requests_per_key)
    assert row["request body, uploaded file"] == f"{known.max_body_bytes >> 20} MiB"
    assert row["all bodies at once"] == f"{known.max_bodies_bytes >> 20} MiB"
    assert row["time for sending a body"] == f"{known.body_seconds:g} s"
    assert row["request head"] == f"{HEAD_BYTES >> 10} KiB, {known.header_seconds:g} s"
    assert row["media items, frames of one video"] == f"{known.max_media}, {known.max_frames}"
    assert row["length of one media item"] == f"{known.max_media_seconds:g} s"
    assert row["points of a picture"] == f"{known.max_pixels // 10**6} million"
    assert row["decoding of one item"] == f"{known.decode_seconds:g} s, {known.decode_memory >> 30} GiB"
    assert row["messages, characters"] == f"{known.max_messages}, {known.max_text:,}"
    assert row["new tokens"] == str(known.max_new_tokens)
    assert row["questions of a decision"] == str(known.max_questions)
    assert row["time of one request"] == f"{known.request_seconds:g} s"
    kept = f"{known.max_files}, {known.max_files_bytes >> 30} GiB, {known.file_seconds / 3600:g} h"
    assert row["files of a key"] == kept
