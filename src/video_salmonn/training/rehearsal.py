"""``train --dry-run``: everything is loaded and one batch run, and what would happen is said."""

from __future__ import annotations

from typing import Any

import torch

from video_salmonn.training import checkpointing
from video_salmonn.training.trainer import Trainer


def rehearse(trainer: Trainer) -> dict[str, Any]:
    """The account of a dry run, JSON-ready: parts that train, memory, steps; and one batch, loaded and run."""
    recipe, items = trainer.recipe, len(trainer.maker.items)
    loaded = trainer.loader.load(0, more=False)
    rows = (loaded.rows or [trainer.any_row()])[: recipe.micro_batch]
    batch = trainer.collate(rows)
    with torch.no_grad():
        summed, diverse = trainer.losses(batch)
    divided = torch.tensor(trainer.windows(rows)).clamp(min=1)
    trained = sum(trainer.trains.values())
    return {
        "items": items,
        "epochs": round(recipe.max_steps * recipe.batch_size / items, 2),
        "steps": recipe.max_steps,
        "trainable": trainer.trains,
        "frozen": sum(p.numel() for p in trainer.plain.parameters()) - trained,
        "bytes": {
            "weights": sum(p.numel() * p.element_size() for p in trainer.plain.parameters()),
            "gradients": trained * 4,
            "optimizer": trained * 8,
        },
        "first_batch": {
            "items": [row.example.id for row in rows],
            "tokens": [len(rows), max(row.length for row in rows)],
            "loss": float(summed[0]) / max(1.0, sum(row.counted for row in rows)),
            "diversity_loss": float((diverse.cpu() / divided).sum()),
        },
        "broken": loaded.broken,
        "notes": trainer.maker.notes,
        "disk_free": checkpointing.disk_free(trainer.out),
    }
