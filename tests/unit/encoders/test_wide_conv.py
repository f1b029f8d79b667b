"""The position convolution of BEATs is right in bfloat16 at every width, on processors with AMX too."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from video_salmonn.encoders.beats import Beats, BeatsConfig
from video_salmonn.encoders.wide_conv import WideConv1d

ROUNDING = 2.0**-8
"""Relative error of one value rounded to bfloat16."""


def layer(channels: int, groups: int = 16, kernel: int = 128) -> WideConv1d:
    torch.manual_seed(0)
    return WideConv1d(channels * groups, channels * groups, kernel, padding=kernel // 2, groups=groups)


def plain(conv: WideConv1d, x: torch.Tensor) -> torch.Tensor:
    """torch's own convolution in float32, of weights and input rounded to bfloat16."""
    weight, bias = conv.weight.bfloat16().float(), conv.bias.bfloat16().float()
    return nn.functional.conv1d(x.bfloat16().float(), weight, bias, padding=conv.padding, groups=conv.groups)


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 8, 12, 15, 16, 48])
def test_bfloat16_is_float32_rounded_for_any_number_of_channels_a_group(channels):
    conv = layer(channels, groups=4)
    x = torch.randn(2, 4 * channels, 96)
    wanted = plain(conv, x)
    got = conv.bfloat16()(x.bfloat16())
    assert got.dtype == torch.bfloat16
    assert (got.float() - wanted).norm() / wanted.norm() < ROUNDING
    if channels < 16:
        assert torch.equal(got, wanted.bfloat16()), "the only rounding is that of the result"


@pytest.mark.parametrize("channels", [1, 8, 15])
def test_few_channels_never_reach_bfloat16_arithmetic(channels, monkeypatch):
    seen, real = [], nn.functional.conv1d

    def noted(x, weight, *rest):
        seen.append((x.dtype, weight.dtype))
        return real(x, weight, *rest)

    monkeypatch.setattr(nn.functional, "conv1d", noted)
    conv = layer(channels, kernel=16)
    conv.bfloat16()(torch.randn(1, 16 * channels, 40).bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        out = conv.float()(torch.randn(1, 16 * channels, 40))
    assert seen == [(torch.float32, torch.float32)] * 2 and out.dtype == torch.bfloat16


def test_the_released_width_float32_and_float16_are_left_alone():
    small, released, x = layer(8), layer(48), torch.zeros(1, 768, 4)
    assert released.computes_in(x.bfloat16()) == torch.bfloat16
    assert small.computes_in(x) == torch.float32 and small.computes_in(x.half()) == torch.float16
    assert small.computes_in(x.bfloat16()) == torch.float32
    conv, sound = layer(8), torch.randn(1, 128, 50)
    assert torch.equal(conv(sound), nn.Conv1d.forward(conv, sound))


def test_gradients_flow_through_the_layer_in_bfloat16():
    conv = layer(8, kernel=16).bfloat16()
    x = torch.randn(1, 128, 40, dtype=torch.bfloat16, requires_grad=True)
    conv(x).float().square().sum().backward()
    assert x.grad.dtype == conv.weight.grad.dtype == torch.bfloat16
    assert all(torch.isfinite(t.grad).all() and t.grad.abs().sum() > 0 for t in (x, conv.weight, conv.bias))


def test_sound_features_in_bfloat16_are_those_in_float32_at_small_widths():
    torch.manual_seed(0)
    config = BeatsConfig(embed_dim=32, encoder_layers=2, encoder_embed_dim=128, encoder_ffn_embed_dim=64,
                         encoder_attention_heads=4, conv_pos=128, conv_pos_groups=16)  # fmt: skip
    model = Beats(config).eval()
    fbank = torch.randn(1, 128, 128)
    with torch.inference_mode():
        exact = model(fbank).values
        coarse = model.bfloat16()(fbank.bfloat16()).values.float()
    assert (coarse - exact).norm() / exact.norm() < 0.02
