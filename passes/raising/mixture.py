"""onnxruntime's MoE and QMoE, spelt out: routing, experts' products, the weighted sum of the chosen ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import IntegerAttr, i64
from xdsl.ir import Operation, SSAValue

from crossbank.dialects import onnx
from crossbank.dialects.llm import LinearOp, RoundBlocksOp
from crossbank.dialects.shape import dtype_of, shape_of, tensor
from crossbank.passes.raising.building import OPSET
from crossbank.passes.raising.fused_attention import operands_of
from crossbank.passes.raising.low_precision import ROUNDED, Retyping, element_type, integer
from crossbank.passes.raising.matching import attr, weight
from crossbank.passes.raising.parts import Parts, Unfit
from crossbank.runtime.expr import ONE, Expr, product


@dataclass(frozen=True)
class _Layer:
    """One of the matrices of all experts, [E * N, K] as stored, and the biases [E, N]."""

    matrix: SSAValue
    width: Expr
    bias: SSAValue | None
    scales: SSAValue | None = None
    zeros: SSAValue | None = None
    rounded: int = 0
    """Inputs in blocks of so many features are rounded to 8 bits; 0 for none."""

    def chosen(self, parts: Parts, x: SSAValue, ids: SSAValue, count: Expr) -> SSAValue:
        """x [R, K] or [T, K] for R = T k times the matrices that ids [T, k] name: [R, N]."""
        rows, per_row = shape_of(x)[0], product(list(shape_of(ids)))
        if self.rounded:
            block = {"block": IntegerAttr(self.rounded, i64)}
            x = parts.add(RoundBlocksOp.build(operands=[x], properties=block, result_types=[x.type]))
        wide = LinearOp.of(
            x, self.matrix, tensor(dtype_of(x), (rows, count * self.width)), transposed=True, scales=self.scales,
            zeros=self.zeros,
        )  # fmt: skip
        every = parts.reshape(parts.add(wide), (rows, count, self.width))
        groups = shape_of(ids) if rows == shape_of(ids)[0] else (per_row, ONE)
        places = parts.reshape(ids, (*groups, ONE))
        found = parts.node("GatherND", [every, places], dtype_of(x), (*groups, self.width), batch_dims=1)
        y = parts.reshape(found, (per_row, self.width))
        if self.bias is None:
            return y
        return parts.binary("Add", y, parts.gather(self.bias, parts.reshape(ids, (per_row,))))


def _layer(
    op: Operation, parts: Parts, retyping: Retyping, stack: SSAValue, bias: SSAValue | None, scales: SSAValue | None,
    zeros: SSAValue | None,
) -> _Layer:  # fmt: skip
    count, outputs, inputs = (integer(dim) for dim in shape_of(stack))
    if weight(stack) is None:
        raise Unfit("experts: computed matrices")
    width = Expr.of(outputs)
    if scales is None:
        matrix = retyping.use(stack, dtype_of(stack), (count * outputs, inputs), parts)
        return _Layer(matrix, width, bias)
    bits = int(attr(op, "expert_weight_bits", 4))
    inputs = inputs * 8 // bits
    matrix = retyping.use(stack, element_type(bits), (count * outputs, inputs), parts)
    blocks = integer(product(list(shape_of(scales)))) // (count * outputs)
    grid = (Expr.of(count * outputs), Expr.of(blocks))
    zero = _zeros(parts, retyping, zeros, bits, count, outputs, blocks)
    block = int(attr(op, "block_size", 0))
    # as onnxruntime computes it: blocks of 8 bits always meet inputs of 8 bits, those of 4 bits if that is asked for
    rounded = block if bits == 8 or int(attr(op, "accuracy_level", 0)) == ROUNDED else 0
    return _Layer(matrix, width, bias, parts.reshape(scales, grid), zero, rounded)


def _zeros(
    parts: Parts, retyping: Retyping, zeros: SSAValue | None, bits: int, count: int, outputs: int, blocks: int
) -> SSAValue:
    """Zero points [E * N, blocks]: the middle, or packed along the blocks, or without blocks along the outputs."""
    if zeros is None:
        return parts.constant(np.full((1, 1), 1 << (bits - 1), np.uint8))
    grid = (Expr.of(count * outputs), Expr.of(blocks))
    row = integer(shape_of(zeros)[-1]) * 8 // bits
    shape = (count, row) if len(shape_of(zeros)) == 2 else (count * outputs, row)
    used = outputs if len(shape_of(zeros)) == 2 else blocks
    packed = retyping.use(zeros, element_type(bits), shape, parts)
    return parts.reshape(parts.slice(packed, 1, Expr.of(0), Expr.of(used)), grid)


def _moe(op: Operation, parts: Parts, retyping: Retyping) -> SSAValue:
    """MoE: input, router's logits, then matrix and bias of fc1, fc2, fc3 [E, N, K]."""
    x, router, *rest = operands_of(op, 8)[:8]
    layers = [(rest[i], rest[i + 1], None, None) for i in (0, 2, 4)]
    return _mixture(op, parts, retyping, x, router, None, bool(attr(op, "normalize_routing_weights", 0)), layers)


