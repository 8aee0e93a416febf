"""Softmax spelt out as the function that ONNX defines it by, as tools write it that have no kernel for its type."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.passes.raising.building import make
from crossbank.passes.raising.matching import attr, kind, made_by, reduced_axes
from crossbank.passes.rewriting import replace


@dataclass(frozen=True)
class RaiseSoftmaxPass(ModulePass):
    """Exponentials of rows less their greatest, over the sum of these exponentials, become one Softmax."""

    name = "raise-softmax"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for found in list(op.walk()):
            if kind(found) == "Div" and found.parent is not None:
                _raise(found)


def _raise(quotient: Operation) -> None:
    power = made_by(quotient.operands[0], "Exp")
    total = made_by(quotient.operands[1], "ReduceSum")
    if power is None or total is None or total.operands[0] is not power.results[0]:
        return
    shifted = made_by(power.operands[0], "Sub")
    top = None if shifted is None else made_by(shifted.operands[1], "ReduceMax")
    if shifted is None or top is None or top.operands[0] is not shifted.operands[0]:
        return
    x, axis = shifted.operands[0], _axis(total)
    if axis is not None and axis == _axis(top):
        replace(quotient, [_softmax(x, axis)])


def _axis(reduction: Operation) -> int | None:
    """The only axis of a reduction that keeps it."""
    axes = reduced_axes(reduction)
    return axes[0] if axes is not None and len(axes) == 1 and int(attr(reduction, "keepdims", 1)) == 1 else None


def _softmax(x: SSAValue, axis: int) -> Operation:
    return make("Softmax", [x], dtype_of(x), shape_of(x), axis=axis)
