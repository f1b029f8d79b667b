"""Uploaded files: asked about by their id, by their own key alone, and bounded."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import httpx
import openai
import pytest

from serving_client import CLIP, EXAMPLES, KEY, OTHER, text
from video_salmonn.serving import files
from video_salmonn.serving.settings import ServerSettings


def upload(server, data=None, key=KEY, name="clip.mp4", **form):
    sent = {"file": (name, CLIP.read_bytes() if data is None else data)}
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{server.url}/v1/files", files=sent, data=form, headers=headers)


def test_an_uploaded_file_can_be_asked_about_with_the_official_client(server, tiny):
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0)
    stored = client.files.create(file=CLIP, purpose="user_data")
    assert (stored.filename, stored.bytes) == (CLIP.name, CLIP.stat().st_size)
    assert stored.id in [file.id for file in client.files.list()]
    part = {"type": "file", "file": {"file_id": stored.id}}
    messages = [{"role": "user", "content": [part, text()]}]
    answer = client.chat.completions.create(model="tiny", messages=messages, max_tokens=6)
    assert answer.choices[0].message.content == tiny.ask(CLIP, "What is said?", max_new_tokens=6).text
    assert client.files.content(stored.id).read() == CLIP.read_bytes()
    assert client.files.delete(stored.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="tiny", messages=messages)


def test_a_file_is_nobody_elses(server):
    name = upload(server).json()["id"]
    other = {"authorization": f"Bearer {OTHER}"}
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert httpx.request(method, f"{server.url}/v1/files/{name}{path}", headers=other).status_code == 404
    part = {"type": "file", "file": {"file_id": name}}
    body = {"messages": [{"role": "user", "content": [part]}]}
    refused = httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=other)
    assert (refused.status_code, refused.json()["error"]["param"]) == (404, "messages[0].content[0]")
    assert httpx.get(f"{server.url}/v1/files", headers=other).json()["data"] == []


def test_files_are_bounded_and_forgotten(start):
    server = start(max_files=2, max_files_bytes=1 << 20)
    assert upload(server, b"").status_code == 400
    assert upload(server, purpose="hats").json()["error"]["param"] == "purpose"
    assert upload(server, b"x" * ((1 << 20) + 1)).status_code == 413
    assert [upload(server, b"x").status_code for _ in range(3)] == [200, 200, 413]
    folder = server.service.files._folder
    assert len(list(folder.glob("file-*"))) == 2
    server.service.files._settings.__dict__["file_seconds"] = 0.0
    assert server.client.get("/v1/files").json()["data"] == [] and list(folder.glob("file-*")) == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\\..\\b.mp4", "x\r\ny.mp4", "é" * 500, ""])
def test_a_file_name_is_a_word_and_no_path(server, name):
    response = upload(server, b"data", name=name)
    if response.status_code == 200:
        kept = response.json()["filename"]
        assert "/" not in kept and "\\" not in kept and kept.isprintable() and len(kept) <= 200
    else:
        assert response.status_code == 400
    paths = [path.name for path in server.service.files._folder.glob("file-*")]
    assert all(path.startswith("file-") for path in paths)


def test_file_data_in_a_part_is_read_whether_a_url_or_not(server, tiny):
    import base64

    data = base64.b64encode((EXAMPLES / "shirt.jpg").read_bytes()).decode()
    wanted = tiny.ask(EXAMPLES / "shirt.jpg", "What is said?", max_new_tokens=6).text
    for value in (data, f"data:image/jpeg;base64,{data}"):
        part = {"type": "file", "file": {"file_data": value, "filename": "shirt.jpg"}}
        assert server.chat([part, text()]).json()["choices"][0]["message"]["content"] == wanted


def test_what_a_killed_server_left_is_deleted_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(files, "OLD_SECONDS", 0.0)
    settings = ServerSettings(keys=(KEY,))
    program = (
        "import io, sys, time\n"
        "from video_salmonn.serving.files import FileStore\n"
        "from video_salmonn.serving.settings import ServerSettings\n"
        f"store = FileStore(ServerSettings(keys=({KEY!r},)))\n"
        "store.put('me', io.BytesIO(b'words'), 'a', 'vision')\n"
        "print('stored', flush=True)\n"
        "time.sleep(600)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    other = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment)
    try:
        assert other.stdout.readline() == b"stored\n"
        (left,) = tmp_path.iterdir()
        first = files.FileStore(settings)
        assert left.is_dir(), "it belongs to a server that lives"
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    strange = tmp_path / f"{files.PREFIX}link"
    strange.symlink_to(tmp_path)
    second = files.FileStore(settings)
    assert not left.exists() and first._folder.is_dir() and strange.is_symlink()
    first.close()
    second.close()
    assert list(tmp_path.iterdir()) == [strange]
