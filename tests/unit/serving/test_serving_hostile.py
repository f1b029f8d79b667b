"""Every hostile request gets what the table says, in OpenAI's error shape, and the server answers on."""

from __future__ import annotations

import json
import re

import pytest
from hostile import CASES, INTERNAL

from video_salmonn.media import limits


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
