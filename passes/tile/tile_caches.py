"""Pass tile-caches: the units that each KV cache takes which is split over the units of an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.passes import ModulePass

from crossbank.dialects.llm import CacheOp
from crossbank.passes.context import CompileContext
from crossbank.passes.place.caches import cache_info
from crossbank.passes.place.mappings import mapping_of, set_mapping, tiling_attributes

if TYPE_CHECKING:
    from crossbank.backends.interface import CacheHolder


@dataclass(frozen=True)
class TileCachesPass(ModulePass):
    """Write the room of every cache that an engine holds, at the capacity that the program is compiled for.

    Before: `mapping = {engine = "banks", split = {keys = {tokens = {channel = 32, bank = 16}}, values = {…}}}`
    After:  `mapping = {engine = "banks", …, tiles = [64, 64], tile = [1024, 512], units = 128, …}`
    """

    name = "tile-caches"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompileContext)
        for cache in op.body.block.ops:
            mapping = mapping_of(cache)
            name = mapping.get("engine")
            if not isinstance(cache, CacheOp) or "split" not in mapping or not isinstance(name, StringAttr):
                continue
            engine = ctx.system.engines[name.data]
            holder: CacheHolder | Any = ctx.backend(engine.kind)
            tiling = holder.cache_units(cache_info(cache, ctx), engine)
            set_mapping(cache, {**mapping, **tiling_attributes(tiling)}, inherent=False)
