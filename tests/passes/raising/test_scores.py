"""What exporters put between scores and softmax, compiled and run, against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.one_node import check

B, H, S, D = 2, 2, 4, 8


@pytest.mark.parametrize("order", ["mask, scale", "scale, mask", "scale, mask, scale"])
def test_masks_before_and_behind_the_scale(order: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    mask = np.where(np.tri(S, dtype=bool), random.standard_normal((S, S)), -1e9).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q", "kt"], ["scores"]),
    ]
    last = "scores"
    for i, step in enumerate(order.split(", ")):
        inputs, op = ([last, "bias"], "Add") if step == "mask" else ([last, "factor"], "Div")
        nodes.append(helper.make_node(op, inputs, [f"s{i}"]))
        last = f"s{i}"
    nodes += [helper.make_node("Softmax", [last], ["p"], axis=-1), helper.make_node("MatMul", ["p", "v"], ["y"])]
    graph = helper.make_graph(
        nodes, "attention",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", H, S, D]) for name in "qkv"],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.float32(1.7), "factor"), numpy_helper.from_array(mask, "bias")],
    )  # fmt: skip
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    feeds = {name: random.standard_normal((B, H, S, D)).astype(np.float32) for name in "qkv"}
    assert check(built, feeds, tmp_path)["recognised"]["attention"] == 1


def test_softmax_and_values_in_more_precision_than_the_scores(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q", "kt"], ["scores"]),
        helper.make_node("Cast", ["scores"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Softmax", ["wide"], ["p"], axis=-1),
        helper.make_node("Cast", ["v"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["p", "values"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "attention",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT16, ["b", H, S, D]) for name in "qkv"],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )  # fmt: skip
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    random = np.random.default_rng(0)
    feeds = {name: random.standard_normal((B, H, S, D)).astype(np.float16) for name in "qkv"}
    assert check(built, feeds, tmp_path, 2e-3)["recognised"]["attention"] == 1


@pytest.mark.parametrize("shifted", [False, True])
def test_sinks_beside_the_scores(shifted: bool, tmp_path: Path) -> None:
    """As GPT-OSS has it: a score of each head more in each row, whose probability is cut off."""
    kept = {
        "sinks": np.array([0.5, -1.0], np.float32).reshape(1, H, 1, 1), "one": np.array([1]), "last": np.array([-1]),
        "zero": np.array([0]), "heads": np.array([H]),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]), node("MatMul", ["q", "kt"], ["scores"]),
        node("Shape", ["q"], ["batch"], end=1), node("Shape", ["q"], ["tokens"], start=2, end=3),
        node("Concat", ["batch", "heads", "tokens", "one"], ["shape"], axis=0),
        node("Expand", ["sinks", "shape"], ["column"]), node("Concat", ["scores", "column"], ["all"], axis=-1),
        node("ReduceMax", ["all", "last"], ["top"], keepdims=1), node("Sub", ["all", "top"], ["less"]),
        node("Softmax", ["less" if shifted else "all"], ["p"], axis=-1),
        node("Slice", ["p", "zero", "last", "last"], ["rest"]), node("MatMul", ["rest", "v"], ["y"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "attention",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", H, S, D]) for name in "qkv"],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in kept.items()],
    )  # fmt: skip
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    random = np.random.default_rng(0)
    feeds = {name: random.standard_normal((B, H, S, D)).astype(np.float32) for name in "qkv"}
    assert check(built, feeds, tmp_path)["recognised"]["attention"] == 1


@pytest.mark.parametrize("floor", [float(np.finfo(np.float32).min), -5.0])
def test_masked_scores_that_may_not_fall_below_a_number(floor: float, tmp_path: Path) -> None:
    """As XGLM has it, for masks that come to minus infinity: a row that is masked throughout is uniform then."""
    mask = np.where(np.tri(S, dtype=bool), 0.0, -np.inf).astype(np.float32)
    mask[1] = -np.inf
    nodes = [
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q", "kt"], ["scores"]),
        helper.make_node("Add", ["scores", "mask"], ["masked"]),
        helper.make_node("Max", ["masked", "floor"], ["least"]),
        helper.make_node("Softmax", ["least"], ["p"], axis=-1),
        helper.make_node("MatMul", ["p", "v"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "attention",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", H, S, D]) for name in "qkv"],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.float32(floor), "floor"), numpy_helper.from_array(mask, "mask")],
    )  # fmt: skip
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    random = np.random.default_rng(0)
    feeds = {name: random.standard_normal((B, H, S, D)).astype(np.float32) for name in "qkv"}
    assert check(built, feeds, tmp_path)["recognised"]["attention"] == (1 if floor < -5 else 0)
