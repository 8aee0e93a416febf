"""Caches of 16 bits that are wider where they enter and leave a program, as converters to float16 keep its inputs."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.func import ReturnOp
from xdsl.ir import Operation, SSAValue

from crossbank.dialects.llm import AttentionOp
from crossbank.dialects.shape import dtype_of, shape_of, tensor
from crossbank.passes.raising.matching import axis_of, is_float, made_by, users
from crossbank.passes.raising.parts import Parts
from crossbank.passes.rewriting import absorb, replace

NARROW, WIDE = ("float16", "bfloat16"), "float32"
TOKENS = 2


def in_wider_type(attention: AttentionOp) -> AttentionOp | None:
    """The attention in the type in which its keys and values enter and leave; None where that is their own.

    Past tokens lose nothing on their way to 16 bits that they did not lose as they came from there, so that putting
    them together with the new ones before the casts gives the same.
    """
    found = [_joined(value, attention) for value in (attention.k, attention.v)]
    if found[0] is None or found[1] is None:
        return None
    parts = Parts()
    keys, values = (_wide(parts, each) for each in (found[0], found[1]))
    mask, sink = (
        None if value is None else parts.cast(value, WIDE) if is_float(value) else value
        for value in (attention.mask, attention.sink)
    )
    kind = dtype_of(attention.y)
    query = parts.cast(attention.q, WIDE)
    made = AttentionOp.of(
        query, keys, values, tensor(WIDE, shape_of(attention.y)),
        scale=attention.scale.value.data, mask=mask, sink=sink, softcap=attention.softcap.value.data,
        causal=bool(attention.causal.value.data), nan_to_zero=bool(attention.nan_to_zero.value.data),
    )  # fmt: skip
    parts.cast(parts.add(made), kind)
    replace(attention, parts.ops)
    for each, joined in ((found[0], keys), (found[1], values)):
        for cast in each.returned:
            absorb(made, replace(cast, [], [joined]))
    return made


@dataclass(frozen=True)
class _Joined:
    """Past and new tokens put together in 16 bits: the past before its cast, and the casts that are returned."""

    past: SSAValue
    new: SSAValue
    returned: list[Operation]


def _joined(value: SSAValue, attention: AttentionOp) -> _Joined | None:
    concat = made_by(value, "Concat")
    if concat is None or dtype_of(value) not in NARROW or len(concat.operands) != 2:
        return None
    cast = made_by(concat.operands[0], "Cast")
    if cast is None or dtype_of(cast.operands[0]) != WIDE or axis_of(concat, "axis", 0, value) != TOKENS:
        return None
    returned = [user for user in users(value) if user is not attention]
    for user in returned:
        if user.name != "onnx.Cast" or dtype_of(user.results[0]) != WIDE:
            return None
        if not all(isinstance(use.operation, ReturnOp) for use in user.results[0].uses):
            return None
    return _Joined(cast.operands[0], concat.operands[1], returned) if returned else None


def _wide(parts: Parts, found: _Joined) -> SSAValue:
    return parts.concat([found.past, parts.cast(found.new, WIDE)], TOKENS)
