"""Attention as one operator: GroupQueryAttention of com.microsoft, Attention and TensorScatter of ai.onnx."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
from xdsl.dialects.builtin import BoolAttr
from xdsl.ir import Operation, SSAValue

from crossbank.dialects import onnx
from crossbank.dialects.llm import AppendOp, AttentionOp, EvictOp
from crossbank.dialects.shape import dtype_of, shape_of, tensor
from crossbank.passes.raising.axes import source_with
from crossbank.passes.raising.matching import attr, made_by, rank
from crossbank.passes.raising.parts import Parts, Unfit
from crossbank.runtime.expr import ONE, ZERO, Expr, maximum, product
from crossbank.runtime.numerics import dtype_of as numpy_dtype

KEY_VALUE = (0, 1, -1, 2, 3)


def operands_of(op: Operation, count: int) -> list[SSAValue | None]:
    """The operands by ONNX position, None for absent ones, filled up to `count`."""
    found = onnx.inputs(op)
    return [*found, *[None] * (count - len(found))]


def results_of(op: Operation, *values: SSAValue | None) -> list[SSAValue | None]:
    """The values at the output positions that the node has; Unfit for a used one that has no value."""
    found: list[SSAValue | None] = []
    for i, result in enumerate(onnx.outputs(op)):
        if result is None:
            continue
        value = values[i] if i < len(values) else None
        if value is None and result.uses:
            raise Unfit(f"output {i} is used")
        found.append(value)
    return found


def split_heads(parts: Parts, x: SSAValue, heads: int) -> SSAValue:
    """[B, S, H * D] as [B, H, S, D]."""
    batch, tokens, width = shape_of(x)
    return parts.transpose(parts.reshape(x, (batch, tokens, Expr.of(heads), width // heads)), 0, 2, 1, 3)


def merge_heads(parts: Parts, y: SSAValue) -> SSAValue:
    """[B, H, S, D] as [B, S, H * D]."""
    batch, heads, tokens, width = shape_of(y)
    return parts.reshape(parts.transpose(y, 0, 2, 1, 3), (batch, tokens, heads * width))


def append(
    parts: Parts, past: SSAValue, new: SSAValue, starts: SSAValue, total: Expr, clear: bool, circular: bool = False
) -> SSAValue:
    """`llm.append`: [B, G, total, D]."""
    batch, groups, _, width = shape_of(past)
    flags = {"clear": BoolAttr.from_bool(clear)} | ({"circular": BoolAttr.from_bool(True)} if circular else {})
    kind = tensor(dtype_of(past), (batch, groups, total, width))
    return parts.add(AppendOp.build(operands=[past, new, starts], properties=flags, result_types=[kind]))


@dataclass
class Masks:
    """What hides scores [B, H, S, T]: conditions that keep, and addends."""

    parts: Parts
    keep: SSAValue | None = None
    bias: SSAValue | None = None

    def require(self, condition: SSAValue) -> None:
        """Hide where a condition is false."""
        self.keep = condition if self.keep is None else self.parts.binary("And", self.keep, condition)

    def add(self, bias: SSAValue) -> None:
        """Add to the scores."""
        self.bias = bias if self.bias is None else self.parts.binary("Add", self.bias, bias)

    def mask(self, dtype: str) -> SSAValue | None:
        """All of it as the mask of an attention."""
        if self.bias is None:
            return self.keep
        bias = self.parts.cast(self.bias, dtype)
        if self.keep is None:
            return bias
        return self.parts.where(self.keep, bias, self.parts.number(-math.inf, dtype))

    def window(self, rows: SSAValue, columns: Expr, left: int, right: int) -> None:
        """Hide keys before row - left and behind row + right, -1 for no bound; rows are positions [.., S, 1]."""
        parts = self.parts
        keys = parts.positions(columns)
        if right >= 0:
            last = rows if right == 0 else parts.binary("Add", rows, parts.number(right, "int64"))
            self.require(parts.binary("LessOrEqual", keys, last, "bool"))
        if left >= 0:
            first = parts.binary("Sub", rows, parts.number(left, "int64"))
            self.require(parts.binary("GreaterOrEqual", keys, first, "bool"))


def column(parts: Parts, starts: SSAValue, tokens: Expr) -> SSAValue:
    """Positions [B, 1, S, 1] of tokens that begin at starts [B], or [S, 1] where starts is a number."""
    steps = parts.reshape(parts.positions(tokens), (tokens, ONE))
    if rank(starts):
        starts = parts.reshape(starts, (shape_of(starts)[0], ONE, ONE, ONE))
    return parts.binary("Add", starts, steps)


# ---------------------------------------------------------- com.microsoft: GQA


@dataclass
class _Query:
    """One GroupQueryAttention: operands by name, and what is made of them."""

    op: Operation
    parts: Parts
    q: SSAValue
    k: SSAValue
    v: SSAValue
    past: tuple[SSAValue, SSAValue] | None
    lengths: SSAValue
    """Valid tokens of each sequence with the new ones, int64 [B]."""
    starts: SSAValue
    """Where each sequence's new tokens go, int64 [B]."""
    total: Expr
    sizes: tuple[int, int, int] = field(default=(0, 0, 0))

    @property
    def tokens(self) -> Expr:
        """S."""
        return shape_of(self.q)[2]


