"""The account of a compilation that a program carries: plain numbers and texts, ready for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from crossbank.passes.context import CompileContext
from crossbank.runtime.expr import Expr
from crossbank.runtime.program import Code

if TYPE_CHECKING:
    from crossbank.passes.assign.assign_engines import EngineShare


def summary_of(ctx: CompileContext, code: Code) -> dict[str, Any]:
    """What the phases noted.

    `macs` are those of one new token of one sequence without a past; `macs_expression` says them for any.
    """
    shares: Mapping[str, EngineShare] = ctx.notes.get("engines", {})
    single = _single_token(code)
    engines = {
        kind: {
            "nodes": share.nodes,
            "macs": int(share.macs.evaluate({name: single.get(name, 1) for name in share.macs.symbols})),
            "macs_expression": str(share.macs),
            "weight_bytes": share.weight_bytes,
        }
        for kind, share in shares.items()
    }
    return {
        "model": ctx.model_name,
        "nodes": len(ctx.notes.get("nodes", ())),
        "input_names": list(ctx.notes.get("inputs", [])),
        "output_names": list(ctx.notes.get("outputs", [])),
        "engines": engines,
        "host": list(ctx.notes.get("host", [])),
        "recognised": dict(ctx.notes.get("recognised", {})),
        "unrecognised": _plain(ctx.notes.get("unrecognised", {})),
        "folded": _plain(ctx.notes.get("folded", 0)),
        "instructions": sum(len(stream) for block in code.blocks.values() for stream in block.streams.values()),
        "memory": {name: space.used_bytes for name, space in code.spaces.items()},
        "groups": int(ctx.notes.get("groups", 1)),
        "group": str(ctx.system.group.get("name", "")),
        "units": _plain(ctx.notes.get("units", {})),
        "context": code.limits["context"],
        "max_batch": code.limits["max_batch"],
    }


def _single_token(code: Code) -> dict[str, int]:
    values = {name: 1 for name in code.registers}
    past = code.context_of.get("past")
    return {**values, past: 0} if past else values


def _plain(value: Any) -> Any:
    match value:
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]
        case list() | tuple() | set():
            return [_plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        case Expr():
            return str(value)
        case _:
            return value
