"""What was encoded or connected and may be asked for again, in memory, within a bound; and where files are kept."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


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
    """Bounded cache of :class:`Entry` values; the one used longest ago goes first.

    Args:
        memory_bytes: most bytes of tensors kept in memory.
        folder: where encoded media are also kept, in a feature store for each model
            (:class:`~video_salmonn.inference.media_store.MediaStore` reads and writes it); None for memory only.
        disk_bytes: most bytes of files in ``folder``.
    """

    def __init__(self, memory_bytes: int = 1 << 30, folder: Path | None = None, disk_bytes: int = 10 << 30) -> None:
        self.memory_bytes = memory_bytes
        self.folder = folder
        self.disk_bytes = disk_bytes
        self._held: OrderedDict[str, Entry] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> Entry | None:
        """The entry of a key, or None."""
        with self._lock:
            entry = self._held.get(key)
            if entry is not None:
                self._held.move_to_end(key)
            return entry

    def put(self, key: str, entry: Entry) -> None:
        """Keep an entry, unless it is larger than the whole bound."""
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

    def drop(self, key: str) -> None:
        """Forget one entry, where it is known."""
        with self._lock:
            old = self._held.pop(key, None)
            self._size -= old.nbytes if old else 0

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._held.clear()
            self._size = 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def nbytes(self) -> int:
        """Bytes of tensors in memory."""
        return self._size
