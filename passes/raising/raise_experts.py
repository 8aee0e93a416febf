"""Mixtures of experts: products with stacks of static matrices, all or those that a router chose, as linears.

A chosen expert's matrix lies where it is stored, so the inputs go to all experts and the chosen results are picked.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from crossbank.dialects.llm import LinearOp
from crossbank.dialects.shape import dtype_of, shape_of, tensor
from crossbank.passes.context import CompileContext
from crossbank.passes.raising.low_precision import Retyping, integer
from crossbank.passes.raising.matching import attr, is_float, kind, made_by, rank, weight
from crossbank.passes.raising.mixture import RULES
from crossbank.passes.raising.notes import unrecognised
from crossbank.passes.raising.parts import Parts, Unfit
from crossbank.passes.rewriting import replace
from crossbank.runtime.expr import ONE, Expr, product


@dataclass(frozen=True)
class RaiseExpertsPass(ModulePass):
    """Products with static matrices of experts, MoE and QMoE become `llm.linear` over all experts, and a choice."""

    name = "raise-experts"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        if not isinstance(ctx, CompileContext):
            return
        retyping = Retyping(ctx, op)
        for found in list(op.walk()):
            rule = RULES.get(kind(found)) or (_product if kind(found) == "MatMul" else None)
            if rule is None or found.parent is None:
                continue
            parts = Parts()
            try:
                value = rule(found, parts, retyping)
            except Unfit as reason:
                for made in reversed(parts.ops):
                    made.drop_all_references()
                unrecognised(ctx, found, str(reason))
                continue
            if value is not None:
                replace(found, parts.ops, [value])


@dataclass(frozen=True)
class _Experts:
    """Static matrices [E, A, B], or those of them that `ids` [..] name; `swapped` if they are [E, B, A] in the end."""

    stack: SSAValue
    ids: SSAValue | None
    swapped: bool


def _experts(value: SSAValue) -> _Experts | None:
    swapped = False
    while (transpose := made_by(value, "Transpose")) is not None:
        axes = list(range(rank(value)))
        if list(attr(transpose, "perm", axes[::-1])) != [*axes[:-2], axes[-1], axes[-2]]:
            return None
        swapped, value = not swapped, transpose.operands[0]
    stack, ids = value, None
    gather = made_by(value, "Gather", "GatherND")
    if gather is not None:
        stack, ids = gather.operands
        if kind(gather) == "Gather" and int(attr(gather, "axis", 0)) % rank(stack):
            return None
        if kind(gather) == "GatherND" and (int(attr(gather, "batch_dims", 0)) or shape_of(ids)[-1] != ONE):
            return None
    if rank(stack) != 3 or weight(stack) is None or not is_float(stack):
        return None
    return _Experts(stack, ids, swapped)


def _product(op: Operation, parts: Parts, retyping: Retyping) -> SSAValue | None:
    """A product with experts' matrices on either side; None for another one."""
    left, right = op.operands
    found = _experts(right)
    if found is not None:
        if dtype_of(left) != dtype_of(found.stack) or rank(left) < 3:
            return None
        if found.ids is None:
            return _all(op, left, found, parts, retyping)
        if shape_of(left)[-2] == ONE:
            return _chosen(op, left, found, found.swapped, parts, retyping)
        return None
    found = _experts(left)
    if found is None or found.ids is None or dtype_of(right) != dtype_of(found.stack) or shape_of(right)[-1] != ONE:
        return None
    return _chosen(op, right, found, not found.swapped, parts, retyping)


def _all(op: Operation, x: SSAValue, found: _Experts, parts: Parts, retyping: Retyping) -> SSAValue | None:
    """x [.., E or 1, T, K], each expert with its own rows."""
    count, axis = integer(shape_of(found.stack)[0]), rank(x) - 3
    if rank(op.results[0]) != rank(x) or shape_of(x)[axis] not in (ONE, Expr.of(count)):
        return None
    outs: list[SSAValue] = []
    for i in range(count):
        own = x if shape_of(x)[axis] == ONE else parts.slice(x, axis, Expr.of(i), Expr.of(i + 1))
        matrix = retyping.part(found.stack, i, parts)
        outs.append(_linear(parts, own, matrix, found.swapped))
    return parts.concat(outs, axis)


def _linear(parts: Parts, x: SSAValue, matrix: SSAValue, transposed: bool) -> SSAValue:
    shape = (*shape_of(x)[:-1], shape_of(matrix)[0 if transposed else 1])
    return parts.add(LinearOp.of(x, matrix, tensor(dtype_of(x), shape), transposed=transposed))


def _chosen(
    op: Operation, x: SSAValue, found: _Experts, transposed: bool, parts: Parts, retyping: Retyping
) -> SSAValue | None:
    """x [.., 1, K] or [.., K, 1] times the matrix that `ids` [..] name, K x N, or N x K if `transposed`."""
    assert found.ids is not None
    count, a, b = shape_of(found.stack)
    inputs, outputs = (b, a) if transposed else (a, b)
    lead = shape_of(op.results[0])[:-2]
    rows = product(list(lead))
    if product(list(shape_of(x))) != rows * inputs or product(list(shape_of(found.ids))) != rows:
        return None
    flat = parts.reshape(x, (rows, inputs))
    if transposed:
        matrix = retyping.use(found.stack, dtype_of(x), (integer(count) * integer(a), integer(b)), parts)
        every = _linear(parts, flat, matrix, True)
    else:
        every = parts.concat(
            [_linear(parts, flat, retyping.part(found.stack, i, parts), False) for i in range(integer(count))], 1
        )
    every = parts.reshape(every, (rows, count, outputs))
    ids = parts.reshape(found.ids, (rows, ONE))
    chosen = parts.node("GatherND", [every, ids], dtype_of(x), (rows, outputs), batch_dims=1)
    return parts.reshape(chosen, shape_of(op.results[0]))
