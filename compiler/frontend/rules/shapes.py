"""Operators that read shapes or make tensors from them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossbank.compiler.frontend.graph import Info, as_array
from crossbank.compiler.frontend.rules.elementwise import np_name
from crossbank.compiler.frontend.step import MAX_KNOWN, Outputs, Step, count, rule, value
from crossbank.runtime.expr import ONE, ZERO, Expr, ceildiv, product


@rule("Shape")
def shape(step: Step) -> Outputs:
    dims = step.shape(0)
    part = dims[slice(step.attribute("start", 0), step.attribute("end"))]
    return [Info("int64", (Expr.of(len(part)),), as_array(part))]


@rule("Size")
def size(step: Step) -> Outputs:
    return [Info("int64", (), as_array(product(step.shape(0))))]


def _fill(step: Step) -> NDArray[Any]:
    filler = step.attribute("value")
    return np.zeros(1, np.float32) if filler is None else np.asarray(filler)


@rule("ConstantOfShape")
def constant_of_shape(step: Step) -> Outputs:
    dims, filler = step.exprs(0), _fill(step)
    if dims is None:
        rank = step.shape(0)[0]
        if not rank.is_constant:
            step.refuse("the rank of the result isn't known")
        dims = [step.world.fresh(step.node) for _ in range(rank.constant)]
    return [Info(filler.dtype.name, tuple(dims))]


@value("ConstantOfShape")
def constant_of_shape_value(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any] | None:
    if arrays[0].dtype == object:
        return None
    return np.full([int(v) for v in arrays[0]], _fill(step).reshape(-1)[0])


@rule("Range")
def range_(step: Step) -> Outputs:
    start, limit, delta = (_whole_numbers(step, i) for i in range(3))
    dtype = step.dtype(0)
    if start is None or limit is None or delta is None:
        return [Info(dtype, (step.world.fresh(step.node),))]
    if not any(part.dtype == object for part in (start, limit, delta)):
        numbers = [part.reshape(-1)[0] for part in (start, limit, delta)]
        if not numbers[2]:
            step.refuse("a delta of 0")
        return [Info(dtype, (Expr.of(max(int(np.ceil((numbers[1] - numbers[0]) / numbers[2])), 0)),))]
    if any(part.dtype.kind == "f" and (part != np.round(part)).any() for part in (start, limit, delta)):
        return [Info(dtype, (step.world.fresh(step.node),))]
    first, last, by = (Expr.of(_scalar(part)) for part in (start, limit, delta))
    length = last - first if by == ONE else ceildiv(last - first, by)
    return [Info(dtype, (length,))]


def _whole_numbers(step: Step, i: int) -> NDArray[Any] | None:
    """A number, or the expression that it was before a cast to a floating-point type."""
    found = step.data(i)
    return step.world.integers(step.node.input(i)) if found is None else found


def _scalar(array: NDArray[Any]) -> int | Expr:
    item = array.reshape(-1)[0]
    return item if isinstance(item, Expr) else int(item)


@value("Range")
def range_value(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any] | None:
    if any(array.dtype == object for array in arrays):
        start, limit, delta = (Expr.of(_scalar(array)) for array in arrays)
        length = limit - start
        if delta == ONE and length.is_constant and 0 <= length.constant <= MAX_KNOWN:
            return as_array([start + i for i in range(length.constant)])
        return None
    start, limit, delta = (array.reshape(-1)[0] for array in arrays)
    return np.arange(start, limit, delta, dtype=arrays[0].dtype)


@rule("EyeLike")
def eye_like(step: Step) -> Outputs:
    if len(step.shape(0)) != 2:
        step.refuse(f"a matrix is wanted, not {len(step.shape(0))} dimensions")
    to = step.attribute("dtype", 0)
    return [Info(np_name(to) if to else step.dtype(0), step.shape(0))]


@rule("OneHot")
def one_hot(step: Step) -> Outputs:
    depth = step.exprs(1)
    dims = list(step.shape(0))
    if len(step.shape(2)) != 1:
        step.refuse("the values for no and yes are no vector of two")
    step.expect(step.shape(2)[0], Expr.of(2), "the values for no and yes")
    dims.insert(
        step.axis(step.attribute("axis", -1), len(dims) + 1), depth[0] if depth else step.world.fresh(step.node)
    )
    return [Info(step.dtype(2), tuple(dims))]


@rule("NonZero")
def non_zero(step: Step) -> Outputs:
    return [Info("int64", (Expr.of(len(step.shape(0))), step.world.fresh(step.node)))]


@value("NonZero")
def non_zero_value(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any] | None:
    return None if arrays[0].dtype == object else np.array(np.nonzero(arrays[0]), dtype=np.int64)


@rule("RandomNormalLike", "RandomUniformLike")
def random_like(step: Step) -> Outputs:
    to = step.attribute("dtype", 0)
    return [Info(np_name(to) if to else step.dtype(0), step.shape(0))]


def elements(info: Info) -> int | None:
    """Number of elements, where constant; ZERO dimensions win."""
    return 0 if ZERO in info.shape else count(info.shape)
