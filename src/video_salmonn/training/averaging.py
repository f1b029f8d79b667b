"""The mean of two trainings that began with the same weights: often better than either, at the cost of one of them.

A run that continues from weights at a high rate forgets some of what they knew. Where neither of the two has moved far,
the mean keeps most of both (Wortsman et al., 2022, "Model soups").
"""

from __future__ import annotations

from pathlib import Path

import torch

from video_salmonn.checkpoints.assemble import read_tensors
from video_salmonn.checkpoints.compact import expand
from video_salmonn.checkpoints.shipped import CONNECTOR_FILE, LORA_FILE, WORDS_FILE
from video_salmonn.errors import CheckpointError
from video_salmonn.files import write_tensors
from video_salmonn.model.adapters import as_wide

AVERAGED = (CONNECTOR_FILE, LORA_FILE)
_REMEDY = "give the folder that the run's init named, or another of the same preset and adapter"


def average_into(folder: Path, other: Path, share: float = 0.5) -> None:
    """Put the mean of two folders' connectors and adapters, float32, into the first; words are those of both.

    Args:
        folder: trained parts, as a checkpoint holds them; rewritten. Its adapter may have a larger rank than the other.
        other: trained parts, as a checkpoint or the shipped files.
        share: of the first in the mean.

    Raises:
        CheckpointError: the other folder lacks a file, or its tensors have other names or shapes.
    """
    for name in AVERAGED:
        if not (folder / name).is_file() and not (other / name).is_file():
            continue
        own = _read(folder / name)
        its = as_wide(_read(other / name), own)
        if {key: value.shape for key, value in own.items()} != {key: value.shape for key, value in its.items()}:
            raise CheckpointError(f"{other / name}: its tensors are not those of the run", remedy=_REMEDY)
        write_tensors(folder / name, {key: torch.lerp(its[key].float(), own[key].float(), share) for key in own})
    if (folder / WORDS_FILE).is_file() and (other / WORDS_FILE).is_file():
        write_tensors(folder / WORDS_FILE, joined_words(_read(folder / WORDS_FILE), _read(other / WORDS_FILE)))


def joined_words(own: dict[str, torch.Tensor], its: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All words that either of two connectors can say: ``columns`` and ``openings``, the blank first, then by token."""
    if int(own["columns"][0]) != int(its["columns"][0]):
        raise CheckpointError("the words of the two trainings have different blanks", remedy=_REMEDY)
    opening = dict(zip(its["columns"].tolist(), its["openings"].tolist()))
    opening |= dict(zip(own["columns"].tolist(), own["openings"].tolist()))
    blank = int(own["columns"][0])
    tokens = [blank, *sorted(set(opening) - {blank})]
    return {
        "columns": torch.tensor(tokens, dtype=own["columns"].dtype),
        "openings": torch.tensor([opening[token] for token in tokens], dtype=own["openings"].dtype),
    }


def _read(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file", remedy=_REMEDY)
    return expand(read_tensors(path))
