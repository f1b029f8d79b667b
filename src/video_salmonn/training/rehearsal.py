"""``train --dry-run``: everything is loaded and one batch run, and what would happen is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from video_salmonn.model.prompt import IGNORED
from video_salmonn.training import checkpointing
from video_salmonn.training.batching import collate, diversity_counts

if TYPE_CHECKING:
    from video_salmonn.training.trainer import Trainer


def rehearse(trainer: Trainer) -> dict[str, Any]:
    """The account of a dry run, JSON-ready: parts that train, memory, steps; and one batch, loaded and run."""
    loaded = trainer.loader.load(0, more=False)
    rows = loaded.rows or [trainer.any_row()]
    batch = collate(rows[: trainer.recipe.micro_batch], trainer.processor, trainer.accelerator.device, torch.float32)
    with torch.no_grad():
        summed, diverse, _ = trainer.losses(batch)
    divided = diversity_counts(batch.with_media, trainer.plain.connector.config, trainer.recipe.diversity_form)
    trained = sum(trainer.trains.values())
    weights = sum(p.numel() * p.element_size() for p in trainer.plain.parameters())
    return {
        "items": len(trainer.maker.items),
        "epochs": round(trainer.recipe.max_steps * trainer.recipe.batch_size / len(trainer.maker.items), 2),
        "steps": trainer.recipe.max_steps,
        "trainable": trainer.trains,
        "frozen": sum(p.numel() for p in trainer.plain.parameters()) - trained,
        "bytes": {"weights": weights, "gradients": trained * 4, "optimizer": trained * 8},
        "first_batch": {
            "items": batch.ids,
            "tokens": list(batch.input_ids.shape),
            "loss": float(summed) / max(1, int((batch.labels != IGNORED).sum())),
            "diversity_loss": float((diverse.cpu() / torch.tensor(divided).clamp(min=1)).sum()),
        },
        "broken": loaded.broken,
        "notes": trainer.maker.notes,
        "disk_free": checkpointing.disk_free(trainer.out),
    }
