"""What the lowering rules of the digital families write with: the operation at hand, its views, its known values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from xdsl.ir import Operation, OpResult, SSAValue

from crossbank.backends.interface import Lowering
from crossbank.backends.simd.views import padded
from crossbank.dialects import onnx
from crossbank.dialects.imc import ViewAttr
from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.runtime.expr import Expr
from crossbank.runtime.program import ProgramError


def known_integers(value: SSAValue | None) -> list[Expr] | None:
    """The elements of an integer tensor that the compiler knows, as expressions; None if it does not."""
    if not isinstance(value, OpResult):
        return None
    if isinstance(value.op, onnx.DimsValueOp):
        return list(value.op.exprs)
    array = known_array(value)
    return None if array is None or array.dtype.kind not in "iub" else [Expr.of(int(n)) for n in array.reshape(-1)]


def known_array(value: SSAValue | None) -> Any:
    """The array of a constant; None for another value."""
    if not isinstance(value, OpResult) or value.op.name != "onnx.Constant":
        return None
    found = onnx.attributes(value.op)
    for name, dtype in (("value_ints", np.int64), ("value_int", np.int64), ("value_float", np.float32)):
        if name in found:
            return np.asarray(found[name], dtype)
    if "value_floats" in found:
        return np.asarray(found["value_floats"], np.float32)
    return np.asarray(found["value"]) if "value" in found else None


def known_constants(value: SSAValue | None) -> list[int] | None:
    """The elements of an integer tensor if they are all plain numbers."""
    found = known_integers(value)
    if found is None or not all(n.is_constant for n in found):
        return None
    return [n.constant for n in found]


@dataclass(frozen=True)
class Writer:
    """One operation being lowered for an engine."""

    op: Operation
    engine: str
    to: Lowering

    @property
    def inputs(self) -> list[SSAValue | None]:
        """Operands by ONNX position."""
        return onnx.inputs(self.op) if onnx.is_onnx(self.op) else list(self.op.operands)

    @property
    def outputs(self) -> list[SSAValue | None]:
        """Results by ONNX position."""
        return onnx.outputs(self.op) if onnx.is_onnx(self.op) else list(self.op.results)

    def value(self, i: int) -> SSAValue:
        """An operand that must be there."""
        found = self.inputs[i] if i < len(self.inputs) else None
        if found is None:
            raise ProgramError("CB0320", f"{self.op.name} lacks input {i}", help="check the model with onnx.checker")
        return found

    def optional(self, i: int) -> SSAValue | None:
        """An operand that may be absent."""
        return self.inputs[i] if i < len(self.inputs) else None

    def view(self, i: int, rank: int = 0) -> ViewAttr:
        """Where an operand lies, with leading dimensions of 1 up to a rank."""
        return padded(self.to.view(self.value(i)), rank)

    def view_or_none(self, i: int, rank: int = 0) -> ViewAttr | None:
        """Where an optional operand lies."""
        found = self.optional(i)
        return None if found is None else padded(self.to.view(found), rank)

    @property
    def y(self) -> SSAValue:
        """The first result."""
        return self.op.results[0]

    @property
    def shape(self) -> tuple[Expr, ...]:
        """The dimensions of the first result."""
        return shape_of(self.y)

    @property
    def dtype(self) -> str:
        """The dtype of the first result."""
        return dtype_of(self.y)

    def result(self, i: int = 0) -> ViewAttr:
        """The buffer of a result; a temporary for one that the node leaves out."""
        found = self.outputs[i]
        assert found is not None
        return self.to.result(found)

    def result_or_none(self, i: int) -> ViewAttr | None:
        """The buffer of a result, None for one that the node leaves out."""
        found = self.outputs[i] if i < len(self.outputs) else None
        return None if found is None else self.to.result(found)

    def bind(self, view: ViewAttr) -> None:
        """Let the first result be a view of memory that exists."""
        self.to.bind(self.y, view)

    def emit(self, instruction: str, **operands: ViewAttr | Expr | int | float | str | None) -> None:
        """Write an instruction of the engine."""
        self.to.emit(self.engine, instruction, **operands)

    def attribute(self, name: str, default: Any = None) -> Any:
        """A node attribute as a Python value."""
        return onnx.attribute(self.op, name, default)

    def axis(self, rank: int, name: str = "axis", default: int = -1) -> int:
        """An axis attribute, counted from the front."""
        return self.attribute(name, default) % max(rank, 1)

    def axes(self, rank: int, i: int = 1) -> list[int]:
        """The axes of a reduction or squeeze: attribute or operand; all of them where none are given."""
        found = self.attribute("axes")
        if found is None:
            found = known_constants(self.optional(i))
        if not found:
            return [] if self.attribute("noop_with_empty_axes", 0) else list(range(rank))
        return sorted(axis % rank for axis in found)


Rule = Callable[[Writer], None]
Refusal = Callable[[Operation], str | None]
"""Why an operation can't be lowered, or None."""


@dataclass(frozen=True)
class Handler:
    """How one operator is lowered, and what stands in the way."""

    lower: Rule
    refuses: Refusal | None = None


def needs_known(*places: int) -> Refusal:
    """A refusal unless the integer operands at these positions are known to the compiler, where present."""

    def refuses(op: Operation) -> str | None:
        values: Sequence[SSAValue | None] = onnx.inputs(op)
        for i in places:
            if i < len(values) and values[i] is not None and known_integers(values[i]) is None:
                return f"input {i} depends on data"
        return None

    return refuses
