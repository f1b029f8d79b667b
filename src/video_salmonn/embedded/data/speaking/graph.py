"""Run an ONNX graph with torch on any device: what the two neural voices need, nothing more.

8-bit weights become floats once, and activations are not quantised. Values are freed after their last use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from video_salmonn.embedded.data.speaking import networks
from video_salmonn.embedded.data.speaking.operators import OPERATORS, Function, Place, Tensor
from video_salmonn.errors import CheckpointError, needed

assert networks  # its operators are entered when it is imported
_FLOAT = ".float"
_LEAST_OPSET = 13


@dataclass
class _Step:
    function: Function
    inputs: list[str]
    outputs: list[str]
    operator: str


class Graph:
    """A graph ready to run.

    Args:
        source: an ONNX file, or its bytes; float16 weights are read as float32.
        device: where it runs.
        keep: further values that a run returns beside the outputs.
        noise: multiplies what its random operators give; 0 for none.
        given: values that a run is given in place of the graph's inputs: a part of the graph.
        wanted: what a run returns in place of the graph's outputs; nothing else is computed.
        replace: value -> (inputs, function) that makes it in place of its node.
        constants: values in place of the file's.

    Raises:
        MissingPartError: the package onnx is not installed.
        CheckpointError: the file cannot be read, or has an operator that is not known here.
    """

    def __init__(
        self,
        source: Path | str | bytes,
        device: torch.device | str = "cpu",
        keep: tuple[str, ...] = (),
        noise: float = 1.0,
        given: tuple[str, ...] | None = None,
        wanted: tuple[str, ...] | None = None,
        replace: dict[str, tuple[list[str], Function]] | None = None,
        constants: dict[str, Tensor] | None = None,
    ) -> None:
        self.place = Place(torch.device(device), noise)
        graph = self._load(source)
        self.constants = {tensor.name: self._constant(tensor) for tensor in graph.initializer} | (constants or {})
        self.outputs = list(wanted) if wanted is not None else [output.name for output in graph.output]
        self.inputs = list(given) if given is not None else [entry.name for entry in graph.input]
        self.keep = (*self.outputs, *keep)
        self._steps: list[_Step] = []
        for node in self._as_floats(list(graph.node)):
            if any(output in self.inputs for output in node.output):
                continue
            own = (replace or {}).get(node.output[0])
            if own is not None:
                self._steps.append(_Step(own[1], own[0], list(node.output), "own"))
            else:
                self._steps.append(_Step(self._function(node), list(node.input), list(node.output), node.op_type))
        self._prune()
        self._fold_constants()
        self._skip_identities()
        self._fold_scales()
        self._free = self._last_uses()
        used = {name for step in self._steps for name in step.inputs}
        self.constants = {name: value for name, value in self.constants.items() if name in used or name in self.keep}

    # ------------------------------------------------------------------------------------------- preparation

    def _load(self, source: Path | str | bytes) -> Any:
        with needed("reading a voice's graph needs onnx", remedy="pip install onnx"):
            import onnx
        self._name = "the graph" if isinstance(source, bytes) else str(source)
        try:
            model = onnx.load_from_string(source) if isinstance(source, bytes) else onnx.load(str(source))
        except Exception as error:  # onnx lets protobuf's own errors through
            raise CheckpointError(f"{self._name}: cannot be read as ONNX ({error})") from error
        version = next((entry.version for entry in model.opset_import if entry.domain == ""), 0)
        if version < _LEAST_OPSET:
            raise CheckpointError(f"{self._name}: opset {version}, at least {_LEAST_OPSET} is read here")
        return model.graph

    def _constant(self, tensor: Any) -> Tensor:
        from onnx import numpy_helper

        value = torch.from_numpy(np.array(numpy_helper.to_array(tensor)))
        if value.dtype == torch.float16:
            value = value.float()
        elif value.dtype == torch.int32:
            value = value.long()
        shape_like = value.numel() <= 64 and not (value.dtype.is_floating_point and value.numel() > 1)
        return value if shape_like else value.to(self.place.device)

    def _attributes(self, node: Any) -> dict[str, Any]:
        from onnx import TensorProto, helper, numpy_helper

        found = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        for name, value in found.items():
            if isinstance(value, bytes):
                found[name] = value.decode()
            elif isinstance(value, TensorProto):
                found[name] = numpy_helper.to_array(value)
        return found

    def _function(self, node: Any) -> Function:
        make = OPERATORS.get(node.op_type)
        if make is None:
            raise CheckpointError(f"{self._name}: the operator {node.op_type} is not known here")
        try:
            return make(self._attributes(node), self.place)
        except NotImplementedError as error:
            raise CheckpointError(f"{self._name}: {node.op_type} {node.name}: {error} is not known here") from error

    def _as_floats(self, nodes: list[Any]) -> list[Any]:
        """Nodes without dynamic quantisation; integer weights get a twin in floats, zero points taken off."""
        from onnx import helper

        found = []
        for node in nodes:
            if node.op_type == "DynamicQuantizeLinear":
                self.constants[node.output[1]] = torch.tensor(1.0)
                self.constants[node.output[2]] = torch.tensor(0)
                node = helper.make_node("Identity", [node.input[0]], [node.output[0]])
            elif node.op_type == "Floor" and node.input[0].endswith("bias_tmp_quant:0"):
                node = helper.make_node("Identity", [node.input[0]], [node.output[0]])  # biases stay exact
            elif node.op_type in ("MatMulInteger", "ConvInteger"):
                integer = node.op_type == "ConvInteger"
                value = self.constants[node.input[1]].float()
                if len(node.input) > 3 and node.input[3]:
                    zero = self.constants[node.input[3]].to(value.device).float()
                    value = value - (
                        zero.reshape(-1, *[1] * (value.ndim - 1)) if integer and zero.numel() > 1 else zero
                    )
                self.constants[node.input[1] + _FLOAT] = value.to(self.place.device)
                attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
                inputs = [node.input[0], node.input[1] + _FLOAT]
                node = helper.make_node("Conv" if integer else "MatMul", inputs, list(node.output), **attributes)
            found.append(node)
        return found

    def _prune(self) -> None:
        """Leave out what no wanted value needs."""
        needed = set(self.keep)
        kept = []
        for step in reversed(self._steps):
            if any(name in needed for name in step.outputs):
                needed.update(name for name in step.inputs if name)
                kept.append(step)
        self._steps = kept[::-1]

    def _fold_constants(self) -> None:
        """Compute once what depends on constants alone."""
        left = []
        for step in self._steps:
            fixed = step.inputs and all(name in self.constants or not name for name in step.inputs)
            if fixed and step.operator != "RandomNormalLike":
                results = _listed(step.function(*[self.constants[name] if name else None for name in step.inputs]))
                self.constants.update(zip(step.outputs, results))
            else:
                left.append(step)
        self._steps = left

    def _skip_identities(self) -> None:
        alias: dict[str, str] = {}
        steps = []
        for step in self._steps:
            step.inputs = [alias.get(name, name) for name in step.inputs]
            if step.operator == "Identity" and step.outputs[0] not in self.keep:
                alias[step.outputs[0]] = step.inputs[0]
            else:
                steps.append(step)
        self._steps = steps

    def _fold_scales(self) -> None:
        """Integer product (-> Add of a bias) -> Cast -> Mul by a constant: the scale goes into the weight."""
        users: dict[str, list[int]] = {}
        for number, step in enumerate(self._steps):
            for name in step.inputs:
                users.setdefault(name, []).append(number)

        def next_one(value: str, operator: str) -> int | None:
            after = users.get(value, [])
            alone = len(after) == 1 and value not in self.keep and self._steps[after[0]].operator == operator
            return after[0] if alone else None

        def constant_beside(number: int, value: str) -> Tensor | None:
            others = [name for name in self._steps[number].inputs if name != value]
            return self.constants.get(others[0]) if len(others) == 1 else None

        dropped: set[int] = set()
        for number, step in enumerate(self._steps):
            if step.operator not in ("MatMul", "Conv") or not step.inputs[1].endswith(_FLOAT):
                continue
            value, bias, chain = step.outputs[0], None, []
            add = next_one(value, "Add") if step.operator == "Conv" else None
            if add is not None:
                bias = constant_beside(add, value)
                if bias is None:
                    continue
                chain.append(add)
                value = self._steps[add].outputs[0]
            cast = next_one(value, "Cast")
            mul = None if cast is None else next_one(self._steps[cast].outputs[0], "Mul")
            scale = None if cast is None or mul is None else constant_beside(mul, self._steps[cast].outputs[0])
            if cast is None or mul is None or scale is None:
                continue
            scale = scale.float().to(self.place.device)
            weight = self.constants[step.inputs[1]]
            if step.operator == "Conv":
                weight = weight * (
                    scale.reshape(-1, *[1] * (weight.ndim - 1)) if scale.numel() > 1 else scale.reshape(())
                )
            else:
                weight = weight * scale
            name = f"{step.inputs[1]}.{number}"
            self.constants[name] = weight
            step.inputs = [step.inputs[0], name]
            if bias is not None:
                self.constants[name + ".bias"] = bias.float().to(self.place.device).reshape(-1) * scale.reshape(-1)
                step.inputs.append(name + ".bias")
            step.outputs = self._steps[mul].outputs
            dropped |= {cast, mul, *chain}
        self._steps = [step for number, step in enumerate(self._steps) if number not in dropped]

    def _last_uses(self) -> list[list[str]]:
        """For each step, the values that nothing needs after it."""
        last = {name: number for number, step in enumerate(self._steps) for name in step.inputs}
        kept = {*self.keep, *self.constants, ""}
        free: list[list[str]] = [[] for _ in self._steps]
        for name, number in last.items():
            if name not in kept:
                free[number].append(name)
        return free

    # ----------------------------------------------------------------------------------------------- running

    @property
    def operators(self) -> list[str]:
        """Names of the operators that are left to run, in order."""
        return [step.operator for step in self._steps]

    @torch.inference_mode()
    def run(
        self, inputs: dict[str, Tensor], override: dict[str, Tensor | Callable[[Tensor], Tensor]] | None = None
    ) -> dict[str, Tensor]:
        """Values of the outputs and of ``keep``.

        Args:
            inputs: by name; moved to the device.
            override: other values, or functions of them, in place of those that the graph computes.

        Raises:
            RuntimeError: an operator failed; names it and the shapes it was given.
        """
        values: dict[str, Any] = {**self.constants, "": None}
        values.update({name: value.to(self.place.device) for name, value in inputs.items()})
        for step, free in zip(self._steps, self._free):
            try:
                results = step.function(*[values[name] for name in step.inputs])
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
                results = self._again(error, step, values)
            for name, value in zip(step.outputs, _listed(results)):
                other = (override or {}).get(name)
                values[name] = value if other is None else other(value) if callable(other) else other
            for name in free:
                values.pop(name, None)
        return {name: values[name] for name in self.keep}

    def _again(self, error: Exception, step: _Step, values: dict[str, Any]) -> Any:
        """Once more with everything on the device: a small constant may have been left on the CPU."""
        if self.place.device.type != "cpu":
            for name in step.inputs:
                if values[name] is not None and values[name].device.type == "cpu":
                    values[name] = values[name].to(self.place.device)
                    if name in self.constants:
                        self.constants[name] = values[name]
            try:
                return step.function(*[values[name] for name in step.inputs])
            except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as second:
                error = second
        shapes = [None if values.get(name) is None else tuple(values[name].shape) for name in step.inputs]
        raise RuntimeError(f"{step.operator} {step.outputs[0]} of {shapes}: {error}") from error


def _listed(results: Any) -> list[Any]:
    return list(results) if isinstance(results, (tuple, list)) else [results]


def _rows(values: Tensor, weight: Tensor) -> Tensor:
    """One value, or one for every row of a weight, as it multiplies the weight."""
    return values.reshape(-1, *[1] * (weight.ndim - 1)) if values.numel() > 1 else values.reshape(())
