"""What lies between the product of queries and keys and the softmax: scale, softcap, masks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from xdsl.ir import Operation, SSAValue

from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.passes.raising.matching import (
    axis_of,
    constant,
    elements,
    is_float,
    kind,
    made_by,
    owner_of,
    pairs,
    rank,
    scalar,
    scaled,
    strip,
    uncast,
    weight,
)
from crossbank.runtime.expr import ONE

MAX_DEPTH = 16
HUGE = 1e30


@dataclass(frozen=True)
class Mask:
    """An addend of the scores times `scale`, or (`fill` given) a condition and what replaces the score where it is
    `drop`."""

    value: SSAValue
    fill: SSAValue | None = None
    drop: bool = False
    scale: float = 1.0


@dataclass
class Scores:
    """The product and what is done to it on the way to the softmax; masks from the softmax backwards.

    `sink` is one more score of each head, appended to each row; no masked score lies below `floor`.
    """

    product: Operation
    scale: float = 1.0
    softcap: float = 0.0
    masks: list[Mask] = field(default_factory=list[Mask])
    sink: SSAValue | None = None
    floor: SSAValue | None = None


def trace_scores(value: SSAValue) -> Scores | str:
    """Follow the softmax's input back to the product of two computed matrices; a text says why that failed."""
    masks: list[Mask] = []
    scale, softcap = 1.0, 0.0
    floor: SSAValue | None = None
    value, sink = _without_sink(value)
    for _ in range(MAX_DEPTH):
        value = uncast(value)
        op = owner_of(value)
        if op is None:
            return "the scores are an argument"
        if kind(op) == "MatMul":
            if weight(op.operands[1]) is not None:
                return "the scores are a linear"
            return Scores(op, scale, softcap, masks, sink, floor if masks else None)
        if is_head_reshape(op):
            value = op.operands[0]
            continue
        if (inner := scaled(value)) is not None:
            capped = _capped(*inner)
            if capped is not None:
                if softcap or scale != 1.0:
                    return "the softcap comes after the scale"
                value, softcap = capped, abs(inner[1])
                continue
            value, scale = inner[0], scale * inner[1]
            continue
        if (clamped := _clamped(op)) is not None and not masks and scale == 1.0 and not softcap:
            value, floor = clamped
            continue
        step = _masked(op)
        if isinstance(step, str):
            return step
        if softcap:
            return "the mask comes before the softcap"
        if scale < 0:
            return "the mask comes before a negative scale"
        mask, value = step
        masks.append(replace(mask, scale=scale))
    return "no product of queries and keys behind the scores"


def _without_sink(value: SSAValue) -> tuple[SSAValue, SSAValue | None]:
    """The scores, and the static tensor of one number a head that is appended to each row where there is one.

    Exporters write rows less their greatest number then, which a softmax does not see.
    """
    inner = uncast(value)
    shifted = made_by(inner, "Sub")
    top = None if shifted is None else made_by(shifted.operands[1], "ReduceMax")
    if shifted is not None and top is not None and top.operands[0] is shifted.operands[0]:
        inner = uncast(shifted.operands[0])
    joined = made_by(inner, "Concat")
    if joined is None or len(joined.operands) != 2 or axis_of(joined, "axis", 0, inner) != rank(inner) - 1:
        return (value if joined is None and top is None else inner), None
    scores, more = joined.operands
    sink = strip(more, "Expand", "Reshape", "Unsqueeze", "Cast")
    if rank(inner) != 4:
        return value, None
    heads = shape_of(inner)[1]
    fits = shape_of(more)[-1] == ONE and elements(sink) == heads and heads in shape_of(sink)
    return (scores, sink) if fits else (value, None)


def is_head_reshape(op: Operation) -> bool:
    """Whether a reshape only splits or merges batch and heads, before the last two dimensions."""
    if kind(op) != "Reshape":
        return False
    source, result = shape_of(op.operands[0]), shape_of(op.results[0])
    return {len(source), len(result)} <= {3, 4} and source[-2:] == result[-2:]


def _capped(value: SSAValue, cap: float) -> SSAValue | None:
    """x for tanh(x / cap), which the caller found multiplied by cap."""
    tanh = made_by(uncast(value), "Tanh")
    inner = scaled(uncast(tanh.operands[0])) if tanh is not None else None
    if inner is None or not np.isclose(inner[1] * cap, 1.0, rtol=1e-5):
        return None
    return inner[0]


def _clamped(op: Operation) -> tuple[SSAValue, SSAValue] | None:
    """x and the most negative number for max(x, that), which undoes what masks make of it together."""
    if kind(op) != "Max" or len(op.operands) != 2:
        return None
    return next(((x, least) for x, least in pairs(op) if scalar(least) is not None and _is_huge(least)), None)


def _masked(op: Operation) -> tuple[Mask, SSAValue] | str:
    match kind(op):
        case "Add":
            for scores, mask in pairs(op):
                if shape_of(scores) == shape_of(op.results[0]) and _leads_to_product(scores) and is_float(mask):
                    return Mask(mask), scores
            return "an Add without scores behind it"
        case "Where":
            condition, kept, other = op.operands
            for scores, fill, drop in ((kept, other, False), (other, kept, True)):
                if scalar(fill) is not None and _leads_to_product(scores):
                    if not _is_huge(fill):
                        return f"masked scores become {scalar(fill):g}, not the most negative number"
                    if shape_of(scores) != shape_of(op.results[0]):
                        return "the mask has more dimensions than the scores"
                    return Mask(condition, fill, drop), scores
            return "a Where without scores behind it"
        case name:
            return f"{name or 'an argument'} between the scores and the softmax"


def _is_huge(fill: SSAValue) -> bool:
    """Whether a score plus this number is this number, so that replacing is the same as adding."""
    number, dtype = scalar(fill), dtype_of(fill)
    limit = HUGE if dtype in ("float32", "float64", "bfloat16") else 6.5e4
    return number is not None and number <= -limit


def _leads_to_product(value: SSAValue, depth: int = 8) -> bool:
    """Whether a product of two computed matrices lies behind scalings, masks and casts."""
    value = uncast(value)
    op = owner_of(value)
    if op is None or depth == 0 or constant(value) is not None:
        return False
    if kind(op) == "MatMul":
        return weight(op.operands[1]) is None
    if kind(op) in ("Add", "Mul", "Div", "Max", "Where", "Tanh", "Reshape"):
        return any(
            shape_of(v)[-2:] == shape_of(value)[-2:] and _leads_to_product(v, depth - 1)
            for v in op.operands
            if len(shape_of(v)) > 1
        )
    return False
