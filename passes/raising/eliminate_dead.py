"""Dead code: pure operations whose results nothing uses, and static tensors that nothing reads."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.passes import ModulePass

from crossbank.dialects.imc import UseOp, WeightOp
from crossbank.passes.raising.notes import fold
from crossbank.passes.raising.signature import drop_unused_shared
from crossbank.passes.rewriting import calls_of, entry_block, functions, is_dead, nodes_of, symbol


@dataclass(frozen=True)
class EliminateDeadPass(ModulePass):
    """Erase pure operations without uses, shared operands that no layer uses, `imc.weight`s without `imc.use`."""

    name = "eliminate-dead"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        changed = True
        while changed:
            for function in functions(op).values():
                _erase(ctx, function)
            calls = calls_of(op)
            changed = any([drop_unused_shared(functions(op)[name], found) for name, found in calls.items()])
        used = {symbol(found.weight) for found in op.walk() if isinstance(found, UseOp)}
        for found in list(op.ops):
            if isinstance(found, WeightOp) and found.sym_name.data not in used:
                found.detach()
                found.erase()


def _erase(ctx: Context, function: FuncOp) -> None:
    for found in reversed(list(entry_block(function).ops)):
        if is_dead(found):
            fold(ctx, nodes_of(found))
            found.detach()
            found.drop_all_references()
