"""`If` nodes: constant conditions, conditions bound to the branch that reads the caches, and those refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import crossbank
from crossbank.compiler.frontend.errors import FrontendError
from crossbank.runtime.program import ProgramError

FLOAT = TensorProto.FLOAT


def value(name: str, *dims: Any) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, FLOAT, dims)


def branch(name: str, *nodes: onnx.NodeProto, output: str = "r") -> onnx.GraphProto:
    return helper.make_graph(list(nodes), name, [], [helper.make_tensor_value_info(output, FLOAT, None)])


def model(
    condition: list[onnx.NodeProto],
    then: onnx.GraphProto,
    otherwise: onnx.GraphProto,
    inputs: list[onnx.ValueInfoProto],
    kept: list[onnx.TensorProto],
) -> onnx.ModelProto:
    node = helper.make_node("If", ["condition"], ["y"], "if", then_branch=then, else_branch=otherwise)
    graph = helper.make_graph([*condition, node], "g", inputs, [value("y", None)], kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize("negated", [True, False])
def test_constant_condition(taken: bool, negated: bool, tmp_path: Path) -> None:
    kept = [numpy_helper.from_array(np.array(taken), "flag" if negated else "condition")]
    condition = [helper.make_node("Not", ["flag"], ["condition"], "not")] if negated else []
    then = branch("then", helper.make_node("Neg", ["x"], ["h"], "a"), helper.make_node("Exp", ["h"], ["r"], "b"))
    otherwise = branch("else", helper.make_node("Sqrt", ["x"], ["h"], "a"), helper.make_node("Exp", ["h"], ["r"], "b"))
    built = model(condition, then, otherwise, [value("x", 3)], kept)
    onnx.save(built, tmp_path / "m.onnx")
    x = np.array([1, 4, 9], np.float32)
    (expected,) = onnxruntime.InferenceSession(built.SerializeToString()).run(None, {"x": x})
    (got,) = crossbank.compile(tmp_path / "m.onnx", quiet=True).session().run(None, {"x": x})
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_nested_branches_keep_their_names_apart(tmp_path: Path) -> None:
    inner = helper.make_node(
        "If", ["condition"], ["r"], "inner",
        then_branch=branch("t", helper.make_node("Add", ["h", "h"], ["r"], "a")),
        else_branch=branch("e", helper.make_node("Neg", ["h"], ["r"], "a")),
    )  # fmt: skip
    then = branch("then", helper.make_node("Exp", ["x"], ["h"], "a"), inner)
    otherwise = branch("else", output="x")
    built = model([], then, otherwise, [value("x", 2)], [numpy_helper.from_array(np.array(True), "condition")])
    onnx.save(built, tmp_path / "m.onnx")
    (got,) = crossbank.compile(tmp_path / "m.onnx", quiet=True).session().run(None, {"x": np.ones(2, np.float32)})
    np.testing.assert_allclose(got, 2 * np.exp(np.ones(2)), rtol=1e-6)


def merged() -> onnx.ModelProto:
    then = branch("then", helper.make_node("Concat", ["past", "x"], ["r"], "c", axis=0))
    otherwise = branch("else", helper.make_node("Identity", ["x"], ["r"], "i"))
    flag = helper.make_tensor_value_info("condition", TensorProto.BOOL, [1])
    return model([], then, otherwise, [flag, value("x", "seq"), value("past", "past")], [])


def test_bound_condition(tmp_path: Path) -> None:
    onnx.save(merged(), tmp_path / "m.onnx")
    program = crossbank.compile(tmp_path / "m.onnx", quiet=True)
    assert program.summary()["bound"] == {"condition": True}
    session, x = program.session(), np.ones(2, np.float32)
    full = {"condition": np.array([True]), "x": x, "past": np.zeros(3, np.float32)}
    np.testing.assert_array_equal(session.run(None, full)[0], [0, 0, 0, 1, 1])
    empty = {"condition": np.array([False]), "x": x, "past": np.zeros(0, np.float32)}
    np.testing.assert_array_equal(session.run(None, empty)[0], [1, 1])
    with pytest.raises(ProgramError, match=r"CB0613.*3 past tokens"):
        session.run(None, full | {"condition": np.array([False])})


@pytest.mark.parametrize("what", ["data", "same inputs", "no branch"])
def test_conditions_that_nothing_decides(what: str, tmp_path: Path) -> None:
    built = merged()
    (node,) = built.graph.node
    if what == "data":
        built.graph.node.insert(0, helper.make_node("ReduceMax", ["x"], ["m"], "m", keepdims=0))
        built.graph.node.insert(1, helper.make_node("Cast", ["m"], ["computed"], "cast", to=TensorProto.BOOL))
        built.graph.node.insert(2, helper.make_node("And", ["computed", "condition"], ["both"], "and"))
        built.graph.node[3].input[0] = "both"
    elif what == "same inputs":
        (other,) = next(a.g.node for a in node.attribute if a.name == "else_branch")
        other.CopyFrom(helper.make_node("Concat", ["x", "past"], ["r"], "c", axis=0))
    else:
        del node.attribute[1]
    onnx.save(built, tmp_path / "m.onnx")
    with pytest.raises(FrontendError, match="CB0109"):
        crossbank.compile(tmp_path / "m.onnx", quiet=True)
