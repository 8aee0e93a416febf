"""Element-wise ONNX operators in instructions of the vector unit."""

from __future__ import annotations

from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
from xdsl.ir import Operation

from crossbank.backends.simd.views import expanded, padded, remade, sliced, split, unsqueezed
from crossbank.backends.simd.writer import Handler, Writer
from crossbank.dialects import onnx
from crossbank.dialects.imc import ViewAttr
from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.runtime.expr import ONE, ZERO, Expr
from crossbank.runtime.numerics import dtype_of as numpy_dtype

UNARY = {
    "Neg": "neg", "Abs": "abs", "Sqrt": "sqrt", "Reciprocal": "reciprocal", "Exp": "exp", "Log": "log", "Sin": "sin",
    "Cos": "cos", "Tan": "tan", "Tanh": "tanh", "Sigmoid": "sigmoid", "Floor": "floor", "Ceil": "ceil",
    "Round": "round", "Not": "not", "BitwiseNot": "bitwise_not", "IsNaN": "is_nan", "Sign": "sign",
    "Relu": "relu", "Softplus": "softplus", "Softsign": "softsign", "Asin": "asin", "Acos": "acos", "Atan": "atan",
    "Sinh": "sinh", "Cosh": "cosh", "Asinh": "asinh", "Acosh": "acosh", "Atanh": "atanh",
}  # fmt: skip
BINARY = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Pow": "pow", "And": "and", "Or": "or", "Xor": "xor",
    "BitwiseAnd": "bitwise_and", "BitwiseOr": "bitwise_or", "BitwiseXor": "bitwise_xor", "Equal": "equal",
    "Less": "less", "LessOrEqual": "less_equal", "Greater": "greater", "GreaterOrEqual": "greater_equal",
    "PRelu": "prelu",
}  # fmt: skip
VARIADIC = {"Min": "min", "Max": "max", "Sum": "add", "Mean": "add"}
ACTIVATIONS: dict[str, tuple[str, float, float]] = {
    "LeakyRelu": ("leaky_relu", 0.01, 0.0), "Elu": ("elu", 1.0, 0.0), "HardSigmoid": ("hard_sigmoid", 0.2, 0.5),
    "HardSwish": ("hard_swish", 0.0, 0.0), "Mish": ("mish", 0.0, 0.0),
    "Selu": ("selu", 1.67326319217681884765625, 1.05070102214813232421875), "Celu": ("celu", 1.0, 0.0),
    "ThresholdedRelu": ("thresholded_relu", 1.0, 0.0), "Swish": ("swish", 1.0, 0.0),
    "com.microsoft:QuickGelu": ("swish", 1.702, 0.0),
}  # fmt: skip
"""Instruction's name and default alpha and beta (gamma of Selu)."""
FLOATS = ("float16", "bfloat16", "float32", "float64")


def _unary(op: str, w: Writer) -> None:
    w.emit("unary", dst=w.result(), src=w.view(0), op=op)


def _erf(w: Writer) -> None:
    """Integers, which the schema allows, become floats and are cut off again."""
    if numpy_dtype(w.dtype).kind not in "iu":
        return _unary("erf", w)
    inner = w.to.scratch("float32", w.shape)
    w.emit("cast", dst=inner, src=w.view(0))
    w.emit("unary", dst=inner, src=inner, op="erf")
    return w.emit("cast", dst=w.result(), src=inner)


def _binary(op: str, w: Writer) -> None:
    rank = len(w.shape)
    w.emit("binary", dst=w.result(), a=w.view(0, rank), b=w.view(1, rank), op=op)


def _mod(w: Writer) -> None:
    _binary("fmod" if w.attribute("fmod", 0) else "mod", w)


def _shift(w: Writer) -> None:
    _binary("shift_left" if w.attribute("direction") == "LEFT" else "shift_right", w)


