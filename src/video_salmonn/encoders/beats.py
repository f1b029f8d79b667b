"""BEATs (Chen et al., ICML 2023), the sound-event encoder: our own port, since no maintained library has it.

Decisions of the original that matter for parity:

* patches of 16 x 16 of the fbank, time-major and frequency-minor: 6.25 time steps x 8 bands = 50 tokens per second;
* LayerNorm on the patch embedding, *then* the projection to the encoder width;
* post-norm layers with DeepNorm's residual gain ``(2 L)^(1/4)``;
* a T5-style relative position bias, one table for all layers, gated per head and query by a small linear map of the
  query (``gru_rel_pos``).
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from video_salmonn.encoders.wide_conv import WideConv1d
from video_salmonn.sub_config import SubConfig
from video_salmonn.types import Features
from video_salmonn.wording import counted


class BeatsConfig(SubConfig):
    """Sizes under the original's names; defaults are BEATs_iter3+ (the released encoder).

    Attributes:
        input_patch_size: side of a patch in fbank frames and bands.
        embed_dim: width of a patch embedding.
        encoder_layers, encoder_embed_dim, encoder_ffn_embed_dim, encoder_attention_heads: the transformer.
        conv_pos, conv_pos_groups: kernel and groups of the position convolution.
        num_buckets, max_distance: of the relative position bias.
        conv_bias: bias on the patch convolution.
        num_mel_bins: bands of the fbank.
    """

    model_type = "beats"
    base_config_key = "audio_config"

    input_patch_size: int = 16
    embed_dim: int = 512
    encoder_layers: int = 12
    encoder_embed_dim: int = 768
    encoder_ffn_embed_dim: int = 3072
    encoder_attention_heads: int = 12
    conv_pos: int = 128
    conv_pos_groups: int = 16
    num_buckets: int = 320
    max_distance: int = 800
    conv_bias: bool = False
    num_mel_bins: int = 128

    @property
    def bands(self) -> int:
        """Patches side by side on the frequency axis (8)."""
        return self.num_mel_bins // self.input_patch_size


def relative_buckets(length: int, num_buckets: int, max_distance: int, device: torch.device) -> torch.Tensor:
    """Bucket of every (query, key) distance, (N, N) int64: exact up to a quarter of the buckets, then logarithmic."""
    position = torch.arange(length, device=device)
    distance = position[None, :] - position[:, None]
    half = num_buckets // 2
    exact = half // 2
    away = distance.abs()
    scaled = torch.log(away.clamp(min=1).float() / exact) / math.log(max_distance / exact) * (half - exact)
    far = (exact + scaled.to(torch.int64)).clamp(max=half - 1)
    return (distance > 0).to(torch.int64) * half + torch.where(away < exact, away, far)


class GatedAttention(nn.Module):
    """Self-attention whose relative position bias is gated by the query."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        width = config.encoder_embed_dim
        self.heads = config.encoder_attention_heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.grep_linear = nn.Linear(width // self.heads, 8)
        self.grep_a = nn.Parameter(torch.ones(1, self.heads, 1, 1))

    def forward(self, x: torch.Tensor, bias: torch.Tensor, key_mask: torch.Tensor | None) -> torch.Tensor:
        """(B, N, D), position bias (heads, N, N), bool key mask (B, 1, 1, N) or None -> (B, N, D)."""
        q, k, v = (
            linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear in (self.q_proj, self.k_proj, self.v_proj)
        )
        gates = torch.sigmoid(self.grep_linear(q).unflatten(-1, (2, 4)).sum(-1))
        update, reset = gates.chunk(2, dim=-1)  # (B, heads, N, 1) each
        scores_bias = (update * (reset * self.grep_a - 1.0) + 2.0) * bias
        if key_mask is not None:
            scores_bias = scores_bias.masked_fill(~key_mask, torch.finfo(scores_bias.dtype).min)
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=scores_bias)
        return self.out_proj(context.transpose(1, 2).flatten(2))


