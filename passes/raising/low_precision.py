"""Other readings of static tensors: what a matrix is dequantised from, packed bytes as elements, one of many rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ArrayAttr, ModuleOp, StringAttr, SymbolRefAttr
from xdsl.ir import SSAValue
from xdsl.rewriter import InsertPoint, Rewriter

from crossbank.dialects.imc import UseOp, WeightOp
from crossbank.dialects.shape import dtype_of, shape_of, tensor
from crossbank.passes.context import CompileContext
from crossbank.passes.raising.matching import attr, constant, kind, made_by, operand, rank, weight
from crossbank.passes.raising.parts import Parts, Unfit
from crossbank.passes.rewriting import owner_of, symbol
from crossbank.runtime.expr import ONE, Expr
from crossbank.runtime.tensors import retyped

ROUNDED = 4
"""The accuracy level at which onnxruntime quantises the inputs of products to int8, block by block."""
DEQUANTIZE = ("DequantizeLinear", "com.microsoft:DequantizeLinear")
FORMS = ("Reshape", "Transpose", "Expand", "Slice", "Squeeze", "Unsqueeze", "Cast", *DEQUANTIZE)


def is_static(value: SSAValue, depth: int = 6) -> bool:
    """Whether a value is a static tensor, a constant, or another form of these."""
    op = owner_of(value)
    if op is None or depth == 0:
        return False
    if isinstance(op, UseOp) or kind(op) == "Constant" or not op.operands:
        return True
    return kind(op) in FORMS and all(is_static(operand, depth - 1) for operand in op.operands)


@dataclass(frozen=True)
class Quantised:
    """A static matrix of few bits with its scales and zero points, each of two dimensions that divide the matrix's."""

    matrix: SSAValue
    scales: SSAValue
    zeros: SSAValue | None


def dequantised_from(value: SSAValue, parts: Parts) -> Quantised | None:
    """What a matrix is dequantised from, if it is static and its blocks divide it."""
    op = made_by(value, *DEQUANTIZE)
    if op is None or rank(value) != 2 or weight(op.operands[0]) is None:
        return None
    matrix, scale, zero = op.operands[0], op.operands[1], operand(op, 2)
    if not is_static(scale) or (zero is not None and not is_static(zero)):
        return None
    axis = int(attr(op, "axis", 1)) % 2
    try:
        scales = _of_blocks(parts, scale, matrix, axis)
        zeros = None if zero is None else _of_blocks(parts, zero, matrix, axis)
    except Unfit:
        return None
    return Quantised(matrix, scales, zeros)


def _of_blocks(parts: Parts, value: SSAValue, matrix: SSAValue, axis: int) -> SSAValue:
    """Scales or zero points [], [n] or of blocks, as two dimensions that divide the matrix's."""
    dims = shape_of(value)
    if len(dims) == 2:
        shape: Sequence[Expr] = dims
    elif all(dim == ONE for dim in dims):
        shape = (ONE, ONE)
    else:
        shape = (dims[0], ONE) if axis == 0 else (ONE, dims[0])
    for size, whole in zip(shape, shape_of(matrix), strict=True):
        if not (size.is_constant and whole.is_constant and size.constant and whole.constant % size.constant == 0):
            raise Unfit(f"{size} blocks of {whole}")
    return parts.reshape(value, shape)


@dataclass(frozen=True)
class Retyping:
    """Declares static tensors that share their bytes with others: packed elements, parts."""

    ctx: CompileContext
    module: ModuleOp

    def takes(self, value: SSAValue) -> bool:
        """Whether a value is a static tensor, which can be read otherwise."""
        return isinstance(owner_of(value), UseOp) or kind(owner_of(value)) == "Constant"

    def use(self, value: SSAValue, dtype: str, shape: tuple[int, ...], parts: Parts) -> SSAValue:
        """A static tensor with another type and shape; Unfit if it isn't static or has not that many bytes."""
        op = owner_of(value)
        if kind(op) == "Constant":
            try:
                return parts.constant(retyped(np.asarray(constant(value)), dtype, shape))
            except ValueError as error:
                raise Unfit(f"weights: {error}") from error
        if not isinstance(op, UseOp):
            raise Unfit("the weights are computed")
        suffix = f"{dtype}.{'x'.join(map(str, shape))}"
        return self._declared(op, suffix, dtype, shape, lambda name: self.ctx.retype(name, dtype, shape), parts)

    def part(self, value: SSAValue, index: int, parts: Parts) -> SSAValue:
        """Row `index` of a static tensor, itself a static tensor; Unfit if the tensor isn't static."""
        op = owner_of(value)
        if not isinstance(op, UseOp):
            raise Unfit("the weights are computed")
        shape = tuple(integer(dim) for dim in shape_of(value)[1:])
        return self._declared(op, str(index), dtype_of(value), shape, lambda name: self.ctx.part(name, index), parts)

    def _declared(
        self, op: UseOp, suffix: str, dtype: str, shape: tuple[int, ...], made: Callable[[str], str], parts: Parts
    ) -> SSAValue:
        """A use of what is made of each call's tensor."""
        old = self._declaration(symbol(op.weight))
        found = [name.data for name in old.tensors]
        try:
            tensors = [made(name) for name in found]
        except (KeyError, ValueError) as error:
            raise Unfit(f"weights: {error}") from error
        name = f"{old.sym_name.data}.{suffix}"
        if name not in {entry.sym_name.data for entry in self.module.ops if isinstance(entry, WeightOp)}:
            properties = {
                "sym_name": StringAttr(name),
                "type": tensor(dtype, shape),
                "tensors": ArrayAttr([StringAttr(tensor) for tensor in tensors]),
            }
            Rewriter.insert_op(WeightOp(properties=properties), InsertPoint.after(old))
        use = UseOp(properties={"weight": SymbolRefAttr(name)}, result_types=[tensor(dtype, shape)])
        return parts.add(use)

    def _declaration(self, name: str) -> WeightOp:
        for op in self.module.ops:
            if isinstance(op, WeightOp) and op.sym_name.data == name:
                return op
        raise Unfit(f"@{name} is not declared")


def static_vector(value: SSAValue) -> bool:
    """Whether a value is a static tensor of one dimension, dequantised or not."""
    return rank(value) == 1 and is_static(value) and kind(value) != "Constant"


def element_type(bits: int) -> str:
    """The unsigned type of so many bits; Unfit for other numbers than 2, 4 and 8."""
    if bits not in (2, 4, 8):
        raise Unfit(f"weights of {bits} bits")
    return f"uint{bits}"


def integer(value: Expr) -> int:
    """A constant dimension; Unfit for a symbolic one."""
    if not value.is_constant:
        raise Unfit(f"a dimension {value} of static weights")
    return value.constant
