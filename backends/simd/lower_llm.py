"""The transformer's operations in instructions of the vector unit."""

from __future__ import annotations

from xdsl.ir import Operation

from crossbank.backends.simd.cache import append, place
from crossbank.backends.simd.views import (
    at,
    expanded,
    padded,
    permuted,
    remade,
    sliced,
    split,
    swapped,
    unsqueezed,
)
from crossbank.backends.simd.writer import Handler, Writer
from crossbank.dialects import llm
from crossbank.dialects.imc import ViewAttr
from crossbank.dialects.shape import shape_of
from crossbank.runtime.expr import ONE, ZERO, Expr


def _flag(value: object) -> str:
    return "yes" if value else "no"


def _linear(w: Writer) -> None:
    assert isinstance(w.op, llm.LinearOp)
    rank = max(len(w.shape), 2)
    weight, x, dst = w.to.view(w.op.weight), w.to.view(w.op.x), w.result()
    if w.op.scales is not None:
        weight = _dequantized(w, weight)
    if w.op.transposed.value.data:
        weight = swapped(weight)
    w.emit("matmul", dst=padded(dst, rank), a=padded(x, rank), b=padded(weight, rank), scale=1.0)
    if w.op.bias is not None:
        bias = padded(w.to.view(w.op.bias), len(w.shape))
        w.emit("binary", dst=dst, a=dst, b=bias, op="add")


