"""What the instructions of the matrix engine compute: static and batched products, and attention in one piece."""

from __future__ import annotations

import math
import weakref
from typing import Any

import numpy as np

from crossbank.backends.arithmetic import Array, dequantized, masked_softmax_in_place, positions, product, wide

SCORES_BYTES = 64 << 20
"""Attention works on blocks of query rows whose scores take no more than this."""
KEPT_BYTES = 4 << 30
"""Widened copies of read-only weights that a unit keeps."""


class Unit:
    """The state of a matrix engine: none in the machine's sense, only float32 copies of low-precision weights."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, tuple[int, ...], tuple[int, ...]], tuple[weakref.ref[Any], Array]] = {}
        self._bytes = 0

    def widened(self, w: Array, scales: Array | None = None, zeros: Array | None = None) -> Array:
        """A weight in working precision, kept from one step to the next where its memory is read-only."""
        if scales is None and w.dtype != np.float16 and w.dtype.kind != "V":
            return w
        base = w.base if isinstance(w.base, np.ndarray) else None
        if w.flags.writeable or base is None:
            return wide(dequantized(w, scales, zeros))
        key = (w.__array_interface__["data"][0], w.shape, w.strides)
        found = self._kept.get(key)
        if found is not None and found[0]() is not None:
            return found[1]
        copy = wide(dequantized(w, scales, zeros))
        if self._bytes + copy.nbytes <= KEPT_BYTES:
            self._bytes += copy.nbytes
            self._kept[key] = (weakref.ref(base), copy)
        return copy


def gemm(unit: Unit, o: Any) -> None:
    """dst = x @ w + bias, w [K, N], or [N, K] if transposed; quantised where it has scales."""
    dst, x, w = o.dst, o.x, unit.widened(o.w, o.scales, o.zeros)
    if o.transposed:
        w = w.swapaxes(-1, -2)
    if len(dst) == 1:
        w = w[0]
        x = _flat(x)
    else:
        w = w.reshape(w.shape[0], *(1,) * (x.ndim - w.ndim), *w.shape[1:])
        x = x[..., None, :] if x.ndim == 2 else x
    if x.dtype == w.dtype == dst.dtype == np.float32 and len(dst) == 1 and dst.flags.c_contiguous:
        value = _flat(dst)
        np.matmul(x, w, out=value)
        if o.bias is not None:
            value += o.bias
        return
    value = product(x, w)
    value = value.reshape(-1 if len(dst) > 1 else 1, *dst.shape[1:])
    if o.bias is not None:
        bias = wide(o.bias)
        value = value + bias.reshape(bias.shape[0], *(1,) * (value.ndim - 2), bias.shape[-1])
    dst[...] = value


def _flat(x: Array) -> Array:
    """All rows of a tensor, of which there may be none, one under another."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def matmul(unit: Unit, o: Any) -> None:
    """dst = scale * (a @ b), broadcast over the leading axes."""
    a, b, dst = o.a, o.b, o.dst
    if o.scale == 1.0 and a.dtype == b.dtype == dst.dtype == np.float32:
        np.matmul(a, b, out=dst)
        return
    value = product(a, b)
    dst[...] = value if o.scale == 1.0 else value * value.dtype.type(o.scale)


def attention(unit: Unit, o: Any) -> None:
    """dst = softmax(cap(scale * q kᵀ) + mask) v, head h of q with head h // (H/G) of k and v."""
    q, k, v, mask, dst = wide(o.q), wide(o.k), wide(o.v), o.mask, o.dst
    lanes, (batch, heads, rows, width) = len(dst), q.shape[1:]
    q = np.broadcast_to(q, (lanes, batch, heads, rows, width))
    groups, tokens = k.shape[2], k.shape[3]
    share = heads // groups
    if rows == 0 or batch == 0:
        return
    q = q.reshape(lanes, batch, groups, share, rows, width)
    out = dst.reshape(lanes, batch, groups, share, rows, v.shape[-1]) if dst.flags.c_contiguous else None
    keys = k.swapaxes(-1, -2)
    if mask is not None:
        mask = np.broadcast_to(mask, (lanes, batch, mask.shape[2], mask.shape[3], tokens))
        mask = mask[:, :, :, None] if mask.shape[2] == 1 else mask.reshape(lanes, batch, groups, share, *mask.shape[3:])
    first = np.asarray(o.past).reshape(-1, *(1,) * 5)
    step = max(1, SCORES_BYTES // max(1, 4 * lanes * batch * heads * tokens))
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        part = q[..., start:stop, :].reshape(lanes, batch, groups, share * (stop - start), width)
        scores = product(part, keys).reshape(lanes, batch, groups, share, stop - start, tokens)
        hidden = None
        if o.causal and (tokens > int(np.min(first)) + start + 1):
            hidden = positions(tokens) > first + positions(stop - start)[:, None] + start
        seen = None if mask is None else mask if mask.shape[4] == 1 else mask[..., start:stop, :]
        masked_softmax_in_place(scores, o.scale, o.softcap, seen, hidden, bool(o.nan_to_zero))
        value = product(scores.reshape(lanes, batch, groups, share * (stop - start), tokens), v)
        value = value.reshape(lanes, batch, groups, share, stop - start, v.shape[-1])
        if out is not None:
            out[..., start:stop, :] = value
        else:
            dst[..., start:stop, :] = value.reshape(lanes, batch, heads, stop - start, v.shape[-1])
