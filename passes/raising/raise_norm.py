"""Root-mean-square and layer normalisation, as one operation or spelt out in any order."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import Float64Type, FloatAttr, ModuleOp, f64
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from crossbank.dialects.llm import LayerNormOp, RmsNormOp
from crossbank.dialects.shape import shape_of
from crossbank.passes.raising.matching import (
    attr,
    axis_of,
    kind,
    made_by,
    only_user,
    pairs,
    rank,
    reduced_axes,
    scalar,
    uncast,
)
from crossbank.passes.rewriting import replace

RMS_OPS = ("RMSNormalization", "SimplifiedLayerNormalization")


@dataclass(frozen=True)
class RaiseNormPass(ModulePass):
    """LayerNormalization, RMSNormalization and their decompositions become `llm.layer_norm` and `llm.rms_norm`."""

    name = "raise-norm"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for found in list(op.walk()):
            if kind(found) in (*RMS_OPS, "LayerNormalization"):
                _raise_op(found)
            elif kind(found) in ("Div", "Mul") and found.parent is not None and found.results[0].uses:
                _raise_spelt_out(found)


def _epsilon(value: float) -> FloatAttr[Float64Type]:
    return FloatAttr(value, f64)


def _raise_op(norm: Operation) -> None:
    x, y = norm.operands[0], norm.results[0]
    if axis_of(norm, "axis", -1, x) != rank(x) - 1 or any(result.uses for result in norm.results[1:]):
        return
    epsilon = {"epsilon": _epsilon(float(attr(norm, "epsilon", 1e-5)))}
    if kind(norm) in RMS_OPS:
        new: Operation = RmsNormOp.build(operands=[x, norm.operands[1]], properties=epsilon, result_types=[y.type])
    else:
        new = LayerNormOp.build(
            operands=[x, norm.operands[1], list(norm.operands[2:3])], properties=epsilon, result_types=[y.type]
        )
    replace(norm, [new], [new.results[0], *[None] * (len(norm.results) - 1)])


@dataclass(frozen=True)
class _Normalised:
    """x / sqrt(mean(x²) + epsilon), where x may be another value less its mean."""

    x: SSAValue
    epsilon: float


def _raise_spelt_out(op: Operation) -> None:
    """`op` divides by the root: find the weight (and bias) applied to its result."""
    core = _normalised(op)
    if core is None:
        return
    value: SSAValue = op.results[0]
    while (
        (cast := only_user(value)) is not None
        and kind(cast) == "Cast"
        and uncast(cast.results[0]) is not cast.results[0]
    ):
        value = cast.results[0]
    scale = only_user(value)
    if scale is None or kind(scale) != "Mul":
        return
    gain = next((other for one, other in pairs(scale) if one is value), None)
    if gain is None or rank(gain) != 1 or shape_of(gain)[0] != shape_of(core.x)[-1] or uncast(gain) is not gain:
        return
    root, bias = scale, None
    centred = _centred(core.x)
    if centred is not None:
        add = only_user(scale.results[0])
        if add is not None and kind(add) == "Add":
            bias = next((other for one, other in pairs(add) if one is scale.results[0] and rank(other) == 1), None)
            root = add if bias is not None else scale
    y = root.results[0]
    epsilon = {"epsilon": _epsilon(core.epsilon)}
    x = uncast(centred if centred is not None else core.x)
    if shape_of(x) != shape_of(y):
        return
    if centred is None:
        replace(root, [RmsNormOp.build(operands=[x, gain], properties=epsilon, result_types=[y.type])])
    else:
        biases = [bias] if bias is not None else []
        replace(root, [LayerNormOp.build(operands=[x, gain, biases], properties=epsilon, result_types=[y.type])])


def _normalised(op: Operation) -> _Normalised | None:
    """The core if `op` is x / root, x * (1 / root) or x * (mean square + epsilon)^-½."""
    left, right = op.operands
    if kind(op) == "Div":
        return _check(left, _under_root(right))
    for x, inverse in pairs(op):
        if (found := _check(x, _under_inverse_root(inverse))) is not None:
            return found
    return None


def _check(x: SSAValue, square: tuple[SSAValue, float] | None) -> _Normalised | None:
    if square is None or uncast(square[0]) is not uncast(x):
        return None
    return _Normalised(uncast(x), square[1])


def _under_inverse_root(value: SSAValue) -> tuple[SSAValue, float] | None:
    value = uncast(value)
    if (op := made_by(value, "Reciprocal")) is not None:
        return _under_root(op.operands[0])
    if (op := made_by(value, "Div")) is not None and scalar(op.operands[0]) == 1.0:
        return _under_root(op.operands[1])
    if (op := made_by(value, "Pow")) is not None and scalar(op.operands[1]) == -0.5:
        return _mean_square(op.operands[0])
    return None


def _under_root(value: SSAValue) -> tuple[SSAValue, float] | None:
    value = uncast(value)
    if (op := made_by(value, "Sqrt")) is not None:
        return _mean_square(op.operands[0])
    if (op := made_by(value, "Pow")) is not None and scalar(op.operands[1]) == 0.5:
        return _mean_square(op.operands[0])
    return None


def _mean_square(value: SSAValue) -> tuple[SSAValue, float] | None:
    """(x, epsilon) for mean(x², last axis) + epsilon."""
    add = made_by(uncast(value), "Add")
    if add is None:
        return None
    for mean, constant in pairs(add):
        epsilon = scalar(constant)
        squares = _mean(mean)
        if epsilon is None or squares is None:
            continue
        square = made_by(uncast(squares), "Pow", "Mul")
        if square is None:
            continue
        left, right = square.operands
        if (kind(square) == "Pow" and scalar(right) == 2.0) or (kind(square) == "Mul" and left is right):
            return left, epsilon
    return None


def _mean(value: SSAValue) -> SSAValue | None:
    """x for mean(x, last axis, keepdims)."""
    op = made_by(uncast(value), "ReduceMean")
    if op is None or not attr(op, "keepdims", 1) or reduced_axes(op) != [rank(op.operands[0]) - 1]:
        return None
    return op.operands[0]


def _centred(value: SSAValue) -> SSAValue | None:
    """x for x - mean(x)."""
    op = made_by(value, "Sub")
    if op is None:
        return None
    source = _mean(op.operands[1])
    return op.operands[0] if source is not None and uncast(source) is uncast(op.operands[0]) else None
