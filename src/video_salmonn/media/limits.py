"""One policy on what media may cost and where it may come from, for commands and for programs that strangers use.

Decisions:

* By default nothing is cut: a whole file is used. The only default ceilings are those without which a hostile or
  broken file could take the machine down (pixels of one picture, memory of one collected clip, size of a download).
* Limits that *cut* (``max_seconds``, ``max_frames``) leave a sentence in ``MediaReport.cuts``; limits that *refuse*
  raise :class:`~video_salmonn.errors.LimitError`.
* An address is judged after resolution, as the bits that would be connected to. Spelling tricks (decimal, octal, hex,
  IPv4 inside IPv6) therefore need no list of their own.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

from video_salmonn.errors import ConfigError, LimitError, MediaError

MIB = 1 << 20
GIB = 1 << 30

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one media item may cost.

    Attributes:
        max_bytes: largest file or byte string that is opened; None for no limit.
        max_download_bytes: most bytes taken from a URL or from a file object that cannot seek.
        max_pixels: largest width x height of one picture.
        max_seconds: longest stretch that is used, counted from ``start``; None uses everything.
        max_frames: most frames that are taken; None takes all.
        on_long: ``"cut"`` keeps what ``max_seconds``/``max_frames`` allow and reports the rest; ``"raise"`` refuses.
        max_memory: most bytes of frames that :func:`~video_salmonn.media.load_clip` collects, and most that
            :func:`~video_salmonn.media.iter_clip` holds back while one stream waits for the other.
        max_wall_seconds: longest time spent on one item; None for no limit. Checked between packets and at every read;
            for a hard guarantee decode in a worker (:mod:`video_salmonn.media.worker`).
        allow_files: whether paths of this machine may be opened.
        allow_remote: whether ``https:`` URLs may be fetched.
        allowed_hosts: host names that may be fetched from; empty means any host with a public address.
        max_redirects: redirects followed; each target is checked like the first URL.
        connect_seconds: longest wait for name resolution and for a connection.
        idle_seconds: longest wait for the next byte.
        download_seconds: longest time for a whole download.
    """

    max_bytes: int | None = None
    max_download_bytes: int = GIB
    max_pixels: int = 100_000_000
    max_seconds: float | None = None
    max_frames: int | None = None
    on_long: Literal["cut", "raise"] = "cut"
    max_memory: int = 4 * GIB
    max_wall_seconds: float | None = None
    allow_files: bool = True
    allow_remote: bool = True
    allowed_hosts: tuple[str, ...] = ()
    max_redirects: int = 3
    connect_seconds: float = 10.0
    idle_seconds: float = 10.0
    download_seconds: float = 300.0

    def __post_init__(self) -> None:
        if self.on_long not in ("cut", "raise"):
            raise ConfigError(
                f"on_long must be 'cut' or 'raise', not {self.on_long!r}", remedy="Choose one of the two."
            )
        optional = ("max_bytes", "max_seconds", "max_frames", "max_wall_seconds")
        positive = ("max_download_bytes", "max_pixels", "max_memory", "connect_seconds", "idle_seconds")
        for name in (*optional, *positive, "download_seconds"):
            value = getattr(self, name)
            if value is None and name in optional:
                continue
            if not value > 0:
                raise ConfigError(f"{name} must be greater than 0, not {value!r}", remedy=f"Give {name} a usable size.")

    @classmethod
    def server(cls, **overrides: Any) -> Limits:
        """Defaults for a program that strangers may send media to: no paths, no URLs, everything bounded."""
        strict = cls(
            max_bytes=256 * MIB,
            max_download_bytes=256 * MIB,
            max_pixels=36_000_000,
            max_seconds=600.0,
            max_memory=GIB,
            max_wall_seconds=120.0,
            allow_files=False,
            allow_remote=False,
            max_redirects=0,
            download_seconds=60.0,
        )
        return replace(strict, **overrides)


