"""Attention with one key head and with as many tokens as heads, where only an axis' place tells which it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.one_node import check, model

HEADS, SIZE = 4, 8


def multi_query(tokens: int | str) -> onnx.ModelProto:
    """softmax(q kᵀ) v of four query heads over one key head, as exporters write it."""
    nodes = [
        helper.make_node("Reshape", ["q", "many"], ["qs"]),
        helper.make_node("Transpose", ["qs"], ["qt"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["k", "one"], ["ks"]),
        helper.make_node("Transpose", ["ks"], ["kt"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["v", "one"], ["vs"]),
        helper.make_node("Transpose", ["vs"], ["vt"], perm=[0, 2, 1, 3]),
        helper.make_node("MatMul", ["qt", "kt"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["weights"]),
        helper.make_node("MatMul", ["weights", "vt"], ["heads"]),
        helper.make_node("Transpose", ["heads"], ["merged"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["merged", "flat"], ["y"]),
    ]
    ports = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, tokens, width])
        for name, width in (("q", HEADS * SIZE), ("k", SIZE), ("v", SIZE))
    ]
    shapes = {"many": [0, 0, HEADS, SIZE], "one": [0, 0, 1, SIZE], "flat": [0, 0, HEADS * SIZE]}
    kept = [numpy_helper.from_array(np.array(shape), name) for name, shape in shapes.items()]
    found = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "attention", ports, found, kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def feeds(tokens: int) -> dict[str, np.ndarray]:
    r = np.random.default_rng(tokens)
    widths = {"q": HEADS * SIZE, "k": SIZE, "v": SIZE}
    return {name: r.standard_normal((2, tokens, width)).astype(np.float32) for name, width in widths.items()}


@pytest.mark.parametrize("declared", [1, 2, 4, 6, "n"])
def test_one_key_head(declared: int | str, tmp_path: Path) -> None:
    tokens = declared if isinstance(declared, int) else 5
    summary = check(multi_query(declared), feeds(tokens), tmp_path)
    assert not summary["unrecognised"]


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("tokens", [1, 4, 6])
def test_one_key_head_of_the_operator(tokens: int, causal: int, tmp_path: Path) -> None:
    attributes = {"is_causal": causal, "q_num_heads": HEADS, "kv_num_heads": 1}
    given = feeds(tokens)
    check(model("Attention", given, ["y"], attributes, domain="", opset=23), given, tmp_path)


def spelt_out(opset: int, dtype: int, guarded: bool) -> onnx.ModelProto:
    """`multi_query` in a type, with the softmax as its function says; `guarded` turns what is undefined into 0."""
    built = multi_query("n")
    nodes = list(built.graph.node)
    place = next(i for i, node in enumerate(nodes) if node.op_type == "Softmax")
    last = numpy_helper.from_array(np.array([-1]), "last")
    rows = {"inputs": ["last"]} if opset >= 18 else {"inputs": [], "axes": [-1]}

    def reduced(op_type: str, source: str, result: str, given: Any) -> onnx.NodeProto:
        others = {key: value for key, value in given.items() if key != "inputs"}
        return helper.make_node(op_type, [source, *given["inputs"]], [result], keepdims=1, **others)

    end = "softmax" if guarded else "weights"
    parts = [
        reduced("ReduceMax", "scores", "top", rows),
        helper.make_node("Sub", ["scores", "top"], ["shifted"]),
        helper.make_node("Exp", ["shifted"], ["powers"]),
        reduced("ReduceSum", "powers", "total", {"inputs": ["last"]}),
        helper.make_node("Div", ["powers", "total"], [end]),
    ]
    if guarded:
        parts += [
            helper.make_node("Cast", [end], ["wide"], to=onnx.TensorProto.FLOAT),
            helper.make_node("IsNaN", ["wide"], ["undefined"]),
            helper.make_node("Where", ["undefined", "zero", end], ["weights"]),
        ]
    nodes[place : place + 1] = parts
    zero = numpy_helper.from_array(np.zeros((), helper.tensor_dtype_to_np_dtype(dtype)), "zero")
    ports = [*built.graph.input, *built.graph.output]
    for port in ports:
        port.type.tensor_type.elem_type = dtype
    graph = helper.make_graph(
        nodes, "attention", built.graph.input, built.graph.output, [*built.graph.initializer, last, zero]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


@pytest.mark.parametrize("opset", [13, 17, 18])
@pytest.mark.parametrize(("dtype", "tolerance"), [(onnx.TensorProto.FLOAT, 1e-5), (onnx.TensorProto.FLOAT16, 2e-3)])
@pytest.mark.parametrize("guarded", [False, True])
def test_softmax_spelt_out(opset: int, dtype: int, tolerance: float, guarded: bool, tmp_path: Path) -> None:
    given = {name: array.astype(helper.tensor_dtype_to_np_dtype(dtype)) for name, array in feeds(5).items()}
    summary = check(spelt_out(opset, dtype, guarded), given, tmp_path, tolerance)
    assert not summary["unrecognised"]
    assert summary["recognised"]["attention"] == 1
