"""Products with a static matrix, with their bias: MatMul, Gemm, and the reshapes that exporters put around them."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from crossbank.dialects.llm import LinearOp
from crossbank.dialects.shape import dtype_of, shape_of, tensor
from crossbank.passes.raising.building import reshape
from crossbank.passes.raising.low_precision import dequantised_from, static_vector
from crossbank.passes.raising.matching import attr, is_float, kind, made_by, only_user, pairs, rank, weight
from crossbank.passes.raising.parts import Parts
from crossbank.passes.rewriting import absorb, replace


@dataclass(frozen=True)
class RaiseLinearPass(ModulePass):
    """MatMul and Gemm with a static matrix become `llm.linear`, a following Add of a static vector its bias.

    A matrix that is dequantised first stays in few bits, with its scales and zero points.
    """

    name = "raise-linear"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for found in list(op.walk()):
            if kind(found) == "MatMul":
                x, matrix = found.operands
                _raise(found, x, _matrix(matrix), None)
            elif kind(found) == "Gemm":
                _raise_gemm(found)
        for found in [found for found in op.walk() if isinstance(found, LinearOp) and found.bias is None]:
            _take_bias(found)


@dataclass(frozen=True)
class _Matrix:
    """A static matrix [K, N] of floats, or one of few bits that it is dequantised from; `transposed` if it is [N, K].

    `dtype` is what products with it are computed in.
    """

    value: SSAValue
    transposed: bool
    dtype: str
    parts: Parts
    scales: SSAValue | None = None
    zeros: SSAValue | None = None


def _matrix(value: SSAValue, transposed: bool = False) -> _Matrix | None:
    """The static matrix that a value is, behind transposes."""
    while (transpose := made_by(value, "Transpose")) is not None and rank(value) == 2:
        if list(attr(transpose, "perm", [1, 0])) == [1, 0]:
            transposed = not transposed
        value = transpose.operands[0]
    if rank(value) != 2 or not is_float(value):
        return None
    parts = Parts()
    found = dequantised_from(value, parts)
    if found is not None:
        return _Matrix(found.matrix, transposed, dtype_of(value), parts, found.scales, found.zeros)
    return None if weight(value) is None else _Matrix(value, transposed, dtype_of(value), parts)


def _raise_gemm(gemm: Operation) -> None:
    if attr(gemm, "alpha", 1.0) != 1.0 or attr(gemm, "transA", 0):
        return
    bias = gemm.operands[2] if len(gemm.operands) > 2 else None
    if bias is not None and (not static_vector(bias) or attr(gemm, "beta", 1.0) != 1.0):
        return
    if bias is not None and shape_of(bias)[0] != shape_of(gemm.results[0])[1]:
        return
    _raise(gemm, gemm.operands[0], _matrix(gemm.operands[1], bool(attr(gemm, "transB", 0))), bias)


def _raise(root: Operation, x: SSAValue, matrix: _Matrix | None, bias: SSAValue | None) -> None:
    if matrix is None or dtype_of(x) != matrix.dtype or rank(x) < 2:
        return
    y = root.results[0]
    source = x
    while (inner := made_by(source, "Reshape", "Flatten", "Unsqueeze", "Squeeze")) is not None and _same_rows(inner):
        source = inner.operands[0]
    shape = (*shape_of(source)[:-1], shape_of(y)[-1])
    linear = LinearOp.of(
        source, matrix.value, tensor(dtype_of(y), shape), transposed=matrix.transposed, bias=bias,
        scales=matrix.scales, zeros=matrix.zeros,
    )  # fmt: skip
    new = [*matrix.parts.ops, linear]
    if shape == shape_of(y):
        replace(root, new)
    else:
        back = reshape(linear.y, shape_of(y))
        absorb(linear, replace(root, [*new, *back], [back[-1].results[0]]))


def _same_rows(reshape: Operation) -> bool:
    """Whether a reshape leaves the last axis as it is and its source has at least two."""
    source, result = shape_of(reshape.operands[0]), shape_of(reshape.results[0])
    return len(source) > 1 and len(result) > 1 and source[-1] == result[-1]


def _take_bias(linear: LinearOp) -> None:
    y: SSAValue = linear.y
    user = only_user(y)
    if user is None or kind(user) != "Add":
        return
    for value, other in pairs(user):
        if value is not y or not static_vector(other) or dtype_of(other) != dtype_of(y):
            continue
        if shape_of(other)[0] == shape_of(y)[-1] and shape_of(user.results[0]) == shape_of(y):
            biased = LinearOp.of(
                linear.x, linear.weight, y.type, transposed=bool(linear.transposed.value.data), bias=other,
                scales=linear.scales, zeros=linear.zeros,
            )  # fmt: skip
            replace(user, [biased])
            return
