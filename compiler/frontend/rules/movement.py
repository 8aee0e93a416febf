"""Operators that move elements: gather, concatenate, slice, reshape, transpose, expand, split and kin."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossbank.compiler.frontend.algebra import bounds, decide_less, ratio
from crossbank.compiler.frontend.graph import Info, as_array, data_dependent
from crossbank.compiler.frontend.step import MAX_KNOWN, Outputs, Step, count, rule, value
from crossbank.runtime.expr import ONE, ZERO, Call, Expr, ceildiv, maximum, minimum, product

FAR = 1 << 31
"""Slice ends from here on mean the end of the axis."""


@rule("Gather")
def gather(step: Step) -> Outputs:
    data, indices = step.shape(0), step.shape(1)
    if not data:
        step.refuse("a number has no axis to gather from")
    axis = step.axis(step.attribute("axis", 0), len(data))
    known = step.data(1)
    for index in () if known is None or not data[axis].is_constant else known.reshape(-1):
        if not isinstance(index, Expr) and not -data[axis].constant <= index < data[axis].constant:
            step.refuse(f"index {index} into {data[axis]} elements")
    return [Info(step.dtype(0), data[:axis] + indices + data[axis + 1 :], _positions(step))]


def _positions(step: Step) -> NDArray[Any] | None:
    """Elements of a Range by their places: its last one is the sequence's last position."""
    places = step.exprs(1)
    found = step.world.progression(step.node.input(0)) if step.dtype(0) in ("int32", "int64") else None
    if found is None or places is None or len(places) > MAX_KNOWN:
        return None
    (first, by), length = found, step.shape(0)[0]
    if any(not place.is_constant or data_dependent(length) for place in places):
        return None
    elements = [first + (place if place.constant >= 0 else length + place) * by for place in places]
    return as_array(np.array(elements, object).reshape([dim.constant for dim in step.shape(1)]))


@value("Gather")
def gather_value(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any] | None:
    data, indices = arrays
    if indices.dtype == object:
        return None
    axis = step.axis(step.attribute("axis", 0), data.ndim)
    if indices.size and not (-data.shape[axis] <= indices.min() and indices.max() < data.shape[axis]):
        step.refuse(f"index {indices.max()} into {data.shape[axis]} elements")
    return np.asarray(np.take(data, indices.astype(np.int64), axis=axis))


@rule("GatherElements")
def gather_elements(step: Step) -> Outputs:
    data, indices = step.shape(0), step.shape(1)
    step.axis(step.attribute("axis", 0), len(data))
    if len(data) != len(indices) or not data:
        step.refuse(f"indices of {len(indices)} dimensions into {len(data)}")
    return [Info(step.dtype(0), step.shape(1))]


@rule("GatherND")
def gather_nd(step: Step) -> Outputs:
    data, indices, batch = step.shape(0), step.shape(1), step.attribute("batch_dims", 0)
    if not indices or not indices[-1].is_constant:
        step.refuse("the last dimension of the indices must be constant")
    if not 0 <= batch < min(len(indices), len(data)) or not 0 < indices[-1].constant <= len(data) - batch:
        step.refuse(f"{indices[-1]} indices behind {batch} shared dimensions into {len(data)} dimensions")
    for a, b in zip(data[:batch], indices[:batch], strict=True):
        step.expect(a, b, "shared dimensions")
    return [Info(step.dtype(0), indices[:-1] + data[batch + indices[-1].constant :])]


@rule("Trilu")
def trilu(step: Step) -> Outputs:
    if len(step.shape(0)) < 2:
        step.refuse("matrices are wanted")
    return [Info(step.dtype(0), step.shape(0))]


