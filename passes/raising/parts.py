"""The operations that stand for one fused operator: made in program order, each giving its value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ArrayAttr, BoolAttr, Float64Type, FloatAttr, IntegerAttr, StringAttr, f64, i64
from xdsl.ir import Operation, SSAValue

from crossbank.dialects import onnx
from crossbank.dialects.llm import LayerNormOp, RmsNormOp, RotaryOp
from crossbank.dialects.onnx import DimsValueOp
from crossbank.dialects.shape import dtype_of, shape_of, tensor
from crossbank.passes.raising.building import OPSET, make
from crossbank.runtime.expr import ONE, Expr
from crossbank.runtime.numerics import dtype_of as numpy_dtype


class Unfit(Exception):
    """Why a fused operator can't be spelt out; nothing has been changed."""


def joined(left: Sequence[Expr], right: Sequence[Expr]) -> list[Expr]:
    """The broadcast of two shapes; symbolic dimensions that differ are taken as equal, as onnxruntime checks them."""
    size = max(len(left), len(right))
    padded = [[ONE] * (size - len(shape)) + list(shape) for shape in (left, right)]
    return [b if a == ONE else a for a, b in zip(*padded, strict=True)]


@dataclass
class Parts:
    """Operations not yet in a block."""

    ops: list[Operation] = field(default_factory=list[Operation])

    def add(self, op: Operation) -> SSAValue:
        """Add an operation; its first result."""
        self.ops.append(op)
        return op.results[0]

    def node(
        self, op_type: str, inputs: Sequence[SSAValue], dtype: str, shape: Sequence[Expr], **attributes: Any
    ) -> SSAValue:
        """An ONNX operation with one result."""
        return self.add(make(op_type, inputs, dtype, shape, **attributes))

    def several(
        self, op_type: str, inputs: Sequence[SSAValue], results: Sequence[tuple[str, Sequence[Expr]]], **attributes: Any
    ) -> list[SSAValue]:
        """An ONNX operation with several results, of (dtype, shape) each."""
        op = onnx.build(op_type, inputs, [tensor(dtype, shape) for dtype, shape in results], attributes, OPSET)
        self.ops.append(op)
        return list(op.results)

    # ----------------------------------------------------------- known values

    def constant(self, values: NDArray[Any]) -> SSAValue:
        """An array."""
        return self.add(onnx.constant(values, OPSET))

    def number(self, value: float, dtype: str) -> SSAValue:
        """A number, of rank 0."""
        return self.constant(np.array(value, numpy_dtype(dtype)))

    def dims(self, exprs: Sequence[Expr]) -> SSAValue:
        """A vector of expressions, int64."""
        return self.add(_dims(exprs, [len(exprs)]))

    def dim(self, expr: Expr) -> SSAValue:
        """An expression, int64 of rank 0."""
        return self.add(_dims([expr], []))

    def positions(self, count: Expr) -> SSAValue:
        """0 … count - 1, int64."""
        start, step = self.number(0, "int64"), self.number(1, "int64")
        return self.node("Range", [start, self.dim(count), step], "int64", [count])

    # ------------------------------------------------------------------ forms

    def reshape(self, value: SSAValue, shape: Sequence[Expr]) -> SSAValue:
        """Another shape of as many elements."""
        if tuple(shape) == shape_of(value):
            return value
        return self.node("Reshape", [value, self.dims(shape)], dtype_of(value), shape, allowzero=1)

    def transpose(self, value: SSAValue, *perm: int) -> SSAValue:
        """The axes in another order."""
        shape = shape_of(value)
        return self.node("Transpose", [value], dtype_of(value), [shape[i] for i in perm], perm=list(perm))

    def slice(self, value: SSAValue, axis: int, start: Expr, stop: Expr) -> SSAValue:
        """value[start:stop] along an axis counted from the front."""
        shape = list(shape_of(value))
        if start == Expr.of(0) and stop == shape[axis]:
            return value
        shape[axis] = stop - start
        bounds = [self.dims([start]), self.dims([stop]), self.constant(np.array([axis]))]
        return self.node("Slice", [value, *bounds], dtype_of(value), shape)

    def concat(self, values: Sequence[SSAValue], axis: int) -> SSAValue:
        """Values side by side along an axis counted from the front."""
        shape = list(shape_of(values[0]))
        for value in values[1:]:
            shape[axis] = shape[axis] + shape_of(value)[axis]
        return self.node("Concat", values, dtype_of(values[0]), shape, axis=axis)

    def gather(self, table: SSAValue, indices: SSAValue) -> SSAValue:
        """Rows of a table."""
        shape = (*shape_of(indices), *shape_of(table)[1:])
        return self.node("Gather", [table, indices], dtype_of(table), shape, axis=0)

    # ------------------------------------------------------------- arithmetic

    def cast(self, value: SSAValue, dtype: str) -> SSAValue:
        """Another element type."""
        from onnx import helper

        if dtype_of(value) == dtype:
            return value
        to = helper.np_dtype_to_tensor_dtype(numpy_dtype(dtype))
        return self.node("Cast", [value], dtype, shape_of(value), to=int(to))

    def binary(self, op_type: str, left: SSAValue, right: SSAValue, dtype: str = "") -> SSAValue:
        """An element-wise operation, broadcast; `dtype` of the result where it isn't the operands'."""
        shape = joined(shape_of(left), shape_of(right))
        return self.node(op_type, [left, right], dtype or dtype_of(left), shape)

    def where(self, condition: SSAValue, left: SSAValue, right: SSAValue) -> SSAValue:
        """left where the condition holds, else right."""
        shape = joined(joined(shape_of(condition), shape_of(left)), shape_of(right))
        return self.node("Where", [condition, left, right], dtype_of(left), shape)

    def scaled(self, value: SSAValue, factor: float) -> SSAValue:
        """value * factor."""
        return value if factor == 1.0 else self.binary("Mul", value, self.number(factor, dtype_of(value)))

    # ------------------------------------------------------------ transformer

    def rms_norm(self, x: SSAValue, weight: SSAValue, epsilon: float) -> SSAValue:
        """`llm.rms_norm`."""
        properties = {"epsilon": _number(epsilon)}
        return self.add(RmsNormOp.build(operands=[x, weight], properties=properties, result_types=[x.type]))

    def layer_norm(self, x: SSAValue, weight: SSAValue, bias: SSAValue | None, epsilon: float) -> SSAValue:
        """`llm.layer_norm`."""
        biases = [] if bias is None else [bias]
        properties = {"epsilon": _number(epsilon)}
        return self.add(LayerNormOp.build(operands=[x, weight, biases], properties=properties, result_types=[x.type]))

    def rotary(self, x: SSAValue, cos: SSAValue, sin: SSAValue, width: int, interleaved: bool) -> SSAValue:
        """`llm.rotary` of x [B, H, S, D] by angles [B, S, width / 2]."""
        batch, tokens, angles = shape_of(cos)
        found = [self.reshape(value, (batch, ONE, tokens, angles)) for value in (cos, sin)]
        properties = {"interleaved": BoolAttr.from_bool(interleaved), "width": IntegerAttr(width, i64)}
        return self.add(RotaryOp.build(operands=[x, *found], properties=properties, result_types=[x.type]))


def _dims(exprs: Sequence[Expr], shape: Sequence[int]) -> DimsValueOp:
    return DimsValueOp.build(
        properties={"value": ArrayAttr([StringAttr(str(expr)) for expr in exprs])},
        result_types=[tensor("int64", shape)],
    )


def _number(value: float) -> FloatAttr[Float64Type]:
    return FloatAttr(value, f64)
