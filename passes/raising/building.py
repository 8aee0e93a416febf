"""Making ONNX operations during raising: constants, reshapes, sums of masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from xdsl.dialects.builtin import ArrayAttr, StringAttr
from xdsl.ir import Operation, SSAValue

from crossbank.dialects import onnx
from crossbank.dialects.onnx import DimsValueOp
from crossbank.dialects.shape import dtype_of, shape_of, tensor
from crossbank.runtime.expr import Expr
from crossbank.runtime.numerics import dtype_of as numpy_dtype

OPSET = 18


SINCE = {"DequantizeLinear": 21}
"""Operators that are made as later versions define them."""


def make(op_type: str, inputs: Sequence[SSAValue], dtype: str, shape: Sequence[Expr], **attributes: Any) -> Operation:
    """An ONNX operation with one result."""
    return onnx.build(op_type, inputs, [tensor(dtype, shape)], attributes, SINCE.get(op_type, OPSET))


def scalar_constant(value: float, dtype: str) -> Operation:
    """An `onnx.Constant` of rank 0."""
    return onnx.constant(np.array(value, numpy_dtype(dtype)), OPSET)


def reshape(value: SSAValue, shape: Sequence[Expr]) -> list[Operation]:
    """The operations that give a value another shape of as many elements; the last one's result is it."""
    dims = DimsValueOp.build(
        properties={"value": ArrayAttr([StringAttr(str(dim)) for dim in shape])},
        result_types=[tensor("int64", [len(shape)])],
    )
    return [dims, make("Reshape", [value, dims.result], dtype_of(value), shape, allowzero=1)]


def broadcast(left: Sequence[Expr], right: Sequence[Expr]) -> list[Expr] | None:
    """The numpy broadcast of two shapes; None where symbolic dimensions can't be told equal."""
    size = max(len(left), len(right))
    one = Expr.of(1)
    padded = [[one] * (size - len(shape)) + list(shape) for shape in (left, right)]
    result: list[Expr] = []
    for a, b in zip(*padded, strict=True):
        if a != b and one not in (a, b):
            return None
        result.append(b if a == one else a)
    return result


def binary(op_type: str, left: SSAValue, right: SSAValue) -> Operation | None:
    """An element-wise ONNX operation of two values of one dtype; None where their shapes don't broadcast."""
    shape = broadcast(shape_of(left), shape_of(right))
    return None if shape is None else make(op_type, [left, right], dtype_of(left), shape)
