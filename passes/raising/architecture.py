"""What kind of transformer a raised module is, in the words of model cards: layers, attention, norms, MLPs, cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import BlockArgument, Operation, SSAValue

from crossbank.dialects.imc import UseOp
from crossbank.dialects.llm import (
    ActivationOp,
    AttentionOp,
    CacheOp,
    EmbeddingOp,
    GatedOp,
    LayerNormOp,
    LinearOp,
    RmsNormOp,
    RotaryOp,
)
from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.passes.raising.axes import MOVES
from crossbank.passes.raising.matching import constant, kind
from crossbank.passes.rewriting import calls_of, entry_block, functions, multiplicity, owner_of
from crossbank.runtime.expr import ONE, Expr

COMPARISONS = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")
REACH = 400
"""Operations of a mask that are looked at."""


def architecture(module: ModuleOp) -> dict[str, Any]:
    """Counts over all layers by description, ready for JSON.

    `layers` (attentions), `repeated` (functions of equal layers: how often each runs), `attention`, `rotary`, `norms`,
    `mlp`, `cache`, `linears` (by the format of the weight) and `head` (`tied` to the embedding, `untied`, or `none`).
    """
    runs = multiplicity(module)
    found: dict[str, Counter[str]] = {
        name: Counter() for name in ("attention", "rotary", "norms", "mlp", "cache", "linears")
    }
    caches = {op.sym_name.data: op for op in module.body.block.ops if isinstance(op, CacheOp)}
    for name, function in functions(module).items():
        for op in entry_block(function).ops:
            for part, text in _described(op, module, caches):
                found[part][text] += runs[name]
    return {
        "layers": sum(found["attention"].values()),
        "repeated": {name: count for name, count in runs.items() if count > 1},
        **{part: dict(counts) for part, counts in found.items()},
        "head": _head(module),
    }


def _described(op: Operation, module: ModuleOp, caches: dict[str, CacheOp]) -> Iterator[tuple[str, str]]:
    match op:
        case AttentionOp():
            yield "attention", _attention(op, module)
            if op.cache is not None:
                yield "cache", _cache(caches[op.cache.root_reference.data], op)
        case RotaryOp():
            form = "interleaved" if op.interleaved.value.data else "half"
            yield "rotary", f"{form}, {op.rotated} of {shape_of(op.x)[-1]} features"
        case RmsNormOp():
            yield "norms", "RMS norm"
        case LayerNormOp():
            yield "norms", "layer norm"
        case GatedOp():
            yield "mlp", f"gated, {op.activation.data}"
        case ActivationOp():
            yield "mlp", f"plain, {op.activation.data}"
        case LinearOp():
            yield "linears", _format(op)
        case Operation() if kind(op) == "TopK":
            yield "mlp", f"experts, {shape_of(op.results[0])[-1]} of {shape_of(op.operands[0])[-1]} a token"
        case _:
            return


def _attention(op: AttentionOp, module: ModuleOp) -> str:
    heads, groups, size = shape_of(op.q)[1], shape_of(op.k)[1], shape_of(op.q)[3]
    name = "multi-head" if heads == groups else "multi-query" if groups == ONE else "grouped-query"
    parts = [f"{name}, {heads} heads" + ("" if heads == groups else f" on {groups}") + f" of {size}"]
    if op.causal.value.data:
        parts.append("causal")
    if op.mask is not None:
        parts += _mask(op.mask, heads, shape_of(op.q)[2], module)
    if op.softcap.value.data:
        parts.append(f"soft cap {op.softcap.value.data:g}")
    if op.sink is not None:
        parts.append("sinks")
    return ", ".join(parts)


def _mask(mask: SSAValue, heads: Expr, tokens: Expr, module: ModuleOp) -> list[str]:
    parts = ["boolean mask" if dtype_of(mask) == "bool" else "additive mask"]
    shifts: set[int] = set()
    for value in _behind(mask, module):
        op = owner_of(value)
        if op is None or kind(op) not in COMPARISONS or any(constant(side) is not None for side in op.operands):
            continue
        rows = shape_of(op.results[0])[-2:-1]
        if rows == (tokens,):
            shifts.add(max(_shift(side) for side in op.operands))
    if 0 in shifts:
        parts.append("causal by positions")
    if max(shifts, default=0) > 1:
        parts.append(f"sliding window {max(shifts)}")
    shape = shape_of(mask)
    if dtype_of(mask) != "bool" and heads != ONE and len(shape) > 2 and shape[-3] == heads:
        parts.append("a bias per head (ALiBi)")
    return parts


def _shift(value: SSAValue) -> int:
    """The whole number that positions are shifted by before they are compared, 0 for none."""
    while (op := owner_of(value)) is not None and kind(op) in (*MOVES, "Cast"):
        value = op.operands[0]
    if op is None or kind(op) not in ("Sub", "Add"):
        return 0
    numbers = [constant(side) for side in op.operands]
    return max(
        (abs(int(number.reshape(()))) for number in numbers if number is not None and number.size == 1), default=0
    )


def _behind(value: SSAValue, module: ModuleOp) -> Iterator[SSAValue]:
    """A value and those that it is computed from, through calls; the nearest first."""
    calls, queue, seen = calls_of(module), [value], set[SSAValue]()
    while queue and len(seen) < REACH:
        value = queue.pop(0)
        if value in seen:
            continue
        seen.add(value)
        yield value
        if isinstance(value, BlockArgument):
            function = value.block.parent_op()
            name = function.sym_name.data if isinstance(function, FuncOp) else ""
            queue += [call.operands[value.index] for call in calls.get(name, ()) if value.index < len(call.operands)]
        elif (op := owner_of(value)) is not None:
            queue += op.operands


def _cache(cache: CacheOp, op: AttentionOp) -> str:
    text = f"{cache.key_value_heads.value.data} heads of {cache.head_dim.value.data}, {cache.dtype.data}"
    return text if op.starts is None else f"{text}, written at places that depend on data"


def _format(op: LinearOp) -> str:
    dtype, scales = dtype_of(op.weight), op.scales
    if scales is None:
        return dtype
    parts = shape_of(scales)
    rows = -2 if not op.transposed.value.data else -1
    blocks = parts[rows]
    if blocks != ONE:
        size = shape_of(op.weight)[rows] // blocks
        return f"{dtype}, a scale for {size} weights"
    return f"{dtype}, a scale per column" if parts[-1] != ONE or parts[-2] != ONE else f"{dtype}, one scale"


def _head(module: ModuleOp) -> str:
    """Whether the last linear of @main multiplies by the table of the embedding."""
    main = functions(module).get("main")
    if main is None:
        return "none"
    ops = list(entry_block(main).ops)
    tables = {_symbol(op.table) for op in ops if isinstance(op, EmbeddingOp)}
    linears = [op for op in ops if isinstance(op, LinearOp)]
    if not linears or not tables:
        return "none"
    return "tied" if _symbol(linears[-1].weight) in tables else "untied"


def _symbol(value: SSAValue) -> str:
    op = value.owner
    return op.weight.root_reference.data if isinstance(op, UseOp) else ""
