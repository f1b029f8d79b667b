"""The causal Q-Former (paper §3.2.1, Eq. 2-3; released ``video_Qformer``): learned queries that read windows of joint
features through cross-attention, after a block self-attention among the features of each window.

Decisions of the released module that this one keeps:

* post-norm everywhere, LayerNorm eps 1e-12, no instruction text in this Q-Former;
* the block self-attention is as wide as the joint features (12 heads of 192 at 2304);
* every layer restarts the block self-attention from the *original* features, it is not cascaded.

The last point is what lets levels share work: the input of a level is ``LN(x) + p`` with p the position within its
window, so ``W(LN x + p) = W·LN x + W·p``, and the first term, the expensive one, is the same for all levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from video_salmonn.connector.configuration import ConnectorConfig
from video_salmonn.connector.windows import block_mask, fold_windows, window_block_mask


@dataclass(frozen=True)
class LevelInput:
    """One level's view of a batch.

    Attributes:
        frames: window length.
        queries: learned queries ``(N, D)``.
        key_mask: ``(B·W, frames)`` bool: frames the queries may read.
        block_mask: ``(…, frames·S, frames·S)`` bool for the block attention, or None where every slot sees every slot.
    """

    frames: int
    queries: torch.Tensor
    key_mask: torch.Tensor
    block_mask: torch.Tensor | None


def split_heads(values: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, N, D) -> (B, heads, N, D / heads)."""
    return values.unflatten(-1, (heads, -1)).transpose(1, 2)


def fused_is_slow(query: torch.Tensor, dropout: float) -> bool:
    """Whether torch's fused attention is the slower one: with gradients, in bfloat16, on a CPU.

    Forward and backward of 80 fine windows take 44 against 15 ms (25 slots of 192 by 4 heads), their queries 22 against
    5 ms, coarse windows 75 against 57 ms. Without gradients, and in float32, the fused one is as fast.
    """
    return torch.is_grad_enabled() and not dropout and query.device.type == "cpu" and query.dtype == torch.bfloat16


def plain_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, attn_mask: torch.Tensor | None = None, dropout_p: float = 0.0
) -> torch.Tensor:
    """Attention step by step, with the softmax in float32; arguments and result as torch's, without dropout."""
    scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    return scores.softmax(-1).to(v.dtype) @ v