def _group_query(op: Operation, parts: Parts) -> list[SSAValue | None]:
    """GroupQueryAttention as onnxruntime's CPU kernel computes it.

    seqlens_k + 1 tokens of a sequence are valid, the new ones are the last of them (a prompt's are the first S). Its
    keys and values lie in front without gaps; behind them the cache is cleared. Queries behind the valid tokens see
    what the last of these sees; the kernel for float32 without cap and sink lets their window go on instead.
    """
    found = operands_of(op, 17)
    query, key, value, past_key, past_value, seqlens, total = found[:7]
    cos, sin, positions, bias, sink = found[7:12]
    if any(operand is not None for operand in (found[12], found[13], found[16])):
        raise Unfit("attention: a quantised cache, or lengths of queries")
    if query is None or seqlens is None:
        raise Unfit("attention: no queries, or no lengths")
    heads, groups = int(attr(op, "num_heads")), int(attr(op, "kv_num_heads"))
    q, k, v = _heads(parts, query, key, value, heads, groups)
    for i, norm in ((14, "q"), (15, "k")):
        weight = found[i]
        if weight is not None:
            epsilon = float(attr(op, "qk_norm_epsilon", 1e-6))
            x = parts.rms_norm(q if norm == "q" else k, weight, float(attr(op, f"{norm}_norm_epsilon", epsilon)))
            q, k = (x, k) if norm == "q" else (q, x)
    batch, _, tokens, width = shape_of(q)
    lengths = parts.binary("Add", parts.reshape(parts.cast(seqlens, "int64"), (batch,)), parts.number(1, "int64"))
    past = None if past_key is None or past_value is None else (past_key, past_value)
    resident = None
    if attr(op, "sliding_window_cache", 0):
        resident = _resident(op, parts, lengths, tokens, past)
        if bias is not None:
            raise Unfit("attention: addends of positions that a cache of a window has no more")
    starts = _starts(parts, op, lengths, tokens, past, total) if resident is None else resident.positions
    if attr(op, "do_rotary", 0):
        q, k = _rotated(op, parts, (q, k), (cos, sin), positions, starts)
    keys, values = k, v
    presents: tuple[SSAValue, SSAValue] | None = None
    if past is not None and resident is not None:
        starts, length = resident.starts, shape_of(past[0])[2] + tokens
        keys, values = (append(parts, p, x, starts, length, True) for p, x in zip(past, (k, v), strict=True))
        presents = _evicted(parts, keys, resident.first, past[0]), _evicted(parts, values, resident.first, past[1])
        lengths = parts.binary("Add", starts, parts.dim(tokens))
    elif past is not None:
        length = shape_of(op.results[1])[2] if len(op.results) > 1 else shape_of(past[0])[2] + tokens
        keys, values = (append(parts, p, x, starts, length, True) for p, x in zip(past, (k, v), strict=True))
    masks = Masks(parts)
    columns = shape_of(keys)[2]
    rows = column(parts, starts, tokens)
    if dtype_of(q) != "float32" or attr(op, "softcap", 0.0) or sink is not None or attr(op, "smooth_softmax", 0):
        rows = parts.node("Min", [rows, _last(parts, lengths)], "int64", shape_of(rows))
    window = int(attr(op, "local_window_size", -1))
    masks.window(rows, columns, window - 1 if window > 0 else -1, 0 if attr(op, "causal", 1) else -1)
    ends = parts.reshape(lengths, (batch, ONE, ONE, ONE))
    masks.require(parts.binary("Less", parts.positions(columns), ends, "bool"))
    if bias is not None:
        masks.add(bias)
    if sink is None and attr(op, "smooth_softmax", 0) == 1:
        sink = parts.constant(np.zeros(heads, np.float32))
    y = parts.add(
        AttentionOp.of(
            q,
            keys,
            values,
            q.type,
            scale=_scale(op, width),
            mask=masks.mask(dtype_of(q)),
            sink=sink,
            softcap=float(attr(op, "softcap", 0.0)),
            nan_to_zero=True,
        )
    )
    return results_of(op, merge_heads(parts, y), *(presents or (keys, values)))


