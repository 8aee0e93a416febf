"""Attention of com.microsoft over separate or packed projections: MultiHeadAttention and Attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from xdsl.ir import Operation, SSAValue

from crossbank.dialects.llm import AttentionOp, LinearOp
from crossbank.dialects.shape import dtype_of, shape_of, tensor
from crossbank.passes.raising.fused_attention import Masks, column, merge_heads, operands_of, results_of, split_heads
from crossbank.passes.raising.matching import attr, rank, weight
from crossbank.passes.raising.parts import Parts, Unfit
from crossbank.runtime.expr import ONE, ZERO, Expr

FILTER = -10000.0
"""What onnxruntime adds to a masked score where the node doesn't say."""


@dataclass
class _Heads:
    """Queries, keys and values [B, H, S, D]; keys and values of past and new tokens where there is a past."""

    q: SSAValue
    k: SSAValue
    v: SSAValue
    past: Expr = ZERO


def _multi_head(op: Operation, parts: Parts) -> list[SSAValue | None]:
    """MultiHeadAttention: [B, S, H * D], packed [B, S, H, 3, D], keys and values packed [B, S, H, 2, D] or by head."""
    found = operands_of(op, 10)
    query, key, value, bias, padding, addend, past_key, past_value = found[:8]
    if query is None or found[8] is not None or found[9] is not None:
        raise Unfit("attention: a cache shared by beams")
    heads = int(attr(op, "num_heads"))
    biases: list[SSAValue | None] = [None] * 3
    if bias is not None:
        size = shape_of(query)[2]
        last = shape_of(bias)[0]
        ends = [ZERO, size, size * 2, last]
        biases = [parts.slice(bias, 0, ends[i], ends[i + 1]) for i in range(3)]
    q, k, v = _projections(parts, query, key, value, biases, heads)
    state = _with_past(parts, _Heads(q, k, v), past_key, past_value)
    y = _attend(op, parts, state, padding, addend)
    return results_of(op, y, state.k, state.v)


def _projections(
    parts: Parts,
    query: SSAValue,
    key: SSAValue | None,
    value: SSAValue | None,
    biases: list[SSAValue | None],
    heads: int,
) -> tuple[SSAValue, SSAValue, SSAValue]:
    if key is None:
        if rank(query) != 5:
            raise Unfit("attention: keys and values are missing")
        return _unpacked(parts, query, 0), _unpacked(parts, query, 1), _unpacked(parts, query, 2)
    if value is None:
        if rank(key) != 5:
            raise Unfit("attention: values are missing")
        return (
            split_heads(parts, _biased(parts, query, biases[0]), heads),
            _unpacked(parts, key, 0),
            _unpacked(parts, key, 1),
        )
    places = zip((query, key, value), biases, strict=True)
    q, k, v = (x if rank(x) == 4 else split_heads(parts, _biased(parts, x, added), heads) for x, added in places)
    return q, k, v


def _unpacked(parts: Parts, packed: SSAValue, which: int) -> SSAValue:
    """[B, S, H, n, D] as [B, H, S, D]."""
    batch, tokens, heads, _, width = shape_of(packed)
    one = parts.slice(packed, 3, Expr.of(which), Expr.of(which + 1))
    return parts.transpose(parts.reshape(one, (batch, tokens, heads, width)), 0, 2, 1, 3)


def _biased(parts: Parts, x: SSAValue, bias: SSAValue | None) -> SSAValue:
    return x if bias is None else parts.binary("Add", x, bias)


def _with_past(parts: Parts, heads: _Heads, past_key: SSAValue | None, past_value: SSAValue | None) -> _Heads:
    if past_key is None or past_value is None:
        return heads
    keys, values = parts.concat([past_key, heads.k], 2), parts.concat([past_value, heads.v], 2)
    return _Heads(heads.q, keys, values, shape_of(past_key)[2])