class AddNorm(nn.Module):
    """Dense, dropout, add the residual, normalise: the tail of every BERT sub-layer."""

    def __init__(self, width_in: int, width: int, eps: float, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width_in, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """(…, width_in), (…, width) -> (…, width)."""
        return self.norm(self.dropout(self.dense(values)) + residual)


class Attention(nn.Module):
    """Multi-head attention with its own output norm. ``forward`` takes projected queries, keys and values."""

    def __init__(self, config: ConnectorConfig, width: int, key_width: int) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.attention_dropout = config.dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(key_width, width)
        self.value = nn.Linear(key_width, width)
        self.output = AddNorm(width, width, config.layer_norm_eps, config.dropout)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        residual: torch.Tensor,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attend, add the residual, normalise.

        Args:
            query: ``(B, Nq, D)``, projected.
            key, value: ``(B, Nk, D)``, projected.
            residual: ``(B, Nq, D)``.
            mask: bool, broadcastable to ``(B, heads, Nq, Nk)``, True where a query may see a key.

        Returns:
            ``(B, Nq, D)``.
        """
        q, k, v = (split_heads(projected, self.heads) for projected in (query, key, value))
        dropout = self.attention_dropout if self.training else 0.0
        attend = plain_attention if fused_is_slow(q, dropout) else F.scaled_dot_product_attention
        context = attend(q, k, v, attn_mask=mask, dropout_p=dropout)
        return self.output(context.transpose(1, 2).flatten(2), residual)

    def reassociation_pays(self, queries: torch.Tensor, features: torch.Tensor) -> bool:
        """Whether :meth:`read_reassociated` takes fewer multiplications than projecting every key and value."""
        asked, read, width = queries.shape[1], features.shape[1], queries.shape[2]
        return self.heads * asked * read + asked * width < read * width

    def read_reassociated(
        self, query: torch.Tensor, features: torch.Tensor, residual: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """The same attention for few queries and many keys, without a key or a value ever being made.

        ``q·(W_k x + b_k) = (W_kᵀ q)·x + q·b_k``, whose last term is the same for all keys and falls out of the
        softmax; ``Σ p (W_v x + b_v) = W_v (Σ p x) + b_v``, since the weights p sum to one (dropout breaks that, so
        this is for inference). At the released size it takes 0.13 (fine) and 0.56 (coarse) of the multiplications.

        Args:
            query: ``(B, Nq, D)``, projected.
            features: ``(B, Nk, D_key)``, not projected.
            residual: ``(B, Nq, D)``.
            mask: bool ``(B, 1, 1, Nk)``, True where a key may be seen.

        Returns:
            ``(B, Nq, D)``.
        """
        q = query.unflatten(-1, (self.heads, -1))  # (B, Nq, heads, D / heads)
        to_keys, to_values = (m.weight.unflatten(0, (self.heads, -1)) for m in (self.key, self.value))
        asked = torch.einsum("bqhd,hdk->bhqk", q * q.shape[-1] ** -0.5, to_keys)
        scores = asked.flatten(1, 2) @ features.transpose(1, 2)  # (B, heads·Nq, Nk)
        weights = scores.masked_fill(~mask[:, 0], float("-inf")).softmax(-1)
        read = (weights @ features).unflatten(1, (self.heads, -1))  # (B, heads, Nq, D_key)
        return self.output(torch.einsum("bhqk,hdk->bqhd", read, to_values).flatten(2) + self.value.bias, residual)


class FeedForward(nn.Module):
    """Dense, GELU, dense, add and normalise."""

    def __init__(self, config: ConnectorConfig) -> None:
        super().__init__()
        self.expand = nn.Linear(config.hidden_size, config.intermediate_size)
        self.output = AddNorm(config.intermediate_size, config.hidden_size, config.layer_norm_eps, config.dropout)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(…, D) -> (…, D)."""
        return self.output(F.gelu(self.expand(values)), values)


class CausalQFormerLayer(nn.Module):
    """Block attention on the features, then self-attention, cross-attention and feed-forward of the queries."""

    def __init__(self, config: ConnectorConfig) -> None:
        super().__init__()
        hidden, joint = config.hidden_size, config.joint_dim
        self.block_attention = Attention(config, joint, joint) if config.mask_direction != "none" else None
        self.self_attention = Attention(config, hidden, hidden)
        self.cross_attention = Attention(config, hidden, joint)
        self.feed_forward = FeedForward(config)

    def project(
        self, content: torch.Tensor, positions: torch.Tensor, rows: int
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The linear maps of the block attention, which all levels share.

        Args:
            content: normalised joint features without positions, ``(B, T, S, D_joint)``.
            positions: the position table, ``(P, D_joint)``.
            rows: positions of the widest window.

        Returns:
            query, key and value of the content, and (without bias) of the first ``rows`` positions; empty where there
            is no block attention.
        """
        if self.block_attention is None:
            return [], []
        maps = (self.block_attention.query, self.block_attention.key, self.block_attention.value)
        return [linear(content) for linear in maps], [F.linear(positions[:rows], linear.weight) for linear in maps]

    def attend(
        self, level: LevelInput, inputs: torch.Tensor, mapped: list[torch.Tensor], mapped_positions: list[torch.Tensor]
    ) -> torch.Tensor:
        """The block self-attention of one level, (B·W, frames·S, D_joint); the inputs as they are without one.

        Args:
            inputs: the level's folded features with positions, ``(B·W, frames·S, D_joint)``: the residual.
            mapped, mapped_positions: what :meth:`project` returned.
        """
        if self.block_attention is None:
            return inputs
        rows = inputs.shape[1]
        at_level = (fold_windows(m, level.frames) + p[:rows] for m, p in zip(mapped, mapped_positions))
        return self.block_attention(*at_level, residual=inputs, mask=level.block_mask)

    def forward(
        self, queries: torch.Tensor, features: torch.Tensor, key_mask: torch.Tensor, real: torch.Tensor
    ) -> torch.Tensor:
        """Update the queries of one level.

        Args:
            queries: ``(B·W, N, D)``.
            features: what :meth:`attend` returned, ``(B·W, frames·S, D_joint)``.
            key_mask: ``(B·W, 1, 1, frames·S)`` bool, all True for windows without any real frame.
            real: ``(B·W, 1, 1)`` of the queries' dtype: 0 for windows without any real frame, else 1. Such windows
                read the plain average of their keys, as the release's finfo.min masks come down to, in any dtype.
        """
        attention = self.self_attention
        queries = attention(attention.query(queries), attention.key(queries), attention.value(queries), queries)
        cross = self.cross_attention
        asked = cross.query(queries) * real
        if not torch.is_grad_enabled() and not self.training and cross.reassociation_pays(queries, features):
            queries = cross.read_reassociated(asked, features, queries, key_mask)
        else:
            queries = cross(asked, cross.key(features), cross.value(features), queries, key_mask)
        return self.feed_forward(queries)


class CausalQFormer(nn.Module):
    """The Q-Former of one or several levels."""

    def __init__(self, config: ConnectorConfig) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(CausalQFormerLayer(config) for _ in range(config.num_hidden_layers))

    def forward(self, content: torch.Tensor, positions: torch.Tensor, levels: list[LevelInput]) -> list[torch.Tensor]:
        """Read the features at every level.

        Args:
            content: normalised joint features ``(B, T, S, D_joint)``, T a multiple of every level's window.
            positions: the position table ``(P, D_joint)``, P >= frames·S of the widest level.
            levels: what to read, one entry a level.

        Returns:
            for each level the query outputs, ``(B·W, N, D)``.
        """
        inputs, states, masks, reals = [], [], [], []
        for level in levels:
            folded = fold_windows(content, level.frames)
            inputs.append(folded + positions[: folded.shape[1]])
            states.append(self.dropout(self.query_norm(level.queries)).expand(folded.shape[0], -1, -1))
            real = level.key_mask.any(dim=1)
            masks.append((level.key_mask | ~real[:, None]).repeat_interleave(content.shape[2], 1)[:, None, None])
            reals.append(real[:, None, None].to(content.dtype))
        rows = max(folded.shape[1] for folded in inputs)
        for layer in self.layers:
            assert isinstance(layer, CausalQFormerLayer)
            mapped, mapped_positions = layer.project(content, positions, rows)
            for i, level in enumerate(levels):
                features = layer.attend(level, inputs[i], mapped, mapped_positions)
                states[i] = layer(states[i], features, masks[i], reals[i])
        return states


def level_input(
    config: ConnectorConfig, frames: int, queries: torch.Tensor, key_mask: torch.Tensor, see_all: bool, slots: int
) -> LevelInput:
    """Build one level's masks.

    Args:
        frames: window length.
        queries: ``(N, D)``.
        key_mask: ``(B, T)`` bool: frames the queries may read.
        see_all: hide no frame from the block attention: there is no padding, or it is attended (released).
        slots: of a frame.
    """
    windows = key_mask.reshape(-1, frames)
    block: torch.Tensor | None = None
    if config.mask_direction != "none" and frames > 1:
        if see_all:
            block = block_mask(frames, slots, config.mask_direction, key_mask.device)
        else:
            block = window_block_mask(windows, slots, config.mask_direction)
    return LevelInput(frames, queries, windows, block)