def _dequantized(w: Writer, weight: ViewAttr) -> ViewAttr:
    """What a quantised weight stands for, in working memory."""
    assert isinstance(w.op, llm.LinearOp) and w.op.scales is not None
    rows, columns = weight.shape_exprs
    dst = w.to.scratch(w.dtype, [rows, columns])
    scale = w.to.view(w.op.scales)
    zero = scale if w.op.zeros is None else w.to.view(w.op.zeros)
    a, b = scale.shape_exprs
    blocked = [split(split(view, 1, b, columns // b), 0, a, rows // a) for view in (dst, weight)]
    parts = [unsqueezed(unsqueezed(view, 2), 1) for view in (scale, zero)]
    w.emit("dequantize", dst=blocked[0], src=blocked[1], scale=parts[0], zero=None if w.op.zeros is None else parts[1])
    return dst


def _append(w: Writer) -> None:
    """The past where it was, then the new tokens at their places."""
    assert isinstance(w.op, llm.AppendOp)
    dst, past = w.result(), w.to.view(w.op.past)
    before, total = past.shape_exprs[2], w.shape[2]
    if before != total:
        w.emit("fill", dst=sliced(dst, 2, before, total - before), value=0.0)
    w.emit("copy", dst=sliced(dst, 2, 0, before), src=past)
    place(w.to, w.engine, w.op, dst, w.to.view(w.op.new))


def _evict(w: Writer) -> None:
    assert isinstance(w.op, llm.EvictOp)
    w.emit("evict", dst=w.result(), src=w.to.view(w.op.x), first=w.to.view(w.op.first))


def _round_blocks(w: Writer) -> None:
    assert isinstance(w.op, llm.RoundBlocksOp)
    w.emit("round_blocks", dst=w.result(), src=w.to.view(w.op.x), block=w.op.block.value.data)


def _rms_norm(w: Writer) -> None:
    assert isinstance(w.op, llm.RmsNormOp)
    weight = padded(w.to.view(w.op.weight), len(w.shape))
    epsilon = w.op.epsilon.value.data
    w.emit("rms_norm", dst=w.result(), src=w.to.view(w.op.x), weight=weight, epsilon=epsilon, axes=1)


def _layer_norm(w: Writer) -> None:
    assert isinstance(w.op, llm.LayerNormOp)
    rank = len(w.shape)
    bias = None if w.op.bias is None else padded(w.to.view(w.op.bias), rank)
    w.emit(
        "layer_norm",
        dst=w.result(),
        src=w.to.view(w.op.x),
        weight=padded(w.to.view(w.op.weight), rank),
        bias=bias,
        epsilon=w.op.epsilon.value.data,
        axes=1,
    )


def _rotary(w: Writer) -> None:
    assert isinstance(w.op, llm.RotaryOp)
    rank, width = len(w.shape), w.op.rotated
    cos, sin = (padded(w.to.view(value), rank) for value in (w.op.cos, w.op.sin))
    flag = _flag(w.op.interleaved.value.data)
    w.emit("rotary", dst=w.result(), src=w.to.view(w.op.x), cos=cos, sin=sin, width=width, interleaved=flag)


def _gated(w: Writer) -> None:
    assert isinstance(w.op, llm.GatedOp)
    gate, up = w.to.view(w.op.gate), w.to.view(w.op.up)
    w.emit("gated", dst=w.result(), gate=gate, up=up, op=w.op.activation.data, alpha=0.0, beta=0.0)


def _activation(w: Writer) -> None:
    assert isinstance(w.op, llm.ActivationOp)
    w.emit("activation", dst=w.result(), src=w.to.view(w.op.x), op=w.op.activation.data, alpha=0.0, beta=0.0)


def _embedding(w: Writer) -> None:
    assert isinstance(w.op, llm.EmbeddingOp)
    w.emit("gather", dst=w.result(), table=w.to.view(w.op.table), indices=w.to.view(w.op.ids))


def keys_and_values(w: Writer, op: llm.AttentionOp, engine: str) -> tuple[ViewAttr, ViewAttr]:
    """All keys and values that attention sees, the new ones appended to the cache by simd engine `engine`."""
    keys, values = w.to.view(op.k), w.to.view(op.v)
    if op.cache is None:
        return keys, values
    return append(w.to, engine, op, keys, values)


def attention_result(w: Writer) -> ViewAttr:
    """A buffer for the result [B, H, S, Dv] that lies as [B, S, H, Dv], as what follows wants it."""
    batch, heads, rows, width = w.shape
    dst = permuted(w.to.scratch(w.dtype, [batch, rows, heads, width]), [0, 2, 1, 3])
    w.bind(dst)
    return dst


def _row(view: ViewAttr, batch: Expr, token: Expr) -> ViewAttr:
    """[H, X] of one sequence and token of a tensor [B, H, S, X]; dimensions of 1 repeat."""
    picks = [ZERO if dim == ONE else index for dim, index in zip(view.shape_exprs, (batch, ZERO, token), strict=False)]
    return at(at(view, 2, picks[2]), 0, picks[0])


def _grouped(view: ViewAttr, groups: Expr) -> ViewAttr:
    """[H, X] as [G, H/G, X]."""
    return split(view, 0, groups, view.shape_exprs[0] // groups)


def _attention(w: Writer) -> None:
    """Per sequence, and per query token in parallel: scores of all heads in private memory, softmax, sum of values.

    The sequences are a loop of their own, so that the trips of the parallel one share their keys and values.
    """
    op = w.op
    assert isinstance(op, llm.AttentionOp)
    keys, values = keys_and_values(w, op, w.engine)
    q, dst = w.to.view(op.q), attention_result(w)
    mask = None if op.mask is None else padded(w.to.view(op.mask), 4)
    batch, heads, rows, _ = q.shape_exprs
    groups, tokens = keys.shape_exprs[1:3]
    with w.to.loop(batch) as b, w.to.loop(rows, parallel=True) as s:
        scores = w.to.scratch("float64" if w.dtype == "float64" else "float32", [heads, tokens], space="private")
        scores = _grouped(scores, groups)
        key, value = swapped(at(keys, 0, b)), at(values, 0, b)
        w.emit("matmul", dst=scores, a=_grouped(_row(q, b, s), groups), b=key, scale=1.0)
        w.emit(
            "mask_softmax",
            dst=scores,
            src=scores,
            mask=None if mask is None else _mask(mask, b, s, heads, groups, tokens),
            scale=op.scale.value.data,
            softcap=op.softcap.value.data,
            limit=tokens - rows + s + 1 if op.causal.value.data else tokens,
            nan_to_zero=_flag(op.nan_to_zero.value.data),
            sink=None if op.sink is None else _grouped(unsqueezed(w.to.view(op.sink), 1), groups),
        )
        w.emit("matmul", dst=_grouped(_row(dst, b, s), groups), a=scores, b=value, scale=1.0)


def _mask(mask: ViewAttr, batch: Expr, token: Expr, heads: Expr, groups: Expr, tokens: Expr) -> ViewAttr:
    row = expanded(_row(mask, batch, token), [heads, tokens])
    return _grouped(row, groups) if mask.shape_exprs[1] != ONE else _repeated(row, groups)


def _repeated(row: ViewAttr, groups: Expr) -> ViewAttr:
    heads, tokens = row.shape_exprs
    return remade(row, [groups, heads // groups, tokens], [ZERO, ZERO, row.stride_exprs[1]])


def refuses_attention(op: Operation) -> str | None:
    """Why an attention can't be run over plain memory."""
    assert isinstance(op, llm.AttentionOp)
    groups, heads = shape_of(op.k)[1], shape_of(op.q)[1]
    return None if groups.is_constant and heads.is_constant else "the number of heads is not known"


HANDLERS: dict[str, Handler] = {
    "llm.linear": Handler(_linear),
    "llm.rms_norm": Handler(_rms_norm),
    "llm.layer_norm": Handler(_layer_norm),
    "llm.rotary": Handler(_rotary),
    "llm.gated": Handler(_gated),
    "llm.activation": Handler(_activation),
    "llm.embedding": Handler(_embedding),
    "llm.append": Handler(_append),
    "llm.evict": Handler(_evict),
    "llm.round_blocks": Handler(_round_blocks),
    "llm.attention": Handler(_attention, refuses_attention),
}
