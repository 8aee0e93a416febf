"""Bounds of dimensions at capacity."""

from __future__ import annotations

import pytest

from crossbank.passes.capacity import capacity_of
from crossbank.runtime.expr import Expr
from tests.passes import toy

KIND = 'tensor<?x?xf32, #onnx.dims<["batch", "past_len + seq_len"]>>'
TEXT = f'func.func @main(%x : {KIND}, %y : tensor<?xf32, #onnx.dims<["seq_len"]>>) {{ func.return }}'


NOTED = {"batch": "batch", "sequence": "seq_len", "past": "past_len"}


@pytest.mark.parametrize("noted", [{}, NOTED, {"batch": "batch", "sequence": "seq_len"}])
def test_past_and_new_tokens_together_stay_within_the_context(noted: dict[str, str]) -> None:
    ctx = toy.context(context=100, max_batch=3)
    ctx.notes["dims"] = {"roles": noted}
    capacity = capacity_of(ctx, toy.parse(ctx, TEXT))
    assert set(capacity.dimensions) == {"batch", "past_len", "seq_len"}
    assert capacity.roles == {"batch": "batch", "sequence": "seq_len", "past": "past_len"}
    assert capacity.most(Expr.of("past_len + seq_len")) == 100
    assert capacity.most(Expr.of("past_len")) == 99
    assert capacity.most(Expr.of("batch*seq_len")) == 300
    assert capacity.size_bytes("float32", [Expr.of("batch"), 5]) == 64
