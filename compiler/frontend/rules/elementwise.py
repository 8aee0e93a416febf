"""Operators that work element by element, with numpy's broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from crossbank.compiler.frontend.algebra import decide_equal, decide_less
from crossbank.compiler.frontend.graph import Info, as_array
from crossbank.compiler.frontend.step import Outputs, Step, rule, value
from crossbank.runtime.expr import ONE, Expr, ceildiv, maximum, minimum
from crossbank.runtime.numerics import dtype_of

SAME = [
    "Abs",
    "Neg",
    "Sqrt",
    "Exp",
    "Log",
    "Sigmoid",
    "Tanh",
    "Relu",
    "Gelu",
    "Erf",
    "Cos",
    "Sin",
    "Tan",
    "Acos",
    "Asin",
    "Atan",
    "Sinh",
    "Cosh",
    "Asinh",
    "Acosh",
    "Atanh",
    "Reciprocal",
    "Not",
    "Identity",
    "LeakyRelu",
    "Elu",
    "Selu",
    "Celu",
    "HardSigmoid",
    "HardSwish",
    "Swish",
    "Mish",
    "Softplus",
    "Softsign",
    "ThresholdedRelu",
    "Floor",
    "Ceil",
    "Round",
    "Sign",
    "BitwiseNot",
    "LpNormalization",
    "Bernoulli",
    "InstanceNormalization",
    "GroupNormalization",
    "LRN",
    "com.microsoft:QuickGelu",
    "com.microsoft:FastGelu",
    "com.microsoft:BiasGelu",
    "com.microsoft:Gelu",
    "com.microsoft:QLinearSigmoid",
    "com.microsoft:QLinearSoftmax",
]
BROADCAST = [
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Pow",
    "Mod",
    "PRelu",
    "BitShift",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "Min",
    "Max",
    "Sum",
    "Mean",
]
COMPARE = ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor"]


def np_name(elem_type: int) -> str:
    """The numpy dtype name of an ONNX element type number."""
    return helper.tensor_dtype_to_np_dtype(elem_type).name


@rule(*SAME)
def same(step: Step) -> Outputs:
    return [Info(step.dtype(0), step.shape(0))]


@rule("CumSum")
def cumulative(step: Step) -> Outputs:
    if step.shape(1) not in ((), (ONE,)) or not step.shape(0):
        step.refuse("the axis is no number")
    return [Info(step.dtype(0), step.shape(0))]


@rule("Softmax", "LogSoftmax", "Hardmax")
def softmax(step: Step) -> Outputs:
    if not step.shape(0):
        step.refuse("a number has no axis")
    step.axis(step.attribute("axis", -1), len(step.shape(0)))
    return [Info(step.dtype(0), step.shape(0))]


@rule("Clip")
def clip(step: Step) -> Outputs:
    for i in (1, 2):
        if step.has(i) and step.shape(i) not in ((), (ONE,)):
            step.refuse(f"input {i}, a bound, is no number")
    return [Info(step.dtype(0), step.shape(0))]


@rule("RotaryEmbedding", "com.microsoft:RotaryEmbedding")
def rotary(step: Step) -> Outputs:
    """The tables are half as wide as what is turned: all of a head, or `rotary_embedding_dim` of it."""
    shape, table = step.shape(0), step.shape(2 if step.node.domain else 1)
    heads, part = step.attribute("num_heads", 0), step.attribute("rotary_embedding_dim", 0)
    if min(heads, part) < 0 or (len(shape) == 3 and not heads and (part or not step.node.domain)):
        step.refuse(f"{heads} heads, {part} of each turned")
    if part or heads or len(shape) == 4:
        size = shape[3] if len(shape) == 4 else shape[2] // heads
        if part and size.is_constant and part > size.constant:
            step.refuse(f"{part} of heads of {size} turned")
        step.expect(table[-1] * 2, Expr.of(part) if part else size, "twice the tables' width and a head")
    if not step.node.domain and not step.has(3) and len(table) != 3:
        step.refuse("tables without positions have no row for each token")
    return [Info(step.dtype(0), shape)]


@rule("IsNaN", "IsInf")
def test(step: Step) -> Outputs:
    return [Info("bool", step.shape(0))]


@rule("Dropout")
def dropout(step: Step) -> Outputs:
    return [Info(step.dtype(0), step.shape(0)), Info("bool", step.shape(0))]


@rule(*BROADCAST)
def broadcast(step: Step) -> Outputs:
    return [Info(step.dtype(0), step.broadcast(*(step.shape(i) for i in range(len(step.inputs)))))]


@rule(*COMPARE)
def compare(step: Step) -> Outputs:
    return [Info("bool", step.broadcast(step.shape(0), step.shape(1)))]


@rule("Where")
def where(step: Step) -> Outputs:
    return [Info(step.dtype(1), step.broadcast(step.shape(0), step.shape(1), step.shape(2)))]


@rule("Cast")
def cast(step: Step) -> Outputs:
    return [Info(np_name(step.attribute("to")), step.shape(0))]


@rule("CastLike")
def cast_like(step: Step) -> Outputs:
    return [Info(step.dtype(1), step.shape(0))]


@rule("QuantizeLinear", "com.microsoft:QuantizeLinear")
def quantize(step: Step) -> Outputs:
    _check_scales(step)
    to = step.attribute("output_dtype", 0)
    return [Info(step.dtype(2) if step.has(2) else np_name(to) if to else "uint8", step.shape(0))]


@rule("DequantizeLinear", "com.microsoft:DequantizeLinear")
def dequantize(step: Step) -> Outputs:
    _check_scales(step)
    to = step.attribute("output_dtype", 0)
    return [Info(np_name(to) if to else step.dtype(1), step.shape(0))]


def _check_scales(step: Step) -> None:
    """Scales and zero points are a number, a vector along the axis, or one for each block along the axis."""
    shape, scale = step.shape(0), step.shape(1)
    block = step.attribute("block_size", 0)
    single = ((), (ONE,))
    if step.has(2) and len(step.shape(2)) != len(scale) and not (step.shape(2) in single and scale in single):
        step.refuse(f"scales of {len(scale)} dimensions, zero points of {len(step.shape(2))}")
    if block < 0:
        step.refuse(f"blocks of {block} elements")
    if not scale or (not block and scale == (ONE,)):
        return
    axis = step.axis(step.attribute("axis", 1), len(shape))
    if len(scale) != (len(shape) if block else 1) or not shape:
        step.refuse(f"scales of {len(scale)} dimensions for {len(shape)}")
    for i, dim in enumerate(scale if block else ()):
        step.expect(dim, ceildiv(shape[i], block) if i == axis else shape[i], f"scales along dimension {i}")
    if not block:
        step.expect(scale[0], shape[axis], "scales along the axis")


@rule("DynamicQuantizeLinear")
def dynamic_quantize(step: Step) -> Outputs:
    return [Info("uint8", step.shape(0)), Info("float32", ()), Info("uint8", ())]


# -------------------------------------------------------------------- values


def _each(function: Callable[[Expr, Expr], Expr | bool | None], *arrays: NDArray[Any]) -> NDArray[Any] | None:
    """An element-wise function of expressions; None if it's unknown for an element."""
    wide = np.broadcast_arrays(*arrays)
    left, right = (array.reshape(-1) for array in wide)
    flat = [function(_expr(a), _expr(b)) for a, b in zip(left, right, strict=True)]
    if any(item is None for item in flat):
        return None
    if flat and isinstance(flat[0], bool):
        return np.array(flat, dtype=bool).reshape(wide[0].shape)
    return as_array(np.array(flat, dtype=object).reshape(wide[0].shape))


