"""ONNX operators that say where data lies, or make it from known numbers: views where possible, copies where not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import Operation

from crossbank.backends.simd.moves import VALUES
from crossbank.backends.simd.views import (
    expanded,
    normalised,
    permuted,
    remade,
    reshaped,
    sliced,
    unsqueezed,
    whole,
)
from crossbank.backends.simd.writer import Handler, Writer, known_array, known_constants, known_integers, needs_known
from crossbank.dialects import onnx
from crossbank.dialects.imc import ViewAttr
from crossbank.dialects.location import node_name
from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.runtime.expr import ONE, ZERO, Expr, maximum, minimum
from crossbank.runtime.numerics import dtype_of as numpy_dtype


def reshape(w: Writer) -> None:
    """The same elements with other dimensions: a view, or a copy where the source is not laid out for it."""
    source = w.view(0)
    view = reshaped(source, w.shape)
    if view is None:
        dst = w.result()
        w.emit("copy", dst=whole(dst, source.shape_exprs), src=source)
    else:
        w.bind(view)


def _identity(w: Writer) -> None:
    w.bind(w.view(0))


def _transpose(w: Writer) -> None:
    rank = len(w.shape)
    w.bind(permuted(w.view(0), w.attribute("perm") or list(reversed(range(rank)))))


def _slices(w: Writer) -> list[tuple[int, Expr, int]]:
    shape = shape_of(w.value(0))
    if w.attribute("starts") is not None:
        starts = [Expr.of(n) for n in w.attribute("starts")]
        axes, steps = w.attribute("axes"), None
    else:
        starts = known_integers(w.value(1)) or []
        axes, steps = known_constants(w.optional(3)), known_constants(w.optional(4))
    axes = axes if axes is not None else list(range(len(starts)))
    steps = steps if steps is not None else [1] * len(starts)
    found: list[tuple[int, Expr, int]] = []
    for start, axis, step in zip(starts, axes, steps, strict=True):
        axis = axis % len(shape)
        if start.is_constant and step < 0 and start.constant >= 0:
            start = minimum(start, shape[axis] - 1)
        found.append((axis, normalised(start, shape[axis]), step))
    return found


def _slice(w: Writer) -> None:
    view, shape = w.view(0), w.shape
    for axis, start, step in _slices(w):
        if step > 0:
            view = sliced(view, axis, start, shape[axis], step)
            continue
        index = w.to.scratch("int64", [shape[axis]])
        w.emit("iota", dst=index, start=start, step=step)
        order = [axis, *(i for i in range(len(shape)) if i != axis)]
        found = w.to.scratch(w.dtype, [dim if i == axis else view.shape_exprs[i] for i, dim in enumerate(shape)])
        w.emit("gather", dst=permuted(found, order), table=permuted(view, order), indices=index)
        view = found
    w.bind(view)


def _split(w: Writer) -> None:
    view = w.view(0)
    axis = w.axis(len(view.shape), default=0)
    start = Expr.of(0)
    for result in w.op.results:
        extent = shape_of(result)[axis]
        w.to.bind(result, sliced(view, axis, start, extent))
        start = start + extent


def _concat(w: Writer) -> None:
    if len(w.op.operands) == 1:
        return w.bind(w.view(0))
    dst = w.result()
    axis, start = w.axis(len(w.shape)), Expr.of(0)
    for i, operand in enumerate(w.op.operands):
        extent = shape_of(operand)[axis]
        if extent != Expr.of(0):
            w.emit("copy", dst=sliced(dst, axis, start, extent), src=w.view(i))
        start = start + extent
    return None


def _tile(w: Writer) -> None:
    source, dst = w.view(0), w.result()
    repeats = known_integers(w.value(1)) or []
    for axis in reversed(range(len(source.shape))):
        source = unsqueezed(source, axis)
    dims = shape_of(w.value(0))
    shape = [dim for pair in zip(repeats, dims, strict=True) for dim in pair]
    w.emit("copy", dst=whole(dst, shape), src=expanded(source, shape))


def _pad_sizes(op: Operation) -> list[tuple[int, Expr, Expr]] | None:
    """Axis, elements before and elements behind of a Pad; None where they depend on data."""
    rank, values = len(shape_of(op.results[0])), onnx.inputs(op)
    given = onnx.attribute(op, "pads") or onnx.attribute(op, "paddings")
    pads = [Expr.of(n) for n in given] if given else known_integers(values[1] if len(values) > 1 else None)
    axes = known_constants(values[3]) if len(values) > 3 and values[3] is not None else list(range(rank))
    if pads is None or axes is None:
        return None
    before, after = pads[: len(axes)], pads[len(axes) :]
    return [(axis % rank, a, b) for axis, a, b in zip(axes, before, after, strict=True)]


def _pad(w: Writer) -> None:
    sizes, mode = _pad_sizes(w.op) or [], str(w.attribute("mode", "constant"))
    view, dst = w.view(0), w.result()
    if mode != "constant":
        sizes = [(axis, before, after) for axis, before, after in sizes if (before, after) != (ZERO, ZERO)]
        for i, (axis, before, after) in enumerate(sizes):
            target = dst if i == len(sizes) - 1 else None
            view = _padded_by_index(w, view, axis, before, after, mode, target)
        return None if sizes else w.emit("copy", dst=dst, src=view)
    filler = w.view_or_none(2)
    if filler is None:
        filler = w.to.constant("zero", [np.asarray(w.attribute("value", 0), numpy_dtype(w.dtype))])
    w.emit("copy", dst=dst, src=expanded(whole(filler, []), w.shape))
    inner = dst
    for axis, before, after in sizes:
        extent = view.shape_exprs[axis] + _cut(before) + _cut(after)
        view = sliced(view, axis, -_cut(before), extent)
        inner = sliced(inner, axis, before - _cut(before), extent)
    return w.emit("copy", dst=inner, src=view)


def _cut(pad: Expr) -> Expr:
    """What a negative padding takes away, 0 for others."""
    return pad if pad.is_constant and pad.constant < 0 else Expr.of(0)


def _padded_by_index(
    w: Writer, view: ViewAttr, axis: int, before: Expr, after: Expr, mode: str, target: ViewAttr | None
) -> ViewAttr:
    """One axis padded with its own elements: a gather with the places that they come from."""
    shape = list(view.shape_exprs)
    known = shape[axis].is_constant and before.is_constant and after.is_constant
    where = _places(w, shape[axis].constant, before.constant, after.constant, mode) if known else None
    shape[axis] = shape[axis] + before + after
    if where is None:
        where = _computed_places(w, view.shape_exprs[axis], before, shape[axis], mode)
    order = [axis, *(i for i in range(len(shape)) if i != axis)]
    dst = w.to.scratch(w.dtype, shape) if target is None else target
    w.emit("gather", dst=permuted(dst, order), table=permuted(view, order), indices=where)
    return dst


def _places(w: Writer, count: int, before: int, after: int, mode: str) -> ViewAttr:
    """Numpy's: what is cut away first is not there for padding."""
    places = np.arange(count, dtype=np.int64)[max(-before, 0) :]
    places = places[: len(places) - max(-after, 0)]
    pad: Any = np.pad
    index: NDArray[np.int64] = pad(places, (max(before, 0), max(after, 0)), mode)
    return w.to.constant("index", [index])


