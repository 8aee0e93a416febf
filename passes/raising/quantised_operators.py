"""onnxruntime's operators on quantised numbers, spelt out: dequantise, compute, quantise."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from xdsl.ir import Operation, SSAValue

from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.passes.raising.fused_attention import operands_of
from crossbank.passes.raising.matching import attr, rank
from crossbank.passes.raising.parts import Parts, Unfit
from crossbank.runtime.expr import ONE

FLOAT = "float32"


def dequantised(parts: Parts, x: SSAValue | None, scale: SSAValue | None, zero: SSAValue | None) -> SSAValue:
    """The numbers that a tensor with one scale stands for."""
    if x is None or scale is None:
        raise Unfit("an operand is missing")
    inputs = [x, _one(parts, scale)] + ([] if zero is None else [_one(parts, zero)])
    return parts.node("DequantizeLinear", inputs, dtype_of(scale), shape_of(x))


def quantised(parts: Parts, y: SSAValue, scale: SSAValue | None, zero: SSAValue | None, dtype: str) -> SSAValue:
    """The nearest numbers that a tensor with one scale can stand for."""
    if scale is None:
        raise Unfit("the scale of the result is missing")
    if zero is None and dtype != "uint8":
        raise Unfit(f"results of {dtype} without a zero point")
    inputs = [y, _one(parts, scale)] + ([] if zero is None else [_one(parts, zero)])
    return parts.node("QuantizeLinear", inputs, dtype, shape_of(y))


def _one(parts: Parts, value: SSAValue) -> SSAValue:
    if any(dim != ONE for dim in shape_of(value)):
        raise Unfit("a scale for each row")
    return parts.reshape(value, ())


def _binary(name: str) -> Callable[[Operation, Parts], SSAValue]:
    def rule(op: Operation, parts: Parts) -> SSAValue:
        a, a_scale, a_zero, b, b_scale, b_zero, scale, zero = operands_of(op, 8)[:8]
        left, right = dequantised(parts, a, a_scale, a_zero), dequantised(parts, b, b_scale, b_zero)
        return quantised(parts, parts.binary(name, left, right), scale, zero, dtype_of(op.results[0]))

    return rule


def _sigmoid(op: Operation, parts: Parts) -> SSAValue:
    x, x_scale, x_zero, scale, zero = operands_of(op, 5)[:5]
    values = dequantised(parts, x, x_scale, x_zero)
    y = parts.node("Sigmoid", [values], dtype_of(values), shape_of(values))
    return quantised(parts, y, scale, zero, dtype_of(op.results[0]))


def _softmax(op: Operation, parts: Parts) -> SSAValue:
    """Over one axis; before opset 13 over all axes from it on, which is the same for the last.

    Scores of an infinite scale, as onnxruntime's quantiser gives masks of the least float32, have no probabilities:
    its kernel gives the code 0 for them.
    """
    x, x_scale, x_zero, scale, zero = operands_of(op, 5)[:5]
    values = dequantised(parts, x, x_scale, x_zero)
    axis = int(attr(op, "axis", -1)) % rank(values)
    if int(attr(op, "opset", 13)) < 13 and axis != rank(values) - 1:
        raise Unfit("a softmax over several axes")
    y = parts.node("Softmax", [values], dtype_of(values), shape_of(values), axis=axis)
    dtype = dtype_of(op.results[0])
    if scale is not None and dtype == "int8":
        code = parts.constant(np.zeros((), np.int8))
        undefined = parts.node("IsNaN", [y], "bool", shape_of(y))
        y = parts.where(undefined, dequantised(parts, code, scale, zero), y)
    return quantised(parts, y, scale, zero, dtype)


def _concat(op: Operation, parts: Parts) -> SSAValue:
    scale, zero, *rest = operands_of(op, 2)
    if len(rest) % 3:
        raise Unfit(f"{len(rest)} operands, not three for each tensor")
    values = [dequantised(parts, *rest[i : i + 3]) for i in range(0, len(rest), 3)]
    whole = parts.concat(values, int(attr(op, "axis", 0)) % rank(values[0]))
    return quantised(parts, whole, scale, zero, dtype_of(op.results[0]))


def _matmul(op: Operation, parts: Parts) -> SSAValue:
    """QLinearMatMul, of a static matrix or of two computed ones."""
    a, a_scale, a_zero, b, b_scale, b_zero, scale, zero = operands_of(op, 8)[:8]
    if b is None or b_scale is None:
        raise Unfit("an operand is missing")
    left = dequantised(parts, a, a_scale, a_zero)
    right = _columns(parts, b, b_scale, b_zero, False) if rank(b) == 2 else dequantised(parts, b, b_scale, b_zero)
    y = parts.node("MatMul", [left, right], dtype_of(left), shape_of(op.results[0]))
    return quantised(parts, y, scale, zero, dtype_of(op.results[0]))


def _gemm(op: Operation, parts: Parts) -> SSAValue:
    """alpha * A B + C, with C of int32 in units of alpha times both scales; of floats without a scale of the result."""
    a, a_scale, a_zero, b, b_scale, b_zero, c, scale, zero = operands_of(op, 9)[:9]
    if b is None or b_scale is None:
        raise Unfit("an operand is missing")
    left = dequantised(parts, a, a_scale, a_zero)
    if attr(op, "transA", 0):
        left = parts.transpose(left, 1, 0)
    right = _columns(parts, b, b_scale, b_zero, bool(attr(op, "transB", 0)))
    y = parts.node("MatMul", [left, right], FLOAT, (shape_of(left)[0], shape_of(right)[1]))
    alpha = float(attr(op, "alpha", 1.0))
    y = parts.scaled(y, alpha)
    if c is not None and a_scale is not None:
        units = parts.binary("Mul", parts.scaled(_one(parts, a_scale), alpha), b_scale)
        y = parts.binary("Add", y, parts.binary("Mul", parts.cast(c, FLOAT), units))
    return y if scale is None else quantised(parts, y, scale, zero, dtype_of(op.results[0]))


def _columns(parts: Parts, b: SSAValue, scale: SSAValue, zero: SSAValue | None, turned: bool) -> SSAValue:
    """The matrix [K, N] of a tensor with one scale, or one for each column."""
    if any(dim != ONE for dim in shape_of(scale)):
        axis = 0 if turned else rank(b) - 1
        count = (shape_of(b)[axis],)
        inputs = [b, parts.reshape(scale, count)]
        if zero is not None and all(dim == ONE for dim in shape_of(zero)):
            inputs.append(parts.node("Expand", [zero, parts.dims(count)], dtype_of(zero), count))
        elif zero is not None:
            inputs.append(parts.reshape(zero, count))
        values = parts.node("DequantizeLinear", inputs, dtype_of(scale), shape_of(b), axis=axis)
    else:
        values = dequantised(parts, b, scale, zero)
    return parts.transpose(values, 1, 0) if turned else values


def _to_float(op: Operation, parts: Parts) -> SSAValue:
    """MatMulIntegerToFloat: a quantised matrix or stack times another, by columns or not, plus bias."""
    a, b, a_scale, b_scale, a_zero, b_zero, bias = operands_of(op, 7)[:7]
    if b is None or b_scale is None:
        raise Unfit("an operand is missing")
    left, right = dequantised(parts, a, a_scale, a_zero), _columns(parts, b, b_scale, b_zero, False)
    y = parts.node("MatMul", [left, right], dtype_of(left), shape_of(op.results[0]))
    return y if bias is None else parts.binary("Add", y, bias)


def _dynamic(op: Operation, parts: Parts) -> SSAValue:
    """DynamicQuantizeMatMul: the input is quantised to uint8 by its own range, times a quantised matrix, plus bias."""
    x, b, scale, zero, bias = operands_of(op, 5)[:5]
    if x is None or b is None or scale is None:
        raise Unfit("an operand is missing")
    rounded = _rounded(parts, x)
    y_shape = (*shape_of(x)[:-1], shape_of(b)[1])
    y = parts.node("MatMul", [rounded, _columns(parts, b, scale, zero, False)], FLOAT, y_shape)
    return y if bias is None else parts.binary("Add", y, bias)


def _rounded(parts: Parts, x: SSAValue) -> SSAValue:
    """x as DynamicQuantizeLinear and its inverse leave it."""
    codes, scale, zero = parts.several(
        "DynamicQuantizeLinear", [x], [("uint8", shape_of(x)), (FLOAT, ()), ("uint8", ())]
    )
    return parts.node("DequantizeLinear", [codes, scale, zero], FLOAT, shape_of(x))


QUANTISED: Mapping[str, Callable[[Operation, Parts], SSAValue]] = {
    "com.microsoft:QLinearAdd": _binary("Add"),
    "com.microsoft:QLinearMul": _binary("Mul"),
    "com.microsoft:QLinearSigmoid": _sigmoid,
    "com.microsoft:QLinearSoftmax": _softmax,
    "com.microsoft:QLinearConcat": _concat,
    "QLinearMatMul": _matmul,
    "com.microsoft:QGemm": _gemm,
    "com.microsoft:DynamicQuantizeMatMul": _dynamic,
    "com.microsoft:MatMulIntegerToFloat": _to_float,
}
