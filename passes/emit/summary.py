"""The account of a compilation that a program carries: plain numbers and texts, ready for JSON."""

from __future__ import annotations

from typing import Any

from crossbank.passes.context import CompileContext
from crossbank.passes.emit.node_account import account
from crossbank.runtime.expr import Expr
from crossbank.runtime.program import Code


def summary_of(ctx: CompileContext, code: Code) -> dict[str, Any]:
    """What the phases noted.

    `macs` are those of one new token of one sequence without a past; `macs_expression` says them for any.
    """
    engines = {
        kind: {**share, "macs": _for_one_token(code, share["macs"]), "macs_expression": share["macs"]}
        for kind, share in ctx.notes.get("engines", {}).items()
    }
    nodes = account(ctx.notes.get("computed", ()), code.nodes, ctx.notes.get("folded", ()))
    return {
        "model": ctx.model_name,
        "nodes": len(ctx.notes.get("nodes", ())),
        "input_names": list(ctx.notes.get("inputs", [])),
        "output_names": list(ctx.notes.get("outputs", [])),
        "engines": engines,
        "host": list(ctx.notes.get("host", [])),
        "recognised": dict(ctx.notes.get("recognised", {})),
        "architecture": dict(ctx.notes.get("architecture", {})),
        "unrecognised": ctx.notes.get("unrecognised", []),
        "executed": nodes.executed,
        "absorbed": nodes.absorbed,
        "views": nodes.views,
        "folded": nodes.folded,
        "bound": dict(ctx.notes.get("bound", {})),
        "instructions": sum(len(stream) for block in code.blocks.values() for stream in block.streams.values()),
        "memory": {name: space.used_bytes for name, space in code.spaces.items()},
        "groups": int(ctx.notes.get("groups", 1)),
        "group": str(ctx.system.group.get("name", "")),
        "units": ctx.notes.get("units", {}),
        "context": code.limits["context"],
        "max_batch": code.limits["max_batch"],
    }


def _for_one_token(code: Code, macs: str) -> int:
    values = dict.fromkeys(Expr.of(macs).symbols, 1)
    past = code.context_of.get("past")
    return int(Expr.of(macs).evaluate({**values, past: 0} if past else values))
