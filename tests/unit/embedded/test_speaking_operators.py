"""Every ONNX operator that the voices' graphs have, run by torch, gives what onnxruntime gives."""

import numpy as np
import pytest
import torch

from video_salmonn.embedded.data.speaking.graph import Graph
from video_salmonn.embedded.data.speaking.operators import OPERATORS
from video_salmonn.errors import CheckpointError

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
RNG = np.random.default_rng(0)
SEVEN_BITS = (-63, 64)
"""Of int8 weights: with eight, onnxruntime's sums of two products overflow on processors with AVX2 and without VNNI."""
_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int64": 7, "bool": 9, "float16": 10}


def real(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


def model_of(nodes, given, constants, outputs, opset=17):
    entries = [onnx.helper.make_tensor_value_info(k, _TYPES[v.dtype.name], [None] * v.ndim) for k, v in given.items()]
    made = [onnx.helper.make_empty_tensor_value_info(name) for name in outputs]
    fixed = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = onnx.helper.make_graph(nodes, "g", entries, made, fixed)
    domains = [onnx.helper.make_opsetid("", opset), onnx.helper.make_opsetid("com.microsoft", 1)]
    return onnx.helper.make_model(graph, opset_imports=domains, ir_version=9).SerializeToString()


def by_onnxruntime(model, given):
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, given)


def compare(nodes, given, constants=None, outputs=("out",), opset=17, atol=1e-5):
    model = model_of(nodes, given, constants or {}, outputs, opset)
    found = Graph(model).run({name: torch.from_numpy(value) for name, value in given.items()})
    for name, wanted in zip(outputs, by_onnxruntime(model, given)):
        assert tuple(found[name].shape) == wanted.shape
        np.testing.assert_allclose(found[name].numpy(), wanted, rtol=1e-4, atol=atol)


def node(operator, inputs, outputs=("out",), **attributes):
    return onnx.helper.make_node(operator, list(inputs), list(outputs), **attributes)