def _qmoe(op: Operation, parts: Parts, retyping: Retyping) -> SSAValue:
    """QMoE: as MoE with scales between matrix and bias, zero points behind, then the weights of routing."""
    x, router, *rest = operands_of(op, 21)[:21]
    if str(attr(op, "quant_type", "int")) != "int" or any(value is not None for value in rest[13:]):
        raise Unfit("experts: weights that are no integers")
    if any(attr(op, f"fc{i}_expert_weight_bits") is not None for i in (1, 2, 3)):
        raise Unfit("experts: matrices of different bits")
    layers = [(rest[3 * i], rest[3 * i + 2], rest[3 * i + 1], rest[9 + i]) for i in range(3)]
    # as onnxruntime computes it: the softmax is over the chosen experts, whatever the attribute says
    normalised = rest[12] is None or bool(attr(op, "normalize_routing_weights", 0))
    return _mixture(op, parts, retyping, x, router, rest[12], normalised, layers)


Matrices = tuple[SSAValue | None, SSAValue | None, SSAValue | None, SSAValue | None]


def _mixture(
    op: Operation, parts: Parts, retyping: Retyping, x: SSAValue | None, router: SSAValue | None,
    given: SSAValue | None, normalised: bool, layers: Sequence[Matrices],
) -> SSAValue:  # fmt: skip
    if x is None or router is None or layers[0][0] is None or layers[1][0] is None:
        raise Unfit("experts: an operand is missing")
    if attr(op, "use_sparse_mixer", 0):
        raise Unfit("experts: the sparse mixer's routing")
    fc1, fc2, fc3 = (
        None if stack is None else _layer(op, parts, retyping, stack, bias, scales, zeros)
        for stack, bias, scales, zeros in layers
    )
    assert fc1 is not None and fc2 is not None
    count, k = shape_of(router)[-1], Expr.of(int(attr(op, "k", 1)))
    tokens, dtype = product(list(shape_of(x)[:-1])), dtype_of(x)
    rows = parts.reshape(x, (tokens, shape_of(x)[-1]))
    share, ids = _routing(parts, parts.reshape(router, (tokens, count)), given, k, normalised)
    first = fc1.chosen(parts, rows, ids, count)
    third = None if fc3 is None else fc3.chosen(parts, rows, ids, count)
    inner = _activated(op, parts, first, third)
    y = fc2.chosen(parts, inner, ids, count)
    weighted = parts.binary("Mul", y, parts.cast(parts.reshape(share, (tokens * k, ONE)), dtype))
    grouped = parts.reshape(weighted, (tokens, k, fc2.width))
    total = parts.node("ReduceSum", [grouped, parts.constant(np.array([1]))], dtype, (tokens, fc2.width), keepdims=0)
    return parts.reshape(total, shape_of(op.results[0]))


