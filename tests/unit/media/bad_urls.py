"""Bad addresses and bad servers: the second half of the table (see ``bad_inputs``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class UrlCase:
    """``url`` holds ``{server}`` where the test server answers, or an address that must be refused unasked."""

    name: str
    what: str
    url: str
    gets: str | None
    says: str
    shown: str = ""
    limits: dict[str, Any] = field(default_factory=dict)


INTERNAL = [
    ("127.0.0.1", "loopback"),
    ("localhost", "loopback by name"),
    ("127.1", "loopback, short form"),
    ("2130706433", "loopback in decimal"),
    ("0x7f000001", "loopback in hexadecimal"),
    ("0x7f.0.0.1", "loopback, partly hexadecimal"),
    ("0177.0.0.1", "loopback in octal"),
    ("017700000001", "loopback in octal, whole"),
    ("127.255.255.254", "the far end of the loopback block"),
    ("[::1]", "IPv6 loopback"),
    ("[::ffff:127.0.0.1]", "loopback as IPv4 within IPv6"),
    ("[::ffff:7f00:1]", "the same in hexadecimal"),
    ("[::127.0.0.1]", "loopback as deprecated IPv4-compatible IPv6"),
    ("[64:ff9b::7f00:1]", "loopback behind NAT64"),
    ("[2002:7f00:1::]", "loopback behind 6to4"),
    ("0.0.0.0", "the unspecified address"),
    ("0", "the unspecified address, short form"),
    ("[::]", "the unspecified IPv6 address"),
    ("169.254.169.254", "link-local: cloud metadata"),
    ("2852039166", "cloud metadata in decimal"),
    ("[fe80::1]", "IPv6 link-local"),
    ("[fd00:ec2::254]", "IPv6 unique local: cloud metadata"),
    ("10.0.0.1", "private (10/8)"),
    ("172.16.0.1", "private (172.16/12)"),
    ("192.168.1.1", "private (192.168/16)"),
    ("100.64.0.1", "carrier-grade NAT (100.64/10)"),
    ("198.18.0.1", "benchmarking (198.18/15)"),
    ("224.0.0.1", "multicast"),
    ("255.255.255.255", "broadcast"),
    ("240.0.0.1", "reserved (240/4)"),
]

REFUSED = [
    UrlCase(
        f"address_{index}", f"`https://{host}/a.mp4` — {what}", f"https://{host}/a.mp4", "LimitError", "not a public"
    )
    for index, (host, what) in enumerate(INTERNAL)
] + [
    UrlCase(
        "credentials",
        "a URL with a password in it",
        "https://user:pw@example.com/a.mp4",
        "LimitError",
        "carries a user",
    ),
    UrlCase("no_host", "a URL without a host", "https:///a.mp4", "MediaError", "names no host"),
    UrlCase(
        "bad_port", "a URL with an impossible port", "https://example.com:99999/a.mp4", "MediaError", "not a valid URL"
    ),
    UrlCase("broken_ipv6", "a URL with a broken IPv6 address", "https://[::1/a.mp4", "MediaError", "not a valid URL"),
    UrlCase(
        "control",
        "a URL with a line break in it",
        "https://example.com/a\r\nHost: x",
        "MediaError",
        "control characters",
    ),
    UrlCase(
        "unresolvable",
        "a host that does not exist",
        "https://nowhere.invalid/a.mp4",
        "MediaError",
        "cannot be resolved",
    ),
    UrlCase(
        "not_listed",
        "a host that is not on the list of allowed hosts",
        "https://example.com/a.mp4",
        "LimitError",
        "not on the list",
        limits={"allowed_hosts": ("media.example.org",)},
    ),
]

SERVED = [
    UrlCase("good", "a video behind a URL", "{server}/a.mp4", None, "used", "used"),
    UrlCase(
        "redirected", "a redirect to the video", "{server}/redirect?/a.mp4", None, "used", "used (every hop is checked)"
    ),
    UrlCase("not_found", "HTTP 404", "{server}/404", "MediaError", "HTTP 404"),
    UrlCase("server_error", "HTTP 500", "{server}/500", "MediaError", "HTTP 500"),
    UrlCase("page", "a web page with status 200", "{server}/page", "MediaError", "web page"),
    UrlCase("nothing", "an empty answer", "{server}/empty", "EmptyMediaError", "zero bytes"),
    UrlCase(
        "endless",
        "an answer that never ends",
        "{server}/endless",
        "LimitError",
        "larger than",
        limits={"max_download_bytes": 3 << 20},
    ),
    UrlCase(
        "announced",
        "an answer that announces too much",
        "{server}/huge",
        "LimitError",
        "larger than",
        limits={"max_download_bytes": 3 << 20},
    ),
    UrlCase(
        "cut",
        "an answer that ends before its announced length",
        "{server}/cut",
        "MediaError",
        "the connection ended after",
    ),
    UrlCase(
        "drip",
        "one byte every 0.05 s",
        "{server}/drip",
        "LimitError",
        "not fetched within",
        limits={"download_seconds": 1.0},
    ),
    UrlCase(
        "header_drip",
        "headers that drip in",
        "{server}/headerdrip",
        "LimitError",
        "not fetched within",
        limits={"download_seconds": 1.0},
    ),
    UrlCase(
        "stall",
        "a server that stops sending",
        "{server}/stall",
        "LimitError",
        "stopped sending",
        limits={"idle_seconds": 0.5},
    ),
    UrlCase(
        "mute",
        "a server that never answers",
        "{server}/mute",
        "LimitError",
        "stopped sending",
        limits={"idle_seconds": 0.5},
    ),
    UrlCase("loop", "redirects in a circle", "{server}/loop", "LimitError", "more than 3 redirects"),
    UrlCase("to_http", "a redirect to http", "{server}/redirect?http://example.com/a.mp4", "LimitError", "only https"),
    UrlCase("to_file", "a redirect to `file:`", "{server}/redirect?file:///etc/passwd", "LimitError", "only https"),
    UrlCase(
        "to_internal",
        "a redirect to an internal address",
        "{server}/redirect?https://169.254.169.254/x",
        "LimitError",
        "not a public",
    ),
    UrlCase(
        "no_redirects",
        "a redirect, where none are followed (server)",
        "{server}/redirect?/a.mp4",
        "LimitError",
        "redirects are not followed",
        limits={"max_redirects": 0},
    ),
    UrlCase("nonsense", "an answer that is not HTTP", "{server}/nonsense", "MediaError", "cannot be fetched"),
    UrlCase("refused", "a port nobody listens on", "https://127.0.0.1:1/a.mp4", "MediaError", "cannot be fetched"),
]

OTHERS = [
    UrlCase("certificate", "a certificate nobody vouches for", "{server}/a.mp4", "MediaError", "certificate"),
    UrlCase(
        "rebinding",
        "a name that resolves to a public and then to an internal address",
        "",
        "MediaError",
        "the address that was checked is the one that is connected to",
    ),
]

CASES = [*REFUSED, *SERVED, *OTHERS]