def _attention(op: Operation, parts: Parts) -> list[SSAValue | None]:
    """Attention: a linear for queries, keys and values at once, then heads; past and present are (2, B, H, S, D)."""
    x, weights, bias, padding, past, addend, length = operands_of(op, 7)[:7]
    if x is None or weights is None or length is not None or attr(op, "past_present_share_buffer", 0):
        raise Unfit("attention: past and present share a buffer")
    if attr(op, "do_rotary", 0):
        raise Unfit("attention: rotary embedding inside")
    heads = int(attr(op, "num_heads"))
    width = shape_of(weights)[1]
    given: list[int] = [int(size) for size in attr(op, "qkv_hidden_sizes") or ()]
    sizes = [Expr.of(size) for size in given] or [width // 3] * 3
    kind = tensor(dtype_of(x), (*shape_of(x)[:2], width))
    if weight(weights) is not None:
        packed = parts.add(LinearOp.of(x, weights, kind, bias=bias))
    else:
        packed = _biased(parts, parts.node("MatMul", [x, weights], dtype_of(x), shape_of(kind)), bias)
    ends = [ZERO, sizes[0], sizes[0] + sizes[1], width]
    q, k, v = (split_heads(parts, parts.slice(packed, 2, ends[i], ends[i + 1]), heads) for i in range(3))
    state = _Heads(q, k, v)
    if past is not None:
        _, batch, count, length_, size = shape_of(past)
        pasts = [
            parts.reshape(parts.slice(past, 0, Expr.of(i), Expr.of(i + 1)), (batch, count, length_, size))
            for i in (0, 1)
        ]
        state = _with_past(parts, state, pasts[0], pasts[1])
    y = _attend(op, parts, state, padding, addend)
    present = None
    if len(op.results) > 1 and op.results[1].uses:
        shape = (ONE, *shape_of(state.k))
        present = parts.concat([parts.reshape(state.k, shape), parts.reshape(state.v, shape)], 0)
    return results_of(op, y, present)


def _attend(op: Operation, parts: Parts, heads: _Heads, padding: SSAValue | None, addend: SSAValue | None) -> SSAValue:
    """The output [B, S, H * D] for masks as onnxruntime's CPU kernels take them: what is hidden gets a low addend."""
    batch, count, tokens, width = shape_of(heads.q)
    columns = shape_of(heads.k)[2]
    masks = Masks(parts)
    if padding is not None:
        keep = _padding(parts, padding, batch, columns)
        low = float(attr(op, "mask_filter_value", FILTER))
        dtype = dtype_of(heads.q)
        masks.add(parts.where(keep, parts.number(0.0, dtype), parts.number(low, dtype)))
    if addend is not None:
        masks.add(addend)
    causal = bool(attr(op, "unidirectional", 0))
    aligned = causal and columns == heads.past + tokens
    if causal and not aligned:
        masks.window(column(parts, parts.dim(heads.past), tokens), columns, -1, 0)
    scale = float(attr(op, "scale", 0.0) or 0.0)
    if not scale:
        if not width.is_constant:
            raise Unfit("attention: heads of symbolic size")
        scale = 1.0 / math.sqrt(width.constant)
    kind = tensor(dtype_of(heads.q), (batch, count, tokens, shape_of(heads.v)[3]))
    mask = masks.mask(dtype_of(heads.q))
    return merge_heads(
        parts, parts.add(AttentionOp.of(heads.q, heads.k, heads.v, kind, scale=scale, mask=mask, causal=aligned))
    )


def _padding(parts: Parts, padding: SSAValue, batch: Expr, columns: Expr) -> SSAValue:
    """Where a mask keeps a key: lengths [B], flags [B, T], [B, S, T] or [B, 1, S, T]."""
    dims = shape_of(padding)
    if len(dims) == 1:
        if dims[0] != batch:
            raise Unfit(f"attention: a mask of {dims[0]} numbers")
        ends = parts.reshape(parts.cast(padding, "int64"), (batch, ONE, ONE, ONE))
        return parts.binary("Less", parts.positions(columns), ends, "bool")
    shape = (dims[0], ONE, ONE, dims[1]) if len(dims) == 2 else (dims[0], ONE, *dims[1:]) if len(dims) == 3 else dims
    if shape[-1] != columns:
        raise Unfit(f"attention: a mask of {shape[-1]} columns for {columns} keys")
    flags = parts.reshape(padding, shape)
    return parts.binary("Greater", flags, parts.constant(np.zeros((), dtype_of(padding))), "bool")


RULES: Mapping[str, Callable[[Operation, Parts], list[SSAValue | None]]] = {
    "com.microsoft:MultiHeadAttention": _multi_head,
    "com.microsoft:Attention": _attention,
}
