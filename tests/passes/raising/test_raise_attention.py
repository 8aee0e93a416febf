"""Attention with one key head and with as many tokens as heads, where only an axis' place tells which it is."""

from __future__ import annotations

from pathlib import Path

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
