"""Encode a media item once, however many questions are asked about it."""

from __future__ import annotations

import io
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch

from video_salmonn.cache import Cache, Entry
from video_salmonn.errors import LimitError, MediaError
from video_salmonn.files import digest, digest_file, digest_stream
from video_salmonn.inference.disk_entries import STREAMS, DiskEntries
from video_salmonn.inference.pieces import border_loudness
from video_salmonn.media import Limits, source_name
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.types import Clip, Heard, MediaReport, Seen


@dataclass
class Timer:
    """Seconds spent by stage; a stage entered twice adds up."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Count time that was measured elsewhere."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds


@dataclass(frozen=True)
class EncodedMedia:
    """One media item, encoded.

    Attributes:
        features: what the frozen encoders made of it; independent of any question.
        report: what was seen, heard, cut and lost.
        reused: it came from the cache: nothing was decoded or encoded.
        clip: the decoded clip, where it was decoded just now.
        key: two items with the same key have the same features, in this process.
    """

    features: MediaFeatures
    report: MediaReport
    reused: bool = False
    clip: Clip | None = None
    key: str = field(default_factory=lambda: uuid4().hex)


def content_key(source: Any) -> str | None:
    """A digest of what a source holds; None if it is unknown without fetching it (URLs, clips, odd objects)."""
    if source is None:
        return "none"
    if isinstance(source, bytes):
        return digest_stream(io.BytesIO(source))
    if isinstance(source, (str, os.PathLike)):
        try:
            path = Path(source)
            return digest_file(path) if path.is_file() else None
        except (OSError, ValueError):  # whoever opens it says what is wrong with it
            return None
    arrays = source if isinstance(source, tuple) else (source,)
    parts = []
    for value in arrays:
        if isinstance(value, np.ndarray):
            data = np.ascontiguousarray(value)
            parts.append(digest_stream(io.BytesIO(data.tobytes())) + str((data.shape, data.dtype)))
        elif isinstance(value, (int, float)):
            parts.append(str(value))
        else:
            return None
    return digest(parts)


class KeptMedia:
    """A media item that is read once for as long as a conversation about it lasts, wherever it comes from.

    A URL is fetched and a file decoded at the first question only; what a pipe sent is kept, in case a later question
    asks for another stretch of it.

    Args:
        source, sound: as for :meth:`MediaStore.get`.
    """

    def __init__(self, source: Any, sound: Any = None) -> None:
        self.source, self.sound = source, sound
        self._made: dict[str, EncodedMedia] = {}
        self._lock = threading.RLock()

    def get(self, store: MediaStore, timer: Timer, options: dict[str, Any]) -> EncodedMedia:
        """As :meth:`MediaStore.get`; asked for the same options again, nothing is read, decoded or encoded."""
        key = digest(sorted((name, repr(value)) for name, value in options.items()))
        with self._lock:
            found = self._made.get(key)
            if found is not None:
                return replace(found, reused=True)
            limits = options.get("limits") or Limits()
            with timer.stage("decode"):
                self.source, self.sound = (_seekable(one, limits) for one in (self.source, self.sound))
            made = store.get(self.source, self.sound, timer=timer, **options)
            self._made[key] = replace(made, clip=None)
            return made


class _Copy:
    """A file under another file's name."""

    def __init__(self, file: Any, name: str) -> None:
        self._file, self.name = file, name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _seekable(source: Any, limits: Limits) -> Any:
    """A source that can be read twice: what cannot seek is copied to a temporary file."""
    if not hasattr(source, "read") or (callable(getattr(source, "seekable", None)) and source.seekable()):
        return source
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the conversation
    received = 0
    while chunk := source.read(1 << 20):
        if not isinstance(chunk, bytes):
            raise MediaError(source_name(source), "does not yield bytes", remedy="Open it in binary mode ('rb').")
        received += len(chunk)
        if received > limits.max_download_bytes:
            most = limits.max_download_bytes / (1 << 20)
            raise LimitError(
                source_name(source), f"sends more than the allowed {most:g} MiB", remedy="Save it to a file first."
            )
        copy.write(chunk)
    return _Copy(copy, source_name(source))


