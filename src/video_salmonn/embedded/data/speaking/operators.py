"""ONNX operators without weights as torch functions: elementwise, shapes, indexing, reductions.

Every entry of :data:`OPERATORS` makes a function of tensors out of a node's attributes. What describes shapes stays on
the CPU, so that a GPU is read only where a graph needs a value of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

Tensor = torch.Tensor
Attributes = dict[str, Any]
Function = Callable[..., Any]


@dataclass(frozen=True)
class Place:
    """Where a graph runs.

    Attributes:
        device: of its large tensors.
        noise: multiplies what its random operators give; 0 for none.
    """

    device: torch.device
    noise: float = 1.0

    def together(self, *tensors: Tensor | None) -> list[Any]:
        """All of them on the device, if any is there."""
        if all(tensor is None or tensor.device.type == "cpu" for tensor in tensors):
            return list(tensors)
        return [None if tensor is None else tensor.to(self.device) for tensor in tensors]


OPERATORS: dict[str, Callable[[Attributes, Place], Function]] = {}


def operator(name: str) -> Callable[[Callable[[Attributes, Place], Function]], Callable[[Attributes, Place], Function]]:
    """Enter a maker of functions under an operator's name."""

    def enter(make: Callable[[Attributes, Place], Function]) -> Callable[[Attributes, Place], Function]:
        OPERATORS[name] = make
        return make

    return enter


def whole(values: Tensor) -> list[int]:
    """A tensor's values as Python's."""
    return [int(value) for value in values.reshape(-1).tolist()]


# ------------------------------------------------------------------------------------------------- elementwise


def _divide(a: Tensor, b: Tensor) -> Tensor:
    if a.dtype.is_floating_point or b.dtype.is_floating_point:
        return torch.div(a, b)
    return torch.div(a, b, rounding_mode="trunc")


_UNARY: dict[str, Function] = {
    "Identity": lambda x: x,
    "Neg": torch.neg,
    "Sqrt": torch.sqrt,
    "Exp": torch.exp,
    "Erf": torch.erf,
    "Tanh": torch.tanh,
    "Sigmoid": torch.sigmoid,
    "Relu": torch.relu,
    "Not": torch.logical_not,
    "Ceil": torch.ceil,
    "Floor": lambda x: torch.floor(x) if x.dtype.is_floating_point else x,
    "Round": torch.round,
    "Sin": torch.sin,
    "Cos": torch.cos,
    "Atan": lambda x: torch.atan(torch.nan_to_num(x, nan=0.0, posinf=float("inf"), neginf=float("-inf"))),
    "Softplus": F.softplus,
    "Shape": lambda x: torch.tensor(x.shape, dtype=torch.int64),
    "NonZero": lambda x: torch.stack(torch.nonzero(x, as_tuple=True)),
}
_BINARY: dict[str, Function] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": _divide,
    "Pow": torch.pow,
    "Equal": torch.eq,
    "Less": torch.lt,
    "Greater": torch.gt,
    "LessOrEqual": torch.le,
    "GreaterOrEqual": torch.ge,
    "And": torch.logical_and,
    "MatMul": torch.matmul,
}
_TYPES = {
    1: torch.float32,
    2: torch.int64,
    3: torch.int64,
    6: torch.int64,
    7: torch.int64,
    9: torch.bool,
    10: torch.float32,
    11: torch.float32,
}
"""ONNX's element types; torch computes in three of its own."""


def _plain(function: Function) -> Callable[[Attributes, Place], Function]:
    return lambda attributes, place: function


def _of_two(function: Function) -> Callable[[Attributes, Place], Function]:
    def make(attributes: Attributes, place: Place) -> Function:
        def run(a: Tensor, b: Tensor) -> Tensor:
            if a.device != b.device:  # a number may stay on the CPU
                a, b = (x.to(place.device) if x.ndim else x for x in (a, b))
            result: Tensor = function(a, b)
            return result

        return run

    return make


OPERATORS.update({name: _plain(function) for name, function in _UNARY.items()})
OPERATORS.update({name: _of_two(function) for name, function in _BINARY.items()})