@dataclass(frozen=True)
class _Resident:
    """What a cache of a window holds of each sequence, int64 [B] each."""

    positions: SSAValue
    """Of the first new token in the sequence."""
    starts: SSAValue
    """How many tokens it holds: where the new ones go."""
    first: SSAValue
    """Which of these and the new ones is the first that stays."""


def _resident(
    op: Operation, parts: Parts, lengths: SSAValue, tokens: Expr, past: tuple[SSAValue, SSAValue] | None
) -> _Resident:
    """A cache of P rows for a window W holds the last L(T) of T tokens.

    L(T) = T - G * ceil(max(T - P, 0) / G), with G = P - W + 1: G leave at once (com.microsoft GroupQueryAttention,
    `sliding_window_cache`).
    """
    window = int(attr(op, "local_window_size", -1))
    if past is None or window < 1:
        raise Unfit("attention: a cache of a window without past or window")
    rows = shape_of(past[0])[2]
    group = parts.dim(maximum(rows - (window - 1), ONE))
    more = parts.binary("Sub", group, parts.number(1, "int64"))

    def held(count: SSAValue) -> SSAValue:
        shape, zero = shape_of(count), parts.number(0, "int64")
        over = parts.node("Max", [parts.binary("Sub", count, parts.dim(rows)), zero], "int64", shape)
        groups = parts.binary("Div", parts.binary("Add", over, more), group)
        return parts.binary("Sub", count, parts.binary("Mul", groups, group))

    before = parts.binary("Sub", lengths, parts.dim(tokens))
    before = parts.node("Max", [before, parts.number(0, "int64")], "int64", shape_of(lengths))
    starts = held(before)
    present = parts.binary("Add", starts, parts.dim(tokens))
    return _Resident(before, starts, parts.binary("Sub", present, held(lengths)))


def _last(parts: Parts, lengths: SSAValue) -> SSAValue:
    """The position [B, 1, 1, 1] of each sequence's last valid token."""
    last = parts.binary("Sub", lengths, parts.number(1, "int64"))
    return parts.reshape(last, (shape_of(lengths)[0], ONE, ONE, ONE))


def _evicted(parts: Parts, tokens: SSAValue, first: SSAValue, past: SSAValue) -> SSAValue:
    return parts.add(EvictOp.build(operands=[tokens, first], result_types=[past.type]))


def _scale(op: Operation, width: Expr) -> float:
    scale = attr(op, "scale")
    if scale:
        return float(scale)
    if not width.is_constant:
        raise Unfit("attention: heads of symbolic size")
    return 1.0 / math.sqrt(width.constant)


def _heads(
    parts: Parts, query: SSAValue, key: SSAValue | None, value: SSAValue | None, heads: int, groups: int
) -> tuple[SSAValue, SSAValue, SSAValue]:
    if key is None or value is None:
        size = shape_of(query)[2] // (heads + 2 * groups)
        ends = [ZERO, size * heads, size * (heads + groups), size * (heads + 2 * groups)]
        query, key, value = (parts.slice(query, 2, ends[i], ends[i + 1]) for i in range(3))
    return split_heads(parts, query, heads), split_heads(parts, key, groups), split_heads(parts, value, groups)