class MediaStore:
    """Decodes, prepares and encodes media items for one model, with one cache.

    The cache's key covers the content of the files, every decoding option, and the model; a value goes up to the last
    stage that does not depend on a question (the vision transformer where InstructBLIP's Q-Former follows).

    Args:
        model: whose encoders are used.
        processor: that belongs to it.
        cache: where features are kept.
        fingerprint: identifies this model's encoders in a cache shared on disk.
        lock: held by whoever runs the model. Parts of a spread or offloaded model come and go when they are called, so
            its encoders may not run while another thread runs anything of it.
    """

    def __init__(
        self,
        model: VideoSalmonnForConditionalGeneration,
        processor: VideoSalmonnProcessor,
        cache: Cache,
        fingerprint: str,
        lock: AbstractContextManager[Any] | None = None,
    ) -> None:
        self.model = model
        self.processor = processor
        self.cache = cache
        self.encoded = 0
        """Items that went through the encoders."""
        self._busy: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._encoding: AbstractContextManager[Any] = threading.RLock()
        self._lock = lock
        self._fingerprint = fingerprint

    @cached_property
    def _model_key(self) -> str:
        """What of the model its features depend on."""
        config = self.model.config
        sizes = config.connector_config.to_dict()
        return digest(self._fingerprint, config.encoder_settings(), sizes, str(self.model.dtype))

    @cached_property
    def _disk(self) -> DiskEntries | None:
        """Where entries outlive the process."""
        return None if self.cache.folder is None else DiskEntries(self.cache, self._model_key)

    def get(self, source: Any, sound: Any = None, *, timer: Timer | None = None, **options: Any) -> EncodedMedia:
        """Features and report of one item.

        Args:
            source: as for :func:`video_salmonn.media.load_clip`; or a decoded :class:`Clip`, which is not cached.
            sound: a separate sound file or clip, or None.
            timer: collects seconds of ``decode``, ``features`` and ``encode``.
            **options: fields of :class:`MediaOptions`.

        Raises:
            MediaError: the item cannot be used.
        """
        timer = timer or Timer()
        with timer.stage("decode"):
            contents = (content_key(source), content_key(sound))
        if None in contents:
            return self._make(source, sound, timer, options)
        key = digest(self._model_key, contents, asdict(self.processor.media_options(**options)))
        with self._guard:
            lock = self._busy.setdefault(key, threading.Lock())
        try:
            with lock:  # who asks about the same file meanwhile waits for it
                with timer.stage("decode"):
                    found = self._found(key, _name(source))
                if found is None:
                    found = self._make(source, sound, timer, options)
                    entry = _to_entry(found)
                    self.cache.put(key, entry)
                    if self._disk is not None:
                        self._disk.put(key, entry)
                return replace(found, key=key)
        finally:
            with self._guard:
                self._busy.pop(key, None)

    def _found(self, key: str, name: str | None) -> EncodedMedia | None:
        entry = self.cache.get(key)
        if entry is None and self._disk is not None:
            entry = self._disk.get(key)
            if entry is not None:
                self.cache.put(key, entry)
        if entry is None:
            return None
        device = self.model.device
        entry = Entry({part: tensor.to(device) for part, tensor in entry.tensors.items()}, entry.facts)
        try:
            return _from_entry(entry, name)
        except (KeyError, TypeError):  # a file of another version of this package: made again
            return None

    def _make(self, source: Any, sound: Any, timer: Timer, options: dict[str, Any]) -> EncodedMedia:
        with timer.stage("decode"):
            clip = self.processor.load(source, sound=sound, **options)
        return self.encode(clip, timer)

    def encode(self, clip: Clip, timer: Timer) -> EncodedMedia:
        """Run the encoders on a decoded clip."""
        with timer.stage("features"):
            inputs = self.processor.media_inputs([clip]).to(self.model.device, self.model.dtype)
        lock = self._lock if self.model.main_device is not None and self._lock is not None else self._encoding
        with lock, timer.stage("encode"), torch.inference_mode():
            features = self.model.encode_media(inputs)[0]
            self.encoded += 1
        if clip.sound is not None and len(clip.sound.samples):
            seconds = self.model.connector.config.frame_seconds
            features = replace(features, loudness=border_loudness(clip.sound.samples, clip.sound.rate, seconds))
        return EncodedMedia(features, clip.report, False, clip)


def _name(source: Any) -> str | None:
    return str(source) if isinstance(source, (str, os.PathLike)) else None


def _to_entry(made: EncodedMedia) -> Entry:
    features, report = made.features, made.report
    tensors = {name: getattr(features, name) for name in STREAMS}
    facts = {"sound_frames": features.sound_frames, "still_frames": features.still_frames, "report": asdict(report)}
    return Entry({name: tensor for name, tensor in tensors.items() if tensor is not None}, facts)


def _from_entry(entry: Entry, name: str | None) -> EncodedMedia:
    values = dict(entry.facts["report"])
    report = MediaReport(**{**values, "seen": Seen(**values["seen"]), "heard": Heard(**values["heard"])})
    if name is not None:
        report = replace(report, source=name)
    visual, speech, audio, loudness = (entry.tensors.get(name) for name in STREAMS)
    frames, still = entry.facts["sound_frames"], entry.facts["still_frames"]
    features = MediaFeatures(visual, speech, audio, frames, still, loudness)
    return EncodedMedia(features, report, True)
