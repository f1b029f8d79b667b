"""ONNX operators with weights, and those of signals, as torch functions."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from video_salmonn.embedded.data.speaking.operators import Attributes, Function, Place, Tensor, operator, whole


@operator("FusedMatMul")
def _fused_matmul(attributes: Attributes, place: Place) -> Function:
    def run(x: Tensor, y: Tensor) -> Tensor:
        x, y = place.together(x, y)
        x = x.transpose(-1, -2) if attributes.get("transA") else x
        y = y.transpose(-1, -2) if attributes.get("transB") else y
        return attributes.get("alpha", 1.0) * torch.matmul(x, y)

    return run


def _window(attributes: Attributes, rank: int) -> tuple[list[int], list[int], list[int], list[int], int]:
    """Pads at the beginnings and at the ends, strides, dilations, groups of a convolution."""
    if attributes.get("auto_pad", "NOTSET") != "NOTSET":
        raise NotImplementedError(f"auto_pad {attributes['auto_pad']}")
    pads = attributes.get("pads", [0] * 2 * rank)
    strides, dilations = attributes.get("strides", [1] * rank), attributes.get("dilations", [1] * rank)
    return pads[:rank], pads[rank:], strides, dilations, attributes.get("group", 1)


@operator("Conv")
def _conv(attributes: Attributes, place: Place) -> Function:
    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rank = weight.ndim - 2
        before, after, strides, dilations, groups = _window(attributes, rank)
        if before != after:
            x = F.pad(x, [side for axis in reversed(range(rank)) for side in (before[axis], after[axis])])
            before = [0] * rank
        x, weight, bias = place.together(x, weight, bias)
        convolve: Function = {1: F.conv1d, 2: F.conv2d}[rank]
        result: Tensor = convolve(x, weight, bias, strides, before, dilations, groups)
        return result

    return run


@operator("ConvTranspose")
def _conv_transpose(attributes: Attributes, place: Place) -> Function:
    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        before, after, strides, dilations, groups = _window(attributes, weight.ndim - 2)
        if weight.ndim != 3 or before != after:
            raise NotImplementedError(f"a transposed convolution of {weight.ndim - 2} axes with pads {before}, {after}")
        extra = attributes.get("output_padding", [0])
        x, weight, bias = place.together(x, weight, bias)
        return F.conv_transpose1d(x, weight, bias, strides, before, extra, groups, dilations)

    return run


@operator("LayerNormalization")
def _layer_normalization(attributes: Attributes, place: Place) -> Function:
    axis, epsilon = attributes.get("axis", -1), attributes.get("epsilon", 1e-5)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        x, weight, bias = place.together(x, weight, bias)
        return F.layer_norm(x, x.shape[axis:], weight, bias, epsilon)

    return run


@operator("SkipLayerNormalization")
def _skip_layer_normalization(attributes: Attributes, place: Place) -> Function:
    epsilon = attributes.get("epsilon", 1e-12)

    def run(x: Tensor, skip: Tensor, weight: Tensor, shift: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        x, skip, weight, shift, bias = place.together(x, skip, weight, shift, bias)
        total = x + skip if bias is None else x + skip + bias
        return F.layer_norm(total, total.shape[-1:], weight, shift, epsilon)

    return run


@operator("FastGelu")
def _fast_gelu(attributes: Attributes, place: Place) -> Function:
    def run(x: Tensor, bias: Tensor | None = None) -> Tensor:
        if bias is not None:
            x, bias = place.together(x, bias)
        return F.gelu(x if bias is None else x + bias, approximate="tanh")

    return run


@operator("DequantizeLinear")
def _dequantize_linear(attributes: Attributes, place: Place) -> Function:
    axis = attributes.get("axis", 1)

    def run(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        x, scale, zero = place.together(x, scale, zero)
        rows = [-1 if at == axis % x.ndim else 1 for at in range(x.ndim)] if scale.numel() > 1 else []
        value = x.float() if zero is None else x.float() - zero.float().reshape(rows)
        return value * scale.reshape(rows)

    return run


def _gates(weight: Tensor) -> Tensor:
    """ONNX's gates (input, output, forget, cell) in torch's order."""
    i, o, f, c = weight.chunk(4, 0)
    return torch.cat([i, f, c, o])


@operator("DynamicQuantizeLSTM")
def _lstm(attributes: Attributes, place: Place) -> Function:
    both, hidden = attributes.get("direction") == "bidirectional", attributes["hidden_size"]
    if attributes.get("direction") == "reverse":
        raise NotImplementedError("an LSTM that runs backwards only")
    made: list[torch.nn.LSTM] = []

    def prepared(w: Tensor, r: Tensor, b: Tensor, ws: Tensor, wz: Tensor, rs: Tensor, rz: Tensor) -> torch.nn.LSTM:
        weights: list[Tensor] = []
        for d in range(w.shape[0]):
            for value, scale, zero in ((w, ws, wz), (r, rs, rz)):  # (directions, inputs, 4 * hidden)
                weights.append(_gates(((value[d].float() - zero[d].float()) * scale[d]).T))
            weights += [_gates(half) for half in b[d].float().chunk(2)]
        module = torch.nn.LSTM(weights[0].shape[1], hidden, bidirectional=both).to(place.device)
        for parameter, value in zip(module._flat_weights, weights):
            assert isinstance(parameter, torch.nn.Parameter)
            parameter.data.copy_(value.to(place.device))
        module.flatten_parameters()
        return module.eval()

    def run(x: Tensor, *given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        w, r, b, _, h0, c0, peepholes, *quantised = given
        if not made:
            _only_zeros(h0, c0, peepholes)
            with torch.inference_mode(False), torch.no_grad():
                made.append(prepared(*(value.cpu().clone() for value in (w, r, b, *quantised))))
        y, (h, c) = made[0](x.to(place.device))
        directions = 2 if both else 1
        return y.reshape(x.shape[0], x.shape[1], directions, hidden).permute(0, 2, 1, 3), h, c

    return run


def _only_zeros(*states: Tensor | None) -> None:
    """The voices' LSTMs begin from zeros; nothing else is known here."""
    for state in states:
        if state is not None and bool(state.any()):
            raise NotImplementedError("an LSTM that begins from another state than zeros")


