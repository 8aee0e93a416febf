"""Pass tile-weights: the tiles of each static matrix that an engine holds, and the units that they take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xdsl.context import Context
from xdsl.dialects.builtin import IntegerAttr, ModuleOp, StringAttr
from xdsl.passes import ModulePass

from crossbank.dialects.imc import WeightOp
from crossbank.dialects.mapping import WeightInfo
from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.passes.context import CompileContext
from crossbank.passes.place.mappings import mapping_of, set_mapping, splits_of, tiling_attributes

if TYPE_CHECKING:
    from crossbank.backends.interface import WeightHolder


def weight_info(weight: WeightOp, ctx: CompileContext, transposed: bool | None = None) -> WeightInfo:
    """A static tensor as families see it: [K, N], or [N, K] where `transposed` (None: what the mapping says).

    A tensor that is no matrix counts as [all but the last dimension, last dimension].
    """
    if transposed is None:
        noted = mapping_of(weight).get("transposed")
        transposed = isinstance(noted, IntegerAttr) and bool(noted.value.data)
    *outer, last = (dim.constant for dim in shape_of(weight.type)) if shape_of(weight.type) else (1,)
    rows = 1
    for dim in outer:
        rows *= dim
    names = tuple(tensor.data for tensor in weight.tensors)
    known = all(ctx.tensors.entry(name).data is not None for name in names)
    return WeightInfo(
        name=weight.sym_name.data,
        tensors=names,
        dtype=dtype_of(weight.type),
        in_features=last if transposed else rows,
        out_features=rows if transposed else last,
        transposed=transposed,
        load=ctx.tensors.load if known else None,
    )


@dataclass(frozen=True)
class TileWeightsPass(ModulePass):
    """Write the tiling of every matrix that is split over the units of an engine.

    Before: `mapping = {engine = "arrays", transposed = false, split = {rows = {array = 2}, columns = {array = 4}}}`
    After:  `mapping = {engine = "arrays", …, tiles = [2, 4], tile = [256, 256], units = 8, units_per_group = 64, …}`
    """

    name = "tile-weights"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompileContext)
        for weight in op.body.block.ops:
            if not isinstance(weight, WeightOp):
                continue
            splits, mapping = splits_of(weight), mapping_of(weight)
            name = mapping.get("engine")
            if splits is None or not isinstance(name, StringAttr):
                continue
            engine = ctx.system.engines[name.data]
            holder: WeightHolder | Any = ctx.backend(engine.kind)
            tiling = holder.tile(weight_info(weight, ctx), splits, engine)
            set_mapping(weight, {**mapping, **tiling_attributes(tiling)})