def _computed_places(w: Writer, count: Expr, before: Expr, size: Expr, mode: str) -> ViewAttr:
    """-before, 1 - before … brought back into 0 … count - 1: at the ends, in turn, or to and fro."""
    places = w.to.scratch("int64", [size])
    w.emit("iota", dst=places, start=-before, step=1)

    def number(value: int | Expr) -> ViewAttr:
        held = w.to.scratch("int64", [1])
        w.emit("value", dst=held, **{f"n{i}": Expr.of(value) if i == 0 else ZERO for i in range(VALUES)})
        return held

    def change(op: str, other: ViewAttr) -> None:
        w.emit("binary", dst=places, a=places, b=other, op=op)

    if mode == "edge":
        change("max", number(0))
        change("min", number(count - 1))
    elif mode == "wrap":
        change("mod", number(count))
    else:
        period = number(maximum((count - 1) * 2, 1))
        change("mod", period)
        back = w.to.scratch("int64", [size])
        w.emit("binary", dst=back, a=period, b=places, op="sub")
        change("min", back)
    return places


def _refuse_pad(op: Operation) -> str | None:
    return "what it pads with depends on data" if _pad_sizes(op) is None else None


def _dropout(w: Writer) -> None:
    """Dropout of a model that is not being trained: nothing is dropped."""
    w.bind(w.view(0))
    mask = w.result_or_none(1)
    if mask is not None:
        w.emit("fill", dst=mask, value=1.0)


