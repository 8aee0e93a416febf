"""The functions that take KV caches from a program's inputs and give them to its outputs, and their states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crossbank.dialects.imc import ViewAttr
from crossbank.dialects.llm import AttentionOp, CacheOp
from crossbank.dialects.mapping import CacheInfo
from crossbank.passes.lower.lowering import LoweringContext
from crossbank.passes.lower.program_builder import PORTS, ProgramBuilder
from crossbank.passes.place.mappings import placement_of
from crossbank.runtime.expr import Expr

if TYPE_CHECKING:
    from crossbank.backends.interface import CacheHolder

IMPORT, EXPORT = "import_cache", "export_cache"


def declare_states(builder: ProgramBuilder) -> None:
    """Two states per call of each cache: its keys and its values."""
    for symbol, cache in builder.cache_ops.items():
        parts = (("keys", cache.keys_in, cache.keys_out), ("values", cache.values_in, cache.values_out))
        for call in range(builder.caches[symbol].calls):
            for part, inputs, outputs in parts:
                names = [entry.data[call].data if call < len(entry.data) else "" for entry in (inputs, outputs)]
                builder.state(f"{symbol}.{call}.{part}", *names, past=Expr.of(cache.past.data))


def lower_transfer(builder: ProgramBuilder, users: dict[str, AttentionOp], function: str) -> None:
    """Write the function `import_cache` or `export_cache`, if the program has caches with such ports."""
    output = function == EXPORT
    held = {symbol: names for symbol, op in builder.cache_ops.items() if all(names := _ports(op, output)) and names[0]}
    if not held:
        return
    entry = LoweringContext(builder, builder.block(function, 1, entry=True))
    for symbol, (key_ports, value_ports) in held.items():
        cache = builder.caches[symbol]
        to = LoweringContext(builder, builder.block(f"{function}_{symbol}", cache.calls, entry=False))
        to.source = users.get(symbol)
        shape = (cache.batch, cache.groups, cache.past + cache.new if output else cache.past, cache.head_dim)
        ports: list[ViewAttr] = []
        for part, names in (("keys", key_ports), ("values", value_ports)):
            stack = builder.stack(f"{function}_{symbol}_{part}", cache.dtype, shape, cache.calls, PORTS, kept=True)
            ports.append(stack.at(to.param(f"{part}_offset", stack.offsets)))
            for call, name in enumerate(names):
                builder.port(function, name, output, stack.slot(call))
        _transfer(to, cache, ports, users.get(symbol), output)
        entry.source = users.get(symbol)
        entry.call(to.block, cache.calls)


def _ports(cache: CacheOp, output: bool) -> tuple[list[str], list[str]]:
    keys, values = (cache.keys_out, cache.values_out) if output else (cache.keys_in, cache.values_in)
    return [name.data for name in keys], [name.data for name in values]


def _transfer(
    to: LoweringContext, cache: CacheInfo, ports: Sequence[ViewAttr], user: AttentionOp | None, output: bool
) -> None:
    builder = to.builder
    if user is not None and placement_of(builder.cache_ops[cache.name], builder.ctx) is not None:
        engine = to.engine_of(user)
        holder: CacheHolder = builder.ctx.backend(engine.kind)  # pyright: ignore[reportAssignmentType]
        write = holder.lower_cache_export if output else holder.lower_cache_import
        write(cache.name, ports[0], ports[1], engine, to)
        return
    for port, whole in zip(ports, to.cache(cache.name), strict=True):
        used = ViewAttr.of(whole.buffer.data, cache.dtype, port.shape_exprs, whole.stride_exprs, whole.offset_expr)
        to.copy(*((port, used) if output else (used, port)))
