"""Reading the dataflow behind a value: operation kinds, schema attributes, known numbers, commutative operands."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import Operation, SSAValue

from crossbank.dialects import onnx
from crossbank.dialects.imc import UseOp
from crossbank.dialects.shape import dtype_of, is_tensor, shape_of
from crossbank.passes.rewriting import owner_of
from crossbank.runtime.expr import Expr, product
from crossbank.runtime.numerics import dtype_of as numpy_dtype

Values: TypeAlias = "NDArray[Any]"
ELEMENTS = 64
FLOATS = ("float16", "bfloat16", "float32", "float64")


def kind(source: Operation | SSAValue | None) -> str:
    """The operator of an ONNX node or of the node behind a value ("MatMul", "com.microsoft:BiasGelu").

    The full name for other dialects ("llm.linear"), "" for an argument.
    """
    op = owner_of(source) if isinstance(source, SSAValue) else source
    if op is None:
        return ""
    return onnx.op_type(op) if onnx.is_onnx(op) else op.name


def made_by(value: SSAValue, *kinds: str) -> Operation | None:
    """The operation that computes a value if it is one of these kinds."""
    op = owner_of(value)
    return op if op is not None and kind(op) in kinds else None


def attr(op: Operation, name: str, default: Any = None) -> Any:
    """An attribute of an ONNX node as a Python value."""
    return onnx.attribute(op, name, default)


def operand(op: Operation, position: int) -> SSAValue | None:
    """The operand at an ONNX input position, None where the node leaves it out."""
    found = onnx.inputs(op)
    return found[position] if position < len(found) else None


def rank(value: SSAValue) -> int:
    """Number of dimensions of a tensor value."""
    return len(shape_of(value))


def is_float(value: SSAValue) -> bool:
    """Whether a value is a tensor of floating-point numbers."""
    return is_tensor(value) and dtype_of(value) in FLOATS


def weight(value: SSAValue) -> Operation | None:
    """The `imc.use` that a value is, None if it isn't one."""
    op = owner_of(value)
    return op if isinstance(op, UseOp) else None


_UNARY: dict[str, Callable[[Values], Values]] = {
    "Sqrt": np.sqrt,
    "Reciprocal": np.reciprocal,
    "Neg": np.negative,
    "Identity": np.asarray,
}
_BINARY: dict[str, Callable[[Values, Values], Values]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
}


def constant(value: SSAValue, depth: int = 8) -> Values | None:
    """The numbers of a value known at compile time (at most 64 elements), None if they aren't.

    Reads `onnx.Constant`, `onnx.dims_value` without registers, and float arithmetic on them.
    """
    op = owner_of(value)
    if op is None or depth == 0 or not is_tensor(value):
        return None
    name = kind(op)
    if name == "Constant":
        return attr(op, "value")
    if isinstance(op, onnx.DimsValueOp):
        if not all(expr.is_constant for expr in op.exprs):
            return None
        numbers = [expr.constant for expr in op.exprs]
        return np.array(numbers, numpy_dtype(dtype_of(value))).reshape(_static(value) or ())
    shape = _static(value)
    if shape is None or math.prod(shape) > ELEMENTS:
        return None
    if name == "ConstantOfShape":
        fill = attr(op, "value")
        return np.full(shape, 0 if fill is None else fill.ravel()[0], numpy_dtype(dtype_of(value)))
    if name in _UNARY or name in ("Cast", "Reshape", "Unsqueeze", "Squeeze"):
        inner = constant(op.operands[0], depth - 1)
        if inner is None:
            return None
        done = _UNARY[name](inner) if name in _UNARY else inner
    elif name in _BINARY:
        left, right = (constant(operand, depth - 1) for operand in op.operands)
        if left is None or right is None or left.dtype.kind != "f":
            return None
        with np.errstate(all="ignore"):
            done = _BINARY[name](left, right)
    else:
        return None
    return np.asarray(done).astype(numpy_dtype(dtype_of(value))).reshape(shape)


def _static(value: SSAValue) -> tuple[int, ...] | None:
    shape = shape_of(value)
    return tuple(dim.constant for dim in shape) if all(dim.is_constant for dim in shape) else None


def scalar(value: SSAValue) -> float | None:
    """The number of a constant whose elements are all equal and that broadcasting leaves a scalar."""
    found = constant(value)
    return float(found.reshape(())) if found is not None and found.size == 1 else None