def _starts(
    parts: Parts,
    op: Operation,
    lengths: SSAValue,
    tokens: Expr,
    past: tuple[SSAValue, SSAValue] | None,
    total: SSAValue | None,
) -> SSAValue:
    """Where new tokens go: behind the valid past, at the front for a prompt, whose tokens are all there are."""
    zero = parts.number(0, "int64")
    before = parts.node("Max", [parts.binary("Sub", lengths, parts.dim(tokens)), zero], "int64", shape_of(lengths))
    if past is None:
        return parts.binary("Mul", before, zero)
    room = shape_of(past[0])[2]
    if len(op.results) > 1 and shape_of(op.results[1])[2] == room + tokens:
        return parts.node("Min", [before, parts.dim(room)], "int64", shape_of(lengths))
    if total is None:
        raise Unfit("attention: the number of all tokens is missing")
    whole = parts.reshape(parts.cast(total, "int64"), ())
    return parts.where(parts.binary("Equal", whole, parts.dim(tokens), "bool"), zero, before)


def _rotated(
    op: Operation,
    parts: Parts,
    values: Sequence[SSAValue],
    tables: Sequence[SSAValue | None],
    positions: SSAValue | None,
    starts: SSAValue,
) -> list[SSAValue]:
    cos, sin = tables
    if cos is None or sin is None:
        raise Unfit("rotary: tables of angles are missing")
    batch, _, tokens, _ = shape_of(values[0])
    if positions is None:
        positions = parts.reshape(column(parts, starts, tokens), (batch, tokens))
    angles = [_angles(parts, table, positions) for table in (cos, sin)]
    width = shape_of(cos)[-1] * 2
    if not width.is_constant:
        raise Unfit("rotary: tables of symbolic width")
    interleaved = bool(attr(op, "rotary_interleaved", 0))
    return [parts.rotary(x, angles[0], angles[1], width.constant, interleaved) for x in values]


def _angles(parts: Parts, table: SSAValue, positions: SSAValue) -> SSAValue:
    """Rows of a table; of a choice of two tables the rows are read first, then chosen."""
    choice = made_by(table, "Where")
    if choice is None or rank(choice.operands[0]):
        return parts.gather(table, positions)
    condition, *tables = choice.operands
    if any(shape_of(each) != shape_of(table) for each in tables):
        return parts.gather(table, positions)
    return parts.where(condition, *(parts.gather(each, positions) for each in tables))


# ------------------------------------------------------------ ai.onnx Attention


def _attention(op: Operation, parts: Parts) -> list[SSAValue | None]:
    """Attention of ai.onnx 23 and later; a row with nothing to see gives 0."""
    query, key, value, mask, past_key, past_value, lengths = operands_of(op, 7)[:7]
    if query is None or key is None or value is None:
        raise Unfit("attention: no queries, keys or values")
    if (past_key is None) != (past_value is None):
        raise Unfit("attention: past keys without values")
    flat = rank(query) == 3
    if flat:
        heads, groups = int(attr(op, "q_num_heads", 0)), int(attr(op, "kv_num_heads", 0))
        if not heads or not groups:
            raise Unfit("attention: the number of heads is missing")
        query = split_heads(parts, query, heads)
        key, value = split_heads(parts, key, groups), split_heads(parts, value, groups)
    batch, _, tokens, width = shape_of(query)
    scale = attr(op, "scale")
    if scale is None:
        scale = _scale(op, width)
    new = shape_of(key)[2]
    offset: SSAValue | Expr = ZERO
    if past_key is not None and past_value is not None:
        offset = shape_of(past_key)[2]
        key, value = parts.concat([past_key, key], 2), parts.concat([past_value, value], 2)
    elif lengths is not None:
        offset = parts.binary("Sub", parts.reshape(lengths, (batch,)), parts.dim(tokens))
    presents = key, value
    masks = Masks(parts)
    columns = shape_of(key)[2]
    if mask is not None:
        _given(masks, mask, columns)
    if lengths is not None:
        ends = parts.reshape(lengths, (batch, ONE, ONE, ONE))
        masks.require(parts.binary("Less", parts.positions(columns), ends, "bool"))
    left, right = int(attr(op, "left_window_size", -1)), int(attr(op, "right_window_size", -1))
    causal = bool(attr(op, "is_causal", 0))
    aligned = causal and lengths is None and new == tokens
    if (causal and not aligned) or left >= 0 or right >= 0:
        first = parts.dim(offset) if isinstance(offset, Expr) else offset
        rows = column(parts, first, tokens)
        masks.window(rows, columns, left, 0 if causal and not aligned else right)
    softcap = float(attr(op, "softcap", 0.0))
    keys, values, factor = (key, value, 1.0) if past_key is not None else _without_repetition(key, value)
    kind = tensor(dtype_of(query), (*shape_of(query)[:3], shape_of(value)[3]))
    y = parts.add(
        AttentionOp.of(
            query,
            keys,
            values,
            kind,
            scale=factor * float(scale),
            mask=masks.mask(dtype_of(query)),
            softcap=softcap,
            causal=aligned,
            nan_to_zero=True,
        )
    )
    return results_of(op, merge_heads(parts, y) if flat else y, *presents)


