"""KV caches in working memory: what a step appends and what it sees, for any family that keeps them there."""

from __future__ import annotations

from dataclasses import dataclass

from crossbank.backends.interface import Lowering
from crossbank.backends.simd.views import sliced
from crossbank.dialects.imc import ViewAttr
from crossbank.dialects.llm import AppendOp, AttentionOp
from crossbank.runtime.expr import Expr


@dataclass(frozen=True)
class CacheViews:
    """One cache of a step: where new tokens go [batch, G, new, D], and all in use [batch, G, past + new, D]."""

    new: ViewAttr
    valid: ViewAttr


def cache_views(to: Lowering, symbol: str) -> tuple[CacheViews, CacheViews]:
    """The key and the value cache of a call, with the strides of their capacity."""
    batch, past, new = to.cache_extent(symbol)
    keys, values = (_views(whole, batch, past, new) for whole in to.cache(symbol))
    return keys, values


def _views(whole: ViewAttr, batch: Expr, past: Expr, new: Expr) -> CacheViews:
    rows = sliced(whole, 0, 0, batch)
    return CacheViews(sliced(rows, 2, past, new), sliced(rows, 2, 0, past + new))


def append(to: Lowering, engine: str, op: AttentionOp, keys: ViewAttr, values: ViewAttr) -> tuple[ViewAttr, ViewAttr]:
    """Copy new keys and values [batch, G, new, D] to their caches with simd engine `engine`; gives all in use."""
    assert op.cache is not None
    found = cache_views(to, op.cache.root_reference.data)
    if op.first is not None:
        keys, values = (
            _moved_on(to, engine, op, cache.valid, source) for cache, source in zip(found, (keys, values), strict=True)
        )
        return keys, values
    for cache, source in zip(found, (keys, values), strict=True):
        if op.starts is not None:
            place(to, engine, op, cache.valid, source)
        else:
            kind = "copy" if source.dtype == cache.new.dtype else "cast"
            to.emit(engine, kind, dst=cache.new, src=source)
    return found[0].valid, found[1].valid


def _moved_on(to: Lowering, engine: str, op: AttentionOp, cache: ViewAttr, new: ViewAttr) -> ViewAttr:
    """A copy [batch, G, past + new, D] of a cache with new tokens in place; what stays of it goes back to the cache."""
    assert op.first is not None
    batch, groups, past, width = cache.shape_exprs
    tokens = new.shape_exprs[2]
    whole = to.scratch(cache.dtype.data, [batch, groups, past + tokens, width])
    to.emit(engine, "copy", dst=sliced(whole, 2, 0, past), src=cache)
    to.emit(engine, "fill", dst=sliced(whole, 2, past, tokens), value=0.0)
    place(to, engine, op, whole, new)
    to.emit(engine, "evict", dst=cache, src=whole, first=to.view(op.first))
    return whole


def place(to: Lowering, engine: str, op: AttentionOp | AppendOp, whole: ViewAttr, new: ViewAttr) -> None:
    """Write new tokens [batch, G, new, D] into [batch, G, tokens, D] from each sequence's own place on."""
    assert op.starts is not None
    flags = {
        name: "yes" if flag is not None and flag.value.data else "no"
        for name, flag in (("clear", op.clear), ("circular", op.circular))
    }
    to.emit(engine, "place", dst=whole, src=new, starts=to.view(op.starts), **flags)
