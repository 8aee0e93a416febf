"""Mixtures of experts as exporters write them, compiled and run, against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.one_node import check, model

TOKENS, HIDDEN, INNER, EXPERTS = 5, 32, 48, 4


def normal(*shape: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(
    ("activation", "fusion", "more"),
    [
        ("silu", 0, {}), ("gelu", 0, {}), ("relu", 0, {}), ("identity", 0, {}), ("swiglu", 1, {}),
        ("swiglu", 1, {"activation_alpha": 1.702, "activation_beta": 1.0, "swiglu_limit": 0.7}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("normalised", [0, 1])
def test_moe(activation: str, fusion: int, more: dict[str, float], normalised: int, biased: bool, tmp_path: Path):
    wide = INNER * (2 if fusion else 1)
    inputs = {
        "x": normal(TOKENS, HIDDEN), "router": normal(TOKENS, EXPERTS, seed=1),
        "w1": normal(EXPERTS, wide, HIDDEN, seed=2) / 6, "b1": normal(EXPERTS, wide, seed=3) if biased else None,
        "w2": normal(EXPERTS, HIDDEN, INNER, seed=4) / 6, "b2": normal(EXPERTS, HIDDEN, seed=5) if biased else None,
    }  # fmt: skip
    attributes = {"k": 2, "activation_type": activation, "normalize_routing_weights": normalised, **more}
    attributes |= {"swiglu_fusion": fusion} if fusion else {}
    static = [name for name in ("w1", "b1", "w2", "b2") if inputs[name] is not None]
    built = model("MoE", inputs, ["y"], attributes, static=static, dims={"x": ["n", HIDDEN], "router": ["n", EXPERTS]})
    summary = check(built, {name: a for name, a in inputs.items() if a is not None}, tmp_path, 1e-4)
    assert summary["recognised"]["linear"] == 2 and not summary["unrecognised"]


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize(("bits", "block", "level"), [(4, 0, 1), (4, 16, 1), (4, 32, 4), (8, 0, 1), (8, 32, 1)])
def test_qmoe(bits: int, block: int, level: int, zeros: bool, tmp_path: Path):
    r = np.random.default_rng(0)

    def matrix(name: str, outputs: int, inputs: int) -> dict[str, Any]:
        blocks = [inputs // block] if block else []
        packed = r.integers(0, 256, (EXPERTS, outputs, inputs * bits // 8)).astype(np.uint8)
        scales = (np.abs(r.standard_normal((EXPERTS, outputs, *blocks))) / (1600 >> (8 - bits)) + 1e-4).astype(
            np.float32
        )
        return {f"w{name}": packed, f"s{name}": scales, f"b{name}": None}

    inputs = {"x": normal(TOKENS, HIDDEN), "router": normal(TOKENS, EXPERTS, seed=1)}
    inputs |= matrix("1", 2 * HIDDEN, HIDDEN) | matrix("2", HIDDEN, HIDDEN)
    if zeros:
        inputs |= dict.fromkeys(("w3", "s3", "b3"))
        for name, outputs in (("z1", 2 * HIDDEN), ("z2", HIDDEN)):
            blocks = -(-HIDDEN // block * bits // 8) if block else 0
            shape = (EXPERTS, outputs, blocks) if block else (EXPERTS, outputs * bits // 8)
            inputs[name] = r.integers(0, 256, shape).astype(np.uint8)
    attributes = {
        "k": 2, "activation_type": "swiglu", "swiglu_fusion": 1, "expert_weight_bits": bits, "accuracy_level": level,
        **({"block_size": block} if block else {}),
    }  # fmt: skip
    static = [name for name, a in inputs.items() if a is not None and name not in ("x", "router")]
    built = model("QMoE", inputs, ["y"], attributes, static=static)
    summary = check(built, {name: a for name, a in inputs.items() if a is not None}, tmp_path, 1e-4)
    assert summary["recognised"]["linear"] == 2 and not summary["unrecognised"]
    assert summary["engines"]["matrix"]["weight_bytes"] < EXPERTS * 3 * HIDDEN * HIDDEN * 4


def graph(nodes: list[onnx.NodeProto], kept: dict[str, Any], x: list[Any]) -> onnx.ModelProto:
    built = helper.make_graph(
        nodes, "experts",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, x),
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in kept.items()],
    )  # fmt: skip
    return helper.make_model(built, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize("side", ["matrix first", "matrix behind", "transposed"])
@pytest.mark.parametrize("gather", ["Gather", "GatherND"])
def test_chosen_matrices(gather: str, side: str, tmp_path: Path):
    first = side == "matrix first"
    stack = normal(EXPERTS, INNER, HIDDEN) if side != "matrix behind" else normal(EXPERTS, HIDDEN, INNER)
    kept = {"w": stack, "last": np.array([1 if not first else -1])}
    nodes = [helper.make_node("Unsqueeze", ["x", "last"], ["rows"], "rows")]
    if gather == "GatherND":
        kept["end"] = np.array([-1])
        nodes += [helper.make_node("Unsqueeze", ["ids", "end"], ["places"], "places")]
    nodes += [helper.make_node(gather, ["w", "places" if gather == "GatherND" else "ids"], ["g"], "g")]
    matrix = "g"
    if side == "transposed":
        nodes += [helper.make_node("Transpose", ["g"], ["t"], "t", perm=[0, 2, 1])]
        matrix = "t"
    nodes += [helper.make_node("MatMul", [matrix, "rows"] if first else ["rows", matrix], ["y"], "y")]
    ids = np.array([3, 0, 0, 1, 2])
    summary = check(graph(nodes, kept, ["n", HIDDEN]), {"x": normal(TOKENS, HIDDEN), "ids": ids}, tmp_path)
    assert summary["recognised"]["linear"] == (EXPERTS if side == "matrix behind" else 1)


@pytest.mark.parametrize("rows", [1, EXPERTS])
def test_all_experts(rows: int, tmp_path: Path):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"], "p"), helper.make_node("Gather", ["p", "ids"], ["y"], "y")]
    built = graph(nodes, {"w": normal(EXPERTS, HIDDEN, INNER)}, [rows, "t", HIDDEN])
    feeds = {"x": normal(rows, 3, HIDDEN), "ids": np.array([2, 1])}
    assert check(built, feeds, tmp_path)["recognised"]["linear"] == EXPERTS
