"""One content-addressed cache for everything that is worth keeping: in memory, and on disk where a folder is given.

Values are dictionaries of tensors and small JSON-ready facts. Both stores are bounded; the least recently used entry
goes first. Files are written under another name and renamed, so a reader sees a whole entry or none.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_salmonn.files import write_tensors

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


def cache_home() -> Path:
    """Where models, parts and features are kept: ``$VIDEO_SALMONN_HOME``, else ``~/.cache/video-salmonn``."""
    return Path(os.environ.get("VIDEO_SALMONN_HOME") or Path.home() / ".cache" / "video-salmonn").expanduser()


@dataclass(frozen=True)
class Entry:
    """A cached value: tensors by name, and facts about them."""

    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Memory of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


class Cache:
    """Bounded cache of :class:`Entry` values.

    Args:
        memory_bytes: most bytes of tensors kept in memory.
        folder: where entries are also kept as safetensors files; None for memory only.
        disk_bytes: most bytes of files in ``folder``.
    """

    def __init__(self, memory_bytes: int = 1 << 30, folder: Path | None = None, disk_bytes: int = 10 << 30) -> None:
        self.memory_bytes = memory_bytes
        self.folder = folder
        self.disk_bytes = disk_bytes
        self.hits = 0
        self.misses = 0
        self._held: OrderedDict[str, Entry] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> Entry | None:
        """The entry of a key, or None."""
        with self._lock:
            entry = self._held.get(key)
            if entry is not None:
                self._held.move_to_end(key)
                self.hits += 1
                return entry
        entry = self._read(key)
        with self._lock:
            self.hits += entry is not None
            self.misses += entry is None
        if entry is not None:
            self._hold(key, entry)
        return entry

    def put(self, key: str, entry: Entry) -> None:
        """Keep an entry; one larger than the whole memory bound is kept on disk only, if there is a folder."""
        self._hold(key, entry)
        if self.folder is None:
            return
        try:
            self._write(key, entry)
        except OSError as error:  # a full disk costs time later, not the answer now
            logger.warning("%s: cannot keep an entry in the cache (%s)", self.folder, error)

    def drop(self, key: str) -> None:
        """Forget one entry in memory, where it is known; its file stays."""
        with self._lock:
            old = self._held.pop(key, None)
            self._size -= old.nbytes if old else 0

    def clear(self) -> None:
        """Forget everything in memory; files stay."""
        with self._lock:
            self._held.clear()
            self._size = 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def nbytes(self) -> int:
        """Bytes of tensors in memory."""
        return self._size

    def _hold(self, key: str, entry: Entry) -> None:
        size = entry.nbytes
        if size > self.memory_bytes:
            return
        with self._lock:
            old = self._held.pop(key, None)
            self._size += size - (old.nbytes if old else 0)
            self._held[key] = entry
            while self._size > self.memory_bytes:
                _, dropped = self._held.popitem(last=False)
                self._size -= dropped.nbytes

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / key[:2] / f"{key}.safetensors"

    def _read(self, key: str) -> Entry | None:
        if self.folder is None:
            return None
        from safetensors import SafetensorError, safe_open

        path = self._path(key)
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads((file.metadata() or {}).get("facts", "{}"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, ValueError):
            path.unlink(missing_ok=True)  # damaged: made again
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return Entry(tensors, facts)

    def _write(self, key: str, entry: Entry) -> None:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, entry.tensors, {"facts": json.dumps(entry.facts)})
        self._trim()

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        assert self.folder is not None
        for path in self.folder.glob("*/*.safetensors"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                yield status.st_mtime, status.st_size, path

    def _trim(self) -> None:
        files = sorted(self._files())
        size = sum(n for _, n, _ in files)
        for _, n, path in files:
            if size <= self.disk_bytes:
                return
            path.unlink(missing_ok=True)
            size -= n
