"""Fused operators of onnxruntime and of ai.onnx 23 and later, spelt out in what a transformer is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from crossbank.passes.raising import fused_attention, fused_contributed, fused_rows
from crossbank.passes.raising.matching import kind
from crossbank.passes.raising.notes import unrecognised
from crossbank.passes.raising.parts import Parts, Unfit
from crossbank.passes.rewriting import replace

Rule: TypeAlias = "Callable[[Operation, Parts], Sequence[SSAValue | None]]"
"""Adds the parts of an operation and gives what its results become, None for those without users."""

RULES: Mapping[str, Rule] = {**fused_attention.RULES, **fused_contributed.RULES, **fused_rows.RULES}


@dataclass(frozen=True)
class DecomposeFusedPass(ModulePass):
    """Attention operators become `llm.attention` over rotated heads, skip norms a sum and a norm, and so on.

    What an operator's options say beyond that is noted as unrecognised, and the operator stays.
    """

    name = "decompose-fused"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for found in list(op.walk()):
            rule = RULES.get(kind(found))
            if rule is None or not any(result.uses for result in found.results):
                continue
            parts = Parts()
            try:
                results = rule(found, parts)
            except Unfit as reason:
                for made in reversed(parts.ops):
                    made.drop_all_references()
                unrecognised(ctx, found, str(reason))
                continue
            _put(found, parts, results)


def _put(root: Operation, parts: Parts, results: Sequence[SSAValue | None]) -> None:
    """Put the parts in the operation's place; results without users are dropped."""
    wanted = [value if old.uses else None for old, value in zip(root.results, results, strict=True)]
    replace(root, parts.ops, wanted)