def integers(value: SSAValue) -> list[int] | None:
    """The numbers of a constant integer tensor, flattened."""
    found = constant(value)
    return [int(i) for i in found.ravel()] if found is not None else None


def strip(value: SSAValue, *kinds: str) -> SSAValue:
    """The value behind any number of operations of these kinds, through their first operand."""
    while (op := made_by(value, *kinds)) is not None:
        value = op.operands[0]
    return value


def uncast(value: SSAValue) -> SSAValue:
    """The value behind casts from one floating-point type to another."""
    while (op := made_by(value, "Cast")) is not None and is_float(value) and is_float(op.operands[0]):
        value = op.operands[0]
    return value


def scaled(value: SSAValue) -> tuple[SSAValue, float] | None:
    """(x, c) for a value x * c or x / (1/c) with a constant scalar c that leaves x's shape; None for any other."""
    op = made_by(value, "Mul", "Div")
    if op is None:
        return None
    left, right = op.operands
    if (factor := scalar(right)) is not None and shape_of(left) == shape_of(value):
        return left, (factor if kind(op) == "Mul" else 1.0 / factor if factor else math.inf)
    if kind(op) == "Mul" and (factor := scalar(left)) is not None and shape_of(right) == shape_of(value):
        return right, factor
    return None


def is_routing(softmax: Operation) -> bool:
    """Whether a softmax is that of a router: over the scores of experts before the largest are taken, or behind.

    They are taken by TopK, or by the places of the largest.
    """
    taken = any(kind(user) in ("TopK", "GatherElements") for user in users(softmax.results[0]))
    return taken or made_by(strip(softmax.operands[0], "Cast", "Reshape"), "TopK") is not None


def pairs(op: Operation) -> Sequence[tuple[SSAValue, SSAValue]]:
    """Both orders of the operands of a commutative operation."""
    left, right = op.operands
    return (left, right), (right, left)


def users(value: SSAValue) -> list[Operation]:
    """The operations that use a value, each once."""
    return list(dict.fromkeys(use.operation for use in value.uses))


def only_user(value: SSAValue) -> Operation | None:
    """The single operation that uses a value."""
    found = users(value)
    return found[0] if len(found) == 1 else None


def axis_of(op: Operation, name: str, default: int, of: SSAValue) -> int:
    """An axis attribute, counted from the front."""
    axis = int(attr(op, name, default))
    return axis + rank(of) if axis < 0 else axis


def reduced_axes(op: Operation) -> list[int] | None:
    """The axes of a reduction, counted from the front: an attribute up to opset 17, an operand from 18 on."""
    axes = attr(op, "axes")
    if axes is None and (found := operand(op, 1)) is not None:
        axes = integers(found)
    return None if axes is None else [int(a) % rank(op.operands[0]) for a in axes]


def elements(value: SSAValue) -> Expr:
    """Number of elements of a tensor value."""
    return product(shape_of(value))


def slice_of(value: SSAValue) -> tuple[SSAValue, int, Expr, Expr] | None:
    """(x, axis, start, stop) where a value is x[start:stop] along one axis, by Slice or Split; None for any other."""
    op = owner_of(value)
    if op is None:
        return None
    if kind(op) == "Split":
        source = op.operands[0]
        axis = axis_of(op, "axis", 0, source)
        start = Expr.of(0)
        for result in op.results:
            size = shape_of(result)[axis]
            if result is value:
                return source, axis, start, start + size
            start = start + size
    if kind(op) == "Slice":
        source = op.operands[0]
        starts, _, axes, steps = slice_operands(op)
        if starts is None or axes is None or len(axes) != 1 or steps not in (None, [1]):
            return None
        axis = axes[0] % rank(source)
        start = Expr.of(starts[0]) + (shape_of(source)[axis] if starts[0] < 0 else 0)
        return source, axis, start, start + shape_of(value)[axis]
    return None


def slice_operands(op: Operation) -> tuple[list[int] | None, ...]:
    """starts, ends, axes and steps of a Slice where they are known numbers (attributes up to opset 9)."""
    found: list[list[int] | None] = []
    for position, name in enumerate(("starts", "ends", "axes", "steps"), start=1):
        value = operand(op, position)
        found.append(attr(op, name) if value is None else integers(value))
    return tuple(found)
