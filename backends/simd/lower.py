"""The digital vector unit as a family: it takes every operation that it has instructions for."""

from __future__ import annotations

from xdsl.ir import Operation

from crossbank.backends.interface import Lowering
from crossbank.backends.simd import (
    lower_attention,
    lower_contraction,
    lower_elementwise,
    lower_indexing,
    lower_llm,
    lower_rows,
    lower_shapes,
)
from crossbank.backends.simd.isa import ISA
from crossbank.backends.simd.writer import Handler, Writer
from crossbank.backends.system import EngineSpec
from crossbank.dialects import onnx
from crossbank.dialects.mapping import Legality
from crossbank.dialects.shape import dtype_of, is_tensor
from crossbank.runtime.isa import InstructionSet
from crossbank.runtime.numerics import dtype_of as numpy_dtype

PREFERENCE = 10
HANDLERS: dict[str, Handler] = {
    **lower_elementwise.HANDLERS,
    **lower_shapes.HANDLERS,
    **lower_rows.HANDLERS,
    **lower_indexing.HANDLERS,
    **lower_attention.HANDLERS,
    **lower_contraction.HANDLERS,
    **lower_llm.HANDLERS,
}


def handler_name(op: Operation) -> str:
    """The key of an operation in a table of handlers: the operator's name for onnx, the full name for others."""
    return onnx.op_type(op) if op.name.startswith("onnx.") else op.name


def refusal_of_types(op: Operation) -> str | None:
    """Why the operands or results of an operation can't lie in memory as strided tensors."""
    for value in (*op.operands, *op.results):
        if not is_tensor(value):
            return f"{value.type} is no tensor of known rank"
        try:
            numpy_dtype(dtype_of(value))
        except (KeyError, ValueError):
            return f"{value.type} holds elements that instructions don't take"
    return None


def judge(handlers: dict[str, Handler], op: Operation, preference: int, engine: EngineSpec) -> Legality:
    """Legal where there is a handler that does not refuse."""
    handler = handlers.get(handler_name(op))
    if handler is None:
        remedy = f"add a {'host' if engine.kind == 'simd' else 'simd'} engine to the system"
        return Legality(False, reason=f"{engine.kind} has no instructions for {handler_name(op)}", remedy=remedy)
    reason = refusal_of_types(op) or (handler.refuses(op) if handler.refuses else None)
    if reason is not None:
        return Legality(False, reason=reason, remedy="export with fixed values, or add a host engine to the system")
    return Legality(True, preference)


class SimdBackend:
    """The family `simd`."""

    kind = "simd"
    isa: InstructionSet = ISA

    def accepts(self, op: Operation, engine: EngineSpec) -> Legality:
        """Every operation with a handler whose numbers are known."""
        return judge(HANDLERS, op, PREFERENCE, engine)

    def lower(self, op: Operation, engine: EngineSpec, to: Lowering) -> None:
        """Write the instructions of one operation."""
        HANDLERS[handler_name(op)].lower(Writer(op, engine.name, to))


BACKEND = SimdBackend()
