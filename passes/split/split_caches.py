"""Pass split-caches: over which units of the engine that holds it a KV cache is spread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xdsl.context import Context
from xdsl.dialects.builtin import DictionaryAttr, ModuleOp, StringAttr
from xdsl.passes import ModulePass

from crossbank.dialects.llm import CacheOp
from crossbank.passes.context import CompileContext
from crossbank.passes.place.caches import cache_info, cache_users
from crossbank.passes.place.mappings import set_mapping, split_attribute

if TYPE_CHECKING:
    from crossbank.backends.interface import CacheHolder


@dataclass(frozen=True)
class SplitCachesPass(ModulePass):
    """Ask the engine of each attention whether it holds its cache, and over which units it spreads heads and tokens.

    Before: `"llm.cache"() <{sym_name = "cache0", key_value_heads = 8, head_dim = 128, …}>`
    After:  `… {mapping = {engine = "banks", split = {keys = {tokens = {channel = 32, bank = 16}}, values = {…}}}}`

    A cache that its engine does not hold stays as it is: it lies in plain memory.
    """

    name = "split-caches"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompileContext)
        users = cache_users(op)
        for cache in op.body.block.ops:
            user = users.get(cache.sym_name.data) if isinstance(cache, CacheOp) else None
            name = None if user is None else user.attributes.get("engine")
            if not isinstance(cache, CacheOp) or not isinstance(name, StringAttr):
                continue
            engine = ctx.system.engines[name.data]
            holder: CacheHolder | Any = ctx.backend(engine.kind)
            ask = getattr(holder, "split_cache", None)
            if ask is not None:
                splits = ask(cache_info(cache, ctx), engine)
                both = {"keys": split_attribute(splits.keys), "values": split_attribute(splits.values)}
                set_mapping(cache, {"engine": name, "split": DictionaryAttr(both)}, inherent=False)
