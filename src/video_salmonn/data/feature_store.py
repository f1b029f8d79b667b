"""Features of frozen encoders, kept in safetensors shards: encode once, train often, travel light.

A store is a folder of shards of at most ``shard_bytes``; a tensor's name is its key, so the shards are their own
index. Shards are written under another name and renamed: a crash loses at most the shard being filled, and the next
run continues with the missing items. Reading needs neither media libraries nor encoders.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import torch
from safetensors import SafetensorError, safe_open

from video_salmonn.errors import CheckpointError
from video_salmonn.files import write_tensors

SHARD_BYTES = 40_000_000


class FeatureStore:
    """Read side: ``store[key]`` gives the tensor as it was stored; memory-mapped, until it is held by a device.

    Args:
        folder: holds ``*.safetensors``; may be empty or not exist yet.

    Raises:
        CheckpointError: a shard is damaged (named).
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._files: dict[Path, safe_open] = {}
        self._where: dict[str, Path] = {}
        self._held: dict[str, torch.Tensor] = {}
        self.refresh()

    def refresh(self) -> None:
        """Look for shards written since."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path in self._files:
                continue
            try:
                opened = safe_open(path, framework="pt")
            except (SafetensorError, OSError, struct.error) as error:
                raise CheckpointError(
                    f"{path}: damaged feature shard ({error})", remedy="delete this file and encode again"
                ) from error
            self._files[path] = opened
            self._where.update(dict.fromkeys(opened.keys(), path))

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
        needed = sum(path.stat().st_size for path in self._files)
        if needed > share * torch.cuda.mem_get_info(device)[0]:
            return False
        self._held = {key: self[key].to(device) for key in self._where}
        return True

    def __contains__(self, key: str) -> bool:
        return key in self._where

    def __len__(self) -> int:
        return len(self._where)

    def _file(self, key: str) -> safe_open:
        path = self._where.get(key)
        if path is None:
            raise CheckpointError(f"{self.folder}: no features under {key}", remedy="encode this data set again")
        return self._files[path]

    def __getitem__(self, key: str) -> torch.Tensor:
        held = self._held.get(key)
        if held is not None:
            return held
        tensor: torch.Tensor = self._file(key).get_tensor(key)
        return tensor

    def shape(self, key: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it."""
        held = self._held.get(key)
        return tuple(self._file(key).get_slice(key).get_shape() if held is None else held.shape)


class FeatureWriter:
    """Write side, a context manager: ``put`` collects, full shards are written as they fill.

    Args:
        folder: created if need be.
        shard_bytes: upper bound of a shard's tensors.
    """

    def __init__(self, folder: Path | str, shard_bytes: int = SHARD_BYTES) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.shard_bytes = shard_bytes
        self._pending: dict[str, torch.Tensor] = {}
        self._bytes = 0

    @property
    def pending_bytes(self) -> int:
        """Bytes put and not yet written."""
        return self._bytes

    def put(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Add tensors that are kept or lost together: they get into one shard."""
        size = sum(value.numel() * value.element_size() for value in tensors.values())
        if self._pending and self._bytes + size > self.shard_bytes:
            self.flush()
        self._pending |= {key: value.contiguous() for key, value in tensors.items()}
        self._bytes += size

    def flush(self) -> None:
        """Write what is pending as one shard."""
        if not self._pending:
            return
        number = 1 + max((int(path.stem.split("-")[1]) for path in self.folder.glob("shard-*.safetensors")), default=-1)
        partial = self.folder / f".shard-{os.getpid()}.partial"
        write_tensors(partial, self._pending)
        while True:
            target = self.folder / f"shard-{number:05d}.safetensors"
            try:  # link refuses to overwrite, so two writers never take one number
                os.link(partial, target)
                break
            except FileExistsError:
                number += 1
        partial.unlink()
        self._pending, self._bytes = {}, 0

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()
