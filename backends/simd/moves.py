"""What the instructions of the vector unit that move and make data compute: copies, casts, gathers, scatters."""

from __future__ import annotations

from typing import Any

import numpy as np

from crossbank.backends.arithmetic import Array, positions, wide
from crossbank.backends.simd.kinds import Scatter
from crossbank.runtime.program import ProgramError

VALUES = 12
"""Numbers that one `value` instruction writes at most."""


def copy(unit: object, o: Any) -> None:
    """dst = src."""
    o.dst[...] = o.src


def cast(unit: object, o: Any) -> None:
    """dst = src in the type of dst: floats lose their fraction on the way to integers, bool is what is not zero."""
    src = o.src
    if o.dst.dtype == np.bool_:
        o.dst[...] = wide(src) != 0
    elif src.dtype.kind == "f" and o.dst.dtype.kind == "u":
        o.dst[...] = src.astype(np.int64).astype(o.dst.dtype)
    else:
        o.dst[...] = src.astype(o.dst.dtype)


def fill(unit: object, o: Any) -> None:
    """dst = value."""
    o.dst[...] = np.array(o.value).astype(o.dst.dtype)


def value(unit: object, o: Any) -> None:
    """dst[i] = n{i}."""
    for i in range(o.dst.shape[-1]):
        o.dst[:, i] = getattr(o, f"n{i}")


def iota(unit: object, o: Any) -> None:
    """dst[i] = start + i * step."""
    index = positions(o.dst.shape[-1])
    o.dst[...] = np.asarray(o.start).reshape(-1, 1) + index * np.asarray(o.step).reshape(-1, 1)


def arange(unit: object, o: Any) -> None:
    """dst[i] = start + i * step, with start and step read from memory."""
    start, step = wide(o.start).reshape(-1, 1), wide(o.step).reshape(-1, 1)
    index = positions(o.dst.shape[-1])
    o.dst[...] = start + index.astype(start.dtype) * step


def _checked(indices: Array, extent: int, what: str) -> Array:
    if indices.size and (int(indices.min()) < -extent or int(indices.max()) >= extent):
        raise ProgramError(
            "CB0570",
            f"{what}: index {int(indices.min())} … {int(indices.max())} is outside an axis of {extent}",
            help="check the ids or indices that the program was fed",
        )
    return indices


def gather(unit: object, o: Any) -> None:
    """dst[i…] = table[indices[i…]] along the first axis; negative indices count from the end."""
    table, indices = o.table, _checked(o.indices, o.table.shape[1], "gather")
    if len(table) == 1 and len(indices) == 1:
        o.dst[...] = table[0][indices[0]]
        return
    lane = positions(len(table)).reshape(-1, *(1,) * (indices.ndim - 1))
    o.dst[...] = table[lane, indices]


def gather_nd(unit: object, o: Any) -> None:
    """dst[b, i…] = data[b, *indices[b, i…, :]], b over the first `batch` axes."""
    data, indices, batch = o.data, o.indices, int(np.max(o.batch)) + 1
    lead = (len(data), *indices.shape[1:batch])
    grid: list[Array] = [positions(n).reshape(-1, *(1,) * (indices.ndim - 2 - i)) for i, n in enumerate(lead)]
    for axis in range(indices.shape[-1]):
        _checked(indices[..., axis], data.shape[batch + axis], "gather_nd")
    o.dst[...] = data[(*grid, *np.moveaxis(indices, -1, 0))]


def gather_elements(unit: object, o: Any) -> None:
    """dst[…, j] = src[…, indices[…, j]]; indices may be shorter than src in the other axes."""
    indices = _checked(o.indices, o.src.shape[-1], "gather_elements")
    src = o.src[(slice(None), *(slice(n) for n in indices.shape[1:-1]))]
    o.dst[...] = np.take_along_axis(src, indices, axis=-1)


_SCATTERS: dict[int, Any] = {
    Scatter.ADD: np.add,
    Scatter.MUL: np.multiply,
    Scatter.MIN: np.minimum,
    Scatter.MAX: np.maximum,
}