def check_url(url: str, limits: Limits) -> SplitResult:
    """Refuse every URL but a plain ``https:`` one to an allowed host. Does not resolve the name.

    Raises:
        LimitError: another scheme, credentials in the URL, or a host that is not allowed.
        MediaError: the URL cannot be parsed.
    """
    name = display_url(url)
    if not limits.allow_remote:
        raise LimitError(name, "fetching URLs is switched off", remedy="Upload the file itself.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise MediaError(name, f"not a valid URL ({error})", remedy="Check the spelling of the URL.") from error
    if parts.scheme.lower() != "https":
        raise LimitError(
            name,
            f"only https URLs are fetched, not {parts.scheme}:",
            remedy="Use an https URL, or download the file and pass its path.",
        )
    if not host:
        raise MediaError(name, "the URL names no host", remedy="Check the spelling of the URL.")
    if any(ord(character) < 33 or ord(character) == 127 for character in url):
        raise MediaError(name, "the URL holds spaces or control characters", remedy="Percent-encode the URL.")
    if parts.username is not None or parts.password is not None:
        raise LimitError(name, "the URL carries a user name or password", remedy="Use a URL without credentials.")
    allowed = {h.lower().rstrip(".") for h in limits.allowed_hosts}
    if allowed and host.lower().rstrip(".") not in allowed:
        raise LimitError(
            name, f"host {host} is not on the list of allowed hosts", remedy="Add it to Limits.allowed_hosts."
        )
    if port == 0:
        raise MediaError(name, "port 0 cannot be connected to", remedy="Check the port of the URL.")
    return parts


def resolve_public(host: str, port: int, limits: Limits, name: str) -> list[tuple[int, str]]:
    """Resolve ``host`` and return ``(family, address)`` pairs, provided that *every* address is public.

    The caller connects to a returned address and never to the name again, so a name that changes its address between
    check and use gains nothing.

    Raises:
        LimitError: an address is private, loopback, link-local, reserved, multicast or unspecified.
        MediaError: the name cannot be resolved in time.
    """
    found: list[tuple[int, str]] = []
    for family, _, _, _, address in _getaddrinfo(host, port, limits.connect_seconds, name):
        text = str(address[0]).partition("%")[0]
        if not is_public(text):
            raise LimitError(
                name,
                f"host {host} resolves to {text}, which is not a public internet address",
                remedy="Download the file yourself and pass its path or bytes.",
            )
        if (family, text) not in found:
            found.append((family, text))
    return found


def is_public(address: str) -> bool:
    """Whether an IP address is reachable on the public internet, looking through IPv6 forms that embed an IPv4 one."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if embedded is None and ip in _NAT64:
            embedded = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if embedded is None and int(ip) >> 32 == 0 and int(ip) > 1:  # the deprecated ::a.b.c.d form
            embedded = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(str(embedded))
        if ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not ip.is_unspecified


def display_url(url: str) -> str:
    """The URL without credentials, query and fragment, which may hold secrets, for messages and reports."""
    bare = url.split("?", 1)[0].split("#", 1)[0]
    scheme, separator, rest = bare.partition("://")
    if separator:
        authority, slash, path = rest.partition("/")
        bare = scheme + separator + authority.rpartition("@")[2] + slash + path
    return bare[:500]


def _getaddrinfo(host: str, port: int, seconds: float, name: str) -> list[tuple]:
    # getaddrinfo knows no timeout, hence the thread; it is left behind if the resolver hangs.
    answer: queue.SimpleQueue = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.put(error)

    threading.Thread(target=ask, daemon=True).start()
    remedy = "Check the host name and the network."
    try:
        result = answer.get(timeout=seconds)
    except queue.Empty:
        raise MediaError(name, f"host {host} was not resolved within {seconds:g} s", remedy=remedy) from None
    if isinstance(result, Exception):
        raise MediaError(name, f"host {host} cannot be resolved ({result})", remedy=remedy) from result
    return result