X, Y = real(2, 3, 8), real(2, 3, 8)
UNARY = ["Identity", "Neg", "Exp", "Erf", "Tanh", "Sigmoid", "Relu", "Ceil", "Floor", "Round", "Sin", "Cos", "Atan"]
UNARY += ["Softplus", "Shape", "NonZero"]
SHAPED = {
    # operator: (attributes, given, constants, opset)
    "Sqrt": ({}, {"x": np.abs(X)}, {}),
    "Not": ({}, {"x": X > 0}, {}),
    "LeakyRelu": ({"alpha": 0.2}, {"x": X}, {}),
    "Clip": ({}, {"x": X}, {"low": np.float32(-0.5), "high": np.float32(0.4)}),
    "Where": ({}, {"c": X > 0, "x": X, "y": Y}, {}),
    "Cast": ({"to": 7}, {"x": X * 3}, {}),
    "Softmax": ({"axis": 1}, {"x": X}, {}),
    "Unsqueeze": ({}, {"x": X}, {"axes": ints(0, -1)}),
    "Squeeze": ({}, {"x": X[:, :1]}, {"axes": ints(1)}),
    "Squeeze of all": ({}, {"x": X[:1, :1]}, {}),
    "Reshape": ({}, {"x": X}, {"shape": ints(0, -1, 4)}),
    "Transpose": ({"perm": [2, 0, 1]}, {"x": X}, {}),
    "Transpose of all": ({}, {"x": X}, {}),
    "Concat": ({"axis": -1}, {"x": X, "y": Y}, {}),
    "Expand": ({}, {"x": X[:, :1]}, {"shape": ints(4, 1, 3, 1)}),
    "Slice": ({}, {"x": X}, {"start": ints(1, -5), "end": ints(2**62, -1), "axes": ints(1, 2), "step": ints(1, 2)}),
    "Slice backwards": ({}, {"x": X}, {"a": ints(-1), "b": ints(-(2**63) + 1), "axes": ints(2), "step": ints(-1)}),
    "Slice backwards by two": ({}, {"x": X}, {"start": ints(6), "end": ints(1), "axes": ints(-1), "step": ints(-2)}),
    "Pad": ({}, {"x": X}, {"pads": ints(0, 1, 2, 0, 0, 3), "value": np.float32(0.5)}),
    "Pad by reflection": ({"mode": "reflect"}, {"x": X}, {"pads": ints(0, 0, 2, 0, 0, 3)}),
    "Pad by the edge": ({"mode": "edge"}, {"x": X[0]}, {"pads": ints(1, 2, 0, 3)}),
    "Gather": ({"axis": 1}, {"x": X}, {"i": np.array([[0, -1], [2, 1]])}),
    "Gather of one": ({"axis": 2}, {"x": X}, {"i": np.array(-2)}),
    "GatherElements": ({"axis": 2}, {"x": X}, {"i": np.array([[[0, -1]] * 3] * 2)}),
    "GatherND": ({}, {"x": X}, {"i": np.array([[0, 1], [1, 2]])}),
    "ScatterND": ({}, {"x": X}, {"i": np.array([[0, 1], [1, 2]]), "v": real(2, 8)}),
    "ReduceMean": ({"axes": [-1], "keepdims": 0}, {"x": X}, {}),
    "ReduceSum": ({}, {"x": X}, {"axes": ints(0, 2)}),
    "ReduceMax": ({"axes": [1]}, {"x": X}, {}),
    "ReduceMax of all": ({"keepdims": 0}, {"x": X}, {}),
    "CumSum": ({}, {"x": X}, {"axis": np.array(2)}),
    "ConstantOfShape": ({}, {"x": ints(2, 3)}, {}),
    "Range": ({}, {"x": np.array(2), "y": np.array(9), "z": np.array(3)}, {}),
    "FusedMatMul": ({"transB": 1, "alpha": 0.5, "domain": "com.microsoft"}, {"x": X, "y": Y}, {}),
    "Conv": ({"pads": [1, 1], "strides": [2]}, {"x": X}, {"w": real(4, 3, 3), "b": real(4)}),
    "Conv of uneven pads": ({"pads": [2, 0], "dilations": [2]}, {"x": X}, {"w": real(4, 3, 3)}),
    "Conv in groups": ({"group": 3}, {"x": X}, {"w": real(6, 1, 3)}),
    "Conv of two axes": ({"pads": [0, 1, 1, 0]}, {"x": X[None]}, {"w": real(2, 2, 2, 3)}),
    "ConvTranspose": (
        {"strides": [2], "pads": [1, 1], "output_padding": [1]}, {"x": X}, {"w": real(3, 4, 4), "b": real(4)},
    ),
    "LayerNormalization": ({"epsilon": 1e-4}, {"x": X}, {"w": real(8), "b": real(8)}),
    "SkipLayerNormalization": (
        {"domain": "com.microsoft", "epsilon": 1e-5}, {"x": X, "y": Y}, {"w": real(8), "b": real(8), "more": real(8)},
    ),
    "FastGelu": ({"domain": "com.microsoft"}, {"x": X}, {"b": real(8)}),
    "DequantizeLinear": ({}, {"x": np.arange(-4, 4, dtype=np.int8)}, {"s": np.float32(0.3), "z": np.int8(2)}),
    "Resize": (
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        {"x": X}, {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 3], np.float32)},
    ),
    "Resize by a part": (
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        {"x": X}, {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 0.5], np.float32)},
    ),
    "Resize between": (
        {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
        {"x": X}, {"r": np.zeros(0, np.float32), "s": np.array([1, 1, 2.5], np.float32)},
    ),
    "Resize from corner to corner": (
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        {"x": X}, {"r": np.zeros(0, np.float32), "s": np.zeros(0, np.float32), "n": ints(2, 3, 11)},
    ),
    "STFT": ({}, {"x": real(2, 60, 1)}, {"step": np.array(5), "w": np.hanning(20).astype(np.float32)}),
}  # fmt: skip
BINARY = ["Add", "Sub", "Mul", "Div", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "MatMul"]
ALONE = {"Split", "And", "Pow", "RandomNormalLike", "DynamicQuantizeLSTM"}  # below


