"""Scaled dot-product attention, found from its softmax: products, scale, masks, repeated key/value heads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onnx import helper
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from crossbank.dialects.llm import AttentionOp
from crossbank.dialects.shape import dtype_of, shape_of, tensor
from crossbank.dialects.tensor_names import forget_names
from crossbank.passes.raising.axes import Found, Step, source_with, steps_to
from crossbank.passes.raising.building import binary, broadcast, make, reshape, scalar_constant
from crossbank.passes.raising.matching import (
    attr,
    is_float,
    is_routing,
    kind,
    made_by,
    only_user,
    rank,
    scalar,
    slice_of,
    uncast,
    users,
)
from crossbank.passes.raising.notes import unrecognised
from crossbank.passes.raising.scores import Mask, Scores, is_head_reshape, trace_scores
from crossbank.passes.rewriting import absorb, replace
from crossbank.runtime.expr import ONE, ZERO, Expr
from crossbank.runtime.numerics import dtype_of as numpy_dtype

HEADS = (0, 1)
QUERY = (*HEADS, 2, 3)
KEY_TRANSPOSED = (0, 1, -1, 3, 2)
VALUE = (0, 1, -1, 2, 3)


@dataclass(frozen=True)
class RaiseAttentionPass(ModulePass):
    """Softmax of masked, scaled q kᵀ, times v, becomes `llm.attention` over the keys and values before repetition."""

    name = "raise-attention"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for found in list(op.walk()):
            if kind(found) == "Softmax" and found.parent is not None and not is_routing(found):
                failure = _raise(found)
                if failure is not None:
                    unrecognised(ctx, found, f"attention: {failure}")


def _raise(softmax: Operation) -> str | None:
    """Raise the attention around a softmax; returns why not where it can't."""
    made: list[Operation] = []
    failure = _build(softmax, made)
    if failure is not None:
        for op in reversed(made):
            op.drop_all_references()
    return failure


def _build(softmax: Operation, made: list[Operation]) -> str | None:
    scores_in = softmax.operands[0]
    axis = int(attr(softmax, "axis", -1))
    if axis not in (-1, rank(scores_in) - 1):
        return f"softmax over axis {axis} of {rank(scores_in)}"
    scores = trace_scores(scores_in)
    if isinstance(scores, str):
        return scores
    end = _output(softmax, scores.sink is not None)
    if isinstance(end, str):
        return end
    product, nan_to_zero = end
    lead = rank(scores.product.results[0]) - 2
    if lead not in (1, 2) or rank(product.results[0]) != lead + 2:
        return f"products of rank {lead + 2}"
    found = _sources(scores, product, lead, made)
    if isinstance(found, str):
        return found
    q, k, v, scale = found
    mask = _mask(scores, (*shape_of(q)[:3], shape_of(k)[2]), lead, made)
    if isinstance(mask, str):
        return mask
    wide = dtype_of(q) != dtype_of(product.results[0])
    if wide and dtype_of(q) not in ("float16", "bfloat16"):  # else the scores are rounded to what the output is now
        return f"queries of {dtype_of(q)}, output of {dtype_of(product.results[0])}"
    sink = scores.sink
    if sink is not None and rank(sink) != 1:
        made += reshape(sink, (shape_of(q)[1],))
        sink = made[-1].results[0]
    y_shape = (*shape_of(q)[:3], shape_of(v)[3])
    attention = AttentionOp.of(
        q, k, v, tensor(dtype_of(q), y_shape),
        scale=scale * scores.scale, mask=mask, sink=sink, softcap=scores.softcap, nan_to_zero=nan_to_zero,
    )  # fmt: skip
    back = [] if y_shape == shape_of(product.results[0]) else reshape(attention.y, shape_of(product.results[0]))
    if wide:
        y = back[-1].results[0] if back else attention.y
        kind_ = dtype_of(product.results[0])
        to = helper.np_dtype_to_tensor_dtype(numpy_dtype(kind_))
        back.append(make("Cast", [y], kind_, shape_of(y), to=int(to)))
    if back:
        absorb(attention, replace(product, [*made, attention, *back], [back[-1].results[0]]))
    else:
        replace(product, [*made, attention])
    return None


def _output(softmax: Operation, with_sink: bool) -> tuple[Operation, bool] | str:
    """The product of the probabilities with the values, and whether undefined rows become zero on the way.

    With a sink its probability is cut off first.
    """
    value: SSAValue = softmax.results[0]
    if with_sink:
        cut = only_user(value)
        part = None if cut is None else slice_of(cut.results[0])
        last = rank(value) - 1
        if cut is None or part is None or part[1:] != (last, ZERO, shape_of(value)[last] - 1):
            return "the sink's probability is not cut off"
        value = cut.results[0]
    nan_to_zero = False
    while True:
        following = users(value)
        if len(following) == 2 and (where := _nan_to_zero(value, following)) is not None:
            value, nan_to_zero = where.results[0], True
            continue
        if len(following) != 1:
            return f"the probabilities are used {len(following)} times"
        user = following[0]
        if (kind(user) == "Cast" and is_float(user.results[0])) or is_head_reshape(user):
            value = user.results[0]
        elif kind(user) == "MatMul" and user.operands[0] is value:
            return user, nan_to_zero
        else:
            return f"{kind(user)} after the softmax"


