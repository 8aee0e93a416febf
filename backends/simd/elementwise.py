"""What the element-wise instructions of the vector unit compute."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import ml_dtypes
import numpy as np

from crossbank.backends.arithmetic import Array, apply, erf, is_float, wide
from crossbank.backends.simd.kinds import Activation, Binary, Rounding, Unary

BLOCK = 1 << 16
"""Elements of a large tensor worked on at a time, so that the passes of one function stay in the cache."""


def _sigmoid(x: Array) -> Array:
    t = np.negative(x)
    np.exp(t, out=t)
    t += 1
    return np.reciprocal(t, out=t)


def _relu(x: Array) -> Array:
    return np.maximum(x, x.dtype.type(0))


def _rsqrt(x: Array) -> Array:
    t = np.sqrt(x)
    return np.reciprocal(t, out=t)


_UNARY: dict[int, Callable[..., Array]] = {
    Unary.NEG: np.negative,
    Unary.ABS: np.absolute,
    Unary.SQRT: np.sqrt,
    Unary.EXP: np.exp,
    Unary.LOG: np.log,
    Unary.SIN: np.sin,
    Unary.COS: np.cos,
    Unary.TAN: np.tan,
    Unary.TANH: np.tanh,
    Unary.FLOOR: np.floor,
    Unary.CEIL: np.ceil,
    Unary.ROUND: np.rint,
    Unary.BITWISE_NOT: np.invert,
    Unary.SIGN: np.sign,
    Unary.SQUARE: np.square,
    Unary.ASIN: np.arcsin,
    Unary.ACOS: np.arccos,
    Unary.ATAN: np.arctan,
    Unary.SINH: np.sinh,
    Unary.COSH: np.cosh,
    Unary.ASINH: np.arcsinh,
    Unary.ACOSH: np.arccosh,
    Unary.ATANH: np.arctanh,
    Unary.RECIPROCAL: np.reciprocal,
}
_COMPOSED: dict[int, Callable[[Array], Array]] = {
    Unary.RSQRT: _rsqrt,
    Unary.SIGMOID: _sigmoid,
    Unary.ERF: erf,
    Unary.NOT: np.logical_not,
    Unary.IS_NAN: np.isnan,
    Unary.IS_INF: np.isinf,
    Unary.RELU: _relu,
    Unary.SOFTPLUS: lambda x: np.logaddexp(x, x.dtype.type(0)),
    Unary.SOFTSIGN: lambda x: x / (1 + np.absolute(x)),
}


def unary(unit: object, o: Any) -> None:
    """dst = op(src)."""
    function = _UNARY.get(o.op)
    if function is not None:
        apply(o.dst, function, o.src)
    else:
        o.dst[...] = _COMPOSED[o.op](wide(o.src))


def _divide(a: Array, b: Array) -> Array:
    if is_float(a):
        return np.true_divide(a, b)
    quotient = np.floor_divide(a, b)
    if a.dtype.kind == "u":
        return quotient
    return quotient + ((np.remainder(a, b) != 0) & ((a < 0) != (b < 0)))


def _power(a: Array, b: Array) -> Array:
    if not is_float(a):
        return np.power(a.astype(np.float64), b.astype(np.float64)) if is_float(b) or (b < 0).any() else np.power(a, b)
    if b.size == 1 or (b.size and not any(b.strides)):
        exponent = float(b.reshape(-1)[0])
        if exponent == 2.0:
            return np.broadcast_to(np.square(a), np.broadcast_shapes(a.shape, b.shape))
        if exponent == 3.0:
            return np.broadcast_to(np.square(a) * a, np.broadcast_shapes(a.shape, b.shape))
    return np.power(a, b.astype(a.dtype))


_BINARY: dict[int, Callable[..., Array]] = {
    Binary.ADD: np.add,
    Binary.SUB: np.subtract,
    Binary.MUL: np.multiply,
    Binary.MIN: np.minimum,
    Binary.MAX: np.maximum,
    Binary.MOD: np.remainder,
    Binary.FMOD: np.fmod,
    Binary.BITWISE_AND: np.bitwise_and,
    Binary.BITWISE_OR: np.bitwise_or,
    Binary.BITWISE_XOR: np.bitwise_xor,
    Binary.SHIFT_LEFT: np.left_shift,
    Binary.SHIFT_RIGHT: np.right_shift,
}
_OTHER: dict[int, Callable[[Array, Array], Array]] = {
    Binary.DIV: _divide,
    Binary.POW: _power,
    Binary.AND: np.logical_and,
    Binary.OR: np.logical_or,
    Binary.XOR: np.logical_xor,
    Binary.EQUAL: np.equal,
    Binary.NOT_EQUAL: np.not_equal,
    Binary.LESS: np.less,
    Binary.LESS_EQUAL: np.less_equal,
    Binary.GREATER: np.greater,
    Binary.GREATER_EQUAL: np.greater_equal,
    Binary.PRELU: lambda a, b: np.where(a < 0, a * b, a),
}


def binary(unit: object, o: Any) -> None:
    """dst = op(a, b), broadcast."""
    function = _BINARY.get(o.op)
    if function is not None:
        apply(o.dst, function, o.a, o.b)
    else:
        o.dst[...] = _OTHER[o.op](wide(o.a), wide(o.b))


def where(unit: object, o: Any) -> None:
    """dst = a where cond, else b."""
    o.dst[...] = np.where(o.cond, o.a, o.b)


def clip(unit: object, o: Any) -> None:
    """dst = min(max(src, low), high)."""
    value = o.src
    if o.low is not None:
        value = np.maximum(value, o.low.reshape(o.low.shape[0], *(1,) * (value.ndim - 1)))
    if o.high is not None:
        value = np.minimum(value, o.high.reshape(o.high.shape[0], *(1,) * (value.ndim - 1)))
    o.dst[...] = value


def _swish(x: Array, factor: float) -> Array:
    t = np.multiply(x, x.dtype.type(-factor))
    np.exp(t, out=t)
    t += 1
    return np.divide(x, t, out=t)


def _gelu(x: Array) -> Array:
    t = erf(np.multiply(x, x.dtype.type(math.sqrt(0.5))))
    t += 1
    t *= x
    t *= x.dtype.type(0.5)
    return t


_GELU = math.sqrt(2.0 / math.pi)


def _gelu_tanh(x: Array) -> Array:
    kind = x.dtype.type
    t = np.square(x)
    t *= kind(0.044715 * _GELU)
    t += kind(_GELU)
    t *= x
    np.tanh(t, out=t)
    t += 1
    t *= x
    t *= kind(0.5)
    return t


def _selu(x: Array, alpha: float, gamma: float) -> Array:
    return gamma * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


ACTIVATIONS: dict[int, Callable[[Array, float, float], Array]] = {
    Activation.SILU: lambda x, a, b: _swish(x, 1.0),
    Activation.SWISH: lambda x, a, b: _swish(x, a),
    Activation.QUICK_GELU: lambda x, a, b: _swish(x, 1.702),
    Activation.GELU: lambda x, a, b: _gelu(x),
    Activation.GELU_TANH: lambda x, a, b: _gelu_tanh(x),
    Activation.RELU: lambda x, a, b: _relu(x),
    Activation.SIGMOID: lambda x, a, b: _sigmoid(x),
    Activation.TANH: lambda x, a, b: np.tanh(x),
    Activation.LEAKY_RELU: lambda x, a, b: np.where(x < 0, x * x.dtype.type(a), x),
    Activation.ELU: lambda x, a, b: _selu(x, a, 1.0),
    Activation.SELU: _selu,
    Activation.CELU: lambda x, a, b: np.where(x > 0, x, a * np.expm1(np.minimum(x, 0) / a)),
    Activation.HARD_SIGMOID: lambda x, a, b: np.clip(a * x + b, 0, 1),
    Activation.HARD_SWISH: lambda x, a, b: x * np.clip(x / 6 + 0.5, 0, 1),
    Activation.MISH: lambda x, a, b: x * np.tanh(np.logaddexp(x, x.dtype.type(0))),
    Activation.THRESHOLDED_RELU: lambda x, a, b: np.where(x > a, x, x.dtype.type(0)),
}


def _flat(*tensors: Array) -> bool:
    return all(t.flags.c_contiguous for t in tensors)


def activation(unit: object, o: Any) -> None:
    """dst = op(src), op with the constants alpha and beta."""
    function, dst, src = ACTIVATIONS[o.op], o.dst, o.src
    if src.size <= BLOCK or not _flat(dst, src):
        dst[...] = function(wide(src), o.alpha, o.beta)
        return
    dst, src = dst.reshape(-1), src.reshape(-1)
    for i in range(0, src.size, BLOCK):
        dst[i : i + BLOCK] = function(wide(src[i : i + BLOCK]), o.alpha, o.beta)


def gated(unit: object, o: Any) -> None:
    """dst = op(gate) * up."""
    function, dst, gate, up = ACTIVATIONS[o.op], o.dst, o.gate, o.up
    if gate.size <= BLOCK or not _flat(dst, gate, up) or up.shape != gate.shape:
        dst[...] = function(wide(gate), o.alpha, o.beta) * wide(up)
        return
    dst, gate, up = dst.reshape(-1), gate.reshape(-1), up.reshape(-1)
    for i in range(0, gate.size, BLOCK):
        value = function(wide(gate[i : i + BLOCK]), o.alpha, o.beta)
        value *= wide(up[i : i + BLOCK])
        dst[i : i + BLOCK] = value


def _largest(dtype: np.dtype[Any]) -> float:
    return float(cast("Any", ml_dtypes.finfo)(dtype).max)


POWERS = np.dtype(ml_dtypes.float8_e8m0fnu)
"""The type of shared scales in the MX formats: 2^(bits - 127), NaN for 255."""


def convert(unit: object, o: Any) -> None:
    """dst = src in an 8-bit float type."""
    src = wide(o.src)
    if o.dst.dtype == POWERS:
        o.dst[...] = _power_of_two(src, bool(o.saturate), o.rounding).view(POWERS)
        return
    if o.saturate:
        most = _largest(o.dst.dtype)
        src = np.clip(src, -most, most)
    o.dst[...] = src.astype(o.dst.dtype)


def _power_of_two(x: Array, saturate: bool, rounding: Rounding) -> Array:
    """The bits of the power of two beside |x|: above it, below it, or the nearer one in value, ties up."""
    fraction, exponent = np.frexp(np.absolute(x))
    up = {Rounding.UP: fraction > 0.5, Rounding.DOWN: np.zeros(x.shape, bool), Rounding.NEAREST: fraction >= 0.75}
    power = exponent - 1 + up[rounding]
    power[x == 0] = -127
    bits = np.clip(power, -127, 127) + 127
    lost = ~np.isfinite(x) if not saturate else np.isnan(x)
    if saturate:
        bits[np.isinf(x)] = 254
    else:
        lost |= (power > 127) | (x == 0)
    bits[lost] = 255
    return bits.astype(np.uint8)


def quantize(unit: object, o: Any) -> None:
    """dst = saturate(round_half_even(src / scale) + zero), NaN the least; floats round to their own grid."""
    value = wide(o.src) / wide(o.scale)
    if o.dst.dtype.name.startswith("float"):
        most = _largest(o.dst.dtype)
        if o.zero is not None:
            value = value + wide(o.zero)
        o.dst[...] = np.clip(value, -most, most).astype(o.dst.dtype)
        return
    info = ml_dtypes.iinfo(o.dst.dtype)
    value = np.rint(value)
    if o.zero is not None:
        value = value + wide(o.zero).astype(value.dtype)
    o.dst[...] = np.minimum(np.fmax(value, int(info.min)), int(info.max)).astype(np.int64)


def dequantize(unit: object, o: Any) -> None:
    """dst = (src - zero) * scale."""
    value, zero = wide(o.src), None if o.zero is None else wide(o.zero)
    kind = np.float32 if is_float(value) or (zero is not None and is_float(zero)) else np.int32
    value = value.astype(kind)
    if zero is not None:
        value = value - zero.astype(kind)
    o.dst[...] = value.astype(np.float32) * wide(o.scale)


def dynamic_quantize(unit: object, o: Any) -> None:
    """Quantise src to uint8 with the range of src itself (DynamicQuantizeLinear of ONNX)."""
    src = wide(o.src)
    axes: tuple[int, ...] = tuple(range(1, src.ndim))
    high = np.maximum.reduce(src, axis=axes, keepdims=True, initial=0.0)
    low = np.minimum.reduce(src, axis=axes, keepdims=True, initial=0.0)
    scale = np.asarray((high - low) / np.float32(255), np.float32)
    scale[scale == 0] = 1
    zero = np.clip(np.rint(-low / scale), 0, 255)
    o.dst[...] = np.clip(np.rint(src / scale) + zero, 0, 255).astype(np.uint8)
    o.scale[...] = scale.reshape(len(src), *o.scale.shape[1:])
    o.zero[...] = zero.reshape(len(src), *o.zero.shape[1:]).astype(np.uint8)
