"""Control flow decided by constants, stated dimensions and the number of a trip, run against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import crossbank
from crossbank.runtime.program import ProgramError

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
port = helper.make_tensor_value_info
node = helper.make_node
STATE = [port("i", INT64, []), port("go", BOOL, []), port("s", FLOAT, [2, 3])]


def graph(nodes: list[onnx.NodeProto], inputs: list[Any], outputs: list[Any]) -> onnx.GraphProto:
    return helper.make_graph(nodes, "inner", inputs, outputs)


def check(nodes: list[onnx.NodeProto], outputs: list[str], kept: dict[str, Any], folder: Path, opset: int = 18) -> None:
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in kept.items()]
    found = [onnx.ValueInfoProto(name=name) for name in outputs]
    built = helper.make_model(
        helper.make_graph(nodes, "flow", [port("x", FLOAT, [2, 3])], found, tensors),
        opset_imports=[helper.make_opsetid("", opset)], ir_version=8,
    )  # fmt: skip
    onnx.save(built, folder / "flow.onnx")
    feeds = {"x": np.linspace(-1, 2, 6, dtype=np.float32).reshape(2, 3)}
    expected = onnxruntime.InferenceSession(built.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, feeds
    )
    program = crossbank.compile(folder / "flow.onnx", quiet=True, host=False)
    for got, wanted in zip(program.session().run(None, feeds), expected, strict=True):
        assert got.shape == np.asarray(wanted).shape
        np.testing.assert_allclose(got, np.asarray(wanted), rtol=1e-5)


def loop(nodes: list[onnx.NodeProto], rows: list[Any], count: str = "n") -> onnx.NodeProto:
    """A Loop whose body makes `go2`, the state `s2`, and rows."""
    body = graph(nodes, STATE, [port("go2", BOOL, []), port("s2", FLOAT, [2, 3]), *rows])
    return node("Loop", [count, "", "x"], ["y", *(f"{row.name}s" for row in rows)], body=body)


ADD = node("Add", ["s", "x"], ["s2"])
GO_ON = node("Identity", ["go"], ["go2"])
ROW = port("row", FLOAT, [2, 3])


@pytest.mark.parametrize("opset", [11, 18, 21])
@pytest.mark.parametrize("count", ["n", ""])
def test_a_loop_ends_with_its_condition(count: str, opset: int, tmp_path: Path) -> None:
    body = [node("Less", ["i", "last"], ["go2"]), ADD, node("Neg", ["s2"], ["row"])]
    check([loop(body, [ROW], count)], ["y", "rows"], {"n": 9, "last": 3}, tmp_path, opset)


def test_a_loop_of_no_trips_has_no_rows(tmp_path: Path) -> None:
    check([loop([GO_ON, ADD, node("Neg", ["s2"], ["row"])], [ROW])], ["y", "rows"], {"n": 0}, tmp_path)


def test_trips_follow_from_a_stated_dimension(tmp_path: Path) -> None:
    trips = [node("Shape", ["x"], ["dims"]), node("Gather", ["dims", "one"], ["n"], axis=0)]
    check([*trips, loop([GO_ON, ADD], [])], ["y"], {"one": 1}, tmp_path)


def test_branches_follow_from_the_trip(tmp_path: Path) -> None:
    then = graph([node("Add", ["s", "x"], ["a"])], [], [port("a", FLOAT, [2, 3])])
    other = graph([node("Mul", ["s", "x"], ["b"])], [], [port("b", FLOAT, [2, 3])])
    body = [
        node("Mod", ["i", "two"], ["odd"]), node("Cast", ["odd"], ["which"], to=BOOL),
        node("If", ["which"], ["s2"], then_branch=then, else_branch=other), GO_ON,
    ]  # fmt: skip
    check([loop(body, [])], ["y"], {"n": 4, "two": 2}, tmp_path)


@pytest.mark.parametrize("limit", [5, 6])
def test_a_branch_follows_from_the_number_of_elements(limit: int, tmp_path: Path) -> None:
    then = graph([node("Add", ["x", "x"], ["a"])], [], [port("a", FLOAT, [2, 3])])
    other = graph([node("Exp", ["x"], ["b"])], [], [port("b", FLOAT, [2, 3])])
    nodes = [
        node("Size", ["x"], ["size"]), node("Greater", ["size", "limit"], ["more"]),
        node("If", ["more"], ["y"], then_branch=then, else_branch=other),
    ]  # fmt: skip
    check(nodes, ["y"], {"limit": limit}, tmp_path)


def test_what_data_decide_is_refused(tmp_path: Path) -> None:
    body = [node("ReduceMax", ["s"], ["top"], keepdims=0), node("Less", ["top", "most"], ["go2"]), ADD]
    with pytest.raises(ProgramError, match="Loop") as caught:
        check([loop(body, [])], ["y"], {"n": 3, "most": np.float32(9)}, tmp_path)
    assert caught.value.code == "CB0109"