@operator("LeakyRelu")
def _leaky_relu(attributes: Attributes, place: Place) -> Function:
    slope = attributes.get("alpha", 0.01)
    return lambda x: F.leaky_relu(x, slope)


@operator("Clip")
def _clip(attributes: Attributes, place: Place) -> Function:
    def bound(value: Tensor) -> Any:
        return value.item() if value.device.type == "cpu" else value

    def run(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
        x = x if low is None else torch.clamp(x, min=bound(low))
        return x if high is None else torch.clamp(x, max=bound(high))

    return run


@operator("Where")
def _where(attributes: Attributes, place: Place) -> Function:
    return lambda c, a, b: torch.where(*place.together(c, a, b))


@operator("Cast")
def _cast(attributes: Attributes, place: Place) -> Function:
    to = _TYPES[attributes["to"]]
    return lambda x: x.to(to)


@operator("Softmax")
def _softmax(attributes: Attributes, place: Place) -> Function:
    axis = attributes.get("axis", -1)
    return lambda x: torch.softmax(x, axis)


@operator("RandomNormalLike")
def _random_normal_like(attributes: Attributes, place: Place) -> Function:
    def run(x: Tensor) -> Tensor:
        if not place.noise:
            return torch.zeros(x.shape, device=place.device)
        return torch.randn(x.shape, device=place.device) * place.noise

    return run


# ------------------------------------------------------------------------------------------------------ shapes


@operator("Unsqueeze")
def _unsqueeze(attributes: Attributes, place: Place) -> Function:
    def run(x: Tensor, axes: Tensor) -> Tensor:
        rank = x.ndim + axes.numel()
        for axis in sorted(axis % rank for axis in whole(axes)):
            x = x.unsqueeze(axis)
        return x

    return run


@operator("Squeeze")
def _squeeze(attributes: Attributes, place: Place) -> Function:
    def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
        return x.squeeze() if axes is None else x.squeeze(tuple(whole(axes)))

    return run


@operator("Reshape")
def _reshape(attributes: Attributes, place: Place) -> Function:
    def run(x: Tensor, shape: Tensor) -> Tensor:
        return x.reshape([x.shape[axis] if size == 0 else size for axis, size in enumerate(whole(shape))])

    return run


@operator("Transpose")
def _transpose(attributes: Attributes, place: Place) -> Function:
    order = attributes.get("perm")
    return lambda x: x.permute(*(order or reversed(range(x.ndim))))


@operator("Concat")
def _concat(attributes: Attributes, place: Place) -> Function:
    axis = attributes["axis"]
    return lambda *parts: torch.cat(place.together(*parts), axis)


@operator("Split")
def _split(attributes: Attributes, place: Place) -> Function:
    axis, count = attributes.get("axis", 0), attributes.get("num_outputs", 2)

    def run(x: Tensor, sizes: Tensor | None = None) -> Sequence[Tensor]:
        parts: Sequence[Tensor] = x.split(-(-x.shape[axis] // count) if sizes is None else whole(sizes), axis)
        return parts

    return run


@operator("Expand")
def _expand(attributes: Attributes, place: Place) -> Function:
    def run(x: Tensor, shape: Tensor) -> Tensor:
        wanted = whole(shape)
        rank = max(len(wanted), x.ndim)
        own = [1] * (rank - x.ndim) + list(x.shape)
        wanted = [1] * (rank - len(wanted)) + wanted
        return x.expand([max(mine, size) if size else 0 for mine, size in zip(own, wanted)])

    return run


@operator("Slice")
def _slice(attributes: Attributes, place: Place) -> Function:
    def run(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
        first, last = whole(starts), whole(ends)
        along = list(range(len(first))) if axes is None else whole(axes)
        by = [1] * len(first) if steps is None else whole(steps)
        for start, end, axis, step in zip(first, last, along, by):
            size = x.shape[axis]
            if step > 0:
                x = x[(slice(None),) * (axis % x.ndim) + (slice(start, min(end, 1 << 62), step),)]
            else:  # torch has no views that run backwards
                start = min(start + size if start < 0 else start, size - 1)
                end = max(end + size if -size <= end < 0 else end, -1)
                x = x.index_select(axis, torch.arange(start, end, step, device=x.device))
        return x

    return run


@operator("Pad")
def _pad(attributes: Attributes, place: Place) -> Function:
    mode = attributes.get("mode", "constant")
    names = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}

    def run(x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
        amounts = whole(pads)
        half = len(amounts) // 2
        along = list(range(half)) if axes is None else [axis % x.ndim for axis in whole(axes)]
        around = {axis: (amounts[index], amounts[half + index]) for index, axis in enumerate(along)}
        flat = [side for axis in reversed(range(x.ndim)) for side in around.get(axis, (0, 0))]
        while len(flat) > 2 and flat[-2:] == [0, 0]:
            del flat[-2:]
        if mode == "constant":
            return F.pad(x, flat, value=0.0 if value is None else value.item())
        if len(flat) > 2 * (x.ndim - 1):
            return F.pad(x[None], flat, mode=names[mode])[0]
        return F.pad(x, flat, mode=names[mode])

    return run


@operator("ConstantOfShape")
def _constant_of_shape(attributes: Attributes, place: Place) -> Function:
    value = torch.from_numpy(np.array(attributes.get("value", np.zeros(1, np.float32))))
    filled = value.reshape(-1)[0].item()

    def run(shape: Tensor) -> Tensor:
        wanted = whole(shape)
        small = value.dtype == torch.int64 and len(wanted) <= 1
        return torch.full(wanted, filled, dtype=value.dtype, device="cpu" if small else place.device)

    return run


@operator("Range")
def _range(attributes: Attributes, place: Place) -> Function:
    return lambda start, end, step: torch.arange(start.item(), end.item(), step.item(), device=place.device)


# ---------------------------------------------------------------------------------------------------- indexing


@operator("Gather")
def _gather(attributes: Attributes, place: Place) -> Function:
    axis = attributes.get("axis", 0)

    def run(x: Tensor, index: Tensor) -> Tensor:
        if index.ndim == 0 and index.device.type == "cpu":
            return x.select(axis, int(index))
        x, index = place.together(x, index)
        at = axis % x.ndim
        index = torch.where(index < 0, index + x.shape[at], index)
        return x.index_select(at, index.reshape(-1)).reshape(*x.shape[:at], *index.shape, *x.shape[at + 1 :])

    return run


@operator("GatherElements")
def _gather_elements(attributes: Attributes, place: Place) -> Function:
    axis = attributes.get("axis", 0)

    def run(x: Tensor, index: Tensor) -> Tensor:
        x, index = place.together(x, index)
        return torch.gather(x, axis, torch.where(index < 0, index + x.shape[axis], index))

    return run


@operator("GatherND")
def _gather_nd(attributes: Attributes, place: Place) -> Function:
    def run(x: Tensor, index: Tensor) -> Tensor:
        x, index = place.together(x, index)
        return x[tuple(index.unbind(-1))]

    return run


@operator("ScatterND")
def _scatter_nd(attributes: Attributes, place: Place) -> Function:
    def run(x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
        x, index, updates = place.together(x, index, updates)
        out = x.clone()
        out[tuple(index.unbind(-1))] = updates
        return out

    return run


# -------------------------------------------------------------------------------------------------- reductions


def _reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Callable[[Attributes, Place], Function]:
    def make(attributes: Attributes, place: Place) -> Function:
        keep = bool(attributes.get("keepdims", 1))

        def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
            along = attributes.get("axes") if axes is None else whole(axes)
            return function(x, list(along) if along else list(range(x.ndim)), keep)

        return run

    return make


OPERATORS["ReduceMean"] = _reduction(lambda x, axes, keep: x.mean(axes, keepdim=keep))
OPERATORS["ReduceSum"] = _reduction(lambda x, axes, keep: x.sum(axes, keepdim=keep))
OPERATORS["ReduceMax"] = _reduction(lambda x, axes, keep: x.amax(axes, keepdim=keep))


@operator("CumSum")
def _cumulative_sum(attributes: Attributes, place: Place) -> Function:
    return lambda x, axis: torch.cumsum(x, int(axis))
