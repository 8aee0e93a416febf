"""KV caches as families see them, at the capacity that the program is compiled for."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp

from crossbank.dialects.llm import AttentionOp, CacheOp
from crossbank.dialects.mapping import CacheInfo
from crossbank.passes.capacity import DEFAULT_CONTEXT
from crossbank.passes.context import CompileContext
from crossbank.runtime.expr import Expr


def cache_info(cache: CacheOp, ctx: CompileContext) -> CacheInfo:
    """The form of a cache."""
    return CacheInfo(
        name=cache.sym_name.data,
        calls=max(len(cache.keys_in), len(cache.keys_out), 1),
        max_batch=ctx.options.max_batch,
        groups=cache.key_value_heads.value.data,
        context=ctx.options.context or DEFAULT_CONTEXT,
        head_dim=cache.head_dim.value.data,
        dtype=cache.dtype.data,
        batch=Expr.of(cache.batch.data),
        past=Expr.of(cache.past.data),
        new=Expr.of(cache.new.data),
    )


def cache_users(module: ModuleOp) -> dict[str, AttentionOp]:
    """The first attention on each cache, by the cache's symbol."""
    users: dict[str, AttentionOp] = {}
    for func in module.body.block.ops:
        if isinstance(func, FuncOp):
            for op in func.body.block.ops:
                if isinstance(op, AttentionOp) and op.cache is not None:
                    users.setdefault(op.cache.root_reference.data, op)
    return users
