"""Caches that hold no more than a window (GroupQueryAttention's `sliding_window_cache`), against onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

import crossbank
from tests.zoo import error, rows_held

HEADS, GROUPS, SIZE, WINDOW = 4, 2, 16, 4
CACHES = ("past_key", "past_value")


def built(batch: int, **attributes: Any) -> onnx.ModelProto:
    """Packed queries, keys and values with rotary embedding over a cache of a window; lengths from a padding mask."""
    rng = np.random.default_rng(0)
    static = {
        "cos": rng.standard_normal((64, 8)).astype(np.float32),
        "sin": rng.standard_normal((64, 8)).astype(np.float32),
        "one": np.array(1, np.int64),
        "axis": np.array([1], np.int64),
        "sink": rng.standard_normal(HEADS).astype(np.float32),
    }
    caches = ["past_key", "past_value"]
    nodes = [
        helper.make_node("ReduceSum", ["attention_mask", "axis"], ["sum"], keepdims=0),
        helper.make_node("Sub", ["sum", "one"], ["last"]),
        helper.make_node("Cast", ["last"], ["seqlens"], to=TensorProto.INT32),
        helper.make_node("Shape", ["attention_mask"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["columns"]),
        helper.make_node("Cast", ["columns"], ["total"], to=TensorProto.INT32),
        helper.make_node(
            "GroupQueryAttention",
            ["query", "", "", *caches, "seqlens", "total", "cos", "sin", "", "", "sink"],
            ["y", "present_key", "present_value"], domain="com.microsoft", num_heads=HEADS, kv_num_heads=GROUPS,
            do_rotary=1, local_window_size=WINDOW, sliding_window_cache=1, **attributes,
        ),
    ]  # fmt: skip
    cache = ["batch", GROUPS, "room", SIZE]
    inputs = [
        helper.make_tensor_value_info("query", TensorProto.FLOAT, ["batch", "new", (HEADS + 2 * GROUPS) * SIZE]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "all"]),
        *(helper.make_tensor_value_info(name, TensorProto.FLOAT, cache) for name in caches),
    ]
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "new", HEADS * SIZE]),
        *(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", GROUPS, "room_after", SIZE])
            for name in ("present_key", "present_value")
        ),
    ]
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in static.items()]
    graph = helper.make_graph(nodes, "window", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@pytest.mark.parametrize("target", ["ideal", "aim"])
@pytest.mark.parametrize("softcap", [0.0, 2.0])
@pytest.mark.parametrize(
    ("room", "batch", "steps"),
    [(4, 1, [5, 1, 1, 3, 6, 1]), (6, 2, [4, 1, 1, 1, 1, 1]), (9, 1, [2, 3, 4, 5, 1, 1]), (16, 1, [5, 1, 4, 9])],
)
def test_steps(room: int, batch: int, steps: Sequence[int], softcap: float, target: str, tmp_path: Path) -> None:
    """What is hidden behind the rows that a cache holds is never read, and NaN there does no harm."""
    model = built(batch, softcap=softcap)
    onnx.save(model, tmp_path / "model.onnx")
    options: Any = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    reference = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    program = crossbank.compile(tmp_path / "model.onnx", target, context=64, quiet=True)
    assert program.summary()["recognised"]["kv_cache"] == 1
    session, rng = program.session(ideal=True), np.random.default_rng(1)
    caches: list[NDArray[Any]] = [np.full((batch, GROUPS, room, SIZE), np.nan, np.float32) for _ in CACHES]
    total = 0
    for new in steps:
        total += new
        query = rng.standard_normal((batch, new, (HEADS + 2 * GROUPS) * SIZE)).astype(np.float32)
        feeds = {
            "query": query,
            "attention_mask": np.ones((batch, total), np.int64),
            **dict(zip(CACHES, caches, strict=True)),
        }
        names = ["y", "present_key", "present_value"]
        expected, found = reference.run(names, feeds), session.run(names, feeds)
        held = rows_held(total, room, WINDOW)
        assert error(found[0], np.asarray(expected[0])) <= 1e-5
        for got, wanted in zip(found[1:], expected[1:], strict=True):
            assert got.shape == np.asarray(wanted).shape
            assert error(got[:, :, :held], np.asarray(wanted)[:, :, :held]) <= 1e-5
        caches = [np.array(array) for array in found[1:]]
        for cache in caches:
            cache[:, :, held:] = np.nan
