"""Rotary position embedding: x * cos + turned(x) * sin, over all features or the first of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from xdsl.context import Context
from xdsl.dialects.builtin import BoolAttr, IntegerAttr, ModuleOp, i64
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from crossbank.dialects.llm import RotaryOp
from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.passes.raising.building import make
from crossbank.passes.raising.matching import axis_of, kind, made_by, only_user, pairs, rank, slice_of, slice_operands
from crossbank.passes.rewriting import replace
from crossbank.runtime.expr import ONE, ZERO, Expr


@dataclass(frozen=True)
class RaiseRotaryPass(ModulePass):
    """Both forms of rotary embedding become `llm.rotary`, with the features that pass through where there are."""

    name = "raise-rotary"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for found in list(op.walk()):
            if kind(found) == "Add" and found.parent is not None:
                _raise(found)
            elif kind(found) == "Concat" and found.parent is not None:
                _raise_halves(found)


@dataclass(frozen=True)
class _Rotation:
    x: SSAValue
    cos: SSAValue
    sin: SSAValue
    interleaved: bool


def _raise(add: Operation) -> None:
    rotation = _rotation(add)
    if rotation is None:
        return
    root, x = _with_rest(add, rotation.x)
    y = root.results[0]
    if shape_of(x) != shape_of(y) or not dtype_of(x) == dtype_of(rotation.cos) == dtype_of(y):
        return
    new = RotaryOp.build(
        operands=[x, rotation.cos, rotation.sin],
        properties={"interleaved": BoolAttr.from_bool(rotation.interleaved)},
        result_types=[y.type],
    )
    replace(root, [new])


def _raise_halves(concat: Operation) -> None:
    """concat(a cos - b sin, b cos + a sin) of x = concat(a, b), or of x's even and odd features, an angle for each."""
    y = concat.results[0]
    if len(concat.operands) != 2 or axis_of(concat, "axis", 0, y) != rank(y) - 1:
        return
    less, more = made_by(concat.operands[0], "Sub"), made_by(concat.operands[1], "Add")
    if less is None or more is None:
        return
    plain, turned = (made_by(operand, "Mul") for operand in less.operands)
    products = [made_by(operand, "Mul") for operand in more.operands]
    if plain is None or turned is None or products[0] is None or products[1] is None:
        return
    sums = [set(op.operands) for op in products if op is not None]
    found = next((halves for halves in _halves(plain, turned) if _are_sums(sums, *halves)), None)
    if found is None:
        return
    x, a, b, cos, sin = found
    made: list[Operation] = []
    if _every_second(a, 0) is x:  # the results lie as halves, so that the features have to
        made.append(make("Concat", [a, b], dtype_of(x), shape_of(x), axis=rank(x) - 1))
        x = made[0].results[0]
    width = shape_of(x)[-1]
    fits = dtype_of(x) == dtype_of(cos) == dtype_of(y) and max(rank(cos), rank(sin)) <= rank(x)
    if fits and shape_of(x) == shape_of(y) and width.is_constant and shape_of(cos)[-1] == width // 2:
        properties = {"interleaved": BoolAttr.from_bool(False), "width": IntegerAttr(width.constant, i64)}
        made.append(RotaryOp.build(operands=[x, cos, sin], properties=properties, result_types=[y.type]))
        replace(concat, made)
        return
    for op in reversed(made):
        op.drop_all_references()


_Halves: TypeAlias = "tuple[SSAValue, SSAValue, SSAValue, SSAValue, SSAValue]"