@operator("Resize")
def _resize(attributes: Attributes, place: Place) -> Function:
    mode, how = attributes["mode"], attributes.get("coordinate_transformation_mode", "half_pixel")
    if (mode, how) != ("nearest", "asymmetric") and mode != "linear":
        raise NotImplementedError(f"resizing by {mode}, {how}")

    def places(count: int, size: int, factor: float, device: torch.device) -> Tensor:
        at = torch.arange(count, device=device, dtype=torch.float64)
        if how == "asymmetric":
            return at / factor
        if how == "align_corners":
            return at * (size - 1) / max(count - 1, 1)
        return (at + 0.5) / factor - 0.5

    def run(
        x: Tensor, region: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None
    ) -> Tensor:
        size = x.shape[-1]
        if scales is not None and scales.numel():
            *others, factor = scales.tolist()
            count = int(np.floor(size * np.float32(factor)))
            same = all(other == 1 for other in others)
        else:
            assert sizes is not None
            *kept, count = whole(sizes)
            factor, same = count / size, kept == list(x.shape[:-1])
        if not same:
            raise NotImplementedError("resizing another axis than the last")
        if mode == "nearest" and float(factor).is_integer():
            return x.repeat_interleave(int(factor), -1)
        at = places(count, size, factor, x.device).clamp(0, size - 1)
        low = at.floor().long()
        if mode == "nearest":
            return x.index_select(-1, low)
        part = (at - low).to(x.dtype)
        return x.index_select(-1, low) * (1 - part) + x.index_select(-1, (low + 1).clamp(max=size - 1)) * part

    return run


@operator("STFT")
def _stft(attributes: Attributes, place: Place) -> Function:
    if not attributes.get("onesided", 1):
        raise NotImplementedError("a spectrum of both sides")

    def run(x: Tensor, step: Tensor, window: Tensor | None = None, length: Tensor | None = None) -> Tensor:
        x, window = place.together(x, window)
        size = int(length) if length is not None else 0 if window is None else window.numel()
        frames = (x.squeeze(-1) if x.ndim == 3 else x).unfold(-1, size, int(step))
        return torch.view_as_real(torch.fft.rfft(frames if window is None else frames * window))

    return run