def _nan_to_zero(value: SSAValue, following: list[Operation]) -> Operation | None:
    where = next((op for op in following if kind(op) == "Where"), None)
    if where is None or where.operands[2] is not value or scalar(where.operands[1]) != 0.0:
        return None
    test = made_by(where.operands[0], "IsNaN")
    if test is None or uncast(test.operands[0]) is not value or len(users(test.results[0])) != 1:
        return None
    tested = next(op for op in following if op is not where)
    return where if tested is test or only_user(tested.results[0]) is test else None


def _sources(
    scores: Scores, product: Operation, lead: int, made: list[Operation]
) -> tuple[SSAValue, SSAValue, SSAValue, float] | str:
    """q [B, H, S, D], k [B, G, T, D] and v [B, G, T, Dv] behind the products, and the scale that was on q and k."""
    query = source_with(scores.product.operands[0], QUERY, lead)
    key = source_with(scores.product.operands[1], KEY_TRANSPOSED, lead)
    value = source_with(product.operands[1], VALUE, lead)
    if query is None:
        return "the queries don't come as [batch, heads, tokens, features]"
    if key is None:
        return "the keys don't come as [batch, heads, tokens, features], transposed"
    if value is None:
        return "the values don't come as [batch, heads, tokens, features]"
    if value.scale != 1.0:
        return "the values are scaled"
    q, k, v = (_in_order(found, made) for found in (query, key, value))
    groups, heads = shape_of(k)[1], shape_of(q)[1]
    if shape_of(v)[1] != groups or not groups.is_constant or not heads.is_constant:
        return f"{heads} query heads, {groups} key heads, {shape_of(v)[1]} value heads"
    if heads.constant % groups.constant:
        return f"{heads} query heads over {groups} key heads"
    if not (shape_of(k)[0] == shape_of(v)[0] == shape_of(q)[0]) or shape_of(k)[2] != shape_of(v)[2]:
        return "queries, keys and values differ in batch or tokens"
    steps = steps_to(q)
    scale = math.prod(step.scale for step in steps)
    if scale != 1.0:
        q = _without_scale(steps, made)
    if dtype_of(k) != dtype_of(q) or dtype_of(v) != dtype_of(q):
        return "queries, keys and values differ in type"
    return q, k, v, scale * query.scale * key.scale


def _in_order(found: Found, made: list[Operation]) -> SSAValue:
    """A source with its axes in order, by a new transpose where they aren't."""
    if found.in_order:
        return found.source
    shape = [shape_of(found.source)[axis] for axis in found.perm]
    made.append(make("Transpose", [found.source], dtype_of(found.source), shape, perm=list(found.perm)))
    return made[-1].results[0]


def _without_scale(steps: list[Step], made: list[Operation]) -> SSAValue:
    """The value at the end of these steps (last first) without their scalings."""
    deepest = max(i for i, step in enumerate(steps) if step.scale != 1.0)
    value = steps[deepest].source
    for step in reversed(steps[:deepest]):
        if step.scale == 1.0:
            copy = step.op.clone()
            forget_names(copy)
            copy.operands[0] = value
            made.append(copy)
            value = copy.results[0]
    return value


def _mask(scores: Scores, shape: Sequence[Expr], lead: int, made: list[Operation]) -> SSAValue | str | None:
    """One addend of the scores for all masks, if there are any."""
    total: SSAValue | None = None
    for mask in reversed(scores.masks):
        value = _addend(mask, dtype_of(scores.product.results[0]), made)
        if lead == 1 and rank(value) == 3 and shape_of(value)[0] != ONE:
            made += reshape(value, (*shape[:2], *shape_of(value)[1:]))
            value = made[-1].results[0]
        if total is not None:
            combined = binary("Add", total, value) if dtype_of(total) == dtype_of(value) else None
            if combined is None:
                return "masks whose types or shapes don't fit each other"
            made.append(combined)
            value = combined.results[0]
        total = value
    if total is not None and scores.floor is not None:
        floor = scalar_constant(scalar(scores.floor) or 0.0, dtype_of(total))
        made += [floor, make("Max", [total, floor.results[0]], dtype_of(total), shape_of(total))]
        total = made[-1].results[0]
    return total


def _addend(mask: Mask, dtype: str, made: list[Operation]) -> SSAValue:
    """The addend of a mask: itself, or 0 where the condition keeps a score and the fill where it drops it."""
    if mask.fill is None:
        bare = uncast(mask.value)
        value = bare if dtype_of(bare) == dtype else mask.value
        if mask.scale == 1.0:
            return value
        factor = scalar_constant(mask.scale, dtype_of(value))
        made += [factor, make("Mul", [value, factor.results[0]], dtype_of(value), shape_of(value))]
        return made[-1].results[0]
    zero = scalar_constant(0.0, dtype_of(mask.fill))
    kept, dropped = zero.results[0], mask.fill
    operands = [mask.value, dropped, kept] if mask.drop else [mask.value, kept, dropped]
    shape = broadcast(shape_of(mask.value), shape_of(mask.fill))
    where = make("Where", operands, dtype_of(mask.fill), shape or shape_of(mask.value))
    made += [zero, where]
    return where.results[0]
