"""Token and position embeddings: rows of a static table."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from crossbank.dialects.llm import EmbeddingOp
from crossbank.passes.raising.matching import axis_of, is_float, kind, rank, weight
from crossbank.passes.rewriting import replace


@dataclass(frozen=True)
class RaiseEmbeddingPass(ModulePass):
    """Gather of rows of a static matrix of floats becomes `llm.embedding`."""

    name = "raise-embedding"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for gather in [found for found in op.walk() if kind(found) == "Gather"]:
            table, ids = gather.operands
            if weight(table) is None or rank(table) != 2 or not is_float(table) or axis_of(gather, "axis", 0, table):
                continue
            replace(gather, [EmbeddingOp.build(operands=[table, ids], result_types=[gather.results[0].type])])
