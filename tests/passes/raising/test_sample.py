"""The sample model: its layers are one function, and raised it computes what onnxruntime computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from crossbank.compiler.frontend.convert import import_model
from crossbank.dialects.llm import CacheOp
from crossbank.passes.context import CompileContext
from crossbank.passes.raising import PASSES
from tests.interpreter_llm import Array, RaisedInterpreter
from tests.zoo import error

MODEL = Path(__file__).parents[3] / "samples" / "tiny_llama" / "tiny_llama.onnx"
LIVE_OPS = 150


def _feeds(session: Any, ids: Array, caches: dict[str, Array]) -> dict[str, Array]:
    batch, size = ids.shape
    past: int = next(iter(caches.values())).shape[2] if caches else 0
    feeds: dict[str, Array] = {
        "input_ids": ids,
        "attention_mask": np.ones((batch, past + size), np.int64),
        "position_ids": np.cumsum(np.ones((batch, size), np.int64), 1) + (past - 1),
    }
    for port in session.get_inputs():
        if port.name.startswith("past"):
            empty = np.zeros((batch, port.shape[1], 0, port.shape[3]), np.float32)
            feeds[port.name] = caches.get(port.name.replace("past_key_values", "present"), empty)
    return feeds


@pytest.mark.parametrize("batch", [1, 3])
def test_sample(batch: int) -> None:
    ctx = CompileContext()
    module = import_model(MODEL, ctx)
    for kind in PASSES:
        kind().apply(ctx, module)
        module.verify()
    layers = ctx.notes["recognised"]["attention"]
    assert ctx.notes["recognised"]["kv_cache"] == ctx.notes["recognised"]["gated_mlp"] == layers
    assert ctx.notes["unrecognised"] == []
    assert sum(isinstance(op, CacheOp) for op in module.ops) == 1
    assert sum(1 for _ in module.walk()) < LIVE_OPS
    session: Any = ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    run = RaisedInterpreter(module, ctx.tensors)
    rng = np.random.default_rng(0)
    caches: dict[str, Array] = {}
    for size in (9, 1, 4):
        feeds = _feeds(session, rng.integers(0, 256, (batch, size)), caches)
        names = [port.name for port in session.get_outputs()]
        expected = dict(zip(names, session.run(None, feeds), strict=True))
        found = run.run(feeds)
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            assert error(found[name], array) <= 1e-4, f"{name} at {size} tokens"
        caches = {name: array for name, array in expected.items() if name != "logits"}
