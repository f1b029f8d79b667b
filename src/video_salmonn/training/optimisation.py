"""How fast weights move: AdamW groups, the schedule of the rate."""

from __future__ import annotations

import math
from typing import Any

import torch

from video_salmonn.errors import ConfigError
from video_salmonn.training.recipe import Recipe


def parameter_groups(model: torch.nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """AdamW groups: by rate, matrices with weight decay and vectors without.

    Raises:
        ConfigError: an entry of ``optim.rates`` names no parameter that is trained.
    """
    groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
    used: set[str] = set()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        matching = [part for part in recipe.optim.rates if part in name]
        own = max(matching, key=len, default=None)
        used |= set(matching)
        rate = recipe.optim.rate if own is None else recipe.optim.rates[own]
        groups.setdefault((rate, parameter.ndim >= 2), []).append(parameter)
    idle = sorted(set(recipe.optim.rates) - used)
    if idle:
        raise ConfigError(f"recipe: optim.rates {idle} name nothing that trains", remedy="see trainable in --dry-run")
    return [
        {"params": params, "lr": rate, "peak": rate, "weight_decay": recipe.optim.weight_decay if decays else 0.0}
        for (rate, decays), params in groups.items()
    ]


def rate_share(recipe: Recipe, step: int, spent: float = 0.0) -> float:
    """Share of the peak rate at a step (from 0): linear rise, cosine to ``min_rate``.

    Args:
        recipe: has the numbers.
        step: that comes next.
        spent: share of the recipe's ``minutes`` that is over; the cosine follows it where it is ahead of the steps.
    """
    optim = recipe.optim
    if step < optim.warmup_steps:
        return (step + 1) / optim.warmup_steps
    progress = (step - optim.warmup_steps) / max(1, recipe.max_steps - optim.warmup_steps)
    return optim.min_rate + (1 - optim.min_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, max(progress, spent))))
