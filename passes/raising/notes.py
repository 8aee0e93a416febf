"""What raising tells the summary: folded nodes and what wasn't recognised, kept in the context's notes."""

from __future__ import annotations

from collections.abc import Iterable

from xdsl.context import Context
from xdsl.ir import Operation

from crossbank.dialects.location import node_name
from crossbank.passes.context import CompileContext
from crossbank.passes.raising.matching import kind
from crossbank.runtime.expr import Expr


def fold(ctx: Context, names: Iterable[str]) -> None:
    """Note ONNX nodes that were folded away: nothing computes them any more."""
    if isinstance(ctx, CompileContext):
        ctx.notes.setdefault("folded", []).extend(names)


def unrecognised(ctx: Context, op: Operation, reason: str) -> None:
    """Note an operation that a pattern nearly fits: (operator, ONNX node, reason)."""
    if isinstance(ctx, CompileContext):
        noted: list[tuple[str, str, str]] = ctx.notes.setdefault("unrecognised", [])
        entry = (kind(op), node_name(op), reason)
        if entry not in noted:
            noted.append(entry)


def roles_of(ctx: CompileContext) -> dict[str, str]:
    """The names of the batch, sequence and past dimensions, as far as they are known, to be added to."""
    roles: dict[str, str] = ctx.notes.setdefault("dims", {}).setdefault("roles", {})
    return roles


def note_growth(ctx: CompileContext, tokens: Expr) -> None:
    """Note by how many tokens each step makes caches longer, where that is fixed."""
    if tokens.is_constant:
        dims: dict[str, int] = ctx.notes.setdefault("dims", {})
        dims["growth"] = max(dims.get("growth", 0), tokens.constant)
