"""Fused operators along rows: norms of sums, embeddings, activations with a bias, rotary embedding, scaled products."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from xdsl.dialects.builtin import StringAttr
from xdsl.ir import Operation, SSAValue

from crossbank.dialects import onnx
from crossbank.dialects.llm import ActivationOp, EmbeddingOp
from crossbank.dialects.shape import dtype_of, shape_of, tensor
from crossbank.passes.raising.fused_attention import merge_heads, operands_of, results_of, split_heads
from crossbank.passes.raising.matching import attr, rank
from crossbank.passes.raising.parts import Parts, Unfit
from crossbank.runtime.expr import ONE


def _skip_norm(op: Operation, parts: Parts) -> list[SSAValue | None]:
    """SkipLayerNormalization and its simplified form: the norm of input + skip + bias; output 3 is the sum."""
    simplified = "Simplified" in op.op_type.data if isinstance(op, onnx.CustomOp) else True
    found = operands_of(op, 5)
    x, skip, gamma = found[:3]
    beta, bias = (None, found[3]) if simplified else (found[3], found[4])
    if x is None or skip is None or gamma is None:
        raise Unfit("norm: an operand is missing")
    total = parts.binary("Add", x, skip)
    if bias is not None:
        total = parts.binary("Add", total, bias)
    epsilon = float(attr(op, "epsilon", 1e-12))
    y = parts.rms_norm(total, gamma, epsilon) if simplified else parts.layer_norm(total, gamma, beta, epsilon)
    return results_of(op, y, None, None, total)


def _embed_norm(op: Operation, parts: Parts) -> list[SSAValue | None]:
    """EmbedLayerNormalization: the norm of token, position and segment embeddings; output 1 counts the mask's ones."""
    ids, segments, words, positions, kinds, gamma, beta, mask, places = operands_of(op, 9)[:9]
    if ids is None or words is None or positions is None or gamma is None:
        raise Unfit("embedding: an operand is missing")
    batch, tokens = shape_of(ids)
    total = _rows(parts, words, ids)
    if places is None:
        places = parts.reshape(parts.positions(tokens), (ONE, tokens))
    total = parts.binary("Add", total, _rows(parts, positions, places))
    if segments is not None and kinds is not None:
        total = parts.binary("Add", total, _rows(parts, kinds, segments))
    y = parts.layer_norm(total, gamma, beta, float(attr(op, "epsilon", 1e-12)))
    if mask is None:
        zero = parts.number(0, "int32")
        count = parts.node("Expand", [zero, parts.dims((batch,))], "int32", (batch,))
    else:
        axes = parts.constant(np.array([1]))
        count = parts.node("ReduceSum", [parts.cast(mask, "int32"), axes], "int32", (batch,), keepdims=0)
    return results_of(op, y, count, total)


def _rows(parts: Parts, table: SSAValue, ids: SSAValue) -> SSAValue:
    kind = tensor(dtype_of(table), (*shape_of(ids), *shape_of(table)[1:]))
    return parts.add(EmbeddingOp.build(operands=[table, ids], result_types=[kind]))


def _of_alpha(op: Operation) -> str:
    """x sigmoid(alpha x) by its name: onnxruntime fuses SiLU to a QuickGelu too."""
    alpha = float(attr(op, "alpha", 1.702))
    for name, expected in (("quick_gelu", 1.702), ("silu", 1.0)):
        if abs(alpha - expected) <= 1e-6:
            return name
    raise Unfit(f"activation: a quick gelu of alpha {alpha:g}")


def _activation(name: str) -> Callable[[Operation, Parts], list[SSAValue | None]]:
    def rule(op: Operation, parts: Parts) -> list[SSAValue | None]:
        x, bias = operands_of(op, 2)[:2]
        assert x is not None
        if bias is not None:
            x = parts.binary("Add", x, bias)
        properties = {"activation": StringAttr(_of_alpha(op) if name == "quick_gelu" else name)}
        return [parts.add(ActivationOp.build(operands=[x], properties=properties, result_types=[op.results[0].type]))]

    return rule


def _bias_add(op: Operation, parts: Parts) -> list[SSAValue | None]:
    """BiasSplitGelu's plain relative: x + bias + skip."""
    total, *others = [value for value in onnx.inputs(op) if value is not None]
    for other in others:
        total = parts.binary("Add", total, other)
    return [total]


