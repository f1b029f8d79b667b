"""Widen a connector that was trained on speech alone into one that also sees and hears sounds.

Most of a connector's cost is in its block attention, which is as wide as all modalities together. A connector with
the speech branch only is a third as wide and trains about three times as fast on a CPU. :func:`grow` puts its weights
into the full one so that, for sound whose other branches are silent, the full connector starts out as the small one:

- joint features keep the order [visual | speech | audio]; the small model's columns and rows go to the speech part;
- every norm's gain is divided by sqrt(parts), because normalising over zeros beside the speech scales it up by that;
- each attention head keeps its rows at the head of its wider share, queries scaled by sqrt(parts) to undo the larger
  1/sqrt(width) of the scores;
- linear maps into a normalised space are centred, which the small model's norms did not notice.

What the other modalities' columns feed into starts from the full connector's own (small, random) weights.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from video_salmonn.connector.multi_resolution import MultiResolutionCausalQFormer
from video_salmonn.connector.qformer import Attention, CausalQFormerLayer
from video_salmonn.errors import ConfigError


def grow(small: MultiResolutionCausalQFormer, full: MultiResolutionCausalQFormer) -> None:
    """Copy a speech-only connector into a full one, in place.

    Args:
        small: speech branch only.
        full: the same sizes, levels and mask, with further branches; freshly initialised.

    Raises:
        ConfigError: the two do not belong together.
    """
    _check(small, full)
    config = full.config
    parts = config.joint_dim // config.hidden_size
    start = config.hidden_size if config.visual_dim else 0
    place = slice(start, start + config.hidden_size)
    with torch.no_grad():
        shared = dict(small.named_parameters())
        for name, parameter in full.named_parameters():
            if name in shared and shared[name].shape == parameter.shape:
                parameter.copy_(shared[name])
        assert small.speech_projection is not None and full.speech_projection is not None
        _copy_centred(small.speech_projection, full.speech_projection)
        for branch in (full.visual_projection, full.audio_projection):
            if branch is not None:  # quiet at first: it shares its norm with the speech
                branch.weight.mul_(0.3)
        _grow_norm(small.input_norm, full.input_norm, place, parts)
        full.positions.zero_()
        full.positions[: small.positions.shape[0], place] = small.positions
        layers = [[m for m in model.modules() if isinstance(m, CausalQFormerLayer)] for model in (small, full)]
        for one, other in zip(*layers, strict=True):
            _grow_layer(one, other, place, parts)


def _check(small: MultiResolutionCausalQFormer, full: MultiResolutionCausalQFormer) -> None:
    one, other = small.config.to_dict(), full.config.to_dict()
    free = {"visual_dim", "audio_dim", "visual_tokens", "dropout", "position_rows"}
    differing = sorted(name for name in one if name not in free and one[name] != other[name])
    if differing:
        raise ConfigError(f"connectors differ in {', '.join(differing)}", remedy="make both from one configuration")
    if small.config.visual_dim or small.config.audio_dim or small.config.slots != full.config.slots:
        raise ConfigError("the small connector must have the speech branch only, and as many slots as the full one")


def _copy_centred(one: nn.Linear, other: nn.Linear, rows: slice = slice(None)) -> None:
    """Copy a map whose output is normalised, without its mean over outputs (the norm would take it away)."""
    other.weight[rows] = one.weight - one.weight.mean(dim=0)
    other.bias[rows] = one.bias - one.bias.mean()


def _grow_norm(one: nn.LayerNorm, other: nn.LayerNorm, place: slice, parts: int) -> None:
    other.weight.fill_(1 / math.sqrt(parts))
    other.bias.zero_()
    other.weight[place] = one.weight / math.sqrt(parts)
    other.bias[place] = one.bias


def _grow_layer(one: CausalQFormerLayer, other: CausalQFormerLayer, place: slice, parts: int) -> None:
    for name in ("key", "value"):
        source, target = getattr(one.cross_attention, name), getattr(other.cross_attention, name)
        target.weight[:, place] = source.weight
        target.bias.copy_(source.bias)
    if one.block_attention is not None and other.block_attention is not None:
        _grow_block_attention(one.block_attention, other.block_attention, place, parts)


def _grow_block_attention(one: Attention, other: Attention, place: slice, parts: int) -> None:
    width = one.query.in_features
    per_head = width // one.heads
    head = torch.arange(width) // per_head
    rows = head * per_head * parts + torch.arange(width) % per_head  # position of a small row among the wide heads
    for name, factor in (("query", math.sqrt(parts)), ("key", 1.0), ("value", 1.0)):
        source, target = getattr(one, name), getattr(other, name)
        kept = torch.zeros_like(target.weight) if name == "key" else target.weight.clone()
        kept[rows] = 0.0
        kept[rows, place] = source.weight * factor
        target.weight.copy_(kept)
        target.bias.zero_()
        target.bias[rows] = source.bias * factor
    dense, source = other.output.dense, one.output.dense
    dense.weight.zero_()
    dense.bias.zero_()
    centred = source.weight - source.weight.mean(dim=0)
    dense.weight[place.start : place.stop, rows] = centred
    dense.bias[place] = source.bias - source.bias.mean()
    _grow_norm(one.output.norm, other.output.norm, place, parts)