@pytest.mark.parametrize("operator", UNARY)
def test_an_elementwise_operator_gives_what_onnxruntime_gives(operator):
    compare([node(operator, ["x"])], {"x": X})


@pytest.mark.parametrize("operator", BINARY)
def test_an_operator_of_two_gives_what_onnxruntime_gives(operator):
    other = np.swapaxes(Y, 1, 2).copy() if operator == "MatMul" else Y[:1, :, :1]
    compare([node(operator, ["x", "y"])], {"x": X, "y": other})


@pytest.mark.parametrize("name", SHAPED)
def test_an_operator_with_attributes_gives_what_onnxruntime_gives(name):
    attributes, given, constants = SHAPED[name]
    atol = 1e-4 if name == "STFT" else 1e-5
    compare([node(name.split()[0], [*given, *constants], **attributes)], given, constants, atol=atol)


def test_whole_numbers_are_divided_towards_zero_and_raised():
    compare([node("Div", ["x", "y"])], {"x": ints(-7, 7, 9), "y": ints(2, -2, 3)})
    compare([node("Pow", ["x", "y"])], {"x": np.abs(X), "y": np.array(0.5, np.float32)})
    compare([node("And", ["x", "y"])], {"x": X > 0, "y": Y > 0})


def test_a_value_is_split_by_sizes_and_in_halves():
    compare([node("Split", ["x", "n"], ("a", "b"), axis=2)], {"x": X}, {"n": ints(3, 5)}, ("a", "b"))
    compare([node("Split", ["x"], ("a", "b"), axis=2)], {"x": X}, {}, ("a", "b"))


def test_noise_has_a_shape_a_spread_and_can_be_silenced():
    model = model_of([node("RandomNormalLike", ["x"])], {"x": X}, {}, ["out"])
    torch.manual_seed(0)
    noise = Graph(model, noise=2.0).run({"x": torch.zeros(50, 40)})["out"]
    assert noise.shape == (50, 40) and 1.8 < float(noise.std()) < 2.2
    assert not Graph(model, noise=0.0).run({"x": torch.zeros(3)})["out"].any()


@pytest.mark.parametrize("kind", ["MatMulInteger", "ConvInteger"])
def test_integer_products_become_products_of_floats_with_their_scale_and_bias_folded_in(kind):
    conv = kind == "ConvInteger"
    weight = RNG.integers(*SEVEN_BITS, (4, 3, 3) if conv else (8, 5)).astype(np.int8)
    bias = np.round(real(1, 4, 1) * 1000).astype(np.float32)
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        node(kind, ["q", "w", "z", "wz"], ["i"]),
        node("Cast", ["i"], ["f"], to=1),
        node("Mul", ["s", "ws"], ["scale"]),
        node("Mul", ["f", "scale"], ["out"]),
    ]
    constants = {"w": weight, "wz": np.int8(3), "ws": np.float32(0.01)}
    model = model_of(nodes, {"x": X}, constants, ["out"])
    graph = Graph(model)
    assert graph.operators == ["Conv" if conv else "MatMul"], "no step of scaling is left"
    found = graph.run({"x": torch.from_numpy(X)})["out"].numpy()
    (wanted,) = by_onnxruntime(model, {"x": X})
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max(), "that activations are not rounded is all"
    values = (weight.astype(np.float32) - 3) * 0.01
    exact = torch.nn.functional.conv1d(torch.from_numpy(X), torch.from_numpy(values)).numpy() if conv else X @ values
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-4)
    if conv:  # a bias in whole numbers stands between product and scale
        nodes[2:3] = [node("Add", ["i", "bias"], ["sum"]), node("Cast", ["sum"], ["f"], to=1)]
        graph = Graph(model_of(nodes, {"x": X}, constants | {"bias": bias.astype(np.int32)}, ["out"]))
        assert len(graph.operators) == 1
        found = graph.run({"x": torch.from_numpy(X)})["out"].numpy()
        np.testing.assert_allclose(found, exact + bias * 0.01, rtol=1e-4, atol=1e-3)


