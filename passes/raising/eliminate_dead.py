"""Dead code: pure operations whose results nothing uses, and static tensors that nothing reads."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from crossbank.dialects.imc import UseOp, WeightOp
from crossbank.passes.raising.notes import fold
from crossbank.passes.rewriting import entry_block, functions, is_dead, nodes_of, symbol


@dataclass(frozen=True)
class EliminateDeadPass(ModulePass):
    """Erase pure operations without uses and `imc.weight`s without `imc.use`."""

    name = "eliminate-dead"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for function in functions(op).values():
            for found in reversed(list(entry_block(function).ops)):
                if is_dead(found):
                    fold(ctx, nodes_of(found))
                    found.detach()
                    found.drop_all_references()
        used = {symbol(found.weight) for found in op.walk() if isinstance(found, UseOp)}
        for found in list(op.ops):
            if isinstance(found, WeightOp) and found.sym_name.data not in used:
                found.detach()
                found.erase()
