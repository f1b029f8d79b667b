"""Features of frozen encoders on disk, in one format: stage caches, packs and the embedded data set.

A store is a folder of

- ``shard-00000.safetensors`` …, of at most ``shard_bytes`` each. A tensor is named ``<key>.<stream>``, and the shard's
  metadata holds facts about its entries, so a shard needs nothing beside it;
- ``index.json``: the format, the fingerprints of the encoders, and what manifests call the entries
  (:mod:`video_salmonn.data.feature_index`).

A shard is written under another name and then linked into place: readers see it whole or not at all, and several
processes may write to one store. A crash loses at most the shard being filled; the next run encodes what is missing.
Reading needs neither media libraries nor encoders.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open

from video_salmonn.data.feature_index import INDEX, FeatureIndex, add_to_index, read_index, recipe_name
from video_salmonn.data.media_recipes import MediaRecipe, recipe_key
from video_salmonn.errors import CheckpointError
from video_salmonn.files import write_tensors

SHARD_BYTES = 40_000_000
SMALL_SHARDS = 64
"""So many small shards of a cache are put together into large ones."""
MOST_OPEN = 1024
"""Shards that are mapped at once; a process may map 65,530 files on Linux."""
_FACTS = "facts"


@dataclass(frozen=True)
class _Shard:
    """What is remembered of a shard: the names of its tensors, and its size in bytes."""

    names: list[str]
    size: int


class FeatureStore:
    """``store[name]`` gives a tensor as it was stored, memory-mapped until a GPU holds it; ``put`` adds tensors.

    Entering the store as a context manager writes what is left at the end.

    Args:
        folder: of the store; may be empty or not exist yet.
        made_by: fingerprints of the encoders by stream, which the store must have if it has any; None to read what is
            there, whoever made it.
        shard_bytes: upper bound of a shard's tensors.
        disposable: a cache. What is damaged is deleted, and small shards are put together.

    Raises:
        ConfigError: it was made by other encoders; see :func:`~video_salmonn.data.feature_index.read_index`.
        CheckpointError: the index is damaged.
    """

    def __init__(
        self,
        folder: Path | str,
        made_by: Mapping[str, str] | None = None,
        *,
        shard_bytes: int = SHARD_BYTES,
        disposable: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.shard_bytes, self.disposable = shard_bytes, disposable
        try:
            self.index = read_index(self.folder)
        except CheckpointError:
            if not disposable:
                raise
            (self.folder / INDEX).unlink(missing_ok=True)
            self.index = FeatureIndex()
        if made_by is not None:
            self.check(made_by)
        self._made_by = dict(made_by or {})
        self._introduced = False
        self._shards: dict[Path, _Shard] = {}
        self._looked = False
        self._where: dict[str, Path] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self._open: OrderedDict[Path, safe_open] = OrderedDict()
        self._held: dict[str, torch.Tensor] = {}
        self._pending: dict[str, torch.Tensor] = {}
        self._pending_facts: dict[str, dict[str, Any]] = {}
        self._bytes = 0
        self._keys: dict[tuple[str, Path], str] = {}
        self._lock = threading.RLock()

    def check(self, made_by: Mapping[str, str]) -> None:
        """Refuse features of other encoders. Raises ConfigError. A store of an earlier version says nothing of them."""
        self.index.check(self.folder, made_by)

    # ----------------------------------------------------------------------------------------------- reading

    def refresh(self) -> None:
        """Look for shards written since, and forget those that are gone.

        Raises:
            CheckpointError: a shard is damaged (named).
        """
        with self._lock:
            there = set(self.folder.glob("*.safetensors"))
            for path in sorted(there - self._shards.keys()):
                self._add(path)
            for path in [path for path in self._shards if path not in there]:
                self._forget(path)
            self._looked = True

    def _look(self) -> None:
        if not self._looked:
            self.refresh()

    def _add(self, path: Path) -> None:
        try:
            opened = self._opened(path)
        except FileNotFoundError:  # put together with others meanwhile
            return
        except (SafetensorError, OSError, struct.error) as error:
            if self.disposable:
                path.unlink(missing_ok=True)
                return
            raise CheckpointError(
                f"{path}: damaged feature shard ({error})", remedy="delete this file and encode again"
            ) from error
        names = list(opened.keys())
        self._shards[path] = _Shard(names, path.stat().st_size)
        self._where.update(dict.fromkeys(names, path))
        for key, facts in json.loads((opened.metadata() or {}).get(_FACTS, "{}")).items():
            self._facts[key] = self._facts.get(key, {}) | facts

    def _forget(self, path: Path) -> None:
        for name in self._shards.pop(path).names:
            if self._where.get(name) == path:
                del self._where[name]
                self._facts.pop(_key(name), None)
        self._open.pop(path, None)

    def _opened(self, path: Path) -> safe_open:
        opened = self._open.get(path)
        if opened is None:
            opened = self._open[path] = safe_open(path, framework="pt")
            if len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
        return opened

    def _file(self, name: str) -> safe_open:
        path = self._where.get(name)
        opened = None if path is None else self._open.get(path)
        if opened is not None:  # without the lock, which costs a tenth of a read
            return opened
        with self._lock:
            for _ in range(2):
                path = self._where.get(name)
                if path is None:
                    break
                with contextlib.suppress(FileNotFoundError):
                    return self._opened(path)
                self.refresh()  # it was put together with others
        raise CheckpointError(f"{self.folder}: no features under {name}", remedy="encode this data set again")

    def names(self) -> list[str]:
        """Names of all tensors."""
        self._look()
        return list(self._where)

    def __contains__(self, name: str) -> bool:
        self._look()
        return name in self._where or name in self._pending

    def __len__(self) -> int:
        self._look()
        return len(self._where)

    def __getitem__(self, name: str) -> torch.Tensor:
        if self._held and name in self._held:
            return self._held[name]
        pending = self._pending.get(name)
        if pending is not None:
            return pending
        self._look()
        tensor: torch.Tensor = self._file(name).get_tensor(name)
        if self.disposable:
            with contextlib.suppress(OSError, KeyError):
                os.utime(self._where[name])  # what was used longest ago goes first
        return tensor

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it."""
        held = self._held.get(name)
        if held is not None:
            return tuple(held.shape)
        self._look()
        return tuple(self._file(name).get_slice(name).get_shape())

    def facts(self, key: str) -> dict[str, Any]:
        """What was stored about an entry beside its tensors; empty for nothing."""
        self._look()
        return self._facts.get(key, {})

    def hold(self, device: torch.device | str, share: float = 0.6) -> bool:
        """Read all tensors into a GPU's memory, once, so that batches are put together there.

        Args:
            device: where to; a CPU has the memory map and is left with it.
            share: of the memory that is free there, what the tensors may take at most.

        Returns:
            held: False for a CPU, and where they are too many.
        """
        device = torch.device(device)
        if device.type != "cuda":
            return False
        self._look()
        needed = sum(shard.size for shard in self._shards.values())
        if needed > share * torch.cuda.mem_get_info(device)[0]:
            return False
        self._held = {name: self[name].to(device) for name in self._where}
        return True

    # ----------------------------------------------------------------------------------------------- writing

    def put(self, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Add tensors that are kept or lost together: they get into one shard, which is written when it is full.

        Args:
            tensors: by ``<key>.<stream>``.
            facts: JSON-ready values about entries, by key.

        Raises:
            OSError: a shard cannot be written.
        """
        size = sum(value.numel() * value.element_size() for value in tensors.values())
        with self._lock:
            if self._pending and self._bytes + size > self.shard_bytes:
                self.flush()
            self._pending |= {name: value.contiguous() for name, value in tensors.items()}
            for key, values in (facts or {}).items():
                self._pending_facts[key] = {**self._pending_facts.get(key, {}), **values}
            self._bytes += size

    def flush(self) -> None:
        """Write what is pending as one shard. Raises OSError."""
        with self._lock:
            if not self._pending:
                return
            if not self._introduced:
                self.add_to_index(FeatureIndex())
            tensors, facts = self._pending, self._pending_facts
            self._pending, self._pending_facts, self._bytes = {}, {}, 0
            path = self._write(tensors, facts)
            if self.disposable:
                self.refresh()
                self._join_small()
            elif self._looked:
                self._add(path)

    def add_to_index(self, index: FeatureIndex) -> None:
        """Name entries, or what could not be encoded. Raises ConfigError where others made this store meanwhile."""
        index = FeatureIndex(self._made_by | index.made_by, index.keys, index.failed)
        add_to_index(self.folder, index)
        self._introduced = True
        self.index.made_by |= index.made_by
        self.index.keys |= index.keys
        self.index.failed |= index.failed

    def _write(self, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> Path:
        number = 1 + max((int(path.stem.split("-")[1]) for path in self.folder.glob("shard-*.safetensors")), default=-1)
        partial = self.folder / f".shard-{os.getpid()}-{threading.get_ident()}.partial"
        write_tensors(partial, tensors, {_FACTS: json.dumps(facts)} if facts else None)
        while True:
            target = self.folder / f"shard-{number:05d}.safetensors"
            try:  # link refuses to overwrite, so two writers never take one number
                os.link(partial, target)
                break
            except FileExistsError:
                number += 1
        partial.unlink()
        return target

    def _join_small(self) -> None:
        """Put small shards together once there are many; another process that is at it is left alone."""

        def small() -> list[Path]:
            return [path for path, shard in self._shards.items() if shard.size < self.shard_bytes / 2]

        if len(small()) < SMALL_SHARDS:
            return
        with contextlib.suppress(Timeout), FileLock(self.folder / ".join.lock", timeout=0):
            self.refresh()
            group: list[Path] = []
            size = 0
            for path in small():
                if size + self._shards[path].size > self.shard_bytes:
                    self._join(group)
                    group, size = [], 0
                group.append(path)
                size += self._shards[path].size
            self._join(group)
            self.refresh()

    def _join(self, group: list[Path]) -> None:
        names = {name: path for path in group for name in self._shards[path].names}
        tensors = {name: self._opened(path).get_tensor(name) for name, path in names.items()}
        self._write(tensors, {key: self._facts[key] for key in dict.fromkeys(map(_key, names)) if key in self._facts})
        for path in group:
            path.unlink(missing_ok=True)

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()

    # ------------------------------------------------------------------------------------------------- media

    def key(self, recipe: MediaRecipe, root: Path) -> str:
        """The key of a medium: from the index, else from what its files hold.

        Args:
            recipe: a path relative to ``root``, or a recipe object.
            root: the manifest's folder.

        Raises:
            MediaError: it is not listed, and a file cannot be read.
        """
        name = recipe_name(recipe)
        found = self.index.keys.get(name) or self._keys.get((name, root))
        if found is None:
            found = self._keys[name, root] = recipe_key(recipe, root)
        return found


def _key(name: str) -> str:
    return name.rpartition(".")[0]


def trim(folder: Path, most_bytes: int) -> bool:
    """Delete shards below a folder, those used longest ago first, until the others take ``most_bytes`` at most.

    Returns:
        trimmed: whether any was deleted.
    """
    found = []
    for path in folder.rglob("shard-*.safetensors"):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            found.append((status.st_mtime, status.st_size, path))
    size, trimmed = sum(length for _, length, _ in found), False
    for _, length, path in sorted(found):
        if size <= most_bytes:
            break
        path.unlink(missing_ok=True)
        size, trimmed = size - length, True
    return trimmed
