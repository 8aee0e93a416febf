"""MACs of operations against the products that they stand for."""

from __future__ import annotations

import pytest

from crossbank.dialects.llm import CacheOp
from crossbank.passes.assign.macs import macs_of
from tests.passes import toy

CACHE = """"llm.cache"() <{sym_name = "kv", key_value_heads = 2 : i64, head_dim = 8 : i64, dtype = "float32",
  batch = "batch", past = "past", new = "seq", keys_in = ["k"], keys_out = ["ko"], values_in = ["v"],
  values_out = ["vo"]}> : () -> ()"""


@pytest.mark.parametrize(
    ("operation", "types", "macs"),
    [
        ('"onnx.MatMul"', "(tensor<2x3x4xf32>, tensor<2x4x5xf32>) -> tensor<2x3x5xf32>", 2 * 3 * 4 * 5),
        ('"onnx.Gemm"', "(tensor<3x4xf32>, tensor<4x5xf32>) -> tensor<3x5xf32>", 3 * 4 * 5),
        ('"onnx.Add"', "(tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32>", 0),
    ],
)
def test_products(operation: str, types: str, macs: int) -> None:
    ctx = toy.context()
    left, right = types[1:].split(")")[0].split(", ")
    module = toy.parse(
        ctx,
        f"""func.func @main(%a : {left}, %b : {right}) -> {types.split("-> ")[1]} {{
          %y = {operation}(%a, %b) {{version = 18 : i64}} : {types}
          func.return %y : {types.split("-> ")[1]}
        }}""",
    )
    found = next(op for op in module.walk() if op.name == operation.strip('"'))
    assert macs_of(found, {}).constant == macs


def test_attention_over_a_cache_counts_both_products_over_all_tokens() -> None:
    ctx = toy.context()
    kind = 'tensor<?x{0}x?x8xf32, #onnx.dims<["batch", "{0}", "seq", "8"]>>'
    q, k = kind.format(4), kind.format(2)
    module = toy.parse(
        ctx,
        f"""builtin.module {{ {CACHE}
        func.func @main(%q : {q}, %k : {k}, %v : {k}) -> {q} {{
          %y = "llm.attention"(%q, %k, %v) <{{scale = 1.0 : f64, softcap = 0.0 : f64, causal = true,
            nan_to_zero = false, cache = @kv, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 0, 0>}}>
            : ({q}, {k}, {k}) -> {q}
          func.return %y : {q}
        }} }}""",
    )
    caches = {op.sym_name.data: op for op in module.body.block.ops if isinstance(op, CacheOp)}
    attention = next(op for op in module.walk() if op.name == "llm.attention")
    values = {"batch": 2, "seq": 3, "past": 5}
    assert macs_of(attention, caches).evaluate(values) == 2 * 4 * 3 * (5 + 3) * (8 + 8)