class BeatsLayer(nn.Module):
    """Attention and feed-forward, post-norm, DeepNorm residuals."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        width = config.encoder_embed_dim
        self.gain = (2 * config.encoder_layers) ** 0.25
        self.self_attn = GatedAttention(config)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, config.encoder_ffn_embed_dim)
        self.fc2 = nn.Linear(config.encoder_ffn_embed_dim, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, bias: torch.Tensor, key_mask: torch.Tensor | None) -> torch.Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = self.self_attn_layer_norm(x * self.gain + self.self_attn(x, bias, key_mask))
        return self.final_layer_norm(x * self.gain + self.fc2(F.gelu(self.fc1(x))))


class BeatsTransformer(nn.Module):
    """Position convolution and the layers."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        width = config.encoder_embed_dim
        self.config = config
        self.pos_conv = WideConv1d(
            width, width, config.conv_pos, padding=config.conv_pos // 2, groups=config.conv_pos_groups
        )
        self.layer_norm = nn.LayerNorm(width)
        self.relative_attention_bias = nn.Embedding(config.num_buckets, config.encoder_attention_heads)
        self.layers = nn.ModuleList(BeatsLayer(config) for _ in range(config.encoder_layers))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(B, N, D), bool mask (B, N) of real tokens or None -> (B, N, D)."""
        key_mask = None
        if mask is not None:
            x = x * mask[..., None].to(x.dtype)
            key_mask = mask[:, None, None, :]
        length = x.shape[1]
        positions = self.pos_conv(x.transpose(1, 2))[..., :length]  # an even kernel yields one step too many
        x = self.layer_norm(x + F.gelu(positions).transpose(1, 2))
        buckets = relative_buckets(length, self.config.num_buckets, self.config.max_distance, x.device)
        bias = self.relative_attention_bias(buckets).permute(2, 0, 1)
        for layer in self.layers:
            x = layer(x, bias, key_mask)
        return x


class Beats(nn.Module):
    """Normalised fbank in, 50 features per second out.

    Args:
        config: sizes.
    """

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.config = config
        self.width = config.encoder_embed_dim
        side = config.input_patch_size
        self.patch_embedding = nn.Conv2d(1, config.embed_dim, side, stride=side, bias=config.conv_bias)
        self.layer_norm = nn.LayerNorm(config.embed_dim)
        self.post_extract_proj = nn.Linear(config.embed_dim, config.encoder_embed_dim)
        self.encoder = BeatsTransformer(config)

    def token_mask(self, frame_mask: torch.Tensor, tokens: int) -> torch.Tensor:
        """Real tokens from real fbank frames, (B, M) bool -> (B, tokens) bool.

        As the original does it: the frames are dealt evenly to the tokens, and a token is padding only if all its
        frames are.
        """
        frames = frame_mask.shape[1] // tokens * tokens
        return frame_mask[:, :frames].view(frame_mask.shape[0], tokens, -1).any(-1)

    def forward(self, fbank: torch.Tensor, frame_mask: torch.Tensor | None = None) -> Features:
        """Encode a batch.

        Args:
            fbank: normalised Kaldi fbank ``(B, M, 128)``, 100 frames per second, M >= 16.
            frame_mask: ``(B, M)`` bool, True for frames of real sound; None for all.

        Returns:
            values ``(B, M // 16 · 8, D)``, the mask of real tokens, and each token's time in seconds (the 8 bands of
            one 160 ms column share it).

        Raises:
            ValueError: fewer frames than one patch.
        """
        side, bands = self.config.input_patch_size, self.config.bands
        if fbank.shape[1] < side:
            raise ValueError(f"fbank has {counted(fbank.shape[1], 'frame')}; at least {side} are needed for one patch")
        patches = self.patch_embedding(fbank[:, None].to(self.patch_embedding.weight.dtype))
        x = self.post_extract_proj(self.layer_norm(patches.flatten(2).transpose(1, 2)))
        mask = None if frame_mask is None else self.token_mask(frame_mask, x.shape[1])
        values = self.encoder(x, mask)
        times = torch.arange(x.shape[1], device=x.device) // bands * (side * 0.01)
        return Features(values, mask, times)