def _refuse_training(op: Operation) -> str | None:
    values = [*onnx.inputs(op), None, None][:3]
    if values[2] is None:
        return None
    training, ratio = known_array(values[2]), 0.5 if values[1] is None else known_array(values[1])
    if training is None or (training.any() and ratio is None):
        return "whether it drops anything depends on data"
    return "it drops at random, as in training" if training.any() and np.any(ratio) else None


def _eye_like(w: Writer) -> None:
    """Ones along a diagonal, which is a view of its own."""
    dst, shift = w.result(), int(w.attribute("k", 0))
    w.emit("fill", dst=dst, value=0.0)
    first = (max(-shift, 0), max(shift, 0))
    count = maximum(minimum(*(dim - start for dim, start in zip(w.shape, first, strict=True))), 0)
    if count != ZERO:
        stride, step = dst.stride_exprs
        skip = stride * first[0] + step * first[1]
        w.emit("fill", dst=remade(dst, [count], [stride + step], skip), value=1.0)


def constant(w: Writer) -> None:
    """An array that the compiler knows."""
    w.bind(w.to.constant(_name(w), [np.asarray(known_array(w.y))]))


def _name(w: Writer) -> str:
    return node_name(w.op) or w.op.name


def dims_value(w: Writer) -> None:
    """Numbers that follow from the dimensions of a step."""
    assert isinstance(w.op, onnx.DimsValueOp)
    _write(w, list(w.op.exprs))


def _write(w: Writer, numbers: list[Expr]) -> None:
    if all(n.is_constant for n in numbers):
        shape = [dim.constant for dim in w.shape]
        array = np.asarray([n.constant for n in numbers], numpy_dtype(w.dtype)).reshape(shape)
        return w.bind(w.to.constant(_name(w), [array]))
    dst = whole(w.result(), [len(numbers)])
    for start in range(0, len(numbers), VALUES):
        part = numbers[start : start + VALUES]
        part += [Expr.of(0)] * (VALUES - len(part))
        here = sliced(dst, 0, start, min(VALUES, len(numbers) - start))
        w.emit("value", dst=here, **{f"n{i}": n for i, n in enumerate(part)})
    return None


def _shape(w: Writer) -> None:
    dims = shape_of(w.value(0))
    start, end = int(w.attribute("start", 0)), w.attribute("end")
    _write(w, list(dims[start : None if end is None else int(end)]))


def _size(w: Writer) -> None:
    _write(w, [math.prod(shape_of(w.value(0)), start=ONE)])


def _constant_of_shape(w: Writer) -> None:
    value = w.attribute("value")
    element = np.zeros((), np.float32) if value is None else np.asarray(value).reshape(())
    w.bind(expanded(w.to.constant(_name(w), [element]), w.shape))


def _is_iota(op: Operation) -> bool:
    start, _, step = onnx.inputs(op)
    return (
        dtype_of(op.results[0]).startswith("int") and known_integers(start) is not None and bool(known_integers(step))
    )


def _range(w: Writer) -> None:
    if _is_iota(w.op):
        (start,), (step,) = known_integers(w.value(0)) or [], known_integers(w.value(2)) or []
        w.emit("iota", dst=w.result(), start=start, step=step)
    else:
        w.emit("range", dst=w.result(), start=_scalar(w, 0), step=_scalar(w, 2))


def _scalar(w: Writer, i: int) -> ViewAttr:
    return whole(w.view(i), [])


HANDLERS: dict[str, Handler] = {
    **{name: Handler(reshape) for name in ("Reshape", "Flatten", "Squeeze", "Unsqueeze")},
    "Identity": Handler(_identity),
    "Dropout": Handler(_dropout, _refuse_training),
    "EyeLike": Handler(_eye_like),
    "Transpose": Handler(_transpose),
    "Slice": Handler(_slice, needs_known(1, 3, 4)),
    "Split": Handler(_split),
    "Concat": Handler(_concat),
    "Tile": Handler(_tile, needs_known(1)),
    "Pad": Handler(_pad, _refuse_pad),
    "Constant": Handler(constant),
    "dims_value": Handler(dims_value),
    "Shape": Handler(_shape),
    "Size": Handler(_size),
    "ConstantOfShape": Handler(_constant_of_shape),
    "Range": Handler(_range),
}
