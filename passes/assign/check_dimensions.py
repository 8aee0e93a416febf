"""Refuse a model with a dimension that none of its inputs sets."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute
from xdsl.passes import ModulePass

from crossbank.dialects.llm import CacheOp
from crossbank.dialects.location import node_name
from crossbank.dialects.shape import is_tensor, shape_of
from crossbank.passes.context import CompileContext
from crossbank.runtime.expr import Expr
from crossbank.runtime.program import ProgramError

SHOWN_NODES = 8


@dataclass(frozen=True)
class CheckDimensionsPass(ModulePass):
    """See that every dimension follows from the shapes of arguments and caches; ProgramError CB0115 lists the others.

    A program is emitted once for all shapes, so a length that depends on data (the non-zeros of a tensor, a shape that
    is fed as values) has no register to live in. The module stays as it is.
    """

    name = "check-dimensions"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        main = next((f for f in op.body.block.ops if isinstance(f, FuncOp) and f.sym_name.data == "main"), None)
        if main is None:
            return
        bound = frozenset[str]().union(*(_symbols(kind) for kind in main.function_type.inputs))
        for cache in op.body.block.ops:
            if isinstance(cache, CacheOp):
                bound |= Expr.of(cache.batch.data).symbols | Expr.of(cache.past.data).symbols
        free: dict[str, str] = {}
        for found in op.walk():
            for result in found.results:
                for name in sorted(_symbols(result.type) - bound):
                    free.setdefault(name, node_name(found))
        if free:
            lines = [f"{node or 'a node'}: {name}" for name, node in list(free.items())[:SHOWN_NODES]]
            more = [f"and {len(free) - SHOWN_NODES} more"] if len(free) > SHOWN_NODES else []
            raise ProgramError(
                "CB0115",
                f"{len(free)} dimension{'s' if len(free) > 1 else ''} can't be bound: no shape of an input says what "
                "they are\n   |  " + "\n   |  ".join(lines + more),
                ctx.model_name if isinstance(ctx, CompileContext) else "",
                "export with shapes that follow from those of the inputs; an input of shape values must be a constant",
            )


def _symbols(kind: Attribute) -> frozenset[str]:
    if not is_tensor(kind):
        return frozenset()
    return frozenset[str]().union(*(dim.symbols for dim in shape_of(kind)))
