"""Read YAMNet's weights out of an ONNX file (plain or zipped).

The file in the ``sead`` package is an exported graph with quantise/dequantise nodes around float32 weights whose batch
norms are folded. Only the weights are taken; the graph is checked against
:func:`video_salmonn.encoders.yamnet.yamnet_layers`, convolution by convolution, so that another export is refused
instead of giving wrong features.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch

from video_salmonn.encoders.yamnet import CLASSES, WIDTH, yamnet_layers
from video_salmonn.errors import CheckpointError, needed
from video_salmonn.wording import counted

_REINSTALL = "install the package again: video-salmonn setup"


def _load(path: Path) -> Any:
    with needed(
        "the package 'onnx' is not installed, and YAMNet is stored in its format",
        remedy="pip install 'video-salmonn[embedded]'",
    ):
        import onnx
    try:
        return onnx.load(path).graph
    except Exception as error:  # protobuf's DecodeError lives in whichever backend is installed
        raise CheckpointError(f"{path}: not a readable ONNX file ({error})", remedy=_REINSTALL) from error


def _graph(path: Path) -> Any:
    """The graph with its weights in memory; a zip holds the .onnx file and, beside it, its external data."""
    if path.suffix != ".zip":
        return _load(path)
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            archive.extractall(folder)
            found = sorted(Path(folder).rglob("*.onnx"))
            if len(found) != 1:
                raise CheckpointError(f"{path}: one .onnx file expected inside, found {len(found)}", remedy=_REINSTALL)
            return _load(found[0])
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"{path}: not a readable zip file ({error})", remedy=_REINSTALL) from error


def yamnet_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Weights for :class:`video_salmonn.encoders.yamnet.YamnetEncoder`, fp32.

    Raises:
        CheckpointError: unreadable, or a graph whose layers are not YAMNet's.
        MissingPartError: the ``onnx`` package is not installed.
    """
    graph = _graph(path)
    from onnx import numpy_helper
    from onnx.helper import get_attribute_value

    stored = {item.name: item for item in graph.initializer}
    through = {
        node.output[0]: node.input[0] for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    }

    def weight(name: str) -> torch.Tensor:
        while name in through:
            name = through[name]
        if name not in stored:
            raise CheckpointError(f"{path}: {name} is computed, not stored")
        return torch.from_numpy(numpy_helper.to_array(stored[name]).copy()).float()

    expected = yamnet_layers()
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    if len(convolutions) != len(expected):
        raise CheckpointError(f"{path}: {counted(len(convolutions), 'convolution')}, YAMNet has {len(expected)}")
    weights: dict[str, torch.Tensor] = {}
    for index, (node, (width, channels, kernel, stride, groups)) in enumerate(zip(convolutions, expected)):
        options = {item.name: get_attribute_value(item) for item in node.attribute}
        value = weight(node.input[1])
        found = (tuple(value.shape), tuple(options.get("strides", (1, 1))), options.get("group", 1))
        wanted = ((channels, width // groups, kernel, kernel), (stride, stride), groups)
        if found != wanted:
            raise CheckpointError(f"{path}: convolution {index} is {found}, YAMNet's is {wanted}")
        weights[f"layers.{index}.weight"] = value
        weights[f"layers.{index}.bias"] = weight(node.input[2])
    heads = [node for node in graph.node if node.op_type == "Gemm"]
    if len(heads) != 1 or weight(heads[0].input[1]).shape != (CLASSES, WIDTH):
        raise CheckpointError(f"{path}: no classifier of {CLASSES} classes over {WIDTH} features")
    weights["classifier.weight"], weights["classifier.bias"] = (weight(name) for name in heads[0].input[1:3])
    return weights
