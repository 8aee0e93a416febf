"""Products and embeddings with static tensors of few bits, as exporters of quantised models write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import IntegerAttr, ModuleOp, i64
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from crossbank.dialects.llm import EmbeddingOp, LinearOp, RoundBlocksOp
from crossbank.dialects.shape import dtype_of, shape_of, tensor
from crossbank.passes.context import CompileContext
from crossbank.passes.raising.fused_attention import operands_of
from crossbank.passes.raising.low_precision import (
    DEQUANTIZE,
    ROUNDED,
    Quantised,
    Retyping,
    element_type,
    integer,
    is_static,
    static_vector,
)
from crossbank.passes.raising.matching import (
    attr,
    axis_of,
    is_float,
    kind,
    made_by,
    only_user,
    operand,
    pairs,
    rank,
    weight,
)
from crossbank.passes.raising.notes import unrecognised
from crossbank.passes.raising.parts import Parts, Unfit
from crossbank.passes.raising.quantised_operators import QUANTISED
from crossbank.passes.raising.unpacking import dequantised_rows, product_with_rows, unpacked
from crossbank.passes.rewriting import replace
from crossbank.runtime.expr import ONE, Expr, product


@dataclass(frozen=True)
class RaiseQuantisedPass(ModulePass):
    """MatMulNBits and MatMulInteger become `llm.linear` with scales, GatherBlockQuantized `llm.embedding`.

    Packed bytes become tensors of 2 or 4 bits over the same bytes: nothing is expanded.
    """

    name = "raise-quantised"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for found in list(op.walk()):
            if found.parent is None:
                continue
            name = kind(found)
            if name in PACKED and isinstance(ctx, CompileContext):
                rule = PACKED[name]
                _try(ctx, found, lambda op_, parts, rule=rule: rule(op_, parts, Retyping(ctx, op)))
            elif name in RULES:
                _try(ctx, found, RULES[name])
        for found in list(op.walk()):
            if kind(found) == "MatMulInteger" and found.parent is not None:
                _matmul_integer(ctx, found)
            elif kind(found) == "Gather" and found.parent is not None:
                _gather(found)


def _try(ctx: Context, op: Operation, rule: Callable[[Operation, Parts], SSAValue]) -> None:
    parts = Parts()
    try:
        value = rule(op, parts)
    except Unfit as reason:
        for made in reversed(parts.ops):
            made.drop_all_references()
        unrecognised(ctx, op, str(reason))
        return
    replace(op, parts.ops, [value, *[None] * (len(op.results) - 1)])


# -------------------------------------------------------- blocks of few bits


def _nbits(op: Operation, parts: Parts, retyping: Retyping) -> SSAValue:
    """MatMulNBits: x [.., K] times the transpose of [N, K] in blocks along K; zero points default to the middle."""
    x, packed, scales, zeros, order, bias = operands_of(op, 6)[:6]
    if x is None or packed is None or scales is None:
        raise Unfit("linear: an operand is missing")
    if attr(op, "weight_prepacked", 0):
        raise Unfit("linear: weights packed for one machine")
    bits, block = int(attr(op, "bits", 4)), int(attr(op, "block_size"))
    inputs, outputs = int(attr(op, "K")), int(attr(op, "N"))
    blocks = -(-inputs // block)
    if order is not None:
        raise Unfit("linear: inputs in an order of their own")
    whole = blocks * block
    if whole > inputs:
        x = _widened(parts, x, whole - inputs)
    if int(attr(op, "accuracy_level", 0)) == ROUNDED:
        x = parts.add(
            RoundBlocksOp.build(operands=[x], properties={"block": IntegerAttr(block, i64)}, result_types=[x.type])
        )
    if not retyping.takes(packed) or (zeros is not None and not is_float(zeros) and not retyping.takes(zeros)):
        if zeros is not None and not is_float(zeros):
            zeros = unpacked(
                parts, parts.reshape(zeros, (Expr.of(outputs), product(shape_of(zeros)) // outputs)), bits, blocks
            )
        codes = unpacked(parts, packed, bits, whole)
        rows = dequantised_rows(parts, codes, scales, zeros, 1 << (bits - 1), block)
        return product_with_rows(parts, x, rows, bias)
    matrix = retyping.use(packed, element_type(bits), (outputs, whole), parts)
    zero = _zeros(zeros, bits, (outputs, blocks), parts, retyping)
    grid = (Expr.of(outputs), Expr.of(blocks))
    kept = Quantised(matrix, parts.reshape(scales, grid), zero)
    return _linear(parts, x, kept, True, bias, dtype_of(op.results[0]))


def _zeros(zeros: SSAValue | None, bits: int, grid: tuple[int, int], parts: Parts, retyping: Retyping) -> SSAValue:
    """Zero points of each block: given as numbers, packed along the blocks, or the middle of the range."""
    if zeros is None:
        return parts.constant(np.full((1, 1), 1 << (bits - 1), np.uint8))
    shape = tuple(Expr.of(dim) for dim in grid)
    if is_float(zeros):
        return parts.reshape(zeros, shape)
    row = -(-grid[1] * bits // 8) * 8 // bits
    found = retyping.use(zeros, element_type(bits), (grid[0], row), parts)
    return parts.slice(found, 1, Expr.of(0), shape[1])


def _widened(parts: Parts, x: SSAValue, more: int) -> SSAValue:
    """x with zeros behind the features."""
    *lead, width = shape_of(x)
    pads = parts.constant(np.array([0] * (2 * len(lead) + 1) + [more]))
    return parts.node("Pad", [x, pads], dtype_of(x), (*lead, width + more))


def _linear(
    parts: Parts, x: SSAValue, kept: Quantised, transposed: bool, bias: SSAValue | None, dtype: str
) -> SSAValue:
    outputs = shape_of(kept.matrix)[0 if transposed else 1]
    shape = (*shape_of(x)[:-1], outputs)
    inside = bias if bias is not None and static_vector(bias) and shape_of(bias)[0] == outputs else None
    linear = LinearOp.of(
        x, kept.matrix, tensor(dtype, shape), transposed=transposed, bias=inside, scales=kept.scales, zeros=kept.zeros
    )
    y = parts.add(linear)
    return y if bias is None or inside is not None else parts.binary("Add", y, bias)


def _gather_blocks(op: Operation, parts: Parts, retyping: Retyping) -> SSAValue:
    """GatherBlockQuantized: rows of a table in blocks along its last axis."""
    table, ids, scales, zeros = operands_of(op, 4)[:4]
    if table is None or ids is None or scales is None:
        raise Unfit("embedding: an operand is missing")
    dims = shape_of(table)
    axis = int(attr(op, "quantize_axis", 1)) % len(dims)
    if int(attr(op, "gather_axis", 0)) % len(dims) or axis != len(dims) - 1 or len(dims) != 2:
        raise Unfit("embedding: blocks along another axis than the features")
    bits, middle = int(attr(op, "bits", 4)), None
    rows = integer(dims[0])
    if dtype_of(table) == "uint8":
        if bits < 8:
            table = retyping.use(table, element_type(bits), (rows, integer(dims[1]) * 8 // bits), parts)
        middle = parts.constant(np.full((), 1 << (bits - 1), np.uint8))
    width, blocks = shape_of(table)[1], shape_of(scales)[1]
    block = integer(width) // integer(blocks)
    if integer(width) % integer(blocks) or block != int(attr(op, "block_size", 128)):
        raise Unfit(f"embedding: {blocks} blocks of {width} features")
    if zeros is not None and dtype_of(zeros) == "uint8" and bits < 8:
        zeros = retyping.use(zeros, element_type(bits), (rows, integer(shape_of(zeros)[1]) * 8 // bits), parts)
        zeros = parts.slice(zeros, 1, Expr.of(0), blocks)
    found = [_rows(parts, table, ids), parts.gather(scales, ids)]
    zero = middle if zeros is None else parts.gather(zeros, ids)
    return _dequantised(parts, [*found, *([] if zero is None else [zero])], dtype_of(scales), block)


def _rows(parts: Parts, table: SSAValue, ids: SSAValue) -> SSAValue:
    result = tensor(dtype_of(table), (*shape_of(ids), *shape_of(table)[1:]))
    return parts.add(EmbeddingOp.build(operands=[table, ids], result_types=[result]))


def _dequantised(parts: Parts, inputs: list[SSAValue], dtype: str, block: int) -> SSAValue:
    shape = shape_of(inputs[0])
    return parts.node("DequantizeLinear", inputs, dtype, shape, axis=len(shape) - 1, block_size=block)


def _gather(op: Operation) -> None:
    """Gather of a table of few bits, before it is dequantised or behind: the rows are gathered first."""
    table, ids = op.operands
    user = only_user(op.results[0])
    if weight(table) is not None and not is_float(table) and rank(table) == 2 and not axis_of(op, "axis", 0, table):
        if user is not None and kind(user) in DEQUANTIZE:
            parts = Parts()
            y = _rows(parts, table, ids)
            replace(op, parts.ops, [y])
        return
    source = made_by(table, *DEQUANTIZE)
    if source is None or rank(table) != 2 or axis_of(op, "axis", 0, table) or weight(source.operands[0]) is None:
        return
    scale, zero = source.operands[1], operand(source, 2)
    if not all(dim == ONE for dim in shape_of(scale)):
        return
    parts = Parts()
    inputs = [_rows(parts, source.operands[0], ids), parts.reshape(scale, ())]
    inputs += [] if zero is None else [parts.reshape(zero, ())]
    y = parts.node("DequantizeLinear", inputs, dtype_of(table), shape_of(op.results[0]))
    replace(op, parts.ops, [y])


# --------------------------------------------------------- integer products


def _of_columns(parts: Parts, value: SSAValue, matrix: SSAValue) -> SSAValue:
    """Scales or zero points of a whole matrix or of its columns, as [1, 1] or [1, N]."""
    count = shape_of(matrix)[1]
    dims = [dim for dim in shape_of(value) if dim != ONE]
    if dims not in ([], [count]) or not is_static(value):
        raise Unfit("linear: scales that are no constants of the columns")
    return parts.reshape(value, (ONE, count if dims else ONE))


def _weights(parts: Parts, matrix: SSAValue, scale: SSAValue, zero: SSAValue | None) -> Quantised:
    if weight(matrix) is None or rank(matrix) != 2:
        raise Unfit("linear: the second operand is no static matrix")
    zeros = None if zero is None else _of_columns(parts, zero, matrix)
    return Quantised(matrix, _of_columns(parts, scale, matrix), zeros)


def _activations(parts: Parts, x: SSAValue, scale: SSAValue, zero: SSAValue | None) -> SSAValue:
    """The numbers that a quantised tensor stands for."""
    if any(dim != ONE for dim in shape_of(scale)):
        raise Unfit("linear: inputs with a scale for each row")
    inputs = [x, parts.reshape(scale, ())]
    inputs += [] if zero is None else [parts.reshape(zero, ())]
    return parts.node("DequantizeLinear", inputs, dtype_of(scale), shape_of(x))


def _matmul_integer(ctx: Context, op: Operation) -> None:
    """MatMulInteger, cast, times the product of both scales: a linear of dequantised inputs."""
    cast = only_user(op.results[0])
    scaling = None if cast is None or kind(cast) != "Cast" else only_user(cast.results[0])
    if cast is None or scaling is None or kind(scaling) != "Mul" or not is_float(cast.results[0]):
        return
    x, matrix, zero, column_zero = operands_of(op, 4)[:4]
    factor = next((other for one, other in pairs(scaling) if one is cast.results[0]), None)
    product = None if factor is None else made_by(factor, "Mul")
    if x is None or matrix is None or product is None:
        return
    for scale, column_scale in pairs(product):
        if is_static(column_scale) and all(dim == ONE for dim in shape_of(scale)):
            parts = Parts()
            try:
                kept = _weights(parts, matrix, column_scale, column_zero)
                inputs = _activations(parts, x, scale, zero)
                y = _linear(parts, inputs, kept, False, None, dtype_of(scaling.results[0]))
            except Unfit as reason:
                for made in reversed(parts.ops):
                    made.drop_all_references()
                unrecognised(ctx, op, str(reason))
                return
            replace(scaling, parts.ops, [y])
            return


PACKED: Mapping[str, Callable[[Operation, Parts, Retyping], SSAValue]] = {
    "com.microsoft:MatMulNBits": _nbits,
    "com.microsoft:GatherBlockQuantized": _gather_blocks,
}
RULES: Mapping[str, Callable[[Operation, Parts], SSAValue]] = QUANTISED
