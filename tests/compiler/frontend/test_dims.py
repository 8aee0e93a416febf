"""What lengths mean that only the graph, or only habit, tells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import crossbank


@pytest.mark.parametrize("guarded", [False, True])
def test_the_end_of_a_table_is_as_long_as_asked(guarded: bool, tmp_path: Path) -> None:
    """ALiBi as exporters of MPT write it: the last n of a table of distances, n counted in the graph."""
    table = np.arange(16, dtype=np.float32)
    kept = {"table": table, "size": np.array([16]), "end": np.array([2**62]), "zero": np.array([0])}
    nodes = [
        helper.make_node("Shape", ["x"], ["n"]), helper.make_node("Sub", ["size", "n"], ["start"]),
        helper.make_node("Max", ["start", "zero"], ["not_below"]),
        helper.make_node("Slice", ["table", "not_below" if guarded else "start", "end", "zero"], ["last"]),
        helper.make_node("Add", ["x", "last"], ["y"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "end", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in kept.items()],
    )  # fmt: skip
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(built, tmp_path / "m.onnx")
    session = crossbank.compile(tmp_path / "m.onnx", quiet=True).session()
    reference = onnxruntime.InferenceSession(built.SerializeToString())
    for n in (1, 5, 16):
        x = np.ones(n, np.float32)
        np.testing.assert_array_equal(session.run(None, {"x": x})[0], reference.run(None, {"x": x})[0])


def test_anonymous_first_dimensions_are_the_batch(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["attention_mask"], ["m"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "m"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "mask",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["s1", "s2"]),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["s7", "s2"]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    program = crossbank.compile(tmp_path / "m.onnx", quiet=True)
    assert set(program.code.dimensions) == {"s1", "s2"}
    ids, mask = np.array([[3, 4], [5, 6]]), np.array([[1, 0], [1, 1]])
    np.testing.assert_array_equal(
        program.session().run(None, {"input_ids": ids, "attention_mask": mask})[0], ids * mask
    )