@rule("TensorScatter")
def tensor_scatter(step: Step) -> Outputs:
    cache, update = step.shape(0), step.shape(1)
    axis = step.axis(step.attribute("axis", -2), len(cache))
    if not axis or len(cache) != len(update):
        step.refuse(f"an update of {len(update)} dimensions along axis {axis} of {len(cache)}")
    for i, (a, b) in enumerate(zip(cache, update, strict=True)):
        if i != axis:
            step.expect(a, b, f"dimension {i}")
    if step.has(2):
        if len(step.shape(2)) != 1:
            step.refuse("the indices are no vector")
        step.expect(step.shape(2)[0], cache[0], "indices and sequences")
    return [Info(step.dtype(0), cache)]


@rule("ScatterND")
def scatter_nd(step: Step) -> Outputs:
    data, indices, updates = step.shape(0), step.shape(1), step.shape(2)
    if not indices or not indices[-1].is_constant or not 0 < indices[-1].constant <= len(data):
        step.refuse(f"indices of {' x '.join(map(str, indices)) or 'one number'} into {len(data)} dimensions")
    _expect_shape(step, 2, updates, indices[:-1] + data[indices[-1].constant :])
    return [Info(step.dtype(0), data)]


@rule("ScatterElements", "Scatter")
def scatter_elements(step: Step) -> Outputs:
    data, indices = step.shape(0), step.shape(1)
    step.axis(step.attribute("axis", 0), len(data))
    if len(data) != len(indices) or not data:
        step.refuse(f"indices of {len(indices)} dimensions into {len(data)}")
    _expect_shape(step, 2, step.shape(2), indices)
    return [Info(step.dtype(0), data)]


def _expect_shape(step: Step, i: int, shape: tuple[Expr, ...], wanted: tuple[Expr, ...]) -> None:
    if len(shape) != len(wanted):
        step.refuse(f"input {i} has {len(shape)} dimensions where {len(wanted)} are wanted")
    for a, b in zip(shape, wanted, strict=True):
        step.expect(a, b, f"input {i}")


@rule("Concat")
def concat(step: Step) -> Outputs:
    shapes = [step.shape(i) for i in range(len(step.inputs))]
    axis = step.axis(step.attribute("axis", 0), len(shapes[0]))
    out = list(shapes[0])
    for shape in shapes[1:]:
        if len(shape) != len(out):
            step.refuse(f"inputs of {len(out)} and {len(shape)} dimensions")
        for i, dim in enumerate(shape):
            if i == axis:
                out[i] = out[i] + dim
            else:
                step.expect(out[i], dim, f"dimension {i}")
    return [Info(step.dtype(0), tuple(out))]


