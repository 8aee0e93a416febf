"""Numbers of few bits in computed bytes, spelt out: taken apart by shifts and masks, and dequantised by blocks."""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.passes.raising.low_precision import integer
from crossbank.passes.raising.matching import is_float, rank
from crossbank.passes.raising.parts import Parts
from crossbank.runtime.expr import ONE, Expr, product


def unpacked(parts: Parts, packed: SSAValue, bits: int, count: int) -> SSAValue:
    """Bytes [R, ..] as `count` numbers [R, count] of so many bits, lowest bits first; those behind are dropped."""
    rows, *rest = shape_of(packed)
    size = product(rest)
    if bits == 8:
        return parts.slice(parts.reshape(packed, (rows, size)), 1, Expr.of(0), Expr.of(count))
    each = 8 // bits
    shifts = parts.constant((np.arange(each) * bits).astype(np.uint8))
    flat = parts.reshape(packed, (rows, size, ONE))
    shifted = parts.node("BitShift", [flat, shifts], "uint8", (rows, size, Expr.of(each)), direction="RIGHT")
    mask = parts.number((1 << bits) - 1, "uint8")
    numbers = parts.binary("BitwiseAnd", shifted, mask)
    return parts.slice(parts.reshape(numbers, (rows, size * each)), 1, Expr.of(0), Expr.of(count))


def dequantised_rows(
    parts: Parts, codes: SSAValue, scales: SSAValue, zeros: SSAValue | None, middle: int, block: int
) -> SSAValue:
    """codes [N, K] less zero points times scales, [N, K / block] both; the zero points default to `middle`."""
    rows, width = shape_of(codes)
    blocks, dtype = Expr.of(integer(width) // block), dtype_of(scales)
    scales = parts.reshape(scales, (rows, blocks, ONE))
    if zeros is None:
        zeros = parts.number(middle, dtype)
    else:
        zeros = parts.reshape(zeros if is_float(zeros) else parts.cast(zeros, dtype), (rows, blocks, ONE))
    grouped = parts.reshape(parts.cast(codes, dtype), (rows, blocks, Expr.of(block)))
    values = parts.binary("Mul", parts.binary("Sub", grouped, zeros), scales)
    return parts.reshape(values, (rows, width))


def product_with_rows(parts: Parts, x: SSAValue, matrix: SSAValue, bias: SSAValue | None) -> SSAValue:
    """x [.., K] times the transpose of [N, K], plus a bias [N]."""
    assert rank(matrix) == 2
    y_shape = (*shape_of(x)[:-1], shape_of(matrix)[0])
    y = parts.node("MatMul", [x, parts.transpose(matrix, 1, 0)], dtype_of(x), y_shape)
    return y if bias is None else parts.binary("Add", y, bias)
