"""Pass split-weights: which engine holds each static matrix, and into how many parts it is cut along K and N."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ArrayAttr, BoolAttr, IntegerAttr, ModuleOp, StringAttr, i64
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from crossbank.dialects.imc import UseOp, WeightOp
from crossbank.dialects.llm import LinearOp
from crossbank.dialects.shape import shape_of
from crossbank.passes.context import CompileContext
from crossbank.passes.place.mappings import mapping_of, set_mapping
from crossbank.passes.tile.tile_weights import weight_info


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
    """Ask the engine of each product with a static matrix whether it holds it, and cut it.

    Partial sums of the row parts are added; column parts lie side by side.

    Before: `"imc.weight"() <{sym_name = "up", tensors = ["up.0", "up.1"], type = tensor<512x1024xf32>}>`
    After:  `… mapping = {engine = "arrays", transposed = false, parts = [2, 4]}`

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
            tiling = ctx.backend(engine.kind).tile(weight_info(weight, ctx, transposed), engine)
            if tiling is not None:
                parts = ArrayAttr([IntegerAttr(count, i64) for count in tiling.grid])
                set_mapping(
                    weight, {"engine": engine_name, "transposed": BoolAttr.from_bool(transposed), "parts": parts}
                )
