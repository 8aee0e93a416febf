"""The interface of onnx.backend.base: models by position and by name, single nodes, shapes that inputs decide."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from crossbank import onnx_backend
from crossbank.runtime.program import ProgramError

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def model_of(nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], outputs: list[str]) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "test", inputs, [onnx.ValueInfoProto(name=name) for name in outputs])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def port(name: str, shape: list[int | str] | None, dtype: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def test_inputs_by_position_and_by_name() -> None:
    model = model_of([helper.make_node("Sub", ["a", "b"], ["y"])], [port("a", [2]), port("b", [2])], ["y"])
    a, b = np.array([5, 7], np.float32), np.array([1, 2], np.float32)
    program = onnx_backend.prepare(model)
    np.testing.assert_array_equal(program.run([a, b])[0], [4, 5])
    np.testing.assert_array_equal(program.run({"b": b, "a": a})[0], [4, 5])
    np.testing.assert_array_equal(onnx_backend.run_model(model, [b, a])[0], [-4, -5])


def test_named_dimensions_and_scalars() -> None:
    nodes = [helper.make_node("Mul", ["x", "s"], ["y"]), helper.make_node("ReduceSum", ["y"], ["t"], keepdims=0)]
    program = onnx_backend.prepare(model_of(nodes, [port("x", ["n", 2]), port("s", [])], ["y", "t"]))
    for rows in (1, 4):
        x = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
        y, t = program.run([x, np.float32(3)])
        np.testing.assert_array_equal(y, 3 * x)
        assert t.shape == () and t == 3 * x.sum()


def test_one_node() -> None:
    node = helper.make_node("Clip", ["x", "", "high"], ["y"])
    (y,) = onnx_backend.run_node(node, [np.array([-1, 5], np.float32), np.float32(3)])
    np.testing.assert_array_equal(y, [-1, 3])


def test_one_node_of_another_opset_and_with_an_input_twice() -> None:
    x = np.array([[1, 2], [3, 4]], np.float32)
    node = helper.make_node("ReduceSum", ["x"], ["y"], axes=[0], keepdims=0)
    np.testing.assert_array_equal(onnx_backend.run_node(node, [x], opset_version=11)[0], [4, 6])
    twice = helper.make_node("Mul", ["x", "x"], ["y"])
    for inputs in ([x], [x, x], {"x": x}):
        np.testing.assert_array_equal(onnx_backend.run_node(twice, inputs)[0], x * x)
    with pytest.raises(ProgramError, match="1 inputs for 2 of Mul"):
        onnx_backend.run_node(helper.make_node("Mul", ["x", "z"], ["y"]), [x])


def test_the_runners_tolerances_are_no_options() -> None:
    model = model_of([helper.make_node("Neg", ["x"], ["y"])], [port("x", [1])], ["y"])
    x = np.ones(1, np.float32)
    assert onnx_backend.prepare(model, "CPU", rtol=1e-2, atol=1e-3).run([x])[0] == -1


def test_initializers_are_no_inputs() -> None:
    model = model_of([helper.make_node("Add", ["x", "w"], ["y"])], [port("x", [2]), port("w", [2])], ["y"])
    model.graph.initializer.append(numpy_helper.from_array(np.array([10, 20], np.float32), "w"))
    np.testing.assert_array_equal(onnx_backend.run_model(model, np.array([1, 2], np.float32))[0], [11, 22])


def test_shapes_that_inputs_decide() -> None:
    nodes = [
        helper.make_node("Cast", ["s"], ["wide"], to=INT64),
        helper.make_node("Reshape", ["x", "wide"], ["y"]),
    ]
    program = onnx_backend.prepare(model_of(nodes, [port("x", [2, 3]), port("s", [None], TensorProto.INT32)], ["y"]))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    for shape in ((3, 2), (6,), (1, 3, 2)):
        (y,) = program.run([x, np.array(shape, np.int32)])
        np.testing.assert_array_equal(y, x.reshape(shape))


def test_inputs_without_a_shape() -> None:
    program = onnx_backend.prepare(model_of([helper.make_node("Neg", ["x"], ["y"])], [port("x", None)], ["y"]))
    for shape in ((2,), (1, 3)):
        np.testing.assert_array_equal(program.run([np.ones(shape, np.float32)])[0], -np.ones(shape))


def test_empty_tensors_and_narrow_types() -> None:
    nodes = [helper.make_node("Concat", ["a", "b"], ["c"], axis=0), helper.make_node("Cast", ["c"], ["y"], to=FLOAT)]
    inputs = [port("a", [0, 2], TensorProto.BFLOAT16), port("b", [1, 2], TensorProto.BFLOAT16)]
    bfloat16 = helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)
    (y,) = onnx_backend.run_model(
        model_of(nodes, inputs, ["y"]), [np.zeros((0, 2), bfloat16), np.ones((1, 2), bfloat16)]
    )
    np.testing.assert_array_equal(y, [[1, 1]])


def test_the_host_runs_nothing_unless_asked() -> None:
    node = helper.make_node("Det", ["x"], ["y"])
    model = model_of([node], [port("x", [2, 2])], ["y"])
    with pytest.raises(ProgramError, match="Det") as caught:
        onnx_backend.prepare(model)
    assert caught.value.code == "CB0301"
    x = np.array([[1, 2], [3, 5]], np.float32)
    np.testing.assert_allclose(onnx_backend.prepare(model, allow_host=True).run([x])[0], -1, rtol=1e-5)


def test_devices() -> None:
    assert onnx_backend.supports_device("CPU") and onnx_backend.supports_device("CPU:0")
    assert not onnx_backend.supports_device("CUDA")