def _routing(
    parts: Parts, logits: SSAValue, given: SSAValue | None, k: Expr, normalised: bool
) -> tuple[SSAValue, SSAValue]:
    """Shares and numbers of the k experts that each token goes to, [T, k] each."""
    tokens, count = shape_of(logits)
    logits = parts.cast(logits, "float32")
    if given is None:
        logits = parts.node("Softmax", [logits], "float32", (tokens, count), axis=-1)
    shape = (tokens, k)
    top = onnx.build(
        "TopK", [logits, parts.dims([k])], [tensor("float32", shape), tensor("int64", shape)], {"axis": -1}, OPSET
    )
    share, ids = parts.add(top), top.results[1]
    if given is not None:
        every = parts.cast(parts.reshape(given, (tokens, count)), "float32")
        share = parts.node("GatherElements", [every, ids], "float32", shape, axis=1)
    if normalised:
        total = parts.node("ReduceSum", [share, parts.constant(np.array([1]))], "float32", (tokens, ONE), keepdims=1)
        share = parts.binary("Div", share, total)
    return share, ids


def _activated(op: Operation, parts: Parts, x: SSAValue, up: SSAValue | None) -> SSAValue:
    """The experts' activation, of [R, N] or of a gate and what it lets through."""
    name, dtype = str(attr(op, "activation_type", "relu")), dtype_of(x)
    if name != "swiglu":
        y = _plain(parts, name, x)
        return y if up is None else parts.binary("Mul", y, up)
    gate, up = _halves(op, parts, x, up)
    limit = attr(op, "swiglu_limit")
    if attr(op, "swiglu_limit_after_activation", 0):
        raise Unfit("experts: a limit behind the activation")
    if limit is not None and np.isfinite(float(limit)):
        most, least = (parts.number(float(bound), dtype) for bound in (limit, -limit))
        gate = parts.binary("Min", gate, most)
        up = parts.binary("Max", parts.binary("Min", up, most), least)
    alpha, beta = float(attr(op, "activation_alpha", 1.0)), float(attr(op, "activation_beta", 0.0))
    inner = parts.node("Sigmoid", [parts.scaled(gate, alpha)], dtype, shape_of(gate))
    if beta:
        up = parts.binary("Add", up, parts.number(beta, dtype))
    return parts.binary("Mul", parts.binary("Mul", gate, inner), up)


def _halves(op: Operation, parts: Parts, x: SSAValue, up: SSAValue | None) -> tuple[SSAValue, SSAValue]:
    """Gate and linear part: interleaved, one behind the other, or given apart."""
    fusion = int(attr(op, "swiglu_fusion", 0))
    if fusion == 0:
        if up is None:
            raise Unfit("experts: a gate without what it lets through")
        return x, up
    rows, width = shape_of(x)
    half = Expr.of(integer(width) // 2)
    if fusion == 2:
        return parts.slice(x, 1, Expr.of(0), half), parts.slice(x, 1, half, width)
    pairs = parts.reshape(x, (rows, half, Expr.of(2)))
    first, second = (parts.slice(pairs, 2, Expr.of(i), Expr.of(i + 1)) for i in (0, 1))
    return parts.reshape(first, (rows, half)), parts.reshape(second, (rows, half))


def _plain(parts: Parts, name: str, x: SSAValue) -> SSAValue:
    dtype, shape = dtype_of(x), shape_of(x)
    match name:
        case "identity":
            return x
        case "relu":
            return parts.node("Relu", [x], dtype, shape)
        case "silu":
            return parts.binary("Mul", x, parts.node("Sigmoid", [x], dtype, shape))
        case "gelu":
            # tanh form of Hendrycks and Gimpel, arXiv 1606.08415, as onnxruntime's experts have it
            cube = parts.binary("Mul", x, parts.binary("Mul", x, x))
            inner = parts.scaled(parts.binary("Add", x, parts.scaled(cube, 0.044715)), float(np.sqrt(2 / np.pi)))
            wave = parts.binary("Add", parts.node("Tanh", [inner], dtype, shape), parts.number(1.0, dtype))
            return parts.binary("Mul", parts.scaled(x, 0.5), wave)
        case _:
            raise Unfit(f"experts: activation {name}")


RULES: Mapping[str, Callable[[Operation, Parts, Retyping], SSAValue | None]] = {
    "com.microsoft:MoE": _moe,
    "com.microsoft:QMoE": _qmoe,
}