def test_an_lstm_of_small_weights_runs_both_ways():
    hidden, width = 5, 8
    constants = {
        "w": RNG.integers(*SEVEN_BITS, (2, width, 4 * hidden)).astype(np.int8),
        "r": RNG.integers(*SEVEN_BITS, (2, hidden, 4 * hidden)).astype(np.int8),
        "b": real(2, 8 * hidden) * 0.1,
        "ws": np.array([0.01, 0.02], np.float32), "wz": np.array([1, -2], np.int8),
        "rs": np.array([0.02, 0.01], np.float32), "rz": np.array([0, 3], np.int8),
    }  # fmt: skip
    inputs = ["x", "w", "r", "b", "", "", "", "", "ws", "wz", "rs", "rz"]
    lstm = node("DynamicQuantizeLSTM", inputs, direction="bidirectional", hidden_size=hidden, domain="com.microsoft")
    compare([lstm], {"x": real(6, 2, width)}, constants, atol=0.02)
    constants["h"] = np.ones((2, 2, hidden), np.float32)
    inputs[5] = "h"
    begun = node("DynamicQuantizeLSTM", inputs, direction="bidirectional", hidden_size=hidden, domain="com.microsoft")
    with pytest.raises(RuntimeError, match="another state than zeros"):
        Graph(model_of([begun], {"x": X}, constants, ["out"])).run({"x": torch.from_numpy(real(6, 2, width))})


def test_a_part_of_a_graph_runs_with_own_functions_and_other_values():
    nodes = [node("Exp", ["x"], ["a"]), node("Sin", ["a"], ["b"]), node("Add", ["b", "c"], ["out"])]
    model = model_of(nodes, {"x": X}, {"c": np.float32(1)}, ["out"])
    x = torch.from_numpy(X)
    assert torch.equal(Graph(model, given=("b",)).run({"b": x})["out"], x + 1)
    assert torch.equal(Graph(model, wanted=("a",)).run({"x": x})["a"], x.exp())
    own = Graph(model, keep=("a",), replace={"b": (["a"], lambda a: a * 2)}, constants={"c": torch.tensor(3.0)})
    found = own.run({"x": x}, {"a": lambda a: a + 1})
    assert torch.equal(found["out"], (x.exp() + 1) * 2 + 3) and torch.equal(found["a"], x.exp() + 1)


def test_half_precision_weights_are_read_as_floats(tmp_path):
    weight = real(8, 4).astype(np.float16)
    path = tmp_path / "half.onnx"
    path.write_bytes(model_of([node("MatMul", ["x", "w"])], {"x": X}, {"w": weight}, ["out"]))
    found = Graph(path).run({"x": torch.from_numpy(X)})["out"]
    torch.testing.assert_close(found, torch.from_numpy(X) @ torch.from_numpy(weight).float())


def test_what_cannot_be_run_is_named(tmp_path):
    path = tmp_path / "voice.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match=r"voice\.onnx: cannot be read"):
        Graph(path)
    path.write_bytes(model_of([node("Einsum", ["x", "y"], equation="ab,bc->ac")], {"x": X, "y": Y}, {}, ["out"]))
    with pytest.raises(CheckpointError, match=r"voice\.onnx: the operator Einsum"):
        Graph(path)
    with pytest.raises(CheckpointError, match="opset 11"):
        Graph(model_of([node("Exp", ["x"])], {"x": X}, {}, ["out"], opset=11))
    with pytest.raises(CheckpointError, match=r"Resize.*cubic"):
        Graph(model_of([node("Resize", ["x", "", "s"], mode="cubic")], {"x": X}, {"s": real(3)}, ["out"]))
    with pytest.raises(RuntimeError, match=r"MatMul out of \[\(2, 3, 8\), \(2, 3, 8\)\]"):
        Graph(model_of([node("MatMul", ["x", "y"])], {"x": X, "y": Y}, {}, ["out"])).run(
            {"x": torch.from_numpy(X), "y": torch.from_numpy(Y)}
        )


def test_every_operator_is_compared_here():
    compared = {name.split()[0] for name in SHAPED} | {*UNARY, *BINARY} | ALONE
    assert set(OPERATORS) == compared
