"""Recorded graphs on every target: results equal the recordings, nothing on the host, weights in the memory.

`--zoo DIR` runs the same checks on a folder of that form: a folder for each model with `model.onnx` and `steps.npz`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import crossbank
from crossbank.runtime.compiled import Program
from tests import zoo

FLOAT, HALF, BFLOAT, WEIGHT_ONLY = 1e-4, 2e-3, 1.6e-2, 1e-3
"""Bars of issue 3: largest difference over largest reference; two units in the last place of half precision."""
SAME_ARGMAX, MEDIAN = 0.95, 0.01
"""Bars of graphs that quantise activations."""
QUANTISES = frozenset({"QuantizeLinear", "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "QAttention"})
ROUNDS_INPUTS = 4
"""The accuracy level at which onnxruntime quantises the inputs of MatMulNBits."""
WEIGHTS = frozenset({"DequantizeLinear", "MatMulNBits", "MatMulBnb4", "QMoE", "GatherBlockQuantized"})

MOVES = frozenset({
    "Reshape", "Transpose", "Unsqueeze", "Squeeze", "Flatten", "Expand", "Slice", "Split", "Identity", "Gather", "Cast",
    "ConstantOfShape",
})  # fmt: skip
"""Operators whose result may be another look at memory: a Gather of one row, a Cast to the same type, one constant in
all places."""


def nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """All nodes of a graph, those of branches included."""
    found = list(graph.node)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found += nodes(attribute.g)
    return found


def quantises_activations(node: onnx.NodeProto) -> bool:
    """Whether a node rounds to few bits what flows through the graph."""
    level = next((a.i for a in node.attribute if a.name == "accuracy_level"), 0)
    return node.op_type in QUANTISES or (node.op_type in ("MatMulNBits", "QMoE") and level == ROUNDS_INPUTS)


def bar(model: onnx.ModelProto, dtype: np.dtype[Any]) -> float:
    """The largest relative difference that an output may have: of the narrowest type that weights or outputs have."""
    kept = {tensor.data_type for tensor in model.graph.initializer}
    if onnx.TensorProto.BFLOAT16 in kept or dtype.name == "bfloat16":
        return BFLOAT
    if onnx.TensorProto.FLOAT16 in kept or dtype.name == "float16":
        return HALF
    return WEIGHT_ONLY if any(node.op_type in WEIGHTS for node in nodes(model.graph)) else FLOAT


def windows(model: onnx.ModelProto) -> dict[str, int]:
    """Outputs that are caches of a window: its size by their names."""
    found: dict[str, int] = {}
    for node in nodes(model.graph):
        given = {a.name: a.i for a in node.attribute if a.type == onnx.AttributeProto.INT}
        if given.get("sliding_window_cache"):
            found |= dict.fromkeys(node.output[1:3], given["local_window_size"])
    return found


def check_cases(folder: Path, model: onnx.ModelProto, program: Program) -> None:
    """All recorded cases; where activations are quantised, the most likely token of nearly all positions."""
    session = program.session(ideal=True)
    quantised = any(map(quantises_activations, nodes(model.graph)))
    same, limited = list[NDArray[Any]](), windows(model)
    for case, feeds, expected in zoo.cases(folder):
        with np.errstate(all="ignore"):
            results = dict(zip(expected, session.run(list(expected), feeds), strict=True))
        for name, array in expected.items():
            got = results[name]
            assert (got.dtype, got.shape) == (array.dtype, array.shape), f"{case}: {name}"
            if name in limited:  # and sequences are equally long, the only ones that onnxruntime takes in a chunk
                held = zoo.rows_held(int(feeds["attention_mask"].sum(-1).max()), array.shape[2], limited[name])
                got, array = got[:, :, :held], array[:, :, :held]
            if not quantised:
                assert zoo.error(got, array) <= bar(model, array.dtype), f"{case}: {name}"
            elif array.size:
                a, b = got.astype(np.float64), array.astype(np.float64)
                assert np.median(np.abs(a - b)) <= MEDIAN * np.abs(b).max(), f"{case}: {name}"
            if name == "logits":
                same.append((got.argmax(-1) == array.argmax(-1)).ravel())
    assert not same or np.concatenate(same).mean() >= SAME_ARGMAX


def check_no_node_is_lost(model: onnx.ModelProto, summary: dict[str, Any]) -> None:
    """Every node is executed, within an executed one, a view, or folded; views are of operators that only move."""
    within = {name for others in summary["absorbed"].values() for name in others}
    lists = [set(summary["executed"]), within, set(summary["views"]), set(summary["folded"])]
    every = set[str]().union(*lists)
    assert sum(map(len, lists)) == len(every) == summary["nodes"]
    kinds = {node.name: node.op_type for node in model.graph.node if node.name}
    if len(kinds) == len(nodes(model.graph)):
        assert kinds.keys() <= every
    assert {kinds[name] for name in summary["views"] if name in kinds} <= MOVES


def test_ideal(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    program = crossbank.compile(folder / "model.onnx", quiet=True)
    summary = program.summary()
    assert summary["engines"]["host"]["nodes"] == 0, summary["host"]
    check_no_node_is_lost(model, summary)
    check_cases(folder, model, program)
    found = summary["recognised"]
    assert found["linear"]
    if any(node.op_type == "QuantizeLinear" for node in nodes(model.graph)):
        return  # between scores and softmax too: products and a softmax on their own, as they are written
    assert not summary["unrecognised"]
    assert found["attention"]
    assert found["rms_norm"] + found["layer_norm"] > found["attention"]
    keys = [port.name for port in model.graph.output if "present" in port.name and "key" in port.name]
    assert found["kv_cache"] == len(keys)
    turned = any(node.op_type in ("RotaryEmbedding", "Cos") for node in nodes(model.graph))
    assert found["rotary"] == 2 * found["attention"] or not turned


@pytest.mark.parametrize("target", ["aim", "hermes"])
def test_in_memory(folder: Path, target: str) -> None:
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    program = crossbank.compile(folder / "model.onnx", target, quiet=True)
    summary = program.summary()
    assert summary["engines"]["host"]["nodes"] == 0, summary["host"]
    memory = summary["engines"]["pim" if target == "aim" else "xbar"]
    assert memory["nodes"] >= summary["recognised"]["linear"]
    check_cases(folder, model, program)
    cost = program.cost(prompt=4, generate=2)
    assert cost.ttft_s > 0 and cost.energy_per_token_j > 0