def _expr(item: Any) -> Expr:
    return item if isinstance(item, Expr) else Expr.of(int(item))


def _numbers(arrays: list[NDArray[Any]]) -> bool:
    return all(array.dtype != object for array in arrays)


@value("Add", "Sub", "Mul", "Neg", "Identity")
def arithmetic(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any]:
    match step.node.op_type:
        case "Add":
            return np.asarray(arrays[0] + arrays[1])
        case "Sub":
            return np.asarray(arrays[0] - arrays[1])
        case "Mul":
            return np.asarray(arrays[0] * arrays[1])
        case "Neg":
            return np.asarray(-arrays[0])
        case _:
            return arrays[0]


@value("Div")
def divide(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any] | None:
    a, b = arrays
    if not _numbers(arrays):
        return _each(lambda x, y: x // y if y != Expr.of(0) else None, a, b)
    if a.dtype.kind == "f":
        with np.errstate(all="ignore"):
            return np.asarray(a / b)
    if not b.all():
        return None
    quotient = np.abs(a) // np.abs(b)
    return np.asarray(np.where((a < 0) != (b < 0), -quotient, quotient))


@value("Mod")
def modulo(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any] | None:
    if step.attribute("fmod", 0) or (_numbers(arrays) and not arrays[1].all()):
        return None
    if _numbers(arrays):
        return np.asarray(arrays[0] % arrays[1])
    return _each(lambda x, y: x % y if y != Expr.of(0) else None, *arrays)


@value("Min", "Max")
def extreme(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any] | None:
    symbolic, number = (minimum, np.minimum) if step.node.op_type == "Min" else (maximum, np.maximum)
    out: NDArray[Any] | None = arrays[0]
    for array in arrays[1:]:
        if out is None:
            return None
        out = np.asarray(number(out, array)) if _numbers([out, array]) else _each(symbolic, out, array)
    return out


@value("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
def decide(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any] | None:
    a, b = arrays
    numbers = _numbers(arrays)
    match step.node.op_type:
        case "Equal":
            return np.asarray(a == b) if numbers else _each(decide_equal, a, b)
        case "Less":
            return np.asarray(a < b) if numbers else _each(decide_less, a, b)
        case "Greater":
            return np.asarray(a > b) if numbers else _each(lambda x, y: decide_less(y, x), a, b)
        case "LessOrEqual":
            return np.asarray(a <= b) if numbers else _each(lambda x, y: _not(decide_less(y, x)), a, b)
        case _:
            return np.asarray(a >= b) if numbers else _each(lambda x, y: _not(decide_less(x, y)), a, b)


def _not(decided: bool | None) -> bool | None:
    return None if decided is None else not decided


@value("Where")
def choose(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any] | None:
    return None if arrays[0].dtype == object else np.asarray(np.where(*arrays))


@value("Not")
def invert(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any]:
    return np.asarray(~arrays[0])


@value("And", "Or")
def logic(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any]:
    return np.asarray(arrays[0] & arrays[1] if step.node.op_type == "And" else arrays[0] | arrays[1])


@value("Cast")
def convert(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any] | None:
    name = np_name(step.attribute("to"))
    if arrays[0].dtype == object:
        return arrays[0] if name in ("int64", "int32") else None
    if "float8" in name or "float4" in name or "int4" in name:
        return None
    with np.errstate(all="ignore"):
        return arrays[0].astype(dtype_of(name))


@value("Sqrt", "Exp", "Abs", "Floor", "Ceil", "Reciprocal")
def function(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any] | None:
    if not _numbers(arrays) or arrays[0].dtype.kind not in "fi":
        return None
    functions = {"Sqrt": np.sqrt, "Exp": np.exp, "Abs": np.abs, "Floor": np.floor, "Ceil": np.ceil}
    with np.errstate(all="ignore"):
        if step.node.op_type == "Reciprocal":
            return np.asarray(np.array(1, arrays[0].dtype) / arrays[0])
        return np.asarray(functions[step.node.op_type](arrays[0]))


@value("Pow")
def power(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any] | None:
    if not _numbers(arrays) or (arrays[0].dtype.kind != "f" and (arrays[1] < 0).any()):
        return None
    with np.errstate(all="ignore"):
        return np.asarray(np.power(arrays[0], arrays[1].astype(arrays[0].dtype)))
