"""Raised models against recorded onnxruntime outputs, and all of what they are made of recognised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crossbank.compiler.frontend.convert import import_model
from crossbank.passes.context import CompileContext
from crossbank.passes.raising import PASSES
from crossbank.passes.rewriting import nodes_of
from tests.interpreter_llm import RaisedInterpreter
from tests.zoo import cases, error, parameters

TOLERANCE = 1e-4
LLAMA = {"linear": 15, "attention": 2, "rms_norm": 5, "rotary": 4, "gated_mlp": 2, "embedding": 1}
GPT2 = {"linear": 9, "attention": 2, "layer_norm": 5, "activation": 2, "embedding": 2}
EXPECTED = {
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "phi3": LLAMA | {"linear": 9},
    "gpt2": GPT2,
    "opt": GPT2 | {"linear": 13},
    "bert": GPT2 | {"linear": 12, "embedding": 3},
}
ROUTES = ("dynamo18_", "dynamo23_", "ts14_", "ts17_", "optimum_kv", "optimum_nocache", "hf5_dynamo18", "hf5_dynamo23")
USUAL = frozenset({"ts17_kv_llama", "dynamo18_kv_phi3", "dynamo23_kv_gpt2", "optimum_kv_qwen2", "ts17_bert"})


@pytest.mark.parametrize(
    "folder", parameters(*ROUTES, usual=USUAL, where=lambda name: name.rpartition("_")[2] in EXPECTED)
)
def test_raised_zoo(folder: Path) -> None:
    ctx = CompileContext()
    module = import_model(folder / "model.onnx", ctx)
    for kind in PASSES:
        kind().apply(ctx, module)
        module.verify()
    expected = dict(EXPECTED[folder.name.rpartition("_")[2]])
    if "nocache" not in folder.name and "bert" not in folder.name:
        expected["kv_cache"] = 2
    assert {name: count for name, count in ctx.notes["recognised"].items() if count} == expected
    assert ctx.notes["unrecognised"] == []
    reached = {name for op in module.walk() for name in nodes_of(op)}
    assert set(ctx.notes["nodes"]) == reached | set(ctx.notes["folded"])
    run = RaisedInterpreter(module, ctx.tensors)
    tolerance = 2e-3 if "float16" in folder.name else TOLERANCE
    for case, feeds, outputs in cases(folder):
        with np.errstate(over="ignore"):
            found = run.run(feeds)
        assert found.keys() == outputs.keys()
        for name, array in outputs.items():
            assert error(found[name], array) <= tolerance, f"{case} {name}"
