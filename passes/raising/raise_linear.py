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
from crossbank.passes.raising.matching import attr, is_float, kind, made_by, only_user, pairs, rank, weight
from crossbank.passes.rewriting import absorb, replace


@dataclass(frozen=True)
class RaiseLinearPass(ModulePass):
    """MatMul and Gemm with a static matrix become `llm.linear`, a following Add of a static vector its bias."""

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


def _matrix(value: SSAValue, transposed: bool = False) -> tuple[SSAValue, bool] | None:
    """The static matrix [K, N] that a value is, behind transposes: (matrix, whether it is stored [N, K])."""
    while (transpose := made_by(value, "Transpose")) is not None and rank(value) == 2:
        if list(attr(transpose, "perm", [1, 0])) == [1, 0]:
            transposed = not transposed
        value = transpose.operands[0]
    if weight(value) is None or rank(value) != 2 or not is_float(value):
        return None
    return value, transposed


def _raise_gemm(gemm: Operation) -> None:
    if attr(gemm, "alpha", 1.0) != 1.0 or attr(gemm, "transA", 0):
        return
    bias = gemm.operands[2] if len(gemm.operands) > 2 else None
    if bias is not None and (weight(bias) is None or rank(bias) != 1 or attr(gemm, "beta", 1.0) != 1.0):
        return
    if bias is not None and shape_of(bias)[0] != shape_of(gemm.results[0])[1]:
        return
    _raise(gemm, gemm.operands[0], _matrix(gemm.operands[1], bool(attr(gemm, "transB", 0))), bias)


def _raise(root: Operation, x: SSAValue, matrix: tuple[SSAValue, bool] | None, bias: SSAValue | None) -> None:
    if matrix is None or dtype_of(x) != dtype_of(matrix[0]) or rank(x) < 2:
        return
    y = root.results[0]
    source = x
    while (inner := made_by(source, "Reshape", "Flatten", "Unsqueeze", "Squeeze")) is not None and _same_rows(inner):
        source = inner.operands[0]
    shape = (*shape_of(source)[:-1], shape_of(y)[-1])
    linear = LinearOp.of(source, matrix[0], tensor(dtype_of(y), shape), transposed=matrix[1], bias=bias)
    if shape == shape_of(y):
        replace(root, [linear])
    else:
        back = reshape(linear.y, shape_of(y))
        absorb(linear, replace(root, [linear, *back], [back[-1].results[0]]))


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
        if value is not y or weight(other) is None or dtype_of(other) != dtype_of(y):
            continue
        if rank(other) == 1 and shape_of(other)[0] == shape_of(y)[-1] and shape_of(user.results[0]) == shape_of(y):
            biased = LinearOp.of(
                linear.x, linear.weight, y.type, transposed=bool(linear.transposed.value.data), bias=other,
                scales=linear.scales, zeros=linear.zeros,
            )  # fmt: skip
            replace(user, [biased])
            return
