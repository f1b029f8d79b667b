"""The live socket as a client written for vLLM-Omni sees it: events, limits, and what ends a session."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import time

import numpy as np
import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from serving_client import KEY, OTHER
from video_salmonn.media import ArrayVideo
from video_salmonn.serving import live_stream
from video_salmonn.serving.live import PATH
from video_salmonn.serving.live_channel import FRAME_BYTES, MESSAGE_BYTES

SHORT = {"max_tokens": 4}


def picture(shade: int) -> str:
    """A small PNG, as base64."""
    made = io.BytesIO()
    Image.fromarray(np.full((28, 28, 3), shade, np.uint8)).save(made, "PNG")
    return base64.b64encode(made.getvalue()).decode()


def pcm(seconds: float, loud: float = 0.2) -> str:
    """Noise as base64 of 16-bit samples at 16 kHz."""
    samples = np.random.default_rng(3).standard_normal(round(seconds * 16_000)) * loud
    return base64.b64encode((samples.clip(-1, 1) * 32767).astype("<i2").tobytes()).decode()


class Client:
    """What a client does."""

    def __init__(self, socket):
        self.socket = socket

    def send(self, kind: str, **fields) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def next(self, *kinds: str) -> dict:
        """The next event of one of these kinds."""
        while True:
            event = json.loads(self.socket.recv(timeout=60))
            if not kinds or event["type"] in kinds:
                return event

    def until(self, kind: str) -> list[dict]:
        """All events up to the first of a kind."""
        events = [self.next()]
        while events[-1]["type"] != kind:
            events.append(self.next())
        return events


@contextlib.contextmanager
def client(server, key=KEY, config=SHORT):
    """An open session; ``config`` None sends none."""
    url = server.url.replace("http", "ws") + PATH
    with connect(url, additional_headers={"Authorization": f"Bearer {key}"}, max_size=None) as socket:
        made = Client(socket)
        if config is not None:
            made.send("session.config", **config)
        yield made


def test_a_client_of_vllm_omni_gets_its_events(server, tiny):
    config = {"modalities": ["text"], "num_frames": 4, "enable_frame_filter": True, **SHORT}
    with client(server, config=config) as one:
        told = one.next("session.config")
        assert told["window_seconds"] == 5.0 and told["segment_seconds"] == 10.0 and told["waits"] == {}
        assert told["ignored_fields"] == ["enable_frame_filter", "modalities", "num_frames"]
        for number in range(8):
            one.send("video.frame", data=picture(20 * number), frame_id=f"f{number}", pts_ms=9000 + 250 * number)
            ack = one.next()
            assert (ack["type"], ack["frame_id"], ack["accepted"]) == ("video.frame.ack", f"f{number}", True)
        one.send("ping")
        assert one.next()["type"] == "pong"
        one.send("video.query", text="What is there?")
        events = one.until("response.text.done")
        assert [event["type"] for event in events[:2]] == ["response.start", "video.frames.consumed"]
        assert events[1]["frame_ids"] == ["f0", "f2", "f4", "f6"] and events[1]["latest_pts_ms"] == 9000 + 1500
        assert all(event["type"] == "response.text.delta" for event in events[2:-1])
        assert "".join(event["delta"] for event in events[2:-1]).strip() == events[-1]["text"]
        frames = np.stack([np.full((28, 28, 3), 20 * n, np.uint8) for n in (0, 2, 4, 6)])
        assert events[-1]["text"] == tiny.ask(ArrayVideo(frames, 2.0), "What is there?", max_new_tokens=4).text
        assert events[-1]["media"][0]["seen"]["frames"] == 4
        one.send("video.done")
        assert one.next()["type"] == "session.done"
        with pytest.raises(ConnectionClosed) as closed:
            one.next()
        assert closed.value.rcvd.code == 1000


def test_sound_is_heard_and_a_standing_question_answered(server):
    config = {"question": "What is heard?", "transcribe": True, **SHORT}
    with client(server, config=config) as one:
        assert one.next("session.config")["waits"] == {"transcript": 10.0, "answer": 10.0}
        for _ in range(6):
            one.send("audio.chunk", data=pcm(2.0))
        one.send("video.query", text="What is there?")
        asked = one.next("response.text.done")
        while "standing" in asked or "start" in asked:
            asked = one.next("response.text.done")
        assert asked["media"][0]["heard"]["to"] == pytest.approx(12.0)
        one.send("video.done")
        events = one.until("session.done")
        texts = [event for event in events if event["type"] == "response.text.done"]
        assert texts[-1]["end"] == pytest.approx(12.0)
        assert any(event["type"] == "transcription.delta" for event in events)


def test_a_message_that_cannot_be_used_costs_itself_only(server):
    with client(server) as one:
        one.next("session.config")
        for message, words in (
            ("{", "not valid JSON"),
            ("[]", "JSON object"),
            (b"bytes", "not bytes"),
            ('{"type": "video.sing"}', "Unknown type"),
            ('{"type": "video.query", "text": "What?"}', "No frames buffered"),
            ('{"type": "video.query", "text": ""}', "needs a text"),
            ('{"type": "video.frame", "data": "%%%"}', "not valid base64"),
            ('{"type": "video.frame"}', "without data"),
            ('{"type": "audio.chunk", "data": 7}', "without data"),
            (json.dumps({"type": "video.frame", "data": base64.b64encode(b"no picture").decode()}), "decode failed"),
            (json.dumps({"type": "video.frame", "data": picture(1), "pts_ms": 9e9, "frame_id": 3}), ""),
            (json.dumps({"type": "video.frame", "data": picture(1), "pts_ms": 18e9}), "jumps by more"),
        ):
            one.socket.send(message)
            if words:
                event = one.next("error")
                assert words in event["message"] and event["code"] in (400, 413, 422)
        one.send("video.query", text="What is there?")
        assert one.next("response.text.done")["media"]


@pytest.mark.parametrize(
    ("config", "words", "code"),
    [
        ({"model": "other"}, "the model here is", 404),
        ({"num_frames": 1000}, "num_frames", 400),
        ({"max_tokens": 100_000}, "max_tokens", 400),
        ({"every": 3.0, "question": "What?"}, "every is 3 s", 400),
        ({"type": "video.frame"}, "first message must be session.config", 400),
    ],
)
def test_a_session_that_cannot_be_is_refused_with_the_reason(server, config, words, code):
    with client(server, config=None) as one:
        one.socket.send(json.dumps({"type": "session.config", **config}))
        event = one.next()
        assert event["type"] == "error" and words in event["message"] and event["code"] == code
        with pytest.raises(ConnectionClosed) as closed:
            one.next()
        assert closed.value.rcvd.code == 1008


def test_a_key_is_needed(server):
    with pytest.raises(InvalidStatus) as refused:
        connect(server.url.replace("http", "ws") + PATH)
    assert refused.value.response.status_code == 403


def test_sessions_are_limited_and_their_places_free_again(start):
    server = start(max_sessions=2, max_sessions_per_key=1, header_seconds=0.5)
    with client(server) as one:
        one.next("session.config")
        with client(server, config=None) as other:
            assert other.next()["code"] == 429
        time.sleep(1.0)  # longer than a head may take: the connection is a WebSocket
        with client(server, OTHER) as other:
            other.next("session.config")
            with client(server, OTHER, config=None) as third:
                assert third.next()["code"] == 503
        one.send("ping")
        assert one.next("pong")
    assert "websocket_connections_active" in server.client.get("/metrics").text
    until = time.monotonic() + 10
    while "websocket_connections_active 0.0" not in server.client.get("/metrics").text:
        assert time.monotonic() < until
        time.sleep(0.05)
    with client(server) as one:
        one.next("session.config")


def test_a_client_that_says_nothing_is_left(server, monkeypatch):
    monkeypatch.setattr(live_stream, "CONFIG_SECONDS", 0.2)
    monkeypatch.setattr(live_stream, "IDLE_SECONDS", 0.4)
    with client(server, config=None) as one:
        assert "Timeout waiting for session.config" in one.next()["message"]
    with client(server) as one:
        one.next("session.config")
        assert one.next()["message"] == "Idle timeout"
        with pytest.raises(ConnectionClosed):
            one.next()


def test_a_picture_that_is_too_large_is_refused_and_a_larger_message_ends_the_connection(server, monkeypatch):
    with client(server) as one:
        one.next("session.config")
        one.send("video.frame", data="A" * (FRAME_BYTES + 1))
        assert one.next()["code"] == 413
        with pytest.raises(ConnectionClosed) as closed:
            one.send("video.frame", data="A" * (MESSAGE_BYTES + 1))
            one.next()
        assert closed.value.rcvd is None or closed.value.rcvd.code == 1009


def test_a_new_query_ends_the_one_before(server):
    with client(server, config={"max_tokens": 200}) as one:
        one.next("session.config")
        one.send("video.frame", data=picture(9), pts_ms=0)
        one.send("video.query", text="What is there?")
        first = one.next("response.start")["request_id"]
        one.send("video.query", text="And what is heard?")
        second = one.next("response.start")["request_id"]
        assert second != first
        assert one.next("response.text.done")["request_id"] == second
    server.idle()