def _variadic(op: str, w: Writer) -> None:
    rank, dst, count = len(w.shape), w.result(), len(w.op.operands)
    source = w.view(0, rank)
    if count == 1:
        w.emit("copy", dst=dst, src=source)
    for i in range(1, count):
        w.emit("binary", dst=dst, a=source, b=w.view(i, rank), op=op)
        source = dst
    if w.op.name == "onnx.Mean" and count > 1:
        divisor = w.to.constant("count", [np.asarray(count, numpy_dtype(w.dtype))])
        w.emit("binary", dst=dst, a=dst, b=padded(divisor, rank), op="div")


def cast(w: Writer) -> None:
    """Another dtype: nothing to do for the same."""
    if dtype_of(w.value(0)) == w.dtype:
        w.bind(w.view(0))
    elif w.dtype.startswith("float8"):
        saturate = "yes" if w.attribute("saturate", 1) else "no"
        rounding = str(w.attribute("round_mode", "up")) if w.dtype == "float8_e8m0fnu" else "nearest"
        w.emit("convert", dst=w.result(), src=w.view(0), saturate=saturate, rounding=rounding)
    else:
        w.emit("cast", dst=w.result(), src=w.view(0))


def _where(w: Writer) -> None:
    rank = len(w.shape)
    w.emit("where", dst=w.result(), cond=w.view(0, rank), a=w.view(1, rank), b=w.view(2, rank))


def activate(w: Writer, op: str, alpha: float = 0.0, beta: float = 0.0) -> None:
    """An activation of the first operand."""
    w.emit("activation", dst=w.result(), src=w.view(0), op=op, alpha=alpha, beta=beta)


def _activation(op_type: str, w: Writer) -> None:
    op, alpha, beta = ACTIVATIONS[op_type]
    second = "gamma" if op == "selu" else "beta"
    activate(w, op, float(w.attribute("alpha", alpha)), float(w.attribute(second, beta)))


def _gelu(w: Writer) -> None:
    activate(w, "gelu_tanh" if w.attribute("approximate", "none") == "tanh" else "gelu")


def _biased_gelu(op: str, w: Writer) -> None:
    bias = w.view_or_none(1, len(w.shape))
    if bias is None:
        return activate(w, op)
    dst = w.result()
    w.emit("binary", dst=dst, a=w.view(0), b=bias, op="add")
    return w.emit("activation", dst=dst, src=dst, op=op, alpha=0.0, beta=0.0)


def _clip(w: Writer) -> None:
    """A bound that is not given is the type's own: infinities become its largest finite numbers."""
    given = w.attribute("min") is None and w.attribute("max") is None and len(w.inputs) > 1
    bounds: list[ViewAttr | None] = []
    finfo: Any = ml_dtypes.finfo
    for i, name in enumerate(("min", "max")):
        bound, view = w.attribute(name), _one(w, i + 1) if given else None
        if view is None and bound is None and w.dtype in FLOATS:
            bound = getattr(finfo(numpy_dtype(w.dtype)), name)
        if view is None and bound is not None:
            view = w.to.constant(name, [np.asarray(bound, numpy_dtype(w.dtype))])
        bounds.append(view)
    w.emit("clip", dst=w.result(), src=w.view(0), low=bounds[0], high=bounds[1])


def _one(w: Writer, i: int) -> ViewAttr | None:
    found = w.view_or_none(i)
    return None if found is None else remade(found, [], [])


def _is_inf(w: Writer) -> None:
    negative, positive = (w.attribute(f"detect_{sign}", 1) for sign in ("negative", "positive"))
    if negative and positive:
        w.emit("unary", dst=w.result(), src=w.view(0), op="is_inf")
    elif not (negative or positive):
        w.emit("fill", dst=w.result(), value=0.0)
    else:
        infinite = np.asarray(np.inf if positive else -np.inf, numpy_dtype(dtype_of(w.value(0))))
        bound = padded(w.to.constant("infinity", [infinite]), len(w.shape))
        w.emit("binary", dst=w.result(), a=w.view(0), b=bound, op="equal")


