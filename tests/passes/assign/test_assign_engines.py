"""assign-engines asks every engine and takes the best."""

from __future__ import annotations

import pytest

from crossbank.passes.assign.assign_engines import AssignEnginesPass
from crossbank.runtime.program import ProgramError
from tests.passes import toy


def test_each_operation_gets_the_engine_that_likes_it_best() -> None:
    ctx = toy.context()
    module = toy.run(ctx, toy.layers(ctx), AssignEnginesPass())
    engines = {op.name: op.attributes["engine"].data for op in module.walk() if "engine" in op.attributes}
    assert engines == {"llm.activation": "v", "llm.linear": "m", "onnx.Add": "v"}


def test_shares_count_all_calls() -> None:
    ctx = toy.context()
    toy.run(ctx, toy.layers(ctx), AssignEnginesPass())
    # three layers of 4x4 and a head of 4x8: 3 * 16 + 32 MACs a token, and as many float32 weights
    assert ctx.notes["engines"]["matrix"] == {"nodes": 4, "macs": "seq*80", "weight_bytes": 320}
    assert ctx.notes["engines"]["simd"]["nodes"] == 1 + 3 * 2
    assert ctx.notes["host"] == []


def test_all_operations_without_engine_are_listed_with_reasons() -> None:
    ctx = toy.context()
    module = toy.parse(
        ctx,
        """
        func.func @main(%x : tensor<4xf32>) -> tensor<4xf32> {
          %a = "onnx.Sin"(%x) {version = 18 : i64, nodes = ["sine"]} : (tensor<4xf32>) -> tensor<4xf32>
          %b = "onnx.Cos"(%a) {version = 18 : i64, nodes = ["cosine"]} : (tensor<4xf32>) -> tensor<4xf32>
          func.return %b : tensor<4xf32>
        }
        """,
    )
    with pytest.raises(ProgramError) as caught:
        AssignEnginesPass().apply(ctx, module)
    assert caught.value.code == "CB0301"
    for text in (
        "2 operations",
        "onnx.Sin",
        "onnx.Cos",
        "v: no instruction for onnx.Sin (teach it)",
        "m: only products",
    ):
        assert text in caught.value.message
    assert caught.value.where == "toy.onnx"