def _given(masks: Masks, mask: SSAValue, columns: Expr) -> None:
    """The mask of a node; one that is narrower than the keys hides the others."""
    parts, last = masks.parts, shape_of(mask)[-1]
    if last != columns and last != ONE:
        kind = dtype_of(mask)
        filler = parts.number(0.0 if kind == "bool" else -math.inf, kind)
        shape = (*shape_of(mask)[:-1], columns - last)
        mask = parts.concat([mask, parts.node("Expand", [filler, parts.dims(shape)], kind, shape)], rank(mask) - 1)
    if dtype_of(mask) == "bool":
        masks.require(mask)
    else:
        masks.add(_least_hides(parts, mask))


def _least_hides(parts: Parts, mask: SSAValue) -> SSAValue:
    """A mask whose least number hides for good, as in onnxruntime: a row of nothing else gives 0."""
    kind = dtype_of(mask)
    finfo: Any = ml_dtypes.finfo
    least = float(finfo(numpy_dtype(kind)).min)
    hides = parts.binary("LessOrEqual", mask, parts.number(least, kind), "bool")
    return parts.where(hides, parts.number(-math.inf, kind), mask)


def _without_repetition(key: SSAValue, value: SSAValue) -> tuple[SSAValue, SSAValue, float]:
    """Keys and values before their heads were repeated, and the scale that was on the keys."""
    keys, values = source_with(key, KEY_VALUE, 2), source_with(value, KEY_VALUE, 2)
    if keys is None or values is None or not keys.in_order or not values.in_order or values.scale != 1.0:
        return key, value, 1.0
    if shape_of(keys.source)[1] != shape_of(values.source)[1]:
        return key, value, 1.0
    return keys.source, values.source, keys.scale


# -------------------------------------------------------- ai.onnx TensorScatter


def _tensor_scatter(op: Operation, parts: Parts) -> list[SSAValue | None]:
    """TensorScatter: new rows of each sequence from an index of its own on."""
    past, update, indices = operands_of(op, 3)[:3]
    assert past is not None and update is not None
    shape = shape_of(past)
    axis = int(attr(op, "axis", -2)) % len(shape)
    if axis == 0:
        raise Unfit("cache: scattered along the batch")
    batch = shape[0]
    if indices is None:
        zero = parts.number(0, "int64")
        indices = parts.node("Expand", [zero, parts.dims((batch,))], "int64", (batch,))
    after = product(shape[axis + 1 :])
    flat = [
        parts.reshape(value, (batch, product(shape[1:axis]), shape_of(value)[axis], after)) for value in (past, update)
    ]
    circular = attr(op, "mode", "linear") == "circular"
    y = append(parts, flat[0], flat[1], parts.reshape(indices, (batch,)), shape[axis], False, circular)
    return [parts.reshape(y, shape)]


RULES: Mapping[str, Callable[[Operation, Parts], list[SSAValue | None]]] = {
    "com.microsoft:GroupQueryAttention": _group_query,
    "Attention": _attention,
    "TensorScatter": _tensor_scatter,
}
