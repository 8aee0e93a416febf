"""Pass split-weights: which engine holds each static matrix, and over which of its units it is spread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xdsl.context import Context
from xdsl.dialects.builtin import BoolAttr, ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from crossbank.dialects.imc import UseOp, WeightOp
from crossbank.dialects.llm import LinearOp
from crossbank.dialects.shape import shape_of
from crossbank.passes.context import CompileContext
from crossbank.passes.place.mappings import mapping_of, set_mapping, split_attribute
from crossbank.passes.tile.tile_weights import weight_info

if TYPE_CHECKING:
    from crossbank.backends.interface import WeightHolder


def products(module: ModuleOp) -> Iterator[tuple[Operation, str, bool]]:
    """Each product with a static matrix that has an engine: the operation, the weight's symbol, if it is transposed."""
    for func in module.body.block.ops:
        if not isinstance(func, FuncOp):
            continue
        for op in func.body.block.ops:
            match op:
                case LinearOp():
                    weight, transposed = op.weight, bool(op.transposed.value.data)
                case Operation(name="onnx.MatMul"):
                    weight, transposed = op.operands[1], False
                case _:
                    continue
            if _is_matrix(weight) and "engine" in op.attributes:
                assert isinstance(weight.owner, UseOp)
                yield op, weight.owner.weight.root_reference.data, transposed


def _is_matrix(value: SSAValue) -> bool:
    return isinstance(value.owner, UseOp) and len(shape_of(value)) == 2


@dataclass(frozen=True)
class SplitWeightsPass(ModulePass):
    """Ask the engine of each product with a static matrix whether it holds it, and over which units it spreads it.

    Row parts work side by side on partial sums, which are added; column parts lie side by side.

    Before: `"imc.weight"() <{sym_name = "up", tensors = ["up.0", "up.1"], type = tensor<512x1024xf32>}>`
    After:  `… mapping = {engine = "arrays", transposed = false, split = {rows = {array = 2}, columns = {array = 4}}}`

    A matrix that its engine does not hold stays as it is: it lies in plain memory.
    """

    name = "split-weights"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompileContext)
        weights = {entry.sym_name.data: entry for entry in op.body.block.ops if isinstance(entry, WeightOp)}
        for user, symbol, transposed in products(op):
            engine_name = user.attributes["engine"]
            weight = weights[symbol]
            assert isinstance(engine_name, StringAttr)
            if "engine" in mapping_of(weight):
                continue
            engine = ctx.system.engines[engine_name.data]
            holder: WeightHolder | Any = ctx.backend(engine.kind)
            ask = getattr(holder, "split_weight", None)
            if ask is not None:
                splits = split_attribute(ask(weight_info(weight, ctx, transposed), engine))
                set_mapping(
                    weight, {"engine": engine_name, "transposed": BoolAttr.from_bool(transposed), "split": splits}
                )
