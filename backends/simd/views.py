"""Algebra of strided views: what a reshape, a transpose, a slice or a broadcast does to where a tensor lies."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from crossbank.dialects.imc import ViewAttr, contiguous
from crossbank.runtime.expr import ONE, ZERO, Expr, maximum, product
from crossbank.runtime.numerics import dtype_of


def remade(
    view: ViewAttr, shape: Sequence[int | Expr], strides: Sequence[int | Expr], skip: int | Expr = 0
) -> ViewAttr:
    """The view of the same buffer with other dimensions, `skip` elements further on."""
    offset = view.offset_expr + Expr.of(skip) * dtype_of(view.dtype.data).itemsize
    return ViewAttr.of(view.buffer.data, view.dtype.data, shape, strides, offset)


def whole(view: ViewAttr, shape: Sequence[int | Expr]) -> ViewAttr:
    """A contiguous buffer seen with another shape of as many elements."""
    return remade(view, shape, contiguous(shape))


def is_contiguous(view: ViewAttr) -> bool:
    """Whether the elements lie in C order without gaps, whatever the dimensions' values."""
    found = zip(view.shape_exprs, view.stride_exprs, contiguous(view.shape_exprs), strict=True)
    return all(dim == ONE or stride == expected for dim, stride, expected in found)


def permuted(view: ViewAttr, order: Sequence[int]) -> ViewAttr:
    """Axes in another order."""
    shape, strides = view.shape_exprs, view.stride_exprs
    return remade(view, [shape[i] for i in order], [strides[i] for i in order])


def last(view: ViewAttr, axes: Sequence[int]) -> ViewAttr:
    """The axes given moved behind the others, both in their order."""
    rest = [i for i in range(len(view.shape)) if i not in axes]
    return permuted(view, [*rest, *axes])


def swapped(view: ViewAttr) -> ViewAttr:
    """The last two axes exchanged."""
    order = list(range(len(view.shape)))
    return permuted(view, [*order[:-2], order[-1], order[-2]])


def padded(view: ViewAttr, rank: int) -> ViewAttr:
    """Leading dimensions of 1, up to a rank."""
    more = rank - len(view.shape)
    return view if more <= 0 else remade(view, [*[ONE] * more, *view.shape_exprs], [*[ZERO] * more, *view.stride_exprs])


def expanded(view: ViewAttr, shape: Sequence[Expr]) -> ViewAttr:
    """Broadcast to a shape: dimensions of 1 repeat with stride 0."""
    view = padded(view, len(shape))
    dims = zip(view.shape_exprs, view.stride_exprs, shape, strict=True)
    return remade(view, shape, [ZERO if dim == ONE and new != ONE else stride for dim, stride, new in dims])


def sliced(view: ViewAttr, axis: int, start: int | Expr, extent: int | Expr, step: int = 1) -> ViewAttr:
    """`extent` elements of an axis from `start` on, each `step`-th."""
    shape, strides = list(view.shape_exprs), list(view.stride_exprs)
    skip = strides[axis] * start
    shape[axis], strides[axis] = Expr.of(extent), strides[axis] * step
    return remade(view, shape, strides, skip)


def at(view: ViewAttr, axis: int, index: int | Expr) -> ViewAttr:
    """One place of an axis, which goes away."""
    found = sliced(view, axis, index, 1)
    return remade(found, _without(found.shape_exprs, axis), _without(found.stride_exprs, axis))


def _without(values: Sequence[Expr], axis: int) -> list[Expr]:
    return [value for i, value in enumerate(values) if i != axis]


def unsqueezed(view: ViewAttr, axis: int) -> ViewAttr:
    """A new dimension of 1 before `axis`."""
    shape, strides = list(view.shape_exprs), list(view.stride_exprs)
    return remade(view, [*shape[:axis], ONE, *shape[axis:]], [*strides[:axis], ZERO, *strides[axis:]])


def split(view: ViewAttr, axis: int, outer: int | Expr, inner: int | Expr) -> ViewAttr:
    """One axis as two."""
    shape, strides = list(view.shape_exprs), list(view.stride_exprs)
    shape[axis : axis + 1] = [Expr.of(outer), Expr.of(inner)]
    strides[axis : axis + 1] = [strides[axis] * inner, strides[axis]]
    return remade(view, shape, strides)


def reshaped(view: ViewAttr, shape: Sequence[Expr]) -> ViewAttr | None:
    """The same elements in the same order with other dimensions; None where that takes a copy."""
    if tuple(shape) == view.shape_exprs:
        return view
    if is_contiguous(view):
        return whole(view, shape)
    old = [(d, s) for d, s in zip(view.shape_exprs, view.stride_exprs, strict=True) if d != ONE]
    new = [d for d in shape if d != ONE]
    strides: list[Expr] = []
    i = j = 0
    while i < len(old) and j < len(new):
        ends = _group([d for d, _ in old[i:]], new[j:])
        if ends is None:
            return None
        group = old[i : i + ends[0]]
        if any(a[1] != b[0] * b[1] for a, b in pairwise(group)):
            return None
        strides += [stride * group[-1][1] for stride in contiguous(new[j : j + ends[1]])]
        i, j = i + ends[0], j + ends[1]
    if i < len(old) or j < len(new):
        return None
    found = iter(strides)
    return remade(view, shape, [ZERO if d == ONE else next(found) for d in shape])


def _group(old: Sequence[Expr], new: Sequence[Expr]) -> tuple[int, int] | None:
    """The shortest heads of two lists of dimensions with equal products."""
    for total in range(2, len(old) + len(new) + 1):
        for i in range(max(1, total - len(new)), min(len(old), total - 1) + 1):
            if product(old[:i]) == product(new[: total - i]):
                return i, total - i
    return None


def normalised(index: Expr, extent: Expr) -> Expr:
    """An ONNX index that may count from the end; symbolic ones are taken to be what their signs say."""
    if index.is_constant:
        return index if index.constant >= 0 else maximum(extent + index, 0)
    if all(coefficient < 0 for _, coefficient in index.terms):
        return maximum(extent + index, 0)
    return index
