"""Models whose shapes can't be those of a program: a diagnostic that names what disagrees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

import crossbank
from crossbank.runtime.program import ProgramError

CONTEXT = 64


def refused(folder: Path, nodes: Sequence[onnx.NodeProto], *shapes: Sequence[str | int]) -> ProgramError:
    ports = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, shape) for i, shape in enumerate(shapes)]
    out = [onnx.ValueInfoProto(name=nodes[-1].output[0])]
    model = helper.make_model(
        helper.make_graph(nodes, "ports", ports, out), opset_imports=[helper.make_opsetid("", 18)], ir_version=10
    )
    path = folder / "model.onnx"
    onnx.save(model, path)
    with pytest.raises(ProgramError) as caught:
        crossbank.compile(path, context=CONTEXT, quiet=True)
    return caught.value


def test_memory_beyond_addresses(tmp_path: Path) -> None:
    error = refused(tmp_path, [helper.make_node("Neg", ["x0"], ["y"])], ["n", 1 << 40, 64])
    assert error.code == "CB0312"
    assert f"a program addresses {1 << 44}" in str(error)


def test_more_dimensions_than_a_program_takes(tmp_path: Path) -> None:
    nodes = [helper.make_node("Neg", ["x0"], ["y"])]
    error = refused(tmp_path, nodes, *([f"n{i}"] for i in range(12)))
    assert error.code == "CB0115"
    assert "12 dimensions are open, a program takes 10" in str(error)


def test_dimension_that_becomes_negative(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Concat", ["x0", "x1"], ["joined"], axis=0),
        helper.make_node("Add", ["joined", "x2"], ["y"]),
    ]
    error = refused(tmp_path, nodes, ["a"], ["b"], [5])
    assert error.code == "CB0115"
    assert "for some sizes of the inputs" in str(error)


def test_shapes_that_fit_at_times(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["shape"], value_ints=[-1, 3]),
        helper.make_node("Reshape", ["x0", "shape"], ["rows"]),
        helper.make_node("Add", ["rows", "x1"], ["y"]),
    ]
    error = refused(tmp_path, nodes, ["a", "a"], ["a", 3])
    assert error.code == "CB0113"
    assert "shapes fit only where" in str(error)
