"""Write a large model as sharded safetensors, holding one shard in memory.

``save_pretrained`` and ``save_torch_state_dict`` want the whole state dict at once; here tensors are made one shard at
a time, from descriptions that know their size beforehand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from video_salmonn.checkpoints.directory import INDEX
from video_salmonn.files import write_tensors

SHARD_BYTES = 2 << 30


@dataclass(frozen=True)
class Planned:
    """A tensor to be written.

    Attributes:
        name: in the model's state dict.
        nbytes: as written.
        make: reads and returns it, in its final dtype.
    """

    name: str
    nbytes: int
    make: Callable[[], torch.Tensor]


def split(tensors: Sequence[Planned], limit: int) -> list[list[Planned]]:
    """Consecutive groups of at most ``limit`` bytes (a larger tensor gets a group of its own)."""
    groups: list[list[Planned]] = [[]]
    size = 0
    for tensor in tensors:
        if groups[-1] and size + tensor.nbytes > limit:
            groups.append([])
            size = 0
        groups[-1].append(tensor)
        size += tensor.nbytes
    return groups


def write_shards(
    tensors: Sequence[Planned],
    folder: Path,
    *,
    limit: int = SHARD_BYTES,
    after_shard: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Write ``model-0000i-of-0000n.safetensors`` and the index.

    Args:
        tensors: in the order of writing.
        folder: existing folder.
        limit: bytes of a shard.
        after_shard: called with (shards written, shards in all), when a shard's tensors are forgotten.

    Returns:
        the shards' paths.
    """
    groups = split(tensors, limit)
    places: dict[str, str] = {}
    paths = []
    for number, group in enumerate(groups, start=1):
        path = folder / f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        state = {tensor.name: tensor.make() for tensor in group}
        write_tensors(path, state, {"format": "pt"})
        places |= dict.fromkeys(state, path.name)
        paths.append(path)
        del state
        after_shard(number, len(groups))
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors)}, "weight_map": dict(sorted(places.items()))}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return paths
