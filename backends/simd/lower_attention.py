"""Attention of ai.onnx (opset 23 and later) in instructions of the vector unit, in all its options.

What `llm.attention` says is raised to it before; this is for the rest: caches as operands, windows, lengths of the
sequences of a batch, scores as a result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from xdsl.ir import Operation

from crossbank.backends.simd.views import at, expanded, last, padded, permuted, remade, sliced, split, swapped
from crossbank.backends.simd.writer import Handler, Writer
from crossbank.dialects import onnx
from crossbank.dialects.imc import ViewAttr
from crossbank.dialects.shape import shape_of
from crossbank.runtime.expr import ONE, ZERO, Expr
from crossbank.runtime.numerics import dtype_of as numpy_dtype

RAW, CAPPED, BIASED, PROBABILITIES = range(4)
"""What the fourth result holds (attribute qk_matmul_output_mode)."""
MASK, PAST_KEY, PAST_VALUE, LENGTHS = 3, 4, 5, 6
"""Operands by position."""


def _heads_apart(view: ViewAttr, heads: int) -> ViewAttr:
    """[B, S, H * D] as [B, H, S, D]; four dimensions stay."""
    if len(view.shape) == 4:
        return view
    return permuted(split(view, 2, heads, view.shape_exprs[2] // heads), [0, 2, 1, 3])


def _joined(w: Writer, new: ViewAttr, past: int, present: int) -> ViewAttr:
    """Past and new keys or values [B, G, T, D], written to the result that asks for them."""
    before, result = w.view_or_none(past), w.result_or_none(present)
    if before is None:
        if result is not None:
            w.emit("copy", dst=result, src=new)
        return new
    batch, groups, tokens, width = new.shape_exprs
    start = before.shape_exprs[2]
    if result is None:
        result = w.to.scratch(new.dtype.data, [batch, groups, start + tokens, width])
    w.emit("copy", dst=sliced(result, 2, 0, start), src=before)
    w.emit("copy", dst=sliced(result, 2, start, tokens), src=new)
    return result


def _steps(w: Writer, count: Expr, start: int | Expr) -> ViewAttr:
    """start, start + 1 … as int64 [count]."""
    numbers = w.to.scratch("int64", [count])
    w.emit("iota", dst=numbers, start=start, step=1)
    return numbers


@dataclass(frozen=True)
class _Visible:
    """Builds which keys each query sees, as a bool [1 or B, 1, S, T], from comparisons of positions."""

    w: Writer
    rows: Expr
    tokens: Expr

    def build(self, offset: Expr, causal: bool, left: int, right: int) -> ViewAttr | None:
        """None where every query sees every key; `offset` counts the keys before the first query."""
        w, lengths = self.w, self.w.view_or_none(LENGTHS)
        columns = padded(_steps(w, self.tokens, 0), 4)
        batch = ONE
        if lengths is not None:
            batch = lengths.shape_exprs[0]
            lengths = remade(lengths, [batch, 1, 1, 1], [lengths.stride_exprs[0], 0, 0, 0])
        keep: ViewAttr | None = None
        if causal or left >= 0 or right >= 0:
            places = _column(_steps(w, self.rows, offset if lengths is None else -self.rows))
            if lengths is not None:
                shifted = w.to.scratch("int64", [batch, 1, self.rows, 1])
                w.emit("binary", dst=shifted, a=places, b=lengths, op="add")
                places = shifted
            if causal:
                keep = self.narrowed(keep, columns, places, "less_equal", batch)
            if left >= 0:
                keep = self.narrowed(keep, columns, self.moved(places, -left), "greater_equal", batch)
            if right >= 0:
                keep = self.narrowed(keep, columns, self.moved(places, right), "less_equal", batch)
        if lengths is not None:
            keep = self.narrowed(keep, columns, lengths, "less", batch)
        return keep

    def moved(self, places: ViewAttr, by: int) -> ViewAttr:
        step = padded(self.w.to.constant("window", [np.asarray(by, np.int64)]), 4)
        found = self.w.to.scratch("int64", places.shape_exprs)
        self.w.emit("binary", dst=found, a=places, b=step, op="add")
        return found

    def narrowed(self, keep: ViewAttr | None, columns: ViewAttr, places: ViewAttr, op: str, batch: Expr) -> ViewAttr:
        """`keep` and columns op places."""
        found = self.w.to.scratch("bool", [batch, 1, self.rows, self.tokens])
        self.w.emit("binary", dst=found, a=columns, b=places, op=op)
        if keep is not None:
            self.w.emit("binary", dst=found, a=found, b=keep, op="and")
        return found


def _column(numbers: ViewAttr) -> ViewAttr:
    return remade(numbers, [ONE, ONE, *numbers.shape_exprs, ONE], [ZERO, ZERO, *numbers.stride_exprs, ZERO])


def _mask(w: Writer, tokens: Expr, keep: ViewAttr | None) -> ViewAttr | None:
    """The mask operand over all keys, with -inf or false where `keep` is false."""
    given = w.view_or_none(MASK, 4)
    if given is not None and given.shape_exprs[3] != tokens:
        full = w.to.scratch(given.dtype.data, [*given.shape_exprs[:3], tokens])
        w.emit("fill", dst=full, value=0.0 if given.dtype.data == "bool" else -math.inf)
        w.emit("copy", dst=sliced(full, 3, 0, given.shape_exprs[3]), src=given)
        given = full
    if keep is None or given is None:
        return given if keep is None else keep
    shape = [b if a == ONE else a for a, b in zip(given.shape_exprs, keep.shape_exprs, strict=True)]
    both = w.to.scratch(given.dtype.data, shape)
    if given.dtype.data == "bool":
        w.emit("binary", dst=both, a=given, b=keep, op="and")
    else:
        w.emit("where", dst=both, cond=keep, a=given, b=padded(_hidden(w, given.dtype.data), 4))
    return both


def _hidden(w: Writer, dtype: str) -> ViewAttr:
    return w.to.constant("hidden", [np.asarray(-math.inf, numpy_dtype(dtype))])


@dataclass(frozen=True)
class _Row:
    """One query token of one sequence, all heads: where it is, and how many groups share keys."""

    batch: Expr
    token: Expr
    groups: Expr

    def of(self, view: ViewAttr) -> ViewAttr:
        """[G, H/G, X] of a tensor [1 or B, H, S or 1, X]."""
        picks = [ZERO if view.shape_exprs[i] == ONE else place for i, place in ((2, self.token), (0, self.batch))]
        row = at(at(view, 2, picks[0]), 0, picks[1])
        return split(row, 0, self.groups, row.shape_exprs[0] // self.groups)


def _attention(w: Writer) -> None:
    heads, groups = int(w.attribute("q_num_heads", 0)), int(w.attribute("kv_num_heads", 0))
    flat = len(w.shape) == 3
    q = _heads_apart(w.view(0), heads)
    past = w.view_or_none(PAST_KEY)
    offset = ZERO if past is None else past.shape_exprs[2]
    keys = _joined(w, _heads_apart(w.view(1), groups), PAST_KEY, 1)
    values = _joined(w, _heads_apart(w.view(2), groups), PAST_VALUE, 2)
    dst = _heads_apart(w.result(), heads) if flat else w.result()
    _, queries, rows, width = q.shape_exprs
    tokens = keys.shape_exprs[2]
    scale = w.attribute("scale")
    scores_out, mode = w.result_or_none(3), int(w.attribute("qk_matmul_output_mode", RAW))
    causal = bool(w.attribute("is_causal", 0))
    windows = [int(w.attribute(name, -1)) for name in ("left_window_size", "right_window_size")]
    by_limit = causal and w.optional(LENGTHS) is None and (scores_out is None or mode != BIASED)
    keep = None
    if (causal and not by_limit) or max(windows) >= 0 or w.optional(LENGTHS) is not None:
        keep = _Visible(w, rows, tokens).build(offset, causal and not by_limit, *windows)
    mask = _mask(w, tokens, keep)
    softmax = _Softmax(
        w,
        scale=1.0 / math.sqrt(width.constant) if scale is None else float(scale),
        softcap=float(w.attribute("softcap", 0.0)),
        mode=None if scores_out is None else mode,
    )
    kind = "float64" if w.dtype == "float64" else "float32"
    with w.to.loop(q.shape_exprs[0]) as b, w.to.loop(rows, parallel=True) as s:
        row = _Row(b, s, keys.shape_exprs[1])
        scores = w.to.scratch(kind, [queries, tokens], space="private")
        scores = split(scores, 0, row.groups, queries // row.groups)
        w.emit("matmul", dst=scores, a=row.of(q), b=swapped(at(keys, 0, b)), scale=softmax.scale)
        full = None if mask is None else expanded(mask, [mask.shape_exprs[0], queries, mask.shape_exprs[2], tokens])
        softmax.write(
            scores,
            None if full is None else row.of(full),
            offset + s + 1 if by_limit else tokens,
            None if scores_out is None else row.of(scores_out),
        )
        w.emit("matmul", dst=row.of(dst), a=scores, b=at(values, 0, b), scale=1.0)


@dataclass(frozen=True)
class _Softmax:
    """From the scores of a row to its probabilities, in place; what `mode` asks for is copied out on the way."""

    w: Writer
    scale: float
    softcap: float
    mode: int | None

    def write(self, scores: ViewAttr, mask: ViewAttr | None, limit: Expr, out: ViewAttr | None) -> None:
        w, softcap = self.w, self.softcap
        if self.mode == RAW:
            self.copy(out, scores)
        if self.mode in (CAPPED, BIASED):
            if softcap > 0.0:
                cap = padded(w.to.constant("softcap", [np.asarray(softcap, numpy_dtype(scores.dtype.data))]), 3)
                w.emit("binary", dst=scores, a=scores, b=cap, op="div")
                w.emit("unary", dst=scores, src=scores, op="tanh")
                w.emit("binary", dst=scores, a=scores, b=cap, op="mul")
                softcap = 0.0
            if self.mode == BIASED and mask is not None:
                self.add(scores, mask)
                mask = None
            self.copy(out, scores)
        w.emit(
            "mask_softmax", dst=scores, src=scores, mask=mask, scale=1.0, softcap=softcap, limit=limit,
            nan_to_zero="yes",
        )  # fmt: skip
        if self.mode == PROBABILITIES:
            self.copy(out, scores)

    def copy(self, out: ViewAttr | None, scores: ViewAttr) -> None:
        if out is not None:
            self.w.emit("copy" if out.dtype == scores.dtype else "cast", dst=out, src=scores)

    def add(self, scores: ViewAttr, mask: ViewAttr) -> None:
        w, dtype = self.w, scores.dtype.data
        if mask.dtype.data == "bool":
            w.emit("where", dst=scores, cond=mask, a=scores, b=padded(_hidden(w, dtype), 3))
            return
        if mask.dtype.data != dtype:
            added = w.to.scratch(dtype, mask.shape_exprs, space="private")
            w.emit("cast", dst=added, src=mask)
            mask = added
        w.emit("binary", dst=scores, a=scores, b=mask, op="add")


def _refuses(op: Operation) -> str | None:
    q, k, *_ = onnx.inputs(op)
    assert q is not None and k is not None
    if len(shape_of(q)) == 3:
        known = onnx.attribute(op, "q_num_heads", 0) and onnx.attribute(op, "kv_num_heads", 0)
        return None if known and shape_of(q)[2].is_constant else "the number of heads or their size is not known"
    known = shape_of(q)[1].is_constant and shape_of(k)[1].is_constant and shape_of(q)[3].is_constant
    return None if known else "the number of heads or their size is not known"


# ------------------------------------------------------------- TensorScatter


def _tensor_scatter(w: Writer) -> None:
    """TensorScatter: rows of `update` replace those of the cache from each sequence's write index on."""
    dst, update = w.result(), w.view(1)
    w.emit("copy", dst=dst, src=w.view(0))
    axis = w.axis(len(dst.shape), default=-2)
    batch, tokens, room = dst.shape_exprs[0], update.shape_exprs[axis], dst.shape_exprs[axis]
    places = w.to.scratch("int64", [batch, tokens])
    w.emit("copy", dst=places, src=padded(_steps(w, tokens, 0), 2))
    start = w.view_or_none(2)
    if start is not None:
        start = remade(start, [batch, ONE], [start.stride_exprs[0], ZERO])
        w.emit("binary", dst=places, a=places, b=start, op="add")
    if w.attribute("mode", "linear") == "circular":
        size = w.to.scratch("int64", [1])
        w.emit("iota", dst=size, start=room, step=1)
        w.emit("binary", dst=places, a=places, b=padded(size, 2), op="mod")
    update = last(update, [axis])
    shape = update.shape_exprs
    between = [ZERO] * (len(shape) - 2)
    indices = remade(places, shape, [places.stride_exprs[0], *between, places.stride_exprs[1]])
    w.emit("scatter_elements", dst=last(dst, [axis]), indices=indices, values=update, op="none")


HANDLERS: dict[str, Handler] = {
    "Attention": Handler(_attention, _refuses),
    "TensorScatter": Handler(_tensor_scatter),
}