def _rotary(op: Operation, parts: Parts) -> list[SSAValue | None]:
    """RotaryEmbedding of ai.onnx (angles [B, S, R/2], or rows of a table by position) and of com.microsoft."""
    custom = isinstance(op, onnx.CustomOp)
    x, *rest = operands_of(op, 4)
    positions, cos, sin = rest if custom else (rest[2], rest[0], rest[1])
    if x is None or cos is None or sin is None:
        raise Unfit("rotary: an operand is missing")
    if attr(op, "is_packed_batching", 0) or float(attr(op, "scale", 1.0)) != 1.0:
        raise Unfit("rotary: packed sequences or a scale")
    angles = shape_of(cos)[-1]
    flat = rank(x) == 3
    if not angles.is_constant:
        raise Unfit("rotary: tables of symbolic width")
    if flat:
        heads = int(attr(op, "num_heads", 0))
        if not heads:
            size = attr(op, "rotary_embedding_dim", 0) or 2 * angles.constant
            heads = (shape_of(x)[2] // size).constant if shape_of(x)[2].is_constant else 0
        if not heads:
            raise Unfit("rotary: the number of heads is missing")
        x = split_heads(parts, x, heads)
    tokens = shape_of(x)[2]
    if positions is not None:
        if rank(positions) == 1:
            steps = parts.binary("Add", parts.positions(tokens), parts.cast(positions, "int64"))
            positions = parts.reshape(steps, (ONE, tokens))
        cos, sin = (parts.gather(table, positions) for table in (cos, sin))
    elif rank(cos) != 3:
        raise Unfit("rotary: a table without positions")
    y = parts.rotary(x, cos, sin, 2 * angles.constant, bool(attr(op, "interleaved", 0)))
    return [merge_heads(parts, y) if flat else y]


def _fused_matmul(op: Operation, parts: Parts) -> list[SSAValue | None]:
    """FusedMatMul: alpha * op(A) op(B)."""
    a, b = op.operands
    if attr(op, "transBatchA", 0) or attr(op, "transBatchB", 0):
        raise Unfit("product: transposed batches")
    if attr(op, "transA", 0):
        a = _swapped(parts, a)
    if attr(op, "transB", 0):
        b = _swapped(parts, b)
    shape, dtype = shape_of(op.results[0]), dtype_of(op.results[0])
    return [parts.scaled(parts.node("MatMul", [a, b], dtype, shape), float(attr(op, "alpha", 1.0)))]


ACTIVATIONS: Mapping[str, Mapping[str, float]] = {
    "Relu": {}, "Tanh": {}, "Sigmoid": {}, "Softplus": {}, "Softsign": {}, "LeakyRelu": {"alpha": 0.01},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5}, "Elu": {"alpha": 1.0}, "ThresholdedRelu": {"alpha": 1.0},
}  # fmt: skip
"""What FusedGemm may name, with the parameters and their usual values."""


def _fused_gemm(op: Operation, parts: Parts) -> list[SSAValue | None]:
    """FusedGemm: an activation of Gemm, with the activation's own parameters where it takes some."""
    name = str(attr(op, "activation", ""))
    if name not in ACTIVATIONS:
        raise Unfit(f"activation: {name or 'none'} of a fused product")
    given = {key: float(attr(op, f"activation_{key}", usual)) for key, usual in ACTIVATIONS[name].items()}
    shape, dtype = shape_of(op.results[0]), dtype_of(op.results[0])
    inputs = [value for value in operands_of(op, 3) if value is not None]
    flags = {key: int(attr(op, key, 0)) for key in ("transA", "transB")}
    scales = {key: float(attr(op, key, 1.0)) for key in ("alpha", "beta")}
    y = parts.node("Gemm", inputs, dtype, shape, **flags, **scales)
    return [parts.node(name, [y], dtype, shape, **given)]


def _swapped(parts: Parts, value: SSAValue) -> SSAValue:
    axes = list(range(rank(value)))
    return parts.transpose(value, *axes[:-2], axes[-1], axes[-2])


RULES: Mapping[str, Callable[[Operation, Parts], list[SSAValue | None]]] = {
    "com.microsoft:SkipSimplifiedLayerNormalization": _skip_norm,
    "SkipSimplifiedLayerNormalization": _skip_norm,
    "com.microsoft:SkipLayerNormalization": _skip_norm,
    "com.microsoft:EmbedLayerNormalization": _embed_norm,
    "com.microsoft:BiasGelu": _activation("gelu"),
    "com.microsoft:Gelu": _activation("gelu"),
    "com.microsoft:FastGelu": _activation("gelu_tanh"),
    "com.microsoft:QuickGelu": _activation("quick_gelu"),
    "com.microsoft:BiasAdd": _bias_add,
    "com.microsoft:RotaryEmbedding": _rotary,
    "RotaryEmbedding": _rotary,
    "com.microsoft:FusedMatMul": _fused_matmul,
    "com.microsoft:FusedGemm": _fused_gemm,
}
