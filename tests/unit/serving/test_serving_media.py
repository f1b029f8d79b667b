"""Media of requests: frames that are a video, URLs of allowed hosts, decoders that hang, and a cache for each key."""

from __future__ import annotations

import base64
import io
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from serving_client import CLIP, KEY, OTHER, sound, text, video
from video_salmonn.media import ArrayVideo, limits, remote
from video_salmonn.media.worker import Worker

CERTIFICATE = Path(__file__).parents[2] / "fixtures" / "media" / "localhost-test-only.pem"


def pictures(count):
    """Frames as PNG, which loses nothing."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (count, 28, 28, 3), np.uint8)
    files = []
    for frame in frames:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "PNG")
        files.append(base64.b64encode(file.getvalue()).decode())
    return frames, files


def as_images(files):
    return [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{file}"}} for file in files]


def test_images_are_the_frames_of_one_video_when_told_so(server, tiny):
    frames, files = pictures(4)
    told = {"frames_are_video": True, "fps": 2}
    body = server.chat([*as_images(files), text()], mm_processor_kwargs=told).json()
    wanted = tiny.ask(ArrayVideo(frames, 2.0), "What is said?", max_new_tokens=6)
    assert body["choices"][0]["message"]["content"] == wanted.text
    (media,) = body["video_salmonn"]["media"]
    assert (media["kind"], media["duration"], media["seen"]["frames"]) == ("video", 2.0, 4)
    slower = server.chat([*as_images(files), text()], mm_processor_kwargs={"frames_are_video": True, "fps": 1}).json()
    assert slower["video_salmonn"]["media"][0]["duration"] == 4.0
    apart = server.chat([*as_images(files), text()]).json()
    assert [one["kind"] for one in apart["video_salmonn"]["media"]] == ["image"] * 4


def test_many_images_are_frames_and_the_answer_says_so(server):
    _, files = pictures(9)
    body = server.chat([*as_images(files), sound(), text()]).json()
    (media,) = body["video_salmonn"]["media"]
    assert (media["kind"], media["heard"]["status"]) == ("video", "used")
    assert any("9 images in one message were read as the frames" in line for line in body["video_salmonn"]["warnings"])
    apart = server.chat([*as_images(files), text()], mm_processor_kwargs={"frames_are_video": False}).json()
    assert len(apart["video_salmonn"]["media"]) == 9


def test_a_list_of_jpegs_in_one_url_is_a_video(server):
    _, files = pictures(3)
    part = {"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{','.join(files)}"}}
    (media,) = server.chat([part, text()]).json()["video_salmonn"]["media"]
    assert (media["kind"], media["seen"]["frames"]) == ("video", 3)


class Files(BaseHTTPRequestHandler):
    """One clip, and a redirect to it."""

    asked: list[str] = []  # noqa: RUF012 - of the test's server alone

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.asked.append(self.path)
        data = CLIP.read_bytes()
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("location", "/clip.mp4")
            data = b""
        else:
            self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def files(monkeypatch):
    """An https server on this machine, which the policy lets through for this test alone."""
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    public = limits.is_public
    monkeypatch.setattr(limits, "is_public", lambda address: address == "127.0.0.1" or public(address))
    monkeypatch.setattr(remote, "tls_context", lambda: ssl.create_default_context(cafile=CERTIFICATE))
    Files.asked.clear()
    yield httpd.server_port
    httpd.shutdown()
    httpd.server_close()


def test_an_allowed_host_is_resolved_once_and_its_redirects_are_not_followed(start, tiny, files, monkeypatch):
    server = start(allow_urls=(f"127.0.0.1:{files}",))
    looked_up = []
    known = limits._getaddrinfo

    def rebinding(host, port, seconds, name):
        """Another address at every question: whoever asks twice is led astray."""
        looked_up.append(host)
        if len(looked_up) > 1:
            raise AssertionError("resolved twice")
        return known(host, port, seconds, name)

    monkeypatch.setattr(limits, "_getaddrinfo", rebinding)
    part = {"type": "video_url", "video_url": {"url": f"https://127.0.0.1:{files}/clip.mp4?token=secret"}}
    body = server.chat([part, text()]).json()
    assert body["choices"][0]["message"]["content"] == tiny.ask(CLIP, "What is said?", max_new_tokens=6).text
    assert looked_up == ["127.0.0.1"] and Files.asked == ["/clip.mp4?token=secret"]
    looked_up.clear()
    part["video_url"]["url"] = f"https://127.0.0.1:{files}/moved.mp4?token=secret"
    moved = server.chat([part, text()])
    assert moved.status_code == 400 and "redirect" in moved.json()["error"]["message"]
    assert "secret" not in moved.text and Files.asked[1:] == ["/moved.mp4?token=secret"]


def test_a_decoder_that_hangs_is_killed_and_the_next_file_is_read(start, monkeypatch):
    server = start(decode_seconds=0.7, decode_processes=1)
    monkeypatch.setattr("video_salmonn.media.worker._BOOT", "import time; time.sleep(60)")
    begun = time.monotonic()
    response = server.chat([video(), text()])
    assert response.status_code == 422 and "not decoded within 0.7 s" in response.json()["error"]["message"]
    assert time.monotonic() - begun < 5
    monkeypatch.undo()
    server.service.settings.__dict__["decode_seconds"] = 60.0
    for worker in server.service.reader.pool._idle:
        worker._timeout = 60.0
    assert server.chat([video(), text()]).status_code == 200


def test_a_client_that_leaves_while_its_file_is_decoded_ends_the_decoder(start, monkeypatch):
    server = start(decode_processes=1)
    closed = []
    close = Worker.close
    monkeypatch.setattr(Worker, "close", lambda self: closed.append(self) or close(self))
    monkeypatch.setattr("video_salmonn.media.worker._BOOT", "import time; time.sleep(60)")
    body = {"messages": [{"role": "user", "content": [video(), text()]}]}
    with pytest.raises(httpx.ReadTimeout):
        server.client.post("/v1/chat/completions", json=body, timeout=1)
    server.idle()
    monkeypatch.setattr("video_salmonn.media.worker._BOOT", WORKER)
    assert server.chat([video(), text()]).status_code == 200
    assert len(closed) == 1


WORKER = __import__("video_salmonn.media.worker", fromlist=["_BOOT"])._BOOT


def test_what_one_key_had_encoded_is_encoded_again_for_another(start):
    server = start()
    body = {"messages": [{"role": "user", "content": [video(), text()]}], "max_tokens": 2}
    reused = []
    for key in (KEY, KEY, OTHER, OTHER):
        headers = {"authorization": f"Bearer {key}"}
        found = httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=60).json()
        reused.append(found["video_salmonn"]["media"][0]["reused"])
        cached = found["usage"]["prompt_tokens_details"]["cached_tokens"]
        assert (cached > 0) == reused[-1]
    assert reused == [False, True, False, True]


def test_what_is_kept_has_a_limit(start):
    server = start(cache_bytes=1)
    for _ in range(2):
        assert not server.chat([video(), text()]).json()["video_salmonn"]["media"][0]["reused"]
    assert server.service.reader.kept.nbytes == 0


def without_media(part, name, gone=None):
    """A part with a uuid, its media left out."""
    return {"type": part["type"], part["type"]: gone, "uuid": name}


def test_media_with_a_uuid_need_not_be_sent_again(server):
    sent = {**video(), "uuid": "clip-1"}
    first = server.chat([sent, text()]).json()
    for gone in (None, {"url": None}, {"url": ""}):
        again = server.chat([without_media(sent, "clip-1", gone), text()]).json()
        assert again["choices"] == first["choices"]
        (media,) = again["video_salmonn"]["media"]
        assert media["reused"] and media["heard"] == first["video_salmonn"]["media"][0]["heard"]
        assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    heard = {**sound(), "uuid": "rotor"}
    alone = server.chat([heard, text()]).json()
    assert server.chat([without_media(heard, "rotor"), text()]).json()["choices"] == alone["choices"]


def test_a_uuid_that_nobody_sent_is_one_clear_error(server):
    sent = {**video(), "uuid": "clip-2"}
    assert server.chat([sent, text()]).status_code == 200

    def refusal(*parts, key=KEY, **body):
        answer = server.client.post(
            "/v1/chat/completions",
            json={"messages": [{"role": "user", "content": [*parts, text()]}], "max_tokens": 2, **body},
            headers={"authorization": f"Bearer {key}"},
        )
        return answer.status_code, answer.json()["error"]

    missing = without_media(sent, "clip-2")
    status, error = refusal(without_media(sent, "clip-3"))
    assert status == error["code"] == 404 and error["param"] == "messages[0].content[0]"
    assert "uuid" in error["message"] and "clip-3" not in error["message"]
    assert refusal(missing, key=OTHER)[0] == 404, "another key's media are not there"
    assert refusal(missing, mm_processor_kwargs={"end": 1})[0] == 404, "nothing was kept that was read so"
    for wrong in (7, "", "x" * 300):
        status, error = refusal({**sent, "uuid": wrong})
        assert status == 400 and error["param"].endswith(".uuid")
    assert refusal({"type": "video_url", "video_url": None})[0] == 400, "neither media nor a uuid"


def test_a_uuid_is_a_name_and_no_digest(server):
    """Other media under the same uuid are looked at; afterwards it means them."""
    first = server.chat([{**video(), "uuid": "mine"}, text()]).json()
    other = video(next(path for path in sorted(CLIP.parent.glob("*.mp4")) if path != CLIP))
    second = server.chat([{**other, "uuid": "mine"}, text()]).json()
    durations = [body["video_salmonn"]["media"][0]["duration"] for body in (first, second)]
    again = server.chat([without_media(other, "mine"), text()]).json()
    assert again["choices"] == second["choices"]
    assert again["video_salmonn"]["media"][0]["duration"] == durations[1]
    assert second["video_salmonn"]["media"][0]["reused"] is False


def test_a_picture_with_its_sound_and_frames_are_meant_as_a_whole(server):
    _, files = pictures(3)
    frames = [{**part, "uuid": f"frame-{number}"} for number, part in enumerate(as_images(files))]
    told = {"frames_are_video": True}
    heard = {**sound(), "uuid": "sound"}
    whole = server.chat([*frames, heard, text()], mm_processor_kwargs=told).json()
    missing = [without_media(part, part["uuid"]) for part in (*frames, heard)]
    again = server.chat([*missing, text()], mm_processor_kwargs=told).json()
    assert again["choices"] == whole["choices"] and again["video_salmonn"]["media"][0]["reused"]
    for parts in ([*frames[:2], missing[2], heard], [*frames, missing[3]]):
        refused = server.chat([*parts, text()], mm_processor_kwargs=told)
        assert refused.status_code == 400, refused.text
    turned = server.chat([*missing[:3][::-1], missing[3], text()], mm_processor_kwargs=told)
    assert turned.status_code == 404, "frames in another order are another video"


def test_names_of_media_are_bounded_and_end_with_what_they_name(tiny):
    from video_salmonn.serving import media

    item = tiny.encode([tiny.processor.load(str(CLIP))])[0]
    size = media._nbytes(item)
    kept = media.KeptEncodings(size)
    kept.put("a", "first", item)
    for number in range(media._MOST_NAMES + 10):
        kept.call("a", str(number), "first")
    assert kept.named("a", str(number)) is item and kept.named("a", "0") is None and kept.named("b", "20") is None
    assert len(kept._names["a"]) == media._MOST_NAMES and "b" not in kept._names
    kept.put("a", "second", item)
    assert kept.named("a", str(number)) is None
