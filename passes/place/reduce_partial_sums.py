"""Pass reduce-partial-sums: where the partial sums of a matrix that is cut along K are added."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.passes import ModulePass

from crossbank.dialects.imc import WeightOp
from crossbank.dialects.mapping import Reduction
from crossbank.passes.context import CompileContext
from crossbank.passes.place.mappings import mapping_of, set_mapping, tiling_of
from crossbank.runtime.program import ProgramError


@dataclass(frozen=True)
class ReducePartialSumsPass(ModulePass):
    """Note where partial sums are added: `engine` (accumulators beside the arrays) or `vector-unit` (read out first).

    Before: `mapping = {engine = "arrays", tiles = [2, 4], …}`
    After:  `mapping = {engine = "arrays", tiles = [2, 4], …, reduction = "engine"}`

    A matrix with one row tile has nothing to add. ProgramError CB0313 where an engine can't do as `where` says.
    """

    name = "reduce-partial-sums"
    where: str = Reduction.ENGINE.value

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompileContext)
        wanted = _reduction(self.where)
        for weight in op.body.block.ops:
            tiling = tiling_of(weight) if isinstance(weight, WeightOp) else None
            if tiling is None or tiling.grid[0] < 2:
                continue
            mapping = mapping_of(weight)
            name = mapping["engine"]
            assert isinstance(name, StringAttr)
            engine = ctx.system.engines[name.data]
            offered = getattr(ctx.backend(engine.kind), "reductions", frozenset({Reduction.ENGINE}))
            if wanted not in offered:
                raise ProgramError(
                    "CB0313",
                    f"engine {engine.name} does not give its {tiling.grid[0]} partial sums to the {wanted}",
                    help=f"reduce-partial-sums{{where={min(offered)}}}",
                )
            set_mapping(weight, {**mapping, "reduction": StringAttr(wanted.value)})


def _reduction(text: str) -> Reduction:
    try:
        return Reduction(text)
    except ValueError:
        raise ProgramError(
            "CB0313", f"no place called {text!r} adds partial sums", help=f"known are {', '.join(Reduction)}"
        ) from None
