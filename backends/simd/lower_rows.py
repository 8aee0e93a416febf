"""ONNX operators along rows, in instructions of the vector unit: reductions, softmax, norms, products, rotary."""

from __future__ import annotations

from functools import partial

import numpy as np
from xdsl.ir import Operation

from crossbank.backends.simd.views import (
    expanded,
    last,
    padded,
    permuted,
    remade,
    reshaped,
    split,
    swapped,
    unsqueezed,
    whole,
)
from crossbank.backends.simd.writer import Handler, Writer, known_constants, needs_known
from crossbank.dialects import onnx
from crossbank.dialects.imc import ViewAttr
from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.runtime.expr import ONE, ZERO, Expr, product
from crossbank.runtime.numerics import dtype_of as numpy_dtype

REDUCTIONS = {
    "ReduceSum": "sum", "ReduceMean": "mean", "ReduceMax": "max", "ReduceMin": "min", "ReduceProd": "prod",
    "ReduceSumSquare": "sum_square", "ReduceL1": "l1", "ReduceL2": "l2", "ReduceLogSum": "log_sum",
    "ReduceLogSumExp": "log_sum_exp",
}  # fmt: skip


def _reduce(op: str, w: Writer) -> None:
    source = w.view(0)
    shape = source.shape_exprs
    axes = w.axes(len(shape))
    dst = whole(w.result(), [dim for i, dim in enumerate(shape) if i not in axes])
    w.emit("reduce", dst=dst, src=last(source, axes), op=op, axes=len(axes))


def _arg(op: str, w: Writer) -> None:
    source = w.view(0)
    axis = w.axis(len(source.shape), default=0)
    dst = whole(w.result(), [dim for i, dim in enumerate(source.shape_exprs) if i != axis])
    flag = "yes" if w.attribute("select_last_index", 0) else "no"
    w.emit("arg", dst=dst, src=last(source, [axis]), op=op, last=flag)


def _rows(w: Writer) -> tuple[ViewAttr, ViewAttr]:
    """Result and source with what a softmax runs over last: one axis, before opset 13 all axes from it on as one."""
    source, dst = w.view(0), w.result()
    if onnx.version_of(w.op) >= 13:
        axis = w.axis(len(w.shape))
        return last(dst, [axis]), last(source, [axis])
    axis = w.axis(len(w.shape), default=1)
    rows = [product(w.shape[:axis]), product(w.shape[axis:])]
    flat = reshaped(source, rows)
    if flat is None:
        w.emit("copy", dst=dst, src=source)
        flat = whole(dst, rows)
    return whole(dst, rows), flat


def _softmax(log: str, w: Writer) -> None:
    dst, source = _rows(w)
    w.emit("softmax", dst=dst, src=source, log=log)


def _hardmax(w: Writer) -> None:
    """1 at the first of the greatest, 0 elsewhere."""
    dst, source = _rows(w)
    places = w.to.scratch("int64", source.shape_exprs[:-1])
    w.emit("arg", dst=places, src=source, op="max", last="no")
    values = w.to.constant("off_on", [np.array([0, 1], numpy_dtype(w.dtype))])
    w.emit("one_hot", dst=dst, indices=places, values=values)


def _lp_norm(w: Writer) -> None:
    """x over its norm along an axis; where that is 0, so is x and the result."""
    axis = w.axis(len(w.shape))
    dst, source = last(w.result(), [axis]), last(w.view(0), [axis])
    norm = w.to.scratch(w.dtype, source.shape_exprs[:-1])
    w.emit("reduce", dst=norm, src=source, op="l1" if w.attribute("p", 2) == 1 else "l2", axes=1)
    null = w.to.scratch("bool", source.shape_exprs[:-1])
    zero, one = (expanded(w.to.constant(f"{n}", [np.array(n, numpy_dtype(w.dtype))]), norm.shape_exprs) for n in (0, 1))
    w.emit("binary", dst=null, a=norm, b=zero, op="equal")
    w.emit("where", dst=norm, cond=null, a=one, b=norm)
    w.emit("binary", dst=dst, a=source, b=unsqueezed(norm, len(norm.shape)), op="div")


def _norm_axes(w: Writer) -> int:
    rank = len(w.shape)
    return rank - w.axis(rank)


def _layer_norm(w: Writer) -> None:
    rank = len(w.shape)
    w.emit(
        "layer_norm",
        dst=w.result(0),
        mean=w.result_or_none(1),
        inverse=w.result_or_none(2),
        src=w.view(0),
        weight=w.view_or_none(1, rank),
        bias=w.view_or_none(2, rank),
        epsilon=w.attribute("epsilon", 1e-5),
        axes=_norm_axes(w),
    )


