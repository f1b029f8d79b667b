"""A request's media, read: bytes, then a clip out of a process that can be killed, then features, kept for its key.

Decisions:

* Nothing that a client sends is opened in this process but by the base64 decoder: containers and pictures are decoded
  by :class:`video_salmonn.media.worker.Worker`, which is killed when it takes too long or its client has left.
* Encoded media are kept by the digest of their bytes and of the options, for each API key by itself: how fast an answer
  is tells nobody what somebody else has asked about.
* A client's ``uuid`` is a name for what is kept, not a digest in its place: media that are sent are looked at, whatever
  they are called.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from video_salmonn.errors import LimitError
from video_salmonn.inference import long as long_media
from video_salmonn.inference.engine import VideoSalmonn
from video_salmonn.inference.media_store import EncodedMedia, Timer
from video_salmonn.media import ArrayVideo, Limits
from video_salmonn.media import MediaOptions as DecodingOptions
from video_salmonn.media.worker import Worker
from video_salmonn.serving.files import FileStore
from video_salmonn.serving.parts import Wanted
from video_salmonn.serving.problems import RequestProblem, problem_of
from video_salmonn.serving.protocol import MediaFields
from video_salmonn.serving.settings import ServerSettings
from video_salmonn.types import Clip

R = TypeVar("R")
_MOST_NAMES = 4096
"""Of one key; the ones that were used longest ago are forgotten first."""


@dataclass
class ReadMedia:
    """One media item, encoded.

    Attributes:
        encoded: its features and report.
        reused: whether it was in the cache.
        kind: ``video``, ``image`` or ``audio``, by its content.
        tokens: that the connector makes of it.
        seconds: spent on it by stage.
    """

    encoded: EncodedMedia
    reused: bool
    kind: str
    tokens: int
    seconds: dict[str, float] = field(default_factory=dict)


class DecodePool:
    """Decoding processes, each for one clip at a time.

    Args:
        settings: how many, and what one clip may take.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._free = asyncio.Semaphore(settings.decode_processes)
        self._idle = deque(self._worker() for _ in range(settings.decode_processes))
        self._threads = ThreadPoolExecutor(settings.decode_processes, thread_name_prefix="decode")
        self.waiting = 0
        """Items that wait for a process."""

    def _worker(self) -> Worker:
        return Worker(self._settings.decode_seconds, self._settings.decode_memory)

    @contextlib.asynccontextmanager
    async def worker(self) -> AsyncIterator[Callable[..., Any]]:
        """A process of one's own for a block; yields an awaitable :meth:`Worker.load`. Killed if the block is left."""
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        worker = self._idle.pop()
        loop = asyncio.get_running_loop()

        async def load(source: Any, **arguments: Any) -> Clip:
            return await loop.run_in_executor(self._threads, lambda: worker.load(source, **arguments))

        try:
            yield load
        except asyncio.CancelledError:
            left, worker = worker, self._worker()  # the thread that waits for the old one may still touch it
            threading.Thread(target=left.close, daemon=True).start()
            raise
        finally:
            self._idle.append(worker)
            self._free.release()

    def close(self) -> None:
        """End the processes."""
        for worker in self._idle:
            worker.close()
        self._threads.shutdown(wait=False, cancel_futures=True)


