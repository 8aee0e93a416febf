"""The element-wise middle of a gated MLP: activation(gate) * up."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation
from xdsl.passes import ModulePass

from crossbank.dialects.llm import ActivationOp, GatedOp
from crossbank.dialects.shape import shape_of
from crossbank.passes.raising.matching import kind, owner_of, pairs
from crossbank.passes.rewriting import replace


@dataclass(frozen=True)
class RaiseMlpPass(ModulePass):
    """A Mul of an activation that nothing else uses and another value of its shape becomes `llm.gated`."""

    name = "raise-mlp"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for found in list(op.walk()):
            if kind(found) == "Mul" and found.parent is not None:
                _raise(found)


def _raise(product: Operation) -> None:
    for value, up in pairs(product):
        activation = owner_of(value)
        if not isinstance(activation, ActivationOp) or value.uses.get_length() != 1 or value is up:
            continue
        if shape_of(value) != shape_of(up) or value.type != product.results[0].type:
            continue
        gated = GatedOp.build(
            operands=[activation.x, up],
            properties={"activation": activation.activation},
            result_types=[product.results[0].type],
        )
        replace(product, [gated])
        return
