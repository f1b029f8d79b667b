"""A real server with the tiny random model, on a port of its own."""

from __future__ import annotations

import base64
import threading
import time
from pathlib import Path

import httpx

from video_salmonn import VideoSalmonn
from video_salmonn.checkpoints.assemble import build_tiny
from video_salmonn.serving.listening import bound_socket
from video_salmonn.serving.server import Server
from video_salmonn.serving.service import Service
from video_salmonn.serving.settings import ServerSettings

EXAMPLES = Path(__file__).parents[1] / "examples"
CLIP = EXAMPLES / "grid" / "swbo8n.mp4"
KEY, OTHER = "first-test-key", "second-test-key"


def endless_engine():
    """The tiny random model without its end tokens: only a limit ends an answer, on any processor."""
    model, processor = build_tiny()
    model.generation_config.suppress_tokens = [processor.tokenizer.eos_token_id, processor.pad_id]
    return VideoSalmonn(model, processor, name="tiny")


class Running:
    """A server in a thread, and a client for it."""

    def __init__(self, engine, **settings):
        self.service = Service(engine, ServerSettings(**{"keys": (KEY, OTHER), "port": 0, **settings}))
        self.sock = bound_socket(self.service.settings.host, self.service.settings.port)
        self.url = f"http://127.0.0.1:{self.sock.getsockname()[1]}"
        self.server = Server(self.service)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.sock]}, daemon=True)
        self.client = httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {KEY}"}, timeout=60)

    def __enter__(self):
        self.thread.start()
        until = time.monotonic() + 30
        while not self.server.started:
            assert time.monotonic() < until and self.thread.is_alive()
            time.sleep(0.01)
        return self

    def __exit__(self, *exc):
        self.client.close()
        self.server.should_exit = True
        self.thread.join(30)
        self.sock.close()
        assert not self.thread.is_alive()

    @property
    def guard(self):
        """The middleware at the door."""
        layer = self.server.config.loaded_app
        while type(layer).__name__ != "Guard":
            layer = getattr(layer, "middleware_stack", None) or layer.app
        return layer

    def chat(self, content, **body):
        """One user message, sent; the response."""
        messages = body.pop("messages", None) or [{"role": "user", "content": content}]
        return self.client.post("/v1/chat/completions", json={"messages": messages, "max_tokens": 6, **body})

    def idle(self, seconds=10.0):
        """Wait until no request holds a place."""
        until = time.monotonic() + seconds
        while self.guard.inside or self.service.scheduler.running or self.service.scheduler.waiting:
            assert time.monotonic() < until, "a place is still taken"
            time.sleep(0.01)


def data_url(path=CLIP, kind="video/mp4"):
    """A file as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(Path(path).read_bytes()).decode()}"


def video(path=CLIP):
    """A video part."""
    return {"type": "video_url", "video_url": {"url": data_url(path)}}


def image(path=EXAMPLES / "shirt.jpg"):
    """A picture part."""
    return {"type": "image_url", "image_url": {"url": data_url(path, "image/jpeg")}}


def sound(path=EXAMPLES / "helicopter.flac"):
    """A sound part."""
    return {
        "type": "input_audio",
        "input_audio": {"data": base64.b64encode(Path(path).read_bytes()).decode(), "format": "flac"},
    }


def text(words="What is said?"):
    """A text part."""
    return {"type": "text", "text": words}