class KeptEncodings:
    """Encoded media of every key, the least recently used first to go. One thread uses it.

    Args:
        most: bytes for each key.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[str, OrderedDict[str, EncodedMedia]] = defaultdict(OrderedDict)
        self._bytes: Counter[str] = Counter()
        self._names: dict[str, OrderedDict[str, str]] = defaultdict(OrderedDict)
        self.hits = 0
        self.queries = 0

    def get(self, owner: str, digest: str) -> EncodedMedia | None:
        """What is kept, or None."""
        self.queries += 1
        held = self._held[owner]
        found = held.get(digest)
        if found is not None:
            held.move_to_end(digest)
            self.hits += 1
        return found

    def put(self, owner: str, digest: str, item: EncodedMedia) -> None:
        """Keep an item, if it is not larger than all that is kept for a key."""
        size = _nbytes(item)
        if size > self._most or digest in self._held[owner]:
            return
        held = self._held[owner]
        held[digest] = item
        self._bytes[owner] += size
        while self._bytes[owner] > self._most:
            _, gone = held.popitem(last=False)
            self._bytes[owner] -= _nbytes(gone)

    def call(self, owner: str, name: str, digest: str) -> None:
        """Give what is kept a name; it replaces what had that name."""
        names = self._names[owner]
        names[name] = digest
        names.move_to_end(name)
        if len(names) > _MOST_NAMES:
            names.popitem(last=False)

    def named(self, owner: str, name: str) -> EncodedMedia | None:
        """What is kept under a name, or None."""
        digest = self._names[owner].get(name, "") if owner in self._names else ""
        return self.get(owner, digest)

    @property
    def nbytes(self) -> int:
        """Bytes kept for all keys."""
        return sum(self._bytes.values())


class MediaReader:
    """Reads the media of requests.

    Args:
        engine: encodes.
        settings: what is allowed.
        files: uploaded ones.
    """

    def __init__(self, engine: VideoSalmonn, settings: ServerSettings, files: FileStore) -> None:
        self.engine = engine
        self.settings = settings
        self.files = files
        self.pool = DecodePool(settings)
        self.kept = KeptEncodings(settings.cache_bytes)
        self._encoding = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._reading = ThreadPoolExecutor(4, thread_name_prefix="read")
        self._busy: dict[tuple[str, str], asyncio.Lock] = {}

    def close(self) -> None:
        """End threads and processes."""
        self.pool.close()
        for pool in (self._encoding, self._reading):
            pool.shutdown(wait=False, cancel_futures=True)

    async def read(self, wanted: Wanted, options: MediaFields, owner: str) -> ReadMedia:
        """Read one item, or take it from what is kept for its key.

        Args:
            wanted: the item.
            options: of the request.
            owner: whose key it is.

        Raises:
            RequestProblem: it cannot be used.
        """
        try:
            return await self._read(wanted, options, owner)
        except Exception as error:  # every error becomes an answer that names the part
            raise problem_of(error, wanted.param) from error

    async def _read(self, wanted: Wanted, options: MediaFields, owner: str) -> ReadMedia:
        timer = Timer()
        decoding = self._decoding(wanted, options)
        called = None if wanted.name is None else hashlib.sha256(repr((wanted.name, decoding, options.fps)).encode())
        name = None if called is None else called.hexdigest()
        if not wanted.is_sent or (wanted.sound is not None and not wanted.sound.is_sent):
            return self._told(self._named(wanted, owner, name), True, wanted, timer)
        with timer.stage("read"):
            data = [await self.data(part, owner) for part in _single(wanted)]
            sound = None if wanted.sound is None else await self.data(wanted.sound, owner)
        key = await self._in_thread(_digest, [*data, b"" if sound is None else sound], repr((decoding, options.fps)))
        lock = self._busy.setdefault((owner, key), asyncio.Lock())
        try:
            async with lock:  # who asks about the same media meanwhile waits for them
                found = self.kept.get(owner, key)
                reused = found is not None
                if found is None:
                    with timer.stage("decode"):
                        clip = await self._decoded(data, sound, wanted, decoding, options)
                    loop = asyncio.get_running_loop()
                    (found,) = await loop.run_in_executor(self._encoding, lambda: self.engine.encode([clip], timer))
                    found = replace(found, clip=None)
                    self.kept.put(owner, key, found)
        finally:
            if not lock.locked():
                self._busy.pop((owner, key), None)
        if name is not None:
            self.kept.call(owner, name, key)
        return self._told(found, reused, wanted, timer)

    def _named(self, wanted: Wanted, owner: str, name: str | None) -> EncodedMedia:
        """What came earlier with the same ``uuid`` and was read in the same way."""
        if wanted.is_sent or (wanted.sound is not None and wanted.sound.is_sent):
            raise RequestProblem(
                400, f"{wanted.param}: a picture and its sound are one item", remedy="send both, or neither"
            )
        found = None if name is None else self.kept.named(owner, name)
        if found is None:
            raise RequestProblem(
                404,
                f"{wanted.param}: no media with this uuid are kept here for this key, read with these options",
                remedy="send them with the uuid again",
            )
        return found

    def _told(self, found: EncodedMedia, reused: bool, wanted: Wanted, timer: Timer) -> ReadMedia:
        report = replace(found.report, source=wanted.param)
        found = replace(found, report=report)
        config = self.engine.model.connector.config
        tokens = config.tokens_for(long_media.frames_of(found.features, config))
        return ReadMedia(found, reused, kind_of(found), tokens, timer.seconds)

    def _decoding(self, wanted: Wanted, options: MediaFields) -> DecodingOptions:
        limits = self.settings.limits()
        own: DecodingOptions = self.engine.processor.media_options()
        if own.limits.max_seconds is not None:  # the model itself reads no more: cut and told, not refused
            most = min(own.limits.max_seconds, self.settings.max_media_seconds)
            limits = replace(limits, max_seconds=most, on_long="cut")
        overrides: dict[str, Any] = {"start": options.start, "end": options.end, "threads": 1}
        if options.use_audio_in_video is False and wanted.kind in ("video", "file"):
            overrides["use_audio"] = False
        if options.use_video is False:
            overrides["use_video"] = False
        if wanted.kind == "frames":
            overrides |= {"start": None, "end": None}
        decoding: DecodingOptions = self.engine.processor.media_options(limits=limits, **overrides)
        return decoding

    async def _decoded(
        self,
        data: list[bytes],
        sound: bytes | None,
        wanted: Wanted,
        decoding: DecodingOptions,
        options: MediaFields,
    ) -> Clip:
        async with self.pool.worker() as load:
            if wanted.kind != "frames":
                return await load(data[0], sound=sound, options=decoding)  # type: ignore[no-any-return]
            still = replace(decoding, use_audio=False, spotlight=0, use_video=True)
            frames = []
            for number, picture in enumerate(data):
                clip = await load(picture, options=still)
                if clip.frames is None or len(clip.frames) != 1:
                    raise RequestProblem(
                        422, f"{wanted.param}: frame {number + 1} is not a picture", param=wanted.param
                    )
                frames.append(clip.frames.frames[0])
                if frames[-1].shape != frames[0].shape:
                    raise RequestProblem(
                        422, f"{wanted.param}: frame {number + 1} has another size", param=wanted.param
                    )
            heard = None
            if sound is not None and decoding.use_audio:
                heard = await load(sound, options=replace(decoding, use_video=False))
        video = ArrayVideo(np.stack(frames), options.fps or 2.0)
        overrides: dict[str, Any] = {"use_audio": decoding.use_audio, "use_video": decoding.use_video}
        return await self._in_thread(
            lambda: self.engine.processor.load(
                video, heard, limits=replace(decoding.limits, max_frames=None), **overrides
            )
        )

    async def data(self, wanted: Wanted, owner: str) -> bytes:
        """The bytes of one item.

        Raises:
            RequestProblem: bad base64, a URL that is not fetched here, an unknown file.
            MediaError: a URL that cannot be fetched.
        """
        if wanted.file_id is not None:
            return await self._in_thread(self.files.read, owner, wanted.file_id)
        if wanted.base64 is not None:
            return await self._in_thread(decode_base64, wanted.base64, wanted.param)
        (url,) = wanted.urls
        if url[:5].lower() == "data:":
            head, comma, body = url.partition(",")
            if not comma or not head.lower().endswith(";base64"):
                raise RequestProblem(
                    400, f"{wanted.param}: not a base64 data URL", remedy="send data:TYPE;base64,…", param=wanted.param
                )
            return await self._in_thread(decode_base64, body, wanted.param)
        return await self._in_thread(self._fetched, url, wanted.param)

    def _fetched(self, url: str, param: str) -> bytes:
        from video_salmonn.media.limits import check_url
        from video_salmonn.media.remote import download

        settings = self.settings
        if not settings.allow_urls:
            raise RequestProblem(
                400,
                f"{param}: this server fetches no URLs and opens no files",
                remedy="send the media as a data: URL, or upload it to /v1/files",
                param=param,
            )
        hosts = {host.rpartition(":")[0] if _has_port(host) else host for host in settings.allow_urls}
        limits = Limits.server(
            allow_remote=True,
            allowed_hosts=tuple(hosts),
            max_download_bytes=settings.max_body_bytes,
            download_seconds=settings.fetch_seconds,
            max_redirects=0,
        )
        try:
            parts = check_url(url, limits)
            host, port = str(parts.hostname).lower().rstrip("."), parts.port or 443
            if (f"{host}:{port}" if port != 443 else host) not in {one.lower() for one in settings.allow_urls}:
                raise RequestProblem(400, f"{param}: port {port} of this host is not allowed", param=param)
            with download(url, limits) as file:
                return file.read()
        except LimitError as error:
            raise RequestProblem(400, f"{param}: {error.reason}", param=param) from error

    async def _in_thread(self, call: Callable[..., R], *arguments: Any) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._reading, lambda: call(*arguments))


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit()


def decode_base64(text: str, param: str) -> bytes:
    """Bytes of base64 text; line breaks and missing padding are allowed.

    Raises:
        RequestProblem: it is not base64, or nothing.
    """
    try:
        plain = text.encode("ascii").translate(None, b"\r\n\t ").rstrip(b"=")
        data = base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError):
        raise RequestProblem(
            400, f"{param}: the media is not valid base64", remedy="encode it with the standard alphabet", param=param
        ) from None
    if not data:
        raise RequestProblem(400, f"{param}: the media is empty", param=param)
    return data


def kind_of(item: EncodedMedia) -> str:
    """``video``, ``image`` or ``audio``, by what an item holds."""
    if item.report.seen.status != "used":
        return "audio"
    still = any(stream.get("kind") == "picture" and stream.get("chosen") for stream in item.report.streams)
    return "image" if still else "video"


def _single(wanted: Wanted) -> list[Wanted]:
    """An item's parts that are read one by one: the frames of a video."""
    return [replace(wanted, urls=(url,)) for url in wanted.urls] if len(wanted.urls) > 1 else [wanted]


def _digest(data: list[bytes], settings: str) -> str:
    whole = hashlib.sha256(settings.encode())
    for part in data:
        whole.update(len(part).to_bytes(8, "little"))
        whole.update(part)
    return whole.hexdigest()


def _nbytes(item: EncodedMedia) -> int:
    features = item.features
    tensors = (features.visual, features.speech, features.audio, features.loudness)
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)
