"""Following axes through transposes, reshapes and expansions: which axis of a source each dimension comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from xdsl.ir import Operation, SSAValue

from crossbank.dialects.shape import shape_of
from crossbank.passes.raising.matching import attr, integers, is_float, kind, operand, rank, scaled
from crossbank.passes.rewriting import owner_of
from crossbank.runtime.expr import ONE, Expr, product

MOVES = ("Transpose", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Expand", "Identity")


@dataclass(frozen=True)
class Axis:
    """Axis `index` of the source, or a repetition made by Expand (`index` -1)."""

    index: int
    size: Expr


Dims: TypeAlias = "list[list[Axis]]"


@dataclass(frozen=True)
class Step:
    """One operation between a source and a value: `source` is what it reads."""

    source: SSAValue
    op: Operation
    scale: float = 1.0


def steps_to(value: SSAValue) -> list[Step]:
    """The moves, float casts and scalings that lead to a value, the last first."""
    steps: list[Step] = []
    while (op := owner_of(value)) is not None:
        if (found := scaled(value)) is not None:
            steps.append(Step(found[0], op, found[1]))
        elif kind(op) in MOVES or (kind(op) == "Cast" and is_float(value) and is_float(op.operands[0])):
            steps.append(Step(op.operands[0], op))
        else:
            break
        value = steps[-1].source
    return steps


def dims_from(source: SSAValue, steps: Sequence[Step]) -> Dims | None:
    """Each dimension of the value as axes of `source`, for steps in program order; None where an axis is cut apart."""
    dims: Dims | None = [[Axis(i, size)] for i, size in enumerate(shape_of(source))]
    for step in steps:
        if dims is None:
            return None
        op, shape = step.op, shape_of(step.op.results[0])
        match kind(op):
            case "Transpose":
                perm: Sequence[int] = attr(op, "perm", list(range(len(dims)))[::-1])
                dims = [dims[i] for i in perm]
            case "Expand":
                dims = _expand(dims, shape)
            case "Unsqueeze" | "Squeeze" | "Reshape" | "Flatten":
                dims = _unsqueeze(op, dims) if kind(op) == "Unsqueeze" else _regroup(dims, shape)
            case _:
                pass
    return dims


def _expand(dims: Dims, shape: Sequence[Expr]) -> Dims:
    padded: Dims = [*([[]] * (len(shape) - len(dims))), *dims]
    grown: Dims = []
    for axes, size in zip(padded, shape, strict=True):
        old = product([axis.size for axis in axes])
        grown.append([*axes, Axis(-1, size)] if old == ONE and size != ONE else axes)
    return grown


def _unsqueeze(op: Operation, dims: Dims) -> Dims | None:
    axes = attr(op, "axes")
    if axes is None and (found := operand(op, 1)) is not None:
        axes = integers(found)
    if axes is None:
        return None
    size = len(dims) + len(axes)
    new = {axis % size for axis in axes}
    rest = iter(dims)
    return [[] if i in new else next(rest) for i in range(size)]


def _regroup(dims: Dims, shape: Sequence[Expr]) -> Dims | None:
    """Distribute the axes, in order, over dimensions of these sizes; axes of size 1 go with their neighbours."""
    axes = [axis for group in dims for axis in group]
    result: Dims = []
    for size in shape:
        group: list[Axis] = []
        done = ONE
        while done != size:
            if not axes:
                return None
            group.append(axes.pop(0))
            done = done * group[-1].size
        result.append(group)
    if any(axis.size != ONE for axis in axes):
        return None
    if axes and result:
        result[-1].extend(axes)
    return result


@dataclass(frozen=True)
class Found:
    """A 4-D source behind a value: `perm` brings its axes into order, `scale` is taken out on the way from it."""

    source: SSAValue
    perm: tuple[int, ...]
    scale: float

    @property
    def in_order(self) -> bool:
        return self.perm == (0, 1, 2, 3)


def source_with(value: SSAValue, wanted: Sequence[int], lead: int) -> Found | None:
    """The furthest 4-D source behind `value` whose axes, once permuted, lie as `wanted` (-1: a repetition, or nothing).

    Sources that need no permutation come first. Axes of size 1 may lie anywhere.
    """
    steps = steps_to(value)
    best: Found | None = None
    for count in range(len(steps) + 1):
        source = steps[count - 1].source if count else value
        dims = dims_from(source, steps[:count][::-1]) if rank(source) == 4 else None
        perm = _permutation(shape_of(source), dims, wanted, lead) if dims is not None else None
        if perm is None:
            continue
        found = Found(source, perm, math.prod(step.scale for step in steps[:count]))
        if best is None or found.in_order or not best.in_order:
            best = found
    return best


def _permutation(shape: Sequence[Expr], dims: Dims, wanted: Sequence[int], lead: int) -> tuple[int, ...] | None:
    """The order of a source's axes under which a value of dimensions `dims` reads as `wanted`; ones fill what is left.

    None if one of the dimensions after the first `lead` is made of more than one axis, or of another than wanted.
    """
    groups = [[axis.index for axis in group if axis.size != ONE] for group in dims]
    front, back = groups[:lead], groups[lead:]
    if len(back) != 2 or any(len(group) > 1 or -1 in group for group in back):
        return None
    leading = [axis for group in front for axis in group]
    if -1 in leading[:-1] or (-1 in leading and (-1 not in wanted or -1 not in front[-1])):
        return None
    leading = [axis for axis in leading if axis != -1]
    if len(leading) > 2:
        return None
    places = dict(zip((0, 1), leading, strict=False))
    if len(leading) == 1 and (leading[0] in front[1] if lead == 2 else leading[0] != 0):
        places = {1: leading[0]}
    places |= {place: group[0] for place, group in zip(wanted[-2:], back, strict=True) if group}
    ones = (axis for axis in range(4) if axis not in places.values() and shape[axis] == ONE)
    perm = tuple(places[place] if place in places else next(ones, -1) for place in range(4))
    return perm if sorted(perm) == [0, 1, 2, 3] else None
