"""Fetching over https: what is refused unasked, and what a bad server gets us. All on this machine."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from bad_urls import REFUSED, SERVED

from video_salmonn import errors
from video_salmonn.media import Limits, MediaOptions, limits, load_clip, remote


def make_handler(video: bytes):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args) -> None:
            pass

        def start(self, status: int, *headers: tuple[str, str]) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()

        def body(self, data: bytes, kind: str = "video/mp4") -> None:
            self.start(200, ("Content-Type", kind), ("Content-Length", str(len(data))))
            self.wfile.write(data)

        def drip(self, data: bytes, pause: float) -> None:
            for _ in range(200):
                self.wfile.write(data)
                time.sleep(pause)

        def do_GET(self) -> None:
            self.close_connection = True
            path, _, query = self.path.partition("?")
            with contextlib.suppress(OSError):
                if path == "/a.mp4":
                    self.body(video)
                elif path == "/redirect":
                    self.start(302, ("Location", query), ("Content-Length", "0"))
                elif path == "/loop":
                    self.start(302, ("Location", "/loop"), ("Content-Length", "0"))
                elif path in ("/404", "/500"):
                    self.start(int(path[1:]), ("Content-Length", "0"))
                elif path == "/page":
                    self.body(b"<html><body>sign in first</body></html>", "text/html")
                elif path == "/empty":
                    self.body(b"")
                elif path == "/endless":
                    self.start(200)
                    while True:
                        self.wfile.write(bytes(65536))
                elif path == "/huge":
                    self.start(200, ("Content-Length", str(1 << 40)))
                elif path == "/cut":
                    self.start(200, ("Content-Length", "1000000"))
                    self.wfile.write(bytes(1000))
                elif path == "/drip":
                    self.start(200)
                    self.drip(b"x", 0.05)
                elif path == "/headerdrip":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                    self.drip(b"X-A: b\r\n", 0.05)
                elif path in ("/stall", "/mute"):
                    if path == "/stall":
                        self.start(200, ("Content-Length", "1000"))
                        self.wfile.write(b"x" * 10)
                    time.sleep(2)
                elif path == "/nonsense":
                    self.wfile.write(b"SSH-2.0-OpenSSH\r\n")

    return Handler


@pytest.fixture(scope="module")
def server(clips, made):
    handler = make_handler(made("a.mp4").read_bytes())
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    httpd.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(clips / "localhost-test-only.pem")
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    httpd.handle_error = lambda *args: None
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def trusted(monkeypatch, clips):
    """Let this test reach the server on this machine: the only override of the policy there is."""
    public = limits.is_public
    monkeypatch.setattr(limits, "is_public", lambda address: address == "127.0.0.1" or public(address))
    monkeypatch.setattr(
        remote, "tls_context", lambda: ssl.create_default_context(cafile=clips / "localhost-test-only.pem")
    )


def fails(url: str, gets: str, says: str, **extra) -> None:
    begun = time.monotonic()
    with pytest.raises(errors.MediaError) as caught:
        load_clip(url, options=MediaOptions(limits=Limits(**extra)))
    assert type(caught.value).__name__ == gets, caught.value
    assert re.search(says, str(caught.value)), str(caught.value)
    assert caught.value.remedy
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refused_before_anything_is_sent(case, monkeypatch):
    def no_connection(*args, **kwargs):
        raise AssertionError("connected")

    monkeypatch.setattr(remote, "_PinnedConnection", no_connection)
    fails(case.url, case.gets, case.says, **case.limits)


@pytest.mark.parametrize("case", SERVED, ids=lambda case: case.name)
def test_servers(case, server, trusted):
    url = case.url.replace("{server}", server)
    if case.gets:
        fails(url, case.gets, case.says, **case.limits)
        return
    clip = load_clip(url + "?token=secret" if "redirect" not in url else url)
    assert clip.report.seen.status == "used" and len(clip.frames) == 8
    assert clip.report.source == url.partition("?")[0]  # no secret of the query in the report


def test_an_unknown_certificate_is_refused(server, monkeypatch):
    monkeypatch.setattr(limits, "is_public", lambda address: True)
    fails(server + "/a.mp4", "MediaError", "certificate")


def test_the_checked_address_is_the_one_connected_to(server, trusted, monkeypatch):
    """A name that answers with a public address first and an internal one later gains nothing."""
    answers = iter(["93.184.216.34", "169.254.169.254"])
    asked = []

    def resolve(host, port, *args, **kwargs):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    connected = []

    def connect(self, address):
        connected.append(address)
        raise OSError("not in this test")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket.socket, "connect", connect)
    fails("https://rebind.example/a.mp4", "MediaError", "not in this test")
    assert asked == ["rebind.example"] and connected == [("93.184.216.34", 443)]


def test_one_internal_address_among_several_is_enough_to_refuse(monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 443)) for a in ("93.184.216.34", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
    fails("https://two.example/a.mp4", "LimitError", "10.0.0.1")


def test_a_hanging_resolver_is_given_up(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: time.sleep(3))
    fails("https://slow.example/a.mp4", "MediaError", "not resolved within", connect_seconds=0.2)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8"])
def test_public_addresses_are_allowed(address):
    assert limits.is_public(address)


def test_secrets_do_not_reach_messages():
    assert limits.display_url("https://u:p@h.example/a.mp4?sig=1#x") == "https://h.example/a.mp4"
