"""What trains and how fast: choosing parameters by name, AdamW groups, the schedule of the rate."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from video_salmonn.errors import ConfigError, TrainingError
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.training.recipe import Recipe

CACHED_PARTS = ("tower.vision", "tower.speech", "tower.audio")
"""Encoders whose output is cached: nothing flows back into them."""


def select_trainable(model: VideoSalmonnForConditionalGeneration, wanted: Sequence[str]) -> dict[str, int]:
    """Train the parameters whose name holds one of ``wanted``, freeze all others; returns numbers by entry.

    Raises:
        TrainingError: an entry names no parameter, or names an encoder whose output is cached.
    """
    counts: Counter[str] = Counter()
    found: set[str] = set()
    for name, parameter in model.named_parameters():
        matching = [part for part in wanted if part in name]
        found.update(matching)
        parameter.requires_grad_(bool(matching))
        if not matching:
            continue
        if name.startswith(CACHED_PARTS):
            raise TrainingError(
                f"trainable {matching[0]!r} names {name}, but the encoders are frozen: their output is cached",
                remedy="leave the encoders out of trainable",
            )
        counts[matching[0]] += parameter.numel()
    nothing = [part for part in wanted if part not in found]
    if nothing or not counts:
        raise TrainingError(f"trainable {nothing} names no parameter", remedy="for example: connector, lora_")
    return dict(counts)


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


def rate_share(recipe: Recipe, step: int) -> float:
    """Share of the peak rate at a step (from 0): linear rise, cosine to ``min_rate``."""
    optim = recipe.optim
    if step < optim.warmup_steps:
        return (step + 1) / optim.warmup_steps
    progress = (step - optim.warmup_steps) / max(1, recipe.max_steps - optim.warmup_steps)
    return optim.min_rate + (1 - optim.min_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
