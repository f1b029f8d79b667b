"""The connector written the plain way: what the equations say, level by level, with nothing shared between levels.

``bench_connector.py`` measures the production connector against it, and a test holds it to the golden files, so that
the comparison is between two implementations of the same thing. It does what the released code does: padding up to the
batch's longest stream is attended to. Every level projects Q, K and V of the block attention anew; attention is matmul,
mask, softmax, matmul.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch.nn import functional as F

from video_salmonn.connector import ConnectorConfig

Weights = Mapping[str, torch.Tensor]


def linear(w: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def norm(w: Weights, name: str, x: torch.Tensor, eps: float) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps)


def attention(
    w: Weights, name: str, heads: int, x: torch.Tensor, keys: torch.Tensor, hidden: torch.Tensor | None, eps: float
) -> torch.Tensor:
    """Post-norm attention of x (B, N, D) over keys (B, M, E); ``hidden`` is True where a key may not be seen."""

    def split(values: torch.Tensor) -> torch.Tensor:
        return values.view(*values.shape[:2], heads, -1).transpose(1, 2)

    q, k, v = (split(linear(w, f"{name}.{part}", y)) for part, y in (("query", x), ("key", keys), ("value", keys)))
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if hidden is not None:
        scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
    context = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
    return norm(w, f"{name}.output.norm", linear(w, f"{name}.output.dense", context) + x, eps)


def read_level(
    config: ConnectorConfig, w: Weights, index: int, inputs: torch.Tensor, frames: int, unseen: torch.Tensor
) -> torch.Tensor:
    """One level's query outputs. inputs (B, T, S, E) after the input norm, unseen (T,) True for padding frames."""
    config_eps, heads, slots = config.layer_norm_eps, config.num_attention_heads, inputs.shape[2]
    qformer = f"qformers.{0 if config.share_qformer else index}"
    windows = inputs.reshape(-1, frames * slots, inputs.shape[-1])
    windows = windows + w["positions"][: windows.shape[1]]
    later = torch.ones(frames, frames, dtype=torch.bool, device=inputs.device)
    later = later.triu(1) if config.mask_direction == "past" else later.tril(-1)
    block = later.repeat_interleave(slots, 0).repeat_interleave(slots, 1)
    padding = unseen.view(-1, frames).repeat(inputs.shape[0], 1).repeat_interleave(slots, 1)[:, None, None]

    queries = norm(w, f"{qformer}.query_norm", w[f"level_queries.{index}"], config_eps).expand(len(windows), -1, -1)
    for i in range(config.num_hidden_layers):
        layer = f"{qformer}.layers.{i}"
        read = windows
        if config.mask_direction != "none":
            read = attention(w, f"{layer}.block_attention", heads, windows, windows, block, config_eps)
        queries = attention(w, f"{layer}.self_attention", heads, queries, queries, None, config_eps)
        queries = attention(w, f"{layer}.cross_attention", heads, queries, read, padding, config_eps)
        inner = F.gelu(linear(w, f"{layer}.feed_forward.expand", queries))
        inner = linear(w, f"{layer}.feed_forward.output.dense", inner)
        queries = norm(w, f"{layer}.feed_forward.output.norm", inner + queries, config_eps)
    return queries.reshape(inputs.shape[0], -1, queries.shape[-1])


def plain_connector(
    config: ConnectorConfig,
    w: Weights,
    visual: torch.Tensor,
    speech: torch.Tensor,
    audio: torch.Tensor | None = None,
    modality_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """visual (B, Tv, V, D), speech (B, Ta·A, Ds), audio (B, <= Ta·A, Da) -> tokens (B, L, D_llm)."""
    batch, heard = speech.shape[0], speech.shape[1] // config.audio_tokens
    sound = linear(w, "speech_projection", speech)
    if audio is not None:
        audio = F.pad(audio, (0, 0, 0, speech.shape[1] - audio.shape[1]))
        sound = torch.cat([sound, linear(w, "audio_projection", audio)], dim=-1)
    sound = sound.view(batch, heard, config.audio_tokens, -1)

    real = max(visual.shape[1], heard)
    frames = -(-real // config.window_multiple) * config.window_multiple

    def place(values: torch.Tensor) -> torch.Tensor:
        return F.pad(values, (0, 0, 0, config.slots - values.shape[2], 0, frames - values.shape[1]))

    visual, sound = place(visual), place(sound)
    if modality_mask is not None:
        use = modality_mask.to(visual.dtype)[:, :, None, None, None]
        visual, sound = visual * use[:, 0], sound * use[:, 1]
    joint = norm(w, "input_norm", torch.cat([visual, sound], dim=-1), config.input_norm_eps)
    unseen = torch.arange(frames, device=joint.device) >= real
    levels = [read_level(config, w, i, joint, level.frames, unseen) for i, level in enumerate(config.levels)]
    return linear(w, "llm_projection", torch.cat(levels, dim=-1))