def _quantisation(op: str, w: Writer) -> None:
    """Scales and zero points of a tensor, of an axis, or of blocks along it, the last of which may be shorter."""
    src, dst = w.view(0), w.result()
    scale, zero = (_per_axis(w, i, src) for i in (1, 2))
    block = int(w.attribute("block_size", 0))
    if not block:
        return w.emit(op, dst=dst, src=src, scale=scale, zero=zero)
    axis = w.axis(len(w.shape), default=1)
    dim = src.shape_exprs[axis]
    full = dim // block
    rest = dim.constant % block if dim.is_constant else 0
    for first, blocks, size in ((Expr.of(0), full, block), (full, ONE, rest)):
        if not size or blocks == ZERO:
            continue
        own = [split(sliced(view, axis, first * block, blocks * size), axis, blocks, size) for view in (dst, src)]
        shared = [None if v is None else _blocks(v, axis, first, blocks) for v in (scale, zero)]
        w.emit(op, dst=own[0], src=own[1], scale=shared[0], zero=shared[1])
    return None


def _blocks(view: ViewAttr, axis: int, first: Expr, count: Expr) -> ViewAttr:
    return view if view.shape_exprs[axis] == ONE else sliced(view, axis, first, count)


def _per_axis(w: Writer, i: int, src: ViewAttr) -> ViewAttr | None:
    """A scale or zero point shaped to broadcast with the tensor, or with its blocks."""
    found = w.view_or_none(i)
    if found is None:
        return None
    rank = len(src.shape)
    if len(found.shape) == 0:
        return padded(found, rank + (1 if w.attribute("block_size", 0) else 0))
    axis = w.axis(rank, default=1)
    if w.attribute("block_size", 0):
        return unsqueezed(found, axis + 1)
    if found.shape_exprs == (ONE,):
        return remade(found, [ONE] * rank, [ZERO] * rank)
    shape, strides = [ONE] * rank, [ZERO] * rank
    shape[axis], strides[axis] = found.shape_exprs[0], found.stride_exprs[0]
    return remade(found, shape, strides)


def _refuse_unknown_blocks(op: Operation) -> str | None:
    block = int(onnx.attribute(op, "block_size", 0))
    if not block:
        return None
    shape = shape_of(op.operands[0])
    dim = shape[int(onnx.attribute(op, "axis", 1)) % len(shape)]
    return None if dim.is_constant else f"{dim} may be no multiple of the block size {block}"


def _dynamic_quantize(w: Writer) -> None:
    w.emit("dynamic_quantize", dst=w.result(0), scale=w.result(1), zero=w.result(2), src=w.view(0))


def _broadcast(w: Writer) -> None:
    w.bind(expanded(w.view(0), w.shape))


HANDLERS: dict[str, Handler] = {
    **{name: Handler(partial(_unary, op)) for name, op in UNARY.items()},
    **{name: Handler(partial(_binary, op)) for name, op in BINARY.items()},
    **{name: Handler(partial(_variadic, op)) for name, op in VARIADIC.items()},
    **{name: Handler(partial(_activation, name)) for name in ACTIVATIONS},
    "Erf": Handler(_erf),
    "IsInf": Handler(_is_inf),
    "Mod": Handler(_mod),
    "BitShift": Handler(_shift),
    "Cast": Handler(cast),
    "CastLike": Handler(cast),
    "Where": Handler(_where),
    "Gelu": Handler(_gelu),
    "com.microsoft:Gelu": Handler(_gelu),
    "com.microsoft:FastGelu": Handler(partial(_biased_gelu, "gelu_tanh")),
    "com.microsoft:BiasGelu": Handler(partial(_biased_gelu, "gelu")),
    "Clip": Handler(_clip),
    "DequantizeLinear": Handler(partial(_quantisation, "dequantize"), _refuse_unknown_blocks),
    "QuantizeLinear": Handler(partial(_quantisation, "quantize"), _refuse_unknown_blocks),
    "com.microsoft:DequantizeLinear": Handler(partial(_quantisation, "dequantize"), _refuse_unknown_blocks),
    "com.microsoft:QuantizeLinear": Handler(partial(_quantisation, "quantize"), _refuse_unknown_blocks),
    "DynamicQuantizeLinear": Handler(_dynamic_quantize),
    "Expand": Handler(_broadcast),
}
