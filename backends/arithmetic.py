"""Arithmetic that the digital families share: working precision, batched products, the error function, attention.

Float16, bfloat16 and 8-bit floats are computed in float32 and rounded when written; float32 and float64 stay what they
are; integers are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossbank.runtime.numerics import dtype_of

Array = NDArray[Any]

_WIDE: dict[np.dtype[Any], np.dtype[Any]] = {
    **{
        dtype_of(name): np.dtype(np.float32)
        for name in (
            "float16", "bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz",
            "float8_e8m0fnu", "float4_e2m1fn",
        )
    },
    **{dtype_of(name): np.dtype(np.int8) for name in ("int4", "int2")},
    **{dtype_of(name): np.dtype(np.uint8) for name in ("uint4", "uint2")},
}  # fmt: skip

EXACT = 1 << 53
"""Integers below this are exact in float64."""


def positions(n: int) -> NDArray[np.int64]:
    """0 … n - 1."""
    return np.arange(n, dtype=np.int64)


def wide(x: Array) -> Array:
    """The operand in the precision that the device computes in."""
    working = _WIDE.get(x.dtype)
    return x if working is None else x.astype(working)


def is_float(x: Array) -> bool:
    """Whether a `wide` operand is a floating-point one."""
    return x.dtype.kind == "f"


def apply(dst: Array, function: Callable[..., Array], *operands: Array) -> None:
    """dst = function(*operands) for a ufunc, without a temporary where types agree."""
    if all(x.dtype == dst.dtype for x in operands) and dst.dtype not in _WIDE:
        function(*operands, out=dst)
    else:
        dst[...] = function(*map(wide, operands))


def product(a: Array, b: Array) -> Array:
    """a @ b, batched with broadcasting: floats accumulate in float32 (float64 for float64), integers exactly."""
    a, b = wide(a), wide(b)
    if a.dtype.kind in "iu" and a.size and b.size:
        bound = a.shape[-1] * _magnitude(a) * _magnitude(b)
        if bound < EXACT:
            return np.matmul(a.astype(np.float64), b.astype(np.float64))
        return np.matmul(a, b, dtype=np.result_type(a, b, np.int32))
    return np.matmul(a, b)


def _magnitude(x: Array) -> int:
    return max(abs(int(x.min())), abs(int(x.max())))


def dequantized(w: Array, scales: Array | None, zeros: Array | None) -> Array:
    """What quantised matrices (.., A, B) stand for, in float32: (w - zeros) * scales, each shared by a block of w.

    The last two dimensions of scales and zeros divide those of w; matrices without scales stay as they are.
    """
    if scales is None:
        return w
    value = wide(w).astype(np.float32)
    *lead, rows, columns = value.shape
    for parts, combine in ((zeros, np.subtract), (scales, np.multiply)):
        if parts is None:
            continue
        a, b = parts.shape[-2:]
        if rows % a or columns % b:
            raise ValueError(f"{a} x {b} blocks of a {rows} x {columns} matrix")
        blocks = value.reshape(*lead, a, rows // a, b, columns // b)
        combine(blocks, wide(parts).astype(np.float32)[..., :, None, :, None], out=blocks)
        value = blocks.reshape(*lead, rows, columns)
    return value


_erf64 = np.frompyfunc(math.erf, 1, 1)


def erf(x: Array) -> Array:
    """The error function of a float array, in float32 to 1 ulp by two minimax polynomials joined at 475/512.

    Coefficients: N. Juffa, "Fast and accurate single-precision erf", as used by onnxruntime's MLAS.
    """
    if x.dtype == np.float64:
        return np.asarray(_erf64(x), dtype=np.float64)
    size = np.abs(x)
    square = size * size
    near = _horner(
        square, (-5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1, 1.28379166e-1)
    )
    near *= size
    near += size
    np.minimum(size, np.float32(4.0), out=size)
    far = _horner(
        size,
        (-1.72853470e-5, 3.83197126e-4, -3.88396438e-3, 2.42546219e-2, -1.06777877e-1, -6.34846687e-1, -1.28717512e-1),
    )
    far *= size
    far -= size
    np.exp(far, out=far)
    np.subtract(np.float32(1.0), far, out=far)
    np.copyto(near, far, where=size > np.float32(0.927734375))
    return np.copysign(near, x)


def _horner(x: Array, coefficients: tuple[float, ...]) -> Array:
    total = np.full(x.shape, coefficients[0], x.dtype)
    for coefficient in coefficients[1:]:
        total *= x
        total += x.dtype.type(coefficient)
    return total


def softmax_in_place(scores: Array) -> Array:
    """softmax over the last axis, in the array given."""
    scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= np.add.reduce(scores, axis=-1, keepdims=True)
    return scores


def masked_softmax_in_place(
    scores: Array,
    scale: float,
    softcap: float,
    mask: Array | None,
    hidden: Array | None,
    nan_to_zero: bool,
    sink: Array | None = None,
) -> Array:
    """softmax(cap(scale * scores) + mask) over the last axis, in place; `hidden` entries and false masks count as -inf.

    cap(s) = softcap * tanh(s / softcap) where softcap > 0. Rows with nothing to see give NaN, or 0 if `nan_to_zero`.
    `sink` [.., 1] is one more score of each row, whose probability is dropped.
    """
    kind = scores.dtype.type
    if scale != 1.0:
        scores *= kind(scale)
    if softcap > 0.0:
        scores /= kind(softcap)
        np.tanh(scores, out=scores)
        scores *= kind(softcap)
    if mask is not None:
        if mask.dtype == np.bool_:
            np.copyto(scores, kind(-np.inf), where=~mask)
        else:
            scores += wide(mask)
    if hidden is not None:
        np.copyto(scores, kind(-np.inf), where=hidden)
    if scores.shape[-1] == 0:
        return scores
    top = np.maximum.reduce(scores, axis=-1, keepdims=True)
    if sink is not None:
        top = np.maximum(top, sink)
    if nan_to_zero:
        np.copyto(top, kind(0), where=np.isneginf(top))
    scores -= top
    np.exp(scores, out=scores)
    total = np.add.reduce(scores, axis=-1, keepdims=True)
    if sink is not None:
        total += np.exp(sink - top)
    if nan_to_zero:
        np.copyto(total, kind(1), where=total == 0)
    scores /= total
    if nan_to_zero:
        np.copyto(scores, kind(0), where=np.isnan(scores))
    return scores