def _group_norm(w: Writer) -> None:
    """Norms of groups of channels of [N, C, …]; the scale and bias are per channel, or per group before opset 21."""
    source, dst = w.view(0), w.result()
    batch, channels = source.shape_exprs[:2]
    groups = Expr.of(w.attribute("num_groups", 0)) if w.attribute("num_groups") else channels
    shape = [batch, groups, product(source.shape_exprs[1:]) // groups]
    flat = reshaped(source, shape)
    if flat is None:
        w.emit("copy", dst=dst, src=source)
        flat = whole(dst, shape)
    epsilon = w.attribute("epsilon", 1e-5)
    w.emit("layer_norm", dst=whole(dst, shape), src=flat, weight=None, bias=None, epsilon=epsilon, axes=1)
    for i, op in ((1, "mul"), (2, "add")):
        vector = w.view(i)
        per_group = vector.shape_exprs[0] != channels
        target = whole(dst, [batch, groups, channels // groups, *source.shape_exprs[2:]]) if per_group else dst
        after = [ONE] * (len(target.shape) - 2)
        vector = remade(
            vector, [ONE, vector.shape_exprs[0], *after], [ZERO, vector.stride_exprs[0], *[ZERO] * len(after)]
        )
        w.emit("binary", dst=target, a=target, b=vector, op=op)


def _rms_norm(w: Writer) -> None:
    w.emit(
        "rms_norm",
        dst=w.result(),
        src=w.view(0),
        weight=w.view_or_none(1, len(w.shape)),
        epsilon=w.attribute("epsilon", 1e-5),
        axes=_norm_axes(w),
    )


def _skip_norm(simplified: bool, w: Writer) -> None:
    """SkipLayerNormalization of com.microsoft: a sum, kept as output 3 where asked for, and its norm."""
    rank = len(w.shape)
    biased = 3 if simplified else 4
    total = w.result_or_none(3)
    if total is None:
        total = w.to.scratch(w.dtype, w.shape)
    w.emit("binary", dst=total, a=w.view(0), b=w.view(1, rank), op="add")
    bias = w.view_or_none(biased, rank)
    if bias is not None:
        w.emit("binary", dst=total, a=total, b=bias, op="add")
    epsilon = w.attribute("epsilon", 1e-12)
    weight = w.view_or_none(2, rank)
    if simplified:
        w.emit("rms_norm", dst=w.result(), src=total, weight=weight, epsilon=epsilon, axes=1)
    else:
        shift = w.view_or_none(3, rank)
        w.emit("layer_norm", dst=w.result(), src=total, weight=weight, bias=shift, epsilon=epsilon, axes=1)


def _refuse_statistics(op: Operation) -> str | None:
    found = onnx.outputs(op)
    return "its mean and deviation are asked for" if any(v is not None for v in found[1:3]) else None


def product_views(w: Writer, a: ViewAttr, b: ViewAttr, dst: ViewAttr) -> tuple[ViewAttr, ViewAttr, ViewAttr]:
    """dst, a and b of a matrix product at one rank of at least 2, vectors made matrices."""
    if len(a.shape) == 1:
        a = padded(a, 2)
        dst = unsqueezed(dst, len(dst.shape) - (0 if len(b.shape) == 1 else 1))
    if len(b.shape) == 1:
        b = unsqueezed(b, 1)
        dst = unsqueezed(dst, len(dst.shape))
    rank = max(len(a.shape), len(b.shape))
    return dst, padded(a, rank), padded(b, rank)


def _matmul(w: Writer) -> None:
    dst, a, b = product_views(w, w.view(0), w.view(1), w.result())
    w.emit("matmul", dst=dst, a=a, b=b, scale=1.0)


def _fused_matmul(w: Writer) -> None:
    a, b = w.view(0), w.view(1)
    a = swapped(a) if w.attribute("transA", 0) else a
    b = swapped(b) if w.attribute("transB", 0) else b
    rank = len(w.shape)
    w.emit("matmul", dst=w.result(), a=padded(a, rank), b=padded(b, rank), scale=w.attribute("alpha", 1.0))


def _refuse_batch_transposes(op: Operation) -> str | None:
    odd = any(onnx.attribute(op, name, 0) for name in ("transBatchA", "transBatchB"))
    return "transBatchA and transBatchB have no instruction" if odd else None


def _gemm(w: Writer) -> None:
    a, b, dst = w.view(0), w.view(1), w.result()
    a = swapped(a) if w.attribute("transA", 0) else a
    b = swapped(b) if w.attribute("transB", 0) else b
    w.emit("matmul", dst=dst, a=a, b=b, scale=w.attribute("alpha", 1.0))
    add_scaled(w, dst, float(w.attribute("beta", 1.0)))


def add_scaled(w: Writer, dst: ViewAttr, beta: float, engine: str = "") -> None:
    """dst += beta * the third operand, where there is one."""
    addend = w.view_or_none(2, 2)
    engine = engine or w.engine
    if addend is None or beta == 0.0:
        return
    if beta != 1.0:
        scaled = w.to.scratch(w.dtype, addend.shape_exprs)
        factor = w.to.scratch(w.dtype, [1, 1])
        w.to.emit(engine, "fill", dst=factor, value=beta)
        w.to.emit(engine, "binary", dst=scaled, a=addend, b=factor, op="mul")
        addend = scaled
    w.to.emit(engine, "binary", dst=dst, a=dst, b=addend, op="add")


def _cumsum(w: Writer) -> None:
    axis = (known_constants(w.value(1)) or [0])[0] % len(w.shape)
    flags = {name: "yes" if w.attribute(name, 0) else "no" for name in ("exclusive", "reverse")}
    w.emit("cumsum", dst=last(w.result(), [axis]), src=last(w.view(0), [axis]), **flags)


def _topk(w: Writer) -> None:
    axis = w.axis(len(shape_of(w.value(0))))
    op = "max" if w.attribute("largest", 1) else "min"
    values, indices = (last(w.result(i), [axis]) for i in (0, 1))
    w.emit("topk", values=values, indices=indices, src=last(w.view(0), [axis]), op=op)


def _rotary(w: Writer) -> None:
    """RotaryEmbedding: [B, H, S, D], or [B, S, H * D] with num_heads; caches [B, S, R/2], or [P, R/2] by position."""
    source, dst = w.view(0), w.result()
    if len(source.shape) == 3:
        heads = int(w.attribute("num_heads"))
        source, dst = (permuted(split(v, 2, heads, v.shape_exprs[2] // heads), [0, 2, 1, 3]) for v in (source, dst))
    batch, _, tokens, width = source.shape_exprs
    cos, sin = (_angles(w, i, batch, tokens) for i in (1, 2))
    rotated = int(w.attribute("rotary_embedding_dim", 0)) or width.constant
    flag = "yes" if w.attribute("interleaved", 0) else "no"
    w.emit("rotary", dst=dst, src=source, cos=cos, sin=sin, width=rotated, interleaved=flag)


def _angles(w: Writer, i: int, batch: Expr, tokens: Expr) -> ViewAttr:
    table = w.view(i)
    if w.optional(3) is None:
        return unsqueezed(table, 1)
    half = table.shape_exprs[-1]
    found = w.to.scratch(dtype_of(w.value(i)), [batch, tokens, half])
    w.emit("gather", dst=found, table=table, indices=expanded(w.view(3), [batch, tokens]))
    return unsqueezed(found, 1)


def _refuse_symbolic_width(op: Operation) -> str | None:
    x = onnx.inputs(op)[0]
    assert x is not None
    shape = shape_of(x)
    if len(shape) == 3 and not onnx.attribute(op, "num_heads", 0):
        return "num_heads is missing"
    return None if shape[-1].is_constant else "the head dimension is not known"


HANDLERS: dict[str, Handler] = {
    **{name: Handler(partial(_reduce, op), needs_known(1)) for name, op in REDUCTIONS.items()},
    "ArgMax": Handler(partial(_arg, "max")),
    "ArgMin": Handler(partial(_arg, "min")),
    "Softmax": Handler(partial(_softmax, "no")),
    "LogSoftmax": Handler(partial(_softmax, "yes")),
    "Hardmax": Handler(_hardmax),
    "LpNormalization": Handler(_lp_norm),
    "LayerNormalization": Handler(_layer_norm),
    "GroupNormalization": Handler(_group_norm),
    "InstanceNormalization": Handler(_group_norm),
    "RMSNormalization": Handler(_rms_norm),
    "SimplifiedLayerNormalization": Handler(_rms_norm),
    "com.microsoft:SimplifiedLayerNormalization": Handler(_rms_norm),
    "com.microsoft:SkipLayerNormalization": Handler(partial(_skip_norm, False), _refuse_statistics),
    "com.microsoft:SkipSimplifiedLayerNormalization": Handler(partial(_skip_norm, True), _refuse_statistics),
    "MatMul": Handler(_matmul),
    "com.microsoft:FusedMatMul": Handler(_fused_matmul, _refuse_batch_transposes),
    "Gemm": Handler(_gemm),
    "CumSum": Handler(_cumsum, needs_known(1)),
    "TopK": Handler(_topk),
    "RotaryEmbedding": Handler(_rotary, _refuse_symbolic_width),
}
