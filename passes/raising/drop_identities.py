"""Operations that change nothing: same-type casts, reshapes and slices to the same shape, scaling by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from crossbank.dialects.shape import dtype_of, is_tensor, shape_of
from crossbank.passes.raising.building import make, reshape
from crossbank.passes.raising.matching import (
    attr,
    axis_of,
    elements,
    kind,
    made_by,
    operand,
    rank,
    scalar,
    slice_operands,
)
from crossbank.passes.raising.notes import fold
from crossbank.passes.rewriting import forward, replace
from crossbank.runtime.expr import ZERO, Expr

SAME_IF_SAME_TYPE = ("Cast", "CastLike", "Reshape", "Expand", "Squeeze", "Unsqueeze", "Flatten", "Tile")
RESHAPES = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")


@dataclass(frozen=True)
class DropIdentitiesPass(ModulePass):
    """Forward the operand of what changes nothing; merge chains of transposes and of reshapes."""

    name = "drop-identities"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        changed = True
        while changed:
            changed = False
            for found in list(op.walk()):
                if found.parent is None or len(found.results) != 1 or not found.results[0].uses:
                    continue
                same = _same(found)
                if same is not None:
                    fold(ctx, forward(found, same))
                    changed = True
                elif _shorten(found):
                    changed = True


def _same(op: Operation) -> SSAValue | None:
    """The operand that the result of an operation equals."""
    name = kind(op)
    if name in ("", "Constant", "func.func") or not op.operands or not is_tensor(op.results[0]):
        return None
    source, result = op.operands[0], op.results[0]
    same = source.type == result.type or (is_tensor(source) and _equal_types(source, result))
    match name:
        case "Identity":
            return source
        case "Dropout" if not _trains(op):
            return source if same else None
        case "Slice":
            steps = slice_operands(op)[3] if operand(op, 4) is not None else [1]
            return source if same and steps is not None and set(steps) == {1} else None
        case "Transpose":
            perm = attr(op, "perm", list(range(rank(source)))[::-1])
            return source if list(perm) == list(range(rank(source))) else None
        case "Concat":
            kept = [value for value in op.operands if elements(value) != ZERO]
            return kept[0] if len(kept) == 1 and _equal_types(kept[0], result) else None
        case "Mul" | "Div" | "Add" | "Sub":
            return _neutral(op)
        case _:
            return source if name in SAME_IF_SAME_TYPE and same else None


def _equal_types(left: SSAValue, right: SSAValue) -> bool:
    """Whether two tensors have one element type and equal shapes, however these are written."""
    if left.type == right.type:
        return True
    return getattr(left.type, "element_type", None) == getattr(right.type, "element_type", None) and shape_of(
        left
    ) == shape_of(right)


def _trains(dropout: Operation) -> bool:
    training = operand(dropout, 2)
    return training is not None and scalar(training) != 0.0


def _neutral(op: Operation) -> SSAValue | None:
    """x for x * 1, x / 1, x + 0 and x - 0."""
    idle = 1.0 if kind(op) in ("Mul", "Div") else 0.0
    left, right = op.operands
    if scalar(right) == idle and _equal_types(left, op.results[0]):
        return left
    if kind(op) in ("Mul", "Add") and scalar(left) == idle and _equal_types(right, op.results[0]):
        return right
    return None


def _shorten(op: Operation) -> bool:
    """Merge a transpose with the transpose before it, a reshape with the reshape before it, drop empty parts."""
    name = kind(op)
    if name == "Transpose" and (before := made_by(op.operands[0], "Transpose")) is not None:
        size = rank(op.operands[0])
        first: Sequence[int] = attr(before, "perm", list(range(size))[::-1])
        second: Sequence[int] = attr(op, "perm", list(range(size))[::-1])
        dtype, shape = _form(op.results[0])
        replace(op, [make("Transpose", [before.operands[0]], dtype, shape, perm=[first[i] for i in second])])
        return True
    if name in RESHAPES and (before := made_by(op.operands[0], *RESHAPES)) is not None:
        replace(op, reshape(before.operands[0], shape_of(op.results[0])))
        return True
    if name == "Concat":
        kept = [value for value in op.operands if elements(value) != ZERO]
        if kept and len(kept) < len(op.operands):
            dtype, shape = _form(op.results[0])
            axis = axis_of(op, "axis", 0, op.results[0])
            replace(op, [make("Concat", kept, dtype, shape, axis=axis)])
            return True
    return False


def _form(value: SSAValue) -> tuple[str, tuple[Expr, ...]]:
    return dtype_of(value), shape_of(value)