def _halves(plain: Operation, turned: Operation) -> Iterator[_Halves]:
    """x, its halves, cos and sin for products of the first half with cos and of the second with sin.

    The halves may be the even and the odd features too, as DeepSeek has them.
    """
    for a, cos in pairs(plain):
        for b, sin in pairs(turned):
            if (whole := _every_second(a, 0)) is not None and _every_second(b, 1) is whole:
                yield whole, a, b, cos, sin
            first, second = slice_of(a), slice_of(b)
            if first is None or second is None or first[0] is not second[0]:
                continue
            x, width = first[0], shape_of(first[0])[-1]
            last = rank(x) - 1
            if (first[1:], second[1:]) == ((last, ZERO, width // 2), (last, width // 2, width)):
                yield x, a, b, cos, sin


def _are_sums(sums: list[set[SSAValue]], x: SSAValue, a: SSAValue, b: SSAValue, cos: SSAValue, sin: SSAValue) -> bool:
    return sums in ([{b, cos}, {a, sin}], [{a, sin}, {b, cos}])


def _rotation(add: Operation) -> _Rotation | None:
    """x, cos and sin where `add` is x * cos + turned * sin, turned as `_rotate_half` or `_rotate_pairs` tells."""
    for plain, turned in pairs(add):
        first, second = made_by(plain, "Mul"), made_by(turned, "Mul")
        if first is None or second is None:
            continue
        for half, sin in pairs(second):
            x = _rotate_half(half)
            interleaved = x is None
            if interleaved:
                x = _rotate_pairs(half)
            if x is None:
                continue
            for same, cos in pairs(first):
                if same is x and _spans(cos, x) and _spans(sin, x):
                    return _Rotation(x, cos, sin, interleaved)
    return None


def _spans(angle: SSAValue, x: SSAValue) -> bool:
    """Whether cos or sin has one number per rotated feature."""
    return rank(angle) >= 1 and shape_of(angle)[-1] == shape_of(x)[-1] and rank(angle) <= rank(x)


def _rotate_half(value: SSAValue) -> SSAValue | None:
    """x for concat(-x[R/2:], x[:R/2]) along the last axis."""
    concat = made_by(value, "Concat")
    if concat is None or len(concat.operands) != 2 or axis_of(concat, "axis", 0, value) != rank(value) - 1:
        return None
    negated = made_by(concat.operands[0], "Neg")
    if negated is None:
        return None
    upper, lower = slice_of(negated.operands[0]), slice_of(concat.operands[1])
    if upper is None or lower is None or upper[0] is not lower[0]:
        return None
    x, axis, start, stop = upper
    width = shape_of(x)[-1]
    whole = lower[2] == ZERO and lower[3] == start and stop == width and start * 2 == width
    return x if axis == lower[1] == rank(x) - 1 and whole else None


def _rotate_pairs(value: SSAValue) -> SSAValue | None:
    """x for -x[1], x[0], -x[3], x[2] …: a concat of odd and even features along a new last axis, flattened."""
    reshape = made_by(value, "Reshape", "Flatten")
    concat = None if reshape is None else made_by(reshape.operands[0], "Concat")
    if concat is None or len(concat.operands) != 2 or shape_of(concat.results[0]) != (*_halved(value), Expr.of(2)):
        return None
    parts = [_without_last(operand) for operand in concat.operands]
    if parts[0] is None or parts[1] is None or (negated := made_by(parts[0], "Neg")) is None:
        return None
    odd, even = _every_second(negated.operands[0], 1), _every_second(parts[1], 0)
    return odd if odd is even and odd is not None and shape_of(odd) == shape_of(value) else None


def _halved(value: SSAValue) -> tuple[Expr, ...]:
    return (*shape_of(value)[:-1], shape_of(value)[-1] // 2)


def _without_last(value: SSAValue) -> SSAValue | None:
    """What a value is with a last axis of one element."""
    op = made_by(value, "Unsqueeze", "Reshape")
    return None if op is None or (*shape_of(op.operands[0]), ONE) != shape_of(value) else op.operands[0]


def _every_second(value: SSAValue, first: int) -> SSAValue | None:
    """x for x[.., first::2]."""
    op = made_by(value, "Slice")
    if op is None:
        return None
    starts, _, axes, steps = slice_operands(op)
    source = op.operands[0]
    last = axes is not None and [axis % rank(source) for axis in axes] == [rank(source) - 1]
    return source if last and starts == [first] and steps == [2] and shape_of(value) == _halved(source) else None


def _with_rest(add: Operation, x: SSAValue) -> tuple[Operation, SSAValue]:
    """Where x is the first R features of a wider value whose rest is appended again: that Concat and that value."""
    part = slice_of(x)
    concat = only_user(add.results[0])
    if part is None or concat is None or kind(concat) != "Concat" or len(concat.operands) != 2:
        return add, x
    source, axis, start, stop = part
    rest = slice_of(concat.operands[1])
    if concat.operands[0] is not add.results[0] or rest is None or rest[0] is not source:
        return add, x
    last = rank(source) - 1
    whole = start == ZERO and rest[2] == stop and rest[3] == shape_of(source)[-1]
    if axis == rest[1] == axis_of(concat, "axis", 0, source) == last and whole:
        return concat, source
    return add, x