@value("Concat")
def concat_value(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(arrays, axis=step.attribute("axis", 0))


def _end(step: Step, value: Expr, dim: Expr) -> Expr | None:
    """A slice bound within 0 and the dimension; None if its sign isn't known."""
    if value.is_constant and dim.is_constant:
        number, size = value.constant, dim.constant
        return Expr.of(min(max(number + size if number < 0 else number, 0), size))
    if value.is_constant and value.constant >= FAR:
        return dim
    if value.is_constant and value.constant < 0:
        if value.constant <= -FAR:
            return ZERO
        there = value.constant == -1 or bounds(dim + value)[0] >= 0  # the last one of none is never meant
        return dim + value if there else maximum(dim + value, ZERO)
    guarded = _not_below_zero(value)
    if guarded is not None and dim.is_constant:
        if dim == ONE or bounds(guarded)[1] <= 0:  # what leaves nothing of one element is never meant
            return ZERO
        value = guarded
    if bounds(value)[0] < 0 and value.is_constant is False:
        if dim.is_constant and bounds(dim - value)[0] >= 0:  # the last n of a table, which has that many
            step.world.within(dim - value, dim, step.node)
            return value
        if bounds(value)[1] <= 0 and bounds(dim + value)[0] >= 0:  # the last n, which is never meant to be 0
            return dim + value
        return None
    if value == dim or decide_less(dim, value):
        return dim
    if decide_less(value, dim) or decide_less(value, dim + 1):
        return value
    if dim.is_constant:
        step.world.within(value, dim, step.node)
        return value
    return minimum(value, dim)


def _not_below_zero(value: Expr) -> Expr | None:
    """e for max(e, 0), as exporters guard a start counted from the end; None for another expression."""
    if len(value.terms) != 1 or value.terms[0][1] != 1 or len(value.terms[0][0]) != 1:
        return None
    (call,) = value.terms[0][0]
    if not isinstance(call, Call) or call.name != "max" or ZERO not in (call.left, call.right):
        return None
    return call.right if call.left == ZERO else call.left


def _slice_length(step: Step, dim: Expr, start: Expr, end: Expr, stride: int) -> Expr:
    if stride < 0:
        if start.is_constant and dim.is_constant and end.is_constant:
            size = dim.constant
            return Expr.of(len(range(*slice(start.constant, _stop(end.constant, size), stride).indices(size))))
        if stride == -1 and end.is_constant and end.constant <= -FAR and start.is_constant and start.constant == -1:
            return dim
        return step.world.fresh(step.node)
    low, high = _end(step, start, dim), _end(step, end, dim)
    if low is None or high is None:
        return step.world.fresh(step.node)
    if low.is_constant and high.is_constant:
        return Expr.of(max(-(-(high.constant - low.constant) // stride), 0))
    if high == dim and low == maximum(dim + start, ZERO):
        return ceildiv(minimum(-start, dim), stride)
    length = ceildiv(high - low, stride)
    if start.is_constant and end.is_constant and start != ZERO and end.constant < FAR and bounds(length)[0] < 0:
        return maximum(length, ZERO)
    return length


def _stop(end: int, size: int) -> int | None:
    """A slice's stop for a negative stride, None for "to the start"."""
    return None if end < -size else end


def _bounds(step: Step) -> list[tuple[int, Expr, Expr, int]] | None:
    """Axis, start, end and stride of each sliced axis; None where a bound isn't known."""
    rank = len(step.shape(0))
    starts: list[Expr] | None
    ends: list[Expr] | None
    if "starts" in step.node.attributes:
        starts = [Expr.of(v) for v in step.attribute("starts")]
        ends = [Expr.of(v) for v in step.attribute("ends")]
        strides = [1] * len(starts)
        axes: list[int] = step.attribute("axes") or list(range(len(starts)))
    else:
        starts, ends = step.exprs(1), step.exprs(2)
        size = count(step.shape(1)) or 0
        axes = step.ints("axes", 3) or list(range(size))
        if starts is None or ends is None:
            return None
        strides = step.ints("steps", 4) or [1] * size
    return [
        (step.axis(a, rank), s, e, k)
        for a, s, e, k in zip(axes, starts, ends, strides, strict=True)
        if k or _zero(step)
    ]


def _zero(step: Step) -> bool:
    step.refuse("a step of 0")


@rule("Slice")
def slice_(step: Step) -> Outputs:
    out = list(step.shape(0))
    found = _bounds(step)
    if found is None:
        axes = step.ints("axes", 3) or list(range(count(step.shape(1)) or 0))
        for axis in axes:
            out[step.axis(axis, len(out))] = step.world.fresh(step.node)
    for axis, start, end, stride in found or ():
        out[axis] = _slice_length(step, out[axis], start, end, stride)
    return [Info(step.dtype(0), tuple(out))]


@value("Slice")
def slice_value(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any] | None:
    found = _bounds(step)
    index: list[slice] = [slice(None)] * arrays[0].ndim
    for axis, start, end, stride in found or ():
        if not (start.is_constant and end.is_constant):
            return None
        stop = end.constant if stride > 0 else _stop(end.constant, arrays[0].shape[axis])
        index[axis] = slice(start.constant, stop, stride)
    return None if found is None else arrays[0][tuple(index)]


def whole(step: Step) -> bool:
    """Whether a Slice takes everything."""
    found = _bounds(step)
    shape = step.shape(0)
    return found is not None and all(
        stride == 1
        and start == ZERO
        and ((end.is_constant and end.constant >= FAR) or _end(step, end, shape[axis]) == shape[axis])
        for axis, start, end, stride in found
    )


@rule("Unsqueeze")
def unsqueeze(step: Step) -> Outputs:
    axes = step.ints("axes", 1) or []
    rank = len(step.shape(0)) + len(axes)
    places = sorted(step.axis(axis, rank) for axis in axes)
    out = list(step.shape(0))
    for place in places:
        out.insert(place, ONE)
    return [Info(step.dtype(0), tuple(out))]


@rule("Squeeze")
def squeeze(step: Step) -> Outputs:
    shape = step.shape(0)
    axes = step.ints("axes", 1)
    if axes is None:
        gone = {i for i, dim in enumerate(shape) if dim == ONE}
    else:
        gone = {step.axis(axis, len(shape)) for axis in axes}
        for i in gone:
            if shape[i].is_constant and shape[i] != ONE:
                step.refuse(f"dimension {i} of {shape[i]} can't be squeezed")
    return [Info(step.dtype(0), tuple(dim for i, dim in enumerate(shape) if i not in gone))]


@rule("Reshape")
def reshape(step: Step) -> Outputs:
    shape = step.shape(0)
    wanted = [Expr.of(v) for v in step.attribute("shape")] if "shape" in step.node.attributes else step.exprs(1)
    if wanted is None:
        rank = step.shape(1)[0]
        if not rank.is_constant:
            step.refuse("the rank of the result isn't known")
        return [Info(step.dtype(0), tuple(step.world.fresh(step.node) for _ in range(rank.constant)))]
    out = list(wanted)
    if not step.attribute("allowzero", 0):
        if any(dim == ZERO for dim in out[len(shape) :]):
            step.refuse(f"no dimension to copy from a tensor of {len(shape)} dimensions")
        out = [shape[i] if dim == ZERO else dim for i, dim in enumerate(out)]
    open_ = [i for i, dim in enumerate(out) if dim == -ONE]
    if len(open_) > 1:
        step.refuse("more than one dimension is -1")
    if open_:
        rest = [dim for i, dim in enumerate(out) if i not in open_]
        out[open_[0]] = _missing(step, shape, rest)
    else:
        before, after = product(shape), product(out)
        if before != after and not step.world.equal(before, after, step.node):
            step.refuse(f"{before} elements don't fill a shape of {after}")
    return [Info(step.dtype(0), tuple(out))]


def _missing(step: Step, shape: tuple[Expr, ...], rest: list[Expr]) -> Expr:
    """The dimension that -1 stands for."""
    exact = ratio(shape, rest)
    if exact is None:
        exact = ratio([step.world.resolve(d) for d in shape], [step.world.resolve(d) for d in rest])
    if exact is not None:
        return exact
    total, known = product(shape), product(rest)
    if known == ZERO:
        return ZERO if total == ZERO else step.world.fresh(step.node)
    if total.is_constant and known.is_constant:
        step.refuse(f"{total} elements don't divide by {known}")
    return total // known


@rule("Flatten")
def flatten(step: Step) -> Outputs:
    shape = step.shape(0)
    axis = step.attribute("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return [Info(step.dtype(0), (product(shape[:axis]), product(shape[axis:])))]


@value("Unsqueeze", "Squeeze", "Reshape", "Flatten")
def reshape_value(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any] | None:
    from crossbank.compiler.frontend.step import RULES

    shape = RULES[step.node.op_type](step)[0].shape
    return arrays[0].reshape([dim.constant for dim in shape]) if all(d.is_constant for d in shape) else None


def permutation(step: Step) -> list[int]:
    """The axes of a Transpose."""
    return list(step.attribute("perm") or reversed(range(len(step.shape(0)))))


@rule("Transpose")
def transpose(step: Step) -> Outputs:
    shape, axes = step.shape(0), permutation(step)
    if sorted(axes) != list(range(len(shape))):
        step.refuse(f"{axes} is no order of {len(shape)} axes")
    return [Info(step.dtype(0), tuple(shape[axis] for axis in axes))]


@value("Transpose")
def transpose_value(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any]:
    return np.transpose(arrays[0], permutation(step))


@rule("Expand")
def expand(step: Step) -> Outputs:
    wanted = step.exprs(1)
    if wanted is None:
        rank = step.shape(1)[0]
        size = max(rank.constant if rank.is_constant else 0, len(step.shape(0)))
        return [Info(step.dtype(0), tuple(step.world.fresh(step.node) for _ in range(size)))]
    return [Info(step.dtype(0), step.broadcast(step.shape(0), wanted))]


@value("Expand")
def expand_value(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any] | None:
    if arrays[1].dtype == object:
        return None
    shape = np.broadcast_shapes(arrays[0].shape, tuple(int(v) for v in arrays[1]))
    return np.array(np.broadcast_to(arrays[0], shape))


@rule("Tile")
def tile(step: Step) -> Outputs:
    repeats = step.exprs(1)
    shape = step.shape(0)
    if repeats is None:
        return [Info(step.dtype(0), tuple(step.world.fresh(step.node) for _ in shape))]
    return [Info(step.dtype(0), tuple(dim * times for dim, times in zip(shape, repeats, strict=True)))]


@value("Tile")
def tile_value(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any] | None:
    return None if arrays[1].dtype == object else np.tile(arrays[0], [int(v) for v in arrays[1]])


def split_sizes(step: Step) -> tuple[int, list[Expr]]:
    """The axis of a Split and the length of each part."""
    shape, parts = step.shape(0), len(step.node.outputs)
    axis = step.axis(step.attribute("axis", 0), len(shape))
    if "split" in step.node.attributes:
        return axis, [Expr.of(size) for size in step.attribute("split")]
    sizes = step.exprs(1)
    if sizes is not None:
        return axis, sizes
    if step.has(1):
        return axis, [step.world.fresh(step.node) for _ in range(parts)]
    each = ceildiv(shape[axis], parts)
    return axis, [each] * (parts - 1) + [shape[axis] - each * (parts - 1)]


@rule("Split")
def split(step: Step) -> Outputs:
    axis, sizes = split_sizes(step)
    shape = step.shape(0)
    if len(sizes) < len(step.node.outputs):
        step.refuse(f"{len(sizes)} sizes for {len(step.node.outputs)} parts")
    step.expect(sum(sizes, ZERO), shape[axis], "the sizes of the parts and the axis")
    return [Info(step.dtype(0), (*shape[:axis], size, *shape[axis + 1 :])) for size in sizes]


@value("Split")
def split_value(step: Step, arrays: list[NDArray[Any]]) -> list[NDArray[Any]] | None:
    axis, sizes = split_sizes(step)
    if not all(size.is_constant for size in sizes):
        return None
    return np.split(arrays[0], np.cumsum([size.constant for size in sizes])[:-1], axis=axis)


@rule("Pad")
def pad(step: Step) -> Outputs:
    shape = step.shape(0)
    pads = [Expr.of(v) for v in step.attribute("pads")] if "pads" in step.node.attributes else step.exprs(1)
    axes = [step.axis(a, len(shape)) for a in step.ints("axes", 3) or range(len(shape))]
    if pads is None:
        return [Info(step.dtype(0), tuple(step.world.fresh(step.node) for _ in shape))]
    if len(pads) != 2 * len(axes):
        step.refuse(f"{len(pads)} numbers for two ends of {len(axes)} axes")
    out = list(shape)
    for i, axis in enumerate(axes):
        out[axis] = out[axis] + pads[i] + pads[i + len(axes)]
    return [Info(step.dtype(0), tuple(out))]
