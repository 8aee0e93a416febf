"""Caches that are float16 within a graph and float32 where they enter and leave it, against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import crossbank
from tests.zoo import error

HEADS, SIZE = 2, 8


def built(masked: bool, elsewhere: bool) -> onnx.ModelProto:
    """Attention of float16 in its parts; `elsewhere`: all keys are used once more."""
    nodes = [
        *(helper.make_node("Cast", [name], [f"{name}16"], to=TensorProto.FLOAT16) for name in ("q", "k", "v", "mask")),
        *(helper.make_node("Cast", [f"past_{n}"], [f"past_{n}16"], to=TensorProto.FLOAT16) for n in "kv"),
        *(helper.make_node("Concat", [f"past_{n}16", f"{n}16"], [f"all_{n}"], f"join_{n}", axis=-2) for n in "kv"),
        *(helper.make_node("Cast", [f"all_{n}"], [f"present_{n}"], f"out_{n}", to=TensorProto.FLOAT) for n in "kv"),
        helper.make_node("Transpose", ["all_k"], ["turned"], perm=[0, 1, 3, 2]),
        helper.make_node("Neg", ["q16"], ["negative"]),
        helper.make_node("MatMul", ["negative", "turned"], ["scores"]),
        helper.make_node("Add", ["scores", "mask16"], ["hidden"]),
        helper.make_node("Softmax", ["hidden" if masked else "scores"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "all_v"], ["y16"]),
        helper.make_node("Cast", ["y16"], ["y"], to=TensorProto.FLOAT),
        *([helper.make_node("Exp", ["all_k"], ["again"])] if elsewhere else []),
    ]
    inputs = [
        *(helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", HEADS, "new", SIZE]) for n in "qkv"),
        *(helper.make_tensor_value_info(f"past_{n}", TensorProto.FLOAT, ["batch", HEADS, "past", SIZE]) for n in "kv"),
        *([helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["batch", 1, "new", "past + new"])] * masked),
    ]
    names = ["y", "present_k", "present_v"]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    if elsewhere:
        outputs.append(helper.make_tensor_value_info("again", TensorProto.FLOAT16, None))
    if not masked:
        nodes = [node for node in nodes if node.output[0] not in ("mask16", "hidden")]
    graph = helper.make_graph(nodes, "casts", inputs, outputs)
    for i, node in enumerate(graph.node):
        node.name = node.name or f"n{i}"
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize(("masked", "elsewhere"), [(True, False), (False, False), (False, True)])
@pytest.mark.parametrize("target", ["ideal", "aim"])
def test_steps(masked: bool, elsewhere: bool, target: str, tmp_path: Path) -> None:
    model = built(masked, elsewhere)
    onnx.save(model, tmp_path / "m.onnx")
    reference: Any = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    program = crossbank.compile(tmp_path / "m.onnx", target, context=64, quiet=True)
    assert program.summary()["recognised"]["kv_cache"] == (not elsewhere)
    session, rng = program.session(ideal=True), np.random.default_rng(0)
    caches = {f"past_{n}": rng.standard_normal((2, HEADS, 1, SIZE)).astype(np.float16).astype(np.float32) for n in "kv"}
    total = 1
    for new in (3, 1, 2):
        feeds = {n: rng.standard_normal((2, HEADS, new, SIZE)).astype(np.float32) for n in "qkv"} | caches
        total += new
        if masked:
            feeds["mask"] = np.where(rng.random((2, 1, new, total)) < 0.3, -100, 0).astype(np.float32)
        names = [output.name for output in reference.get_outputs()]
        found, expected = session.run(names, feeds), reference.run(names, feeds)
        for name, got, wanted in zip(names, found, expected, strict=True):
            assert got.dtype == wanted.dtype
            assert error(got, wanted) <= (2e-3 if name == "y" else 0.0), name
        caches = {f"past_{n}": expected[names.index(f"present_{n}")] for n in "kv"}
