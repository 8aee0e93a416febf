"""Which operations the systolic array takes, and how it writes them: loaded by the compiler only."""

from __future__ import annotations

from xdsl.ir import Operation

from crossbank.backends.interface import Lowering
from crossbank.backends.system import EngineSpec
from crossbank.dialects import llm
from crossbank.dialects.mapping import Legality
from crossbank.runtime.isa import InstructionSet
from systolic.isa import ISA


class SystolicBackend:
    """The family `systolic`."""

    kind = "systolic"
    isa: InstructionSet = ISA

    def accepts(self, op: Operation, engine: EngineSpec) -> Legality:
        """Products with static matrices that are not quantised."""
        if isinstance(op, llm.LinearOp) and op.scales is None:
            return Legality(True, preference=50)
        return Legality(False, reason="only products with static weights", remedy="add a simd engine")

    def lower(self, op: Operation, engine: EngineSpec, to: Lowering) -> None:
        """One product is one instruction."""
        assert isinstance(op, llm.LinearOp)
        to.emit(
            engine.name,
            "gemm",
            dst=to.result(op.y),
            x=to.view(op.x),
            w=to.view(op.weight),
            bias=None if op.bias is None else to.view(op.bias),
            transposed="yes" if op.transposed.value.data else "no",
        )


BACKEND = SystolicBackend()
