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


def tables(name: str, *arrays: np.ndarray[Any, Any]) -> onnx.GraphProto:
    """A branch of Constant nodes."""
    nodes = [
        helper.make_node("Constant", [], [f"{name}{i}"], f"{name}{i}", value=numpy_helper.from_array(array))
        for i, array in enumerate(arrays)
    ]
    outputs = [helper.make_tensor_value_info(f"{name}{i}", FLOAT, None) for i in range(len(arrays))]
    return helper.make_graph(nodes, name, [], outputs)


@pytest.mark.parametrize("given", [True, False])
def test_a_choice_of_tables_that_the_data_make(given: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    both = [rng.standard_normal((6, 4)).astype(np.float32) for _ in range(2)]
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], "sum", keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["condition"], "greater"),
        helper.make_node(
            "If", ["condition"], ["table"], "if", then_branch=tables("t", both[0]), else_branch=tables("e", both[1])
        ),
        helper.make_node("MatMul", ["x", "table"], ["y"], "product"),
    ]
    outputs = [value("y", None, None)] + ([value("table", None, None)] if given else [])
    kept = [numpy_helper.from_array(np.zeros((), np.float32), "zero")]
    graph = helper.make_graph(nodes, "g", [value("x", "n", 6)], outputs, kept)
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(built, tmp_path / "m.onnx")
    session = crossbank.compile(tmp_path / "m.onnx", quiet=True).session()
    for sign in (1.0, -1.0):
        x = sign * np.abs(rng.standard_normal((3, 6))).astype(np.float32)
        expected = onnxruntime.InferenceSession(built.SerializeToString()).run(None, {"x": x})
        for got, wanted in zip(session.run(None, {"x": x}), expected, strict=True):
            np.testing.assert_allclose(got, np.asarray(wanted), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("user", ["rotary", "shape"])
def test_tables_of_unlike_length_are_for_positions_only(user: str, tmp_path: Path) -> None:
    """The angles of short and long contexts (LongRoPE), as onnxruntime-genai writes them."""
    rng = np.random.default_rng(1)
    long, short = ([rng.standard_normal((n, 8)).astype(np.float32) for _ in range(2)] for n in (16, 6))
    use = {
        "rotary": helper.make_node("RotaryEmbedding", ["x", "p", "cos", "sin"], ["y"], "r", domain="com.microsoft"),
        "shape": helper.make_node("Shape", ["cos"], ["y"], "s"),
    }
    nodes = [
        helper.make_node("Shape", ["x"], ["length"], "length", start=2, end=3),
        helper.make_node("Squeeze", ["length"], ["tokens"], "tokens"),
        helper.make_node("Greater", ["tokens", "limit"], ["condition"], "greater"),
        helper.make_node(
            "If", ["condition"], ["cos", "sin"], "if", then_branch=tables("t", *long), else_branch=tables("e", *short)
        ),
        use[user],
    ]
    inputs = [value("x", 1, 2, "n", 16), helper.make_tensor_value_info("p", TensorProto.INT64, [1, "n"])]
    kept = [numpy_helper.from_array(np.array(6), "limit")]
    kind = TensorProto.INT64 if user == "shape" else FLOAT
    outputs = [helper.make_tensor_value_info("y", kind, None)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, kept)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    built = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.save(built, tmp_path / "m.onnx")
    if user == "shape":
        with pytest.raises(FrontendError, match="its condition is computed from data"):
            crossbank.compile(tmp_path / "m.onnx", quiet=True)
        return
    session = crossbank.compile(tmp_path / "m.onnx", context=16, quiet=True).session()
    for tokens in (1, 6, 7, 16):
        feeds = {
            "x": rng.standard_normal((1, 2, tokens, 16)).astype(np.float32),
            "p": np.arange(tokens, dtype=np.int64)[None],
        }
        (expected,) = onnxruntime.InferenceSession(built.SerializeToString()).run(None, feeds)
        np.testing.assert_allclose(session.run(None, feeds)[0], np.asarray(expected), rtol=1e-5, atol=1e-6)
