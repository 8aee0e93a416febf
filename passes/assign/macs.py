"""How many multiply-accumulates an operation stands for."""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.ir import Operation

from crossbank.dialects import onnx
from crossbank.dialects.llm import AttentionOp, CacheOp, LinearOp
from crossbank.dialects.shape import shape_of
from crossbank.runtime.expr import ZERO, Expr, product

QUANTISED = frozenset({"MatMulInteger", "com.microsoft:MatMulNBits", "com.microsoft:MatMulBnb4"})
"""Products [.., M, K] with a matrix of few bits that are no linear."""


def macs_of(op: Operation, caches: Mapping[str, CacheOp]) -> Expr:
    """MACs of one execution: weights and attention products only, as is the custom of the field.

    linear and MatMul [.., M, K] x [K, N]: M*K*N per batch; attention: B*H*S*T*(D + Dv), masked scores included.
    """
    match op:
        case LinearOp():
            return product(shape_of(op.x)) * shape_of(op.y)[-1]
        case AttentionOp():
            batch, heads, tokens, head_dim = shape_of(op.q)
            total = shape_of(op.k)[2]
            if op.cache is not None:
                cache = caches[op.cache.root_reference.data]
                total = Expr.of(cache.past.data) + Expr.of(cache.new.data)
                total = total + tokens if op.first is not None else total
            return batch * heads * tokens * total * (head_dim + shape_of(op.y)[3])
        case Operation(name="onnx.MatMul"):
            return product(shape_of(op.results[0])) * shape_of(op.operands[0])[-1]
        case Operation(name="onnx.Gemm"):
            return product(shape_of(op.operands[0])) * shape_of(op.results[0])[1]
        case _ if onnx.is_onnx(op) and onnx.op_type(op) in QUANTISED:
            return product(shape_of(op.results[0])) * shape_of(op.operands[0])[-1]
        case _:
            return ZERO