def _scatter(dst: Array, place: tuple[Array, ...], values: Array, how: int) -> None:
    if how == Scatter.NONE:
        dst[place] = values
        return
    total = wide(dst)
    total = np.array(total) if total is dst else total
    _SCATTERS[how].at(total, place, wide(values))
    dst[...] = total


def scatter_nd(unit: object, o: Any) -> None:
    """dst[*indices[i…, :]] op= values[i…]."""
    dst, indices = o.dst, o.indices
    for axis in range(indices.shape[-1]):
        _checked(indices[..., axis], dst.shape[1 + axis], "scatter_nd")
    lane = positions(len(dst)).reshape(-1, *(1,) * (indices.ndim - 2))
    _scatter(dst, (lane, *np.moveaxis(indices, -1, 0)), o.values, o.op)


def scatter_elements(unit: object, o: Any) -> None:
    """dst[…, indices[…, j]] op= values[…, j]; indices may be shorter than dst in the other axes."""
    indices = _checked(o.indices, o.dst.shape[-1], "scatter_elements")
    grid = np.ogrid[tuple(slice(n) for n in (len(o.dst), *indices.shape[1:]))]
    _scatter(o.dst, (*grid[:-1], indices), o.values, o.op)


def place(unit: object, o: Any) -> None:
    """dst[b, :, starts[b] + i] = src[b, :, i]; with `clear` what follows is 0, with `circular` places are modulo T."""
    dst, src, starts = o.dst[0], o.src[0], o.starts[0]
    total, count = dst.shape[2], src.shape[2]
    if starts.size and (int(starts.min()) < 0 or (not o.circular and int(starts.max()) + count > total)):
        raise ProgramError(
            "CB0570",
            f"place: {count} tokens from {int(starts.min())} … {int(starts.max())} on, in a cache of {total}",
            help="check the lengths or indices that the program was fed",
        )
    for row, start in enumerate(starts.tolist()):
        if o.circular:
            dst[row][:, (start + positions(count)) % max(total, 1)] = src[row]
            continue
        dst[row, :, start : start + count] = src[row]
        if o.clear:
            dst[row, :, start + count :] = np.zeros((), dst.dtype)


def evict(unit: object, o: Any) -> None:
    """dst[b, :, i] = src[b, :, first[b] + i], 0 where there is none."""
    dst, src, first = o.dst[0], o.src[0], o.first[0]
    room, total = dst.shape[2], src.shape[2]
    if first.size and int(first.min()) < 0:
        raise ProgramError(
            "CB0570",
            f"evict: tokens from {int(first.min())} on, of {total}",
            help="check the lengths that the program was fed",
        )
    for row, start in enumerate(first.tolist()):
        kept = max(min(room, total - start), 0)
        dst[row, :, :kept] = src[row, :, start : start + kept]
        dst[row, :, kept:] = np.zeros((), dst.dtype)


def trilu(unit: object, o: Any) -> None:
    """dst = the upper or lower triangle of src's last two axes, from diagonal `diagonal`."""
    rows, columns = o.src.shape[-2:]
    distance = positions(columns) - positions(rows)[:, None]
    diagonal = np.asarray(o.diagonal).reshape(-1, *(1,) * (o.src.ndim - 1))
    keep = distance >= diagonal if o.upper else distance <= diagonal
    o.dst[...] = np.where(keep, o.src, np.zeros((), o.src.dtype))


def one_hot(unit: object, o: Any) -> None:
    """dst[…, j] = values[1] where j == indices[…], else values[0]; negative indices count from the end."""
    depth = o.dst.shape[-1]
    indices: Array = o.indices[..., None].astype(np.int64)
    indices[indices < 0] += depth
    hit = positions(depth) == indices
    off, on = (o.values[:, i].reshape(-1, *(1,) * (o.dst.ndim - 1)) for i in (0, 1))
    o.dst[...] = np.where(hit, on, off)
