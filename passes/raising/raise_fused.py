"""Fused standard operators of opset 23: Attention on four-dimensional operands, RotaryEmbedding with given angles."""

from __future__ import annotations

import math
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import BoolAttr, FloatAttr, ModuleOp, f64
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from crossbank.dialects import onnx
from crossbank.dialects.llm import AttentionOp, RotaryOp
from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.passes.raising.axes import source_with
from crossbank.passes.raising.building import make, reshape, scalar_constant
from crossbank.passes.raising.matching import attr, kind, operand, rank
from crossbank.passes.raising.notes import unrecognised
from crossbank.passes.rewriting import replace
from crossbank.runtime.expr import Expr

KEY_VALUE = (0, 1, -1, 2, 3)


@dataclass(frozen=True)
class RaiseFusedPass(ModulePass):
    """Attention becomes `llm.attention`, RotaryEmbedding `llm.rotary`, where their options say the same.

    A row whose keys are all masked gives 0, as in onnxruntime.
    """

    name = "raise-fused"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for found in list(op.walk()):
            match kind(found):
                case "Attention":
                    failure = _attention(found)
                case "RotaryEmbedding":
                    failure = _rotary(found)
                case _:
                    continue
            if failure is not None:
                unrecognised(ctx, found, failure)


def _attention(op: Operation) -> str | None:
    q, k, v, mask, *rest = [*onnx.inputs(op), None, None][:7]
    y = op.results[0]
    if q is None or k is None or v is None or any(value is not None for value in rest):
        return "attention: past keys and values are operands"
    if not rank(q) == rank(k) == rank(v) == rank(y) == 4:
        return f"attention: queries of {rank(q)} dimensions"
    if any(result.uses for result in op.results[1:]):
        return "attention: more than the output is used"
    if attr(op, "is_causal", 0) and shape_of(q)[2] != shape_of(k)[2]:
        return "attention: causal over keys that are not as many as queries"
    keys, values = source_with(k, KEY_VALUE, 2), source_with(v, KEY_VALUE, 2)
    size = shape_of(q)[3]
    scale = attr(op, "scale")
    if scale is None and not size.is_constant:
        return "attention: heads of symbolic size"
    factor = 1.0
    if keys is not None and values is not None and keys.in_order and values.in_order and values.scale == 1.0:
        sources = keys.source, values.source
        if shape_of(sources[0])[1] == shape_of(sources[1])[1]:
            (k, v), factor = sources, keys.scale
    made: list[Operation] = []
    if mask is not None and dtype_of(mask) == "bool":
        mask = _addend(mask, dtype_of(q), made)
    attention = AttentionOp.build(
        operands=[q, k, v, [mask] if mask is not None else []],
        properties={
            "scale": FloatAttr(factor * (1.0 / math.sqrt(size.constant) if scale is None else float(scale)), f64),
            "softcap": FloatAttr(float(attr(op, "softcap", 0.0)), f64),
            "causal": BoolAttr.from_bool(bool(attr(op, "is_causal", 0))),
            "nan_to_zero": BoolAttr.from_bool(True),
        },
        result_types=[y.type],
    )
    replace(op, [*made, attention], [attention.y, *[None] * (len(op.results) - 1)])
    return None


def _addend(keep: SSAValue, dtype: str, made: list[Operation]) -> SSAValue:
    """0 where a mask keeps a score, -inf elsewhere."""
    zero, drop = scalar_constant(0.0, dtype), scalar_constant(-math.inf, dtype)
    made += [zero, drop, make("Where", [keep, zero.results[0], drop.results[0]], dtype, shape_of(keep))]
    return made[-1].results[0]


def _rotary(op: Operation) -> str | None:
    x, cos, sin = op.operands[:3]
    if operand(op, 3) is not None or rank(x) != 4 or rank(cos) != 3:
        return "rotary: angles by position"
    if attr(op, "interleaved", 0):
        return "rotary: interleaved pairs"
    if attr(op, "rotary_embedding_dim", 0) not in (0, 2 * _last(cos)):
        return "rotary: fewer features than angles"
    made: list[Operation] = []
    angles = [_full(value, made) for value in (cos, sin)]
    rotary = RotaryOp.build(
        operands=[x, *angles], properties={"interleaved": BoolAttr.from_bool(False)}, result_types=[x.type]
    )
    replace(op, [*made, rotary])
    return None


def _last(value: SSAValue) -> int:
    size = shape_of(value)[-1]
    return size.constant if size.is_constant else 0


def _full(half: SSAValue, made: list[Operation]) -> SSAValue:
    """Angles [B, S, R/2] as [B, 1, S, R], each half once."""
    batch, tokens, width = shape_of(half)
    whole = make("Concat", [half, half], dtype_of(half), (batch, tokens, width * 2), axis=-1)
    made.append(whole)
    made += reshape(whole.results[0], (batch, Expr.of(1), tokens, width * 2))
    return made[-1].results[0]
