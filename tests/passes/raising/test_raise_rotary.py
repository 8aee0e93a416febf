"""Rotary embedding spelt out over pairs of neighbours, compiled and run, against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.one_node import check

B, S, H, D = 2, 3, 2, 8


@pytest.mark.parametrize("rotated", [D, 4])
def test_pairs_of_neighbours(rotated: int, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    kept = {
        "angles": random.uniform(-3, 3, (S, rotated // 2)).astype(np.float32), "last": np.array([-1]),
        "twice": np.array([1, 1, 2]), "wide": np.array([1, S, 1, rotated]), "flat": np.array([0, 0, 0, rotated]),
        "0": np.array([0]), "1": np.array([1]), "2": np.array([2]), "R": np.array([rotated]), "end": np.array([2**31]),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("Unsqueeze", ["angles", "last"], ["column"]), node("Tile", ["column", "twice"], ["pairs"]),
        node("Reshape", ["pairs", "wide"], ["all"]), node("Cos", ["all"], ["cos"]), node("Sin", ["all"], ["sin"]),
        node("Slice", ["x", "0", "R", "last", "1"], ["part"]), node("Slice", ["x", "R", "end", "last", "1"], ["rest"]),
        node("Slice", ["part", "0", "end", "last", "2"], ["even"]),
        node("Slice", ["part", "1", "end", "last", "2"], ["odd"]), node("Neg", ["odd"], ["minus"]),
        node("Unsqueeze", ["minus", "last"], ["a"]), node("Unsqueeze", ["even", "last"], ["b"]),
        node("Concat", ["a", "b"], ["both"], axis=-1), node("Reshape", ["both", "flat"], ["turned"]),
        node("Mul", ["part", "cos"], ["c"]), node("Mul", ["turned", "sin"], ["s"]), node("Add", ["c", "s"], ["y"]),
    ]  # fmt: skip
    if rotated == D:
        nodes = [n for n in nodes if n.output[0] != "rest"]
    else:
        nodes += [node("Concat", ["y", "rest"], ["whole"], axis=-1)]
    graph = helper.make_graph(
        nodes, "rotary", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", S, H, D])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in kept.items()],
    )  # fmt: skip
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    x = random.standard_normal((B, S, H, D)).astype(np.float32)
    assert check(built, {"x": x}, tmp_path)["recognised"]["rotary"] == 1


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("neighbours", [False, True])
def test_halves_on_their_own(neighbours: bool, turned: bool, tmp_path: Path) -> None:
    """As GPT-OSS has it: an angle for each pair, both halves computed and joined; of neighbours as DeepSeek has it."""
    random = np.random.default_rng(0)
    kept = {
        "angles": random.uniform(-3, 3, (1, 1, S, D // 2)).astype(np.float32), "0": np.array([0]), "1": np.array([1]),
        "end": np.array([2**31]), "last": np.array([3]), "2": np.array([2]),
    }  # fmt: skip
    node = helper.make_node
    halves = [node("Split", ["x"], ["a", "b"], axis=3, num_outputs=2)]
    if neighbours:
        halves = [node("Slice", ["x", str(i), "end", "last", "2"], ["ab"[i]]) for i in range(2)]
    nodes = [
        node("Cos", ["angles"], ["cos"]), node("Sin", ["angles"], ["sin"]),
        *halves,
        node("Mul", ["a", "cos"], ["ac"]), node("Mul", ["sin", "b"], ["bs"]), node("Sub", ["ac", "bs"], ["first"]),
        node("Mul", ["b", "cos"], ["bc"]), node("Mul", ["a", "sin"], ["as"]),
        node("Add", ["as", "bc"] if turned else ["bc", "as"], ["second"]),
        node("Concat", ["first", "second"], ["y"], axis=-1),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "rotary", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", H, S, D])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], 
        [numpy_helper.from_array(array, name) for name, array in kept.items()],
    )  # fmt: skip
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    x = random.standard_normal((B, H, S, D)).astype(np.float32)
    assert check(built, {"x": x}, tmp_path)["recognised"]["rotary"] == 1
