"""Inferred types against what onnxruntime computes, values of shape arithmetic, equations between dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossbank.compiler.frontend.errors import FrontendError
from crossbank.compiler.frontend.graph import Graph
from crossbank.compiler.frontend.load import load
from crossbank.compiler.frontend.shapes import Shapes, infer
from crossbank.compiler.frontend.step import RULES
from crossbank.dialects.onnx import schemas
from crossbank.runtime.expr import Expr
from tests.compiler.frontend.models import BOOL, FLOAT, INT64, Dims, imported, model, node
from tests.interpreter import Interpreter

DIMS = {"b": 2, "s": 5, "p": 3, "one": 1}
X = {"x": (FLOAT, ["b", "s", 8])}
F = np.float32


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


# operator, inputs, model inputs, tensors, attributes, opset
CASES: list[tuple[str, list[str], Mapping[str, tuple[int, Dims]], dict[str, Any], dict[str, Any], int]] = [
    ("Add", ["x", "y"], {**X, "y": (FLOAT, ["s", 1])}, {}, {}, 18),
    ("Where", ["c", "x", "y"], {**X, "c": (BOOL, ["b", 1, 8]), "y": (FLOAT, [])}, {}, {}, 18),
    ("Max", ["x", "y", "z"], {**X, "y": (FLOAT, [8]), "z": (FLOAT, ["b", 1, 1])}, {}, {}, 18),
    ("Cast", ["x"], X, {}, {"to": 7}, 18),
    ("IsNaN", ["x"], X, {}, {}, 18),
    ("Equal", ["x", "x"], X, {}, {}, 18),
    ("MatMul", ["x", "w"], X, {"w": np.ones((8, 3), F)}, {}, 18),
    ("MatMul", ["x", "y"], {**X, "y": (FLOAT, [8])}, {}, {}, 18),
    ("MatMul", ["x", "y"], {"x": (FLOAT, ["b", 1, "s", "p"]), "y": (FLOAT, [4, "p", "s"])}, {}, {}, 18),
    ("Gemm", ["x", "w", "c"], {"x": (FLOAT, [8, "s"])}, {"w": np.ones((3, 8), F), "c": np.ones(3, F)},
     {"transA": 1, "transB": 1}, 18),
    ("Einsum", ["x", "w"], X, {"w": np.ones((8, 3), F)}, {"equation": "bsk,kn->bns"}, 18),
    ("Gather", ["x", "i"], {**X, "i": (INT64, ["p", 2])}, {}, {"axis": 1}, 18),
    ("Gather", ["x", "i"], X, {"i": np.array(-1)}, {"axis": -1}, 18),
    ("GatherND", ["x", "i"], X, {"i": np.zeros((4, 2), np.int64)}, {}, 18),
    ("GatherND", ["x", "i"], {**X, "i": (INT64, ["b", 1])}, {}, {"batch_dims": 1}, 18),
    ("GatherElements", ["x", "i"], {**X, "i": (INT64, ["b", 1, 8])}, {}, {"axis": 1}, 18),
    ("Concat", ["x", "y"], {**X, "y": (FLOAT, ["b", "p", 8])}, {}, {"axis": -2}, 18),
    ("Slice", ["x", "a", "e", "ax"], X, {"a": ints(1), "e": ints(1 << 62), "ax": ints(1)}, {}, 18),
    ("Slice", ["x", "a", "e", "ax", "st"], X,
     {"a": ints(-1), "e": ints(-(1 << 62)), "ax": ints(2), "st": ints(-2)}, {}, 18),
    ("Slice", ["x", "a", "e", "ax", "st"], X,
     {"a": ints(-1), "e": ints(-(1 << 62)), "ax": ints(1), "st": ints(-1)}, {}, 18),
    ("Slice", ["x", "a", "e"], X, {"a": ints(0, -3), "e": ints(1, -1)}, {}, 18),
    ("Slice", ["x"], X, {}, {"starts": [1], "ends": [-1], "axes": [2]}, 9),
    ("Unsqueeze", ["x", "ax"], X, {"ax": ints(-1, 0)}, {}, 18),
    ("Unsqueeze", ["x"], X, {}, {"axes": [1, 3]}, 11),
    ("Squeeze", ["x", "ax"], {"x": (FLOAT, ["b", 1, "s"])}, {"ax": ints(-2)}, {}, 18),
    ("Squeeze", ["x"], {"x": (FLOAT, ["b", 1, "s", 1])}, {}, {}, 18),
    ("Squeeze", ["x"], {"x": (FLOAT, ["b", 1, "s", 1])}, {}, {"axes": [1]}, 11),
    ("Reshape", ["x", "r"], X, {"r": ints(0, -1, 4, 2)}, {}, 18),
    ("Reshape", ["x", "r"], {"x": (FLOAT, ["b", 4, "s", "p"])}, {"r": ints(-1, 2)}, {}, 18),
    ("Flatten", ["x"], X, {}, {"axis": -1}, 18),
    ("Flatten", ["x"], X, {}, {"axis": 0}, 18),
    ("Transpose", ["x"], X, {}, {}, 18),
    ("Transpose", ["x"], X, {}, {"perm": [1, 0, 2]}, 18),
    ("Expand", ["x", "r"], {"x": (FLOAT, ["b", 1, "s"])}, {"r": ints(3, 1, 4, 1)}, {}, 18),
    ("Tile", ["x", "r"], X, {"r": ints(1, 2, 3)}, {}, 18),
    ("Split", ["x"], X, {}, {"axis": -1, "num_outputs": 3}, 18),
    ("Split", ["x", "r"], X, {"r": ints(2, 5, 1)}, {"axis": 2}, 18),
    ("Split", ["x"], X, {}, {"axis": 2, "split": [2, 5, 1]}, 11),
    ("Pad", ["x", "r"], X, {"r": ints(0, 1, 0, 0, 2, 3)}, {}, 18),
    ("Pad", ["x"], X, {}, {"pads": [0, 1, 0, 0, 2, 3]}, 9),
    ("Shape", ["x"], X, {}, {"start": 1, "end": -1}, 18),
    ("Shape", ["x"], X, {}, {"start": -2}, 18),
    ("Size", ["x"], X, {}, {}, 18),
    ("ReduceMean", ["x", "ax"], X, {"ax": ints(-1)}, {}, 18),
    ("ReduceMean", ["x"], X, {}, {"axes": [1], "keepdims": 0}, 17),
    ("ReduceSum", ["x"], X, {}, {"keepdims": 0}, 18),
    ("ReduceSum", ["x"], X, {}, {"noop_with_empty_axes": 1}, 18),
    ("ReduceMax", ["x", "ax"], X, {"ax": ints(0, 1)}, {"keepdims": 0}, 18),
    ("ArgMax", ["x"], X, {}, {"axis": 1}, 18),
    ("TopK", ["x", "k"], X, {"k": ints(3)}, {}, 18),
    ("Softmax", ["x"], X, {}, {}, 18),
    ("LayerNormalization", ["x", "w"], X, {"w": np.ones(8, F)}, {}, 18),
    ("OneHot", ["i", "d", "v"], {"i": (INT64, ["b", "s"])}, {"d": ints(6), "v": np.array([0, 1], F)}, {"axis": 1}, 18),
    ("Trilu", ["x"], X, {}, {}, 18),
    ("CumSum", ["x", "ax"], X, {"ax": np.array(1)}, {}, 18),
    ("ScatterND", ["x", "i", "u"], {**X, "u": (FLOAT, [1, "s", 8])}, {"i": np.zeros((1, 1), np.int64)}, {}, 18),
    ("Dropout", ["x"], X, {}, {}, 18),
    ("DynamicQuantizeLinear", ["x"], X, {}, {}, 18),
    ("QuantizeLinear", ["x", "s"], X, {"s": np.array(1, F)}, {}, 18),
    ("NonZero", ["x"], X, {}, {}, 18),
    ("Conv", ["x", "w"], {"x": (FLOAT, ["b", 8, "s"])}, {"w": np.ones((4, 8, 3), F)}, {"pads": [1, 1]}, 18),
    ("SimplifiedLayerNormalization", ["x", "w"], X, {"w": np.ones(8, F)}, {"axis": -1}, 18),
]  # fmt: skip
OUTPUTS = {"Split": 3, "TopK": 2, "DynamicQuantizeLinear": 3}


def feed(inputs: Mapping[str, tuple[int, Dims]]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    kinds = {FLOAT: F, INT64: np.int64, BOOL: bool}
    found: dict[str, Any] = {}
    for name, (kind, dims) in inputs.items():
        shape = [dim if isinstance(dim, int) else DIMS[str(dim)] for dim in dims]
        values = rng.standard_normal(shape) if kind == FLOAT else rng.integers(0, 2, shape)
        found[name] = np.asarray(values).astype(kinds[kind])
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[5]}")
def test_types_are_those_of_onnxruntime(tmp_path: Path, case: Any):
    operator, names, inputs, tensors, attributes, opset = case
    outputs = [f"y{i}" for i in range(OUTPUTS.get(operator, 1))]
    proto = model([node(operator, names, outputs, **attributes)], inputs, outputs, tensors, opset)
    module, ctx = imported(proto, tmp_path)
    run = Interpreter(module, ctx.tensors)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = feed(inputs)
    expected = session.run(None, feeds)
    found = run.run(feeds)
    for name, value in zip(outputs, expected, strict=True):
        assert found[name].dtype == value.dtype
        np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-6)


def test_rules_are_of_known_operators():
    assert {key for key in RULES if ":" not in key} - {
        "SimplifiedLayerNormalization",
        "SkipSimplifiedLayerNormalization",
    } <= schemas().keys()


# ------------------------------------------------------------- symbolic values


def inferred(
    tmp_path: Path,
    nodes: Sequence[Any],
    inputs: Mapping[str, tuple[int, Dims]],
    outputs: Sequence[str],
    tensors: Mapping[str, Any] | None = None,
) -> tuple[Graph, Shapes]:
    path = tmp_path / "model.onnx"
    path.write_bytes(model(nodes, inputs, outputs, tensors).SerializeToString())
    graph = load(path)
    return graph, infer(graph)


def shape(shapes: Shapes, name: str) -> list[str]:
    return [str(dim) for dim in shapes.infos[name].shape]


def data(shapes: Shapes, name: str) -> list[str]:
    found = shapes.infos[name].data
    assert found is not None
    return [str(value) for value in found.reshape(-1)]


def test_shape_arithmetic(tmp_path: Path):
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["batch"]),
        node("Gather", ["shape", "one"], ["seq"]),
        node("Mul", ["batch", "two"], ["double"]),
        node("Div", ["double", "two"], ["half"]),
        node("Unsqueeze", ["half", "axis"], ["h"]),
        node("Unsqueeze", ["seq", "axis"], ["s"]),
        node("Concat", ["h", "s", "four", "open"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["y"]),
    ]
    tensors = {"zero": np.array(0), "one": np.array(1), "two": np.array(2), "axis": ints(0)}
    tensors |= {"four": ints(4), "open": ints(-1)}
    _, shapes = inferred(tmp_path, nodes, {"x": (FLOAT, ["batch", "seq", 32])}, ["y"], tensors)
    assert data(shapes, "target") == ["batch", "seq", "4", "-1"]
    assert shape(shapes, "y") == ["batch", "seq", "4", "8"]


def test_expand_target_by_where(tmp_path: Path):
    """The idiom that TorchScript writes for expand(batch, -1, seq)."""
    nodes = [
        node("Shape", ["x"], ["dims"]),
        node("Gather", ["dims", "zero"], ["b"]),
        node("Concat", ["b", "minus", "b"], ["target"], axis=0),
        node("Shape", ["target"], ["rank"]),
        node("ConstantOfShape", ["rank"], ["ones"], value=onnx_tensor(ints(1))),
        node("Mul", ["ones", "minus"], ["all_minus"]),
        node("Equal", ["target", "all_minus"], ["open"]),
        node("Where", ["open", "ones", "target"], ["final"]),
        node("Expand", ["z", "final"], ["y"]),
    ]
    inputs = {"x": (FLOAT, ["batch", 2]), "z": (FLOAT, [1, "n", 1])}
    _, shapes = inferred(tmp_path, nodes, inputs, ["y"], {"zero": ints(0), "minus": ints(-1)})
    assert data(shapes, "final") == ["batch", "1", "batch"]
    assert shape(shapes, "y") == ["batch", "n", "batch"]


def onnx_tensor(array: Any) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(array)


def test_range_of_new_positions(tmp_path: Path):
    nodes = [
        node("Shape", ["past"], ["p"], start=2, end=3),
        node("Shape", ["ids"], ["s"], start=1, end=2),
        node("Squeeze", ["p"], ["p0"]),
        node("Squeeze", ["s"], ["s0"]),
        node("Add", ["p0", "s0"], ["total"]),
        node("Range", ["p0", "total", "one"], ["positions"]),
        node("Range", ["total", "p0", "minus"], ["down"]),
    ]
    inputs = {"ids": (INT64, ["b", "seq"]), "past": (FLOAT, ["b", 2, "past", 8])}
    tensors = {"one": np.array(1), "minus": np.array(-2)}
    _, shapes = inferred(tmp_path, nodes, inputs, ["positions", "down"], tensors)
    assert shape(shapes, "positions") == ["seq"]
    assert shape(shapes, "down") == ["ceildiv(-seq, -2)"]


def test_range_to_the_last_position_in_floats(tmp_path: Path):
    """The length of a sequence is its last position and one; a Range of floats counts to it, by whole numbers."""
    nodes = [
        node("Shape", ["past"], ["p"], start=2, end=3),
        node("Shape", ["ids"], ["s"], start=1, end=2),
        node("Squeeze", ["p"], ["p0"]),
        node("Squeeze", ["s"], ["s0"]),
        node("Add", ["p0", "s0"], ["total"]),
        node("Range", ["p0", "total", "one"], ["positions"]),
        node("Gather", ["positions", "last"], ["end"], axis=0),
        node("Add", ["end", "one"], ["length"]),
        node("Cast", ["length"], ["float_length"], to=FLOAT),
        node("Range", ["f0", "float_length", "f1"], ["float_positions"]),
        node("Range", ["f0", "float_length", "half"], ["halves"]),
        node("Gather", ["positions", "some"], ["taken"], axis=0),
    ]
    inputs = {"ids": (INT64, ["b", "seq"]), "past": (FLOAT, ["b", 2, "past", 8])}
    tensors = {
        "one": np.array(1), "last": np.array(-1), "some": ints(0, 1, -2),
        "f0": F(0), "f1": F(1), "half": F(0.5),
    }  # fmt: skip
    _, shapes = inferred(tmp_path, nodes, inputs, ["float_positions", "halves", "taken"], tensors)
    assert data(shapes, "length") == ["past + seq"]
    assert data(shapes, "taken") == ["past", "past + 1", "past + seq - 2"]
    assert shape(shapes, "float_positions") == ["past + seq"]
    assert shape(shapes, "halves")[0].startswith("data_")


def test_slice_of_the_last_tokens(tmp_path: Path):
    """x[-s:] of past + s tokens, and of s."""
    nodes = [
        node("Shape", ["ids"], ["s"], start=1, end=2),
        node("Neg", ["s"], ["start"]),
        node("Slice", ["x", "start", "end", "axis"], ["last"]),
        node("Slice", ["y", "start", "end", "axis"], ["all"]),
    ]
    inputs = {"ids": (INT64, ["b", "seq"]), "x": (FLOAT, ["b", "past + seq"]), "y": (FLOAT, ["b", "seq"])}
    _, shapes = inferred(tmp_path, nodes, inputs, ["last", "all"], {"end": ints(1 << 62), "axis": ints(1)})
    assert (shape(shapes, "last"), shape(shapes, "all")) == (["b", "seq"], ["b", "seq"])


def test_declared_expressions_unnamed_and_odd_names(tmp_path: Path):
    nodes = [node("Relu", ["x"], ["y"]), node("Relu", ["z.a"], ["w"])]
    inputs = {"x": (FLOAT, ["past + seq", "seq*2", "min"]), "z.a": (FLOAT, [None, "my dim", "lambda"])}
    _, shapes = inferred(tmp_path, nodes, inputs, ["y", "w"])
    assert shape(shapes, "y") == ["past + seq", "seq*2", "min_"]
    assert shape(shapes, "w") == ["z_a_dim0", "my_dim", "lambda_"]
    for info in shapes.infos.values():
        assert all(Expr.of(str(dim)) == dim for dim in info.shape)


def test_broadcast_of_two_names_is_an_equation(tmp_path: Path):
    nodes = [node("Add", ["x", "y"], ["z"]), node("Concat", ["z", "z"], ["c"], axis=0)]
    inputs = {"x": (FLOAT, ["a"]), "y": (FLOAT, ["other"])}
    _, shapes = inferred(tmp_path, nodes, inputs, ["c"])
    assert {name: str(expr) for name, expr in shapes.equations.solved.items()} == {"other": "a"}
    assert shape(shapes, "c") == ["a*2"]
    assert shape(shapes, "y") == ["a"]


def test_broadcast_of_names_that_turn_out_constant(tmp_path: Path):
    """Where two names are found to be 3, a later broadcast between them, or with 3, is one of equal dimensions."""
    nodes = [node("Add", ["x", "y"], ["z"]), node("Reshape", ["x", "three"], ["r"]), node("Mul", ["z", "r"], ["w"])]
    inputs = {"x": (FLOAT, ["a"]), "y": (FLOAT, ["b"])}
    _, shapes = inferred(tmp_path, nodes, inputs, ["w"], {"three": ints(3)})
    assert shape(shapes, "w") == ["3"]


def test_total_is_past_and_sequence(tmp_path: Path):
    nodes = [node("Concat", ["past", "new"], ["all"], axis=1), node("Add", ["all", "mask"], ["y"])]
    inputs = {"mask": (FLOAT, ["b", "total"]), "past": (FLOAT, ["b", "p"]), "new": (FLOAT, ["b", "s"])}
    _, shapes = inferred(tmp_path, nodes, inputs, ["y"])
    assert shape(shapes, "y") == ["b", "p + s"]
    assert str(shapes.equations.solved["total"]) == "p + s"


def test_data_dependent_shapes_stay_open(tmp_path: Path):
    nodes = [
        node("NonZero", ["x"], ["where"]),
        node("Shape", ["where"], ["dims"]),
        node("ConstantOfShape", ["dims"], ["zeros"]),
    ]
    module, ctx = imported(model(nodes, {"x": (FLOAT, ["n", 3])}, ["zeros"]), tmp_path)
    out = Interpreter(module, ctx.tensors).run({"x": np.array([[1, 0, 2]], F)})
    assert out["zeros"].shape == (2, 2)


def test_constants_fold_through_operators_without_a_rule(tmp_path: Path):
    nodes = [node("Tan", ["c"], ["t"]), node("Trilu", ["t"], ["u"], upper=0), node("Add", ["x", "u"], ["y"])]
    graph, _ = inferred(tmp_path, nodes, {"x": (FLOAT, [3, 3])}, ["y"], {"c": np.full((3, 3), 0.5, F)})
    assert [n.name for n in graph.nodes] == ["n_y"]
    np.testing.assert_allclose(graph.store.load("u"), np.tril(np.full((3, 3), np.tan(0.5))), rtol=1e-6)


def test_large_constants_are_kept(tmp_path: Path):
    nodes = [node("Expand", ["c", "r"], ["big"]), node("Add", ["x", "big"], ["y"])]
    tensors = {"c": np.ones((1, 1), F), "r": ints(4096, 2048)}
    graph, _ = inferred(tmp_path, nodes, {"x": (FLOAT, ["n", 2048])}, ["y"], tensors)
    assert [n.key for n in graph.nodes] == ["Expand", "Add"]


@pytest.mark.parametrize(
    ("nodes", "inputs", "tensors", "texts"),
    [
        ([node("Add", ["x", "w"], ["y"])], {"x": (FLOAT, [4])}, {"w": np.ones(3, F)}, ["4 and 3"]),
        ([node("MatMul", ["x", "w"], ["y"])], {"x": (FLOAT, ["n", 4])}, {"w": np.ones((3, 2), F)}, ["4 and 3"]),
        ([node("Reshape", ["x", "r"], ["y"])], {"x": (FLOAT, [6])}, {"r": ints(4, -1)}, ["6 elements", "4"]),
        ([node("Reshape", ["x", "r"], ["y"])], {"x": (FLOAT, [6])}, {"r": ints(2, 2)}, ["6", "4"]),
        ([node("Concat", ["x", "w"], ["y"], axis=0)], {"x": (FLOAT, [4, 2])}, {"w": np.ones((1, 3), F)}, ["2 and 3"]),
        ([node("Transpose", ["x"], ["y"], perm=[0, 0])], {"x": (FLOAT, [4, 2])}, {}, ["[0, 0]"]),
        ([node("ReduceMax", ["x", "w"], ["y"])], {"x": (FLOAT, [2])}, {"w": ints(5)}, ["axis 5"]),
        ([node("Gather", ["w", "i"], ["y"])], {"x": (FLOAT, [2])}, {"w": ints(1, 2), "i": ints(7)}, ["7 into 2"]),
    ],
)  # fmt: skip
def test_wrong_shapes_are_refused(tmp_path: Path, nodes: Any, inputs: Any, tensors: Any, texts: list[str]):
    with pytest.raises(FrontendError) as caught:
        inferred(tmp_path, nodes, inputs, ["y"], tensors)
    assert caught.value.code == "CB0113"
    assert "n_y" in caught.value.where
    for text in texts:
        assert text in str(caught.value)


@settings(deadline=None, max_examples=200)
@given(
    st.integers(0, 9),
    st.integers(-12, 12) | st.sampled_from([2**31, 2**62, -(2**62)]),
    st.integers(-12, 12) | st.sampled_from([2**31, 2**62, -(2**62)]),
    st.sampled_from([1, 2, 3, -1, -2, -4]),
)
def test_slice_lengths_are_numpy_s(tmp_path_factory: Any, size: int, start: int, end: int, stride: int):
    folder = tmp_path_factory.mktemp("slice")
    tensors = {"a": ints(start), "e": ints(end), "ax": ints(0), "st": ints(stride)}
    nodes = [node("Slice", ["x", "a", "e", "ax", "st"], ["y"])]
    _, shapes = inferred(folder, nodes, {"x": (FLOAT, [size])}, ["y"], tensors)
    # ONNX clamps negative ends of negative strides to -1 - size, where numpy's slice needs None
    stop = None if stride < 0 and end < -size else end
    assert shape(shapes, "y") == [str(len(np.zeros(size)[start:stop:stride]))]
