"""What the instructions that work along rows compute: reductions, softmax, norms, rotary, products, sorting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from crossbank.backends.arithmetic import (
    Array,
    is_float,
    masked_softmax_in_place,
    positions,
    product,
    softmax_in_place,
    wide,
)
from crossbank.backends.simd.kinds import Extreme, Reduction


def _last(x: Array, axes: int) -> Array:
    """The array with its last `axes` axes made one."""
    return x if axes == 1 else x.reshape(*x.shape[: x.ndim - axes], -1)


def _lowest(x: Array) -> Any:
    return -np.inf if is_float(x) else False if x.dtype == np.bool_ else np.iinfo(x.dtype).min


def _highest(x: Array) -> Any:
    return np.inf if is_float(x) else True if x.dtype == np.bool_ else np.iinfo(x.dtype).max


def _sum(x: Array) -> Array:
    return np.add.reduce(x, axis=-1, dtype=x.dtype)


def _mean(x: Array) -> Array:
    total = _sum(x)
    return total / x.dtype.type(x.shape[-1]) if is_float(x) else np.trunc(total / max(x.shape[-1], 1))


def _max(x: Array) -> Array:
    return np.maximum.reduce(x, axis=-1, initial=_lowest(x))


def _log_sum_exp(x: Array) -> Array:
    top = np.maximum.reduce(x, axis=-1, keepdims=True, initial=-np.inf)
    top[~np.isfinite(top)] = 0
    return np.log(np.add.reduce(np.exp(x - top), axis=-1)) + top[..., 0]


_REDUCTIONS: dict[int, Callable[[Array], Array]] = {
    Reduction.SUM: _sum,
    Reduction.MEAN: _mean,
    Reduction.MAX: _max,
    Reduction.MIN: lambda x: np.minimum.reduce(x, axis=-1, initial=_highest(x)),
    Reduction.PROD: lambda x: np.multiply.reduce(x, axis=-1, dtype=x.dtype),
    Reduction.SUM_SQUARE: lambda x: _sum(np.square(x)),
    Reduction.L1: lambda x: _sum(np.absolute(x)),
    Reduction.L2: lambda x: np.sqrt(_sum(np.square(x))),
    Reduction.LOG_SUM: lambda x: np.log(_sum(x)),
    Reduction.LOG_SUM_EXP: lambda x: _log_sum_exp(x if is_float(x) else x.astype(np.float64)),
    Reduction.ANY: lambda x: np.logical_or.reduce(x, axis=-1),
    Reduction.ALL: lambda x: np.logical_and.reduce(x, axis=-1),
}


def reduce(unit: object, o: Any) -> None:
    """dst = op over the last `axes` axes of src."""
    if o.axes == 0:
        o.dst[...] = _REDUCTIONS[o.op](wide(o.src)[..., None])
        return
    o.dst[...] = _REDUCTIONS[o.op](_last(wide(o.src), o.axes))


def arg(unit: object, o: Any) -> None:
    """dst = the index of the greatest or least along the last axis, the first or the last of equals."""
    src = wide(o.src)
    find = np.argmax if o.op == Extreme.MAX else np.argmin
    if o.last:
        o.dst[...] = src.shape[-1] - 1 - find(src[..., ::-1], axis=-1)
    else:
        o.dst[...] = find(src, axis=-1)


def softmax(unit: object, o: Any) -> None:
    """dst = softmax(src), or its logarithm, over the last axis."""
    src = o.src
    if src.size == 0:
        return
    if not o.log:
        o.dst[...] = softmax_in_place(np.array(wide(src)))
        return
    src = wide(src)
    shifted = src - np.maximum.reduce(src, axis=-1, keepdims=True)
    shifted -= np.log(np.add.reduce(np.exp(shifted), axis=-1, keepdims=True))
    o.dst[...] = shifted


def mask_softmax(unit: object, o: Any) -> None:
    """dst = softmax(cap(scale * src) + mask) over the last axis, columns from `limit` on hidden."""
    scores = np.array(np.broadcast_to(wide(o.src), o.dst.shape))
    columns = positions(scores.shape[-1])
    limit = np.asarray(o.limit).reshape(-1, *(1,) * (scores.ndim - 1))
    hidden: Array | None = columns >= limit if (limit < scores.shape[-1]).any() else None
    sink = None if o.sink is None else wide(o.sink)
    o.dst[...] = masked_softmax_in_place(scores, o.scale, o.softcap, o.mask, hidden, bool(o.nan_to_zero), sink)


def round_blocks(unit: object, o: Any) -> None:
    """dst = src rounded to int8 with a scale for each block of the last axis, and back."""
    src, block = wide(o.src), int(np.max(o.block))
    blocks = src.reshape(*src.shape[:-1], -1, block)
    kind = src.dtype.type
    most = np.maximum.reduce(np.absolute(blocks), axis=-1, keepdims=True)
    factor = np.divide(kind(127), most, out=np.zeros_like(most), where=most > 0)
    blocks = np.rint(blocks * factor)
    most /= kind(127)
    blocks *= most
    o.dst[...] = blocks.reshape(src.shape)


def layer_norm(unit: object, o: Any) -> None:
    """dst = (src - mean) / sqrt(var + epsilon) * weight + bias over the last `axes` axes."""
    shape, src = o.src.shape, _last(wide(o.src), o.axes)
    kind, width = src.dtype.type, src.shape[-1]
    mean = np.add.reduce(src, axis=-1, keepdims=True)
    mean /= kind(width)
    y = src - mean
    variance = np.vecdot(y, y)[..., None]
    variance /= kind(width)
    variance += kind(o.epsilon)
    inverse = _inverse_root(variance)
    y *= inverse
    y = y.reshape(shape)
    if o.weight is not None:
        y = _scaled(y, o.weight)
    if o.bias is not None:
        bias = wide(o.bias)
        y = np.add(y, bias, out=y if _fits(bias, y) else None)
    o.dst[...] = y
    if o.mean is not None:
        o.mean[...] = mean.reshape(o.mean.shape)
    if o.inverse is not None:
        o.inverse[...] = inverse.reshape(o.inverse.shape)


def _inverse_root(x: Array) -> Array:
    np.sqrt(x, out=x)
    return np.reciprocal(x, out=x)


def _scaled(y: Array, weight: Array) -> Array:
    weight = wide(weight)
    return np.multiply(y, weight, out=y if _fits(weight, y) else None)


def _fits(other: Array, y: Array) -> bool:
    """Whether a result of both operands can take the place of the second."""
    return other.dtype == y.dtype and len(other) in (1, len(y))


def rms_norm(unit: object, o: Any) -> None:
    """dst = src / sqrt(mean(src²) + epsilon) * weight over the last `axes` axes."""
    shape, src = o.src.shape, _last(wide(o.src), o.axes)
    kind = src.dtype.type
    square = np.vecdot(src, src)[..., None]
    square /= kind(src.shape[-1])
    square += kind(o.epsilon)
    y = (src * _inverse_root(square)).reshape(shape)
    o.dst[...] = y if o.weight is None else _scaled(y, o.weight)


def rotary(unit: object, o: Any) -> None:
    """Rotate pairs of the first `width` features of src by angles; the others pass through."""
    src, cos, sin, width = wide(o.src), wide(o.cos), wide(o.sin), int(np.max(o.width))
    half = width // 2
    y = np.empty((max(len(src), len(cos), len(sin)), *src.shape[1:]), np.result_type(src, cos))
    if o.interleaved:
        first, second = src[..., 0:width:2], src[..., 1:width:2]
        out_first, out_second = y[..., 0:width:2], y[..., 1:width:2]
        full = (slice(0, None, 2), slice(1, None, 2))
    else:
        first, second = src[..., :half], src[..., half:width]
        out_first, out_second = y[..., :half], y[..., half:width]
        full = (slice(None, half), slice(half, None))
    if cos.shape[-1] == half:
        full = (slice(None), slice(None))
    np.multiply(first, cos[..., full[0]], out=out_first)
    out_first -= second * sin[..., full[0]]
    np.multiply(second, cos[..., full[1]], out=out_second)
    out_second += first * sin[..., full[1]]
    if width < src.shape[-1]:
        y[..., width:] = src[..., width:]
    o.dst[...] = y


def matmul(unit: object, o: Any) -> None:
    """dst = scale * (a @ b)."""
    a, b, dst = o.a, o.b, o.dst
    if o.scale == 1.0 and a.dtype == b.dtype == dst.dtype == np.float32:
        np.matmul(a, b, out=dst)
        return
    value = product(a, b)
    if o.scale != 1.0:
        value = value * value.dtype.type(o.scale)
    dst[...] = value


def cumsum(unit: object, o: Any) -> None:
    """dst = the running sum of src along the last axis."""
    src = wide(o.src)
    if o.reverse:
        src = src[..., ::-1]
    total = np.cumsum(src, axis=-1, dtype=src.dtype)
    if o.exclusive:
        total = np.concatenate([np.zeros_like(total[..., :1]), total[..., :-1]], axis=-1)
    o.dst[...] = total[..., ::-1] if o.reverse else total


def topk(unit: object, o: Any) -> None:
    """The k greatest or least of each row of the last axis in order, and where they stand."""
    src = wide(o.src)
    k = o.values.shape[-1]
    if o.op == Extreme.MAX:
        order = src.shape[-1] - 1 - np.argsort(src[..., ::-1], axis=-1, kind="stable")[..., ::-1]
    else:
        order = np.argsort(src, axis=-1, kind="stable")
    order = order[..., :k]
    o.values[...] = np.take_along_axis(src, order, axis=-1)
    o.indices[...] = order
