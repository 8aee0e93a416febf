"""How large a program's dimensions can get: bounds of its registers for the context and batch it is compiled for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp

from crossbank.dialects.imc import PortOp
from crossbank.dialects.shape import is_tensor, shape_of
from crossbank.passes.context import CompileContext
from crossbank.runtime.expr import Bounds, Expr, product
from crossbank.runtime.numerics import dtype_of

DEFAULT_CONTEXT = 2048
ALIGNMENT_BYTES = 64
TOTAL = "total_tokens"


@dataclass(frozen=True)
class Capacity:
    """Bounds of the dimension registers; `replacements` ties the past to the total, so that sums stay tight."""

    context: int
    max_batch: int
    dimensions: tuple[str, ...]
    roles: Mapping[str, str]
    """Which dimension is "batch", "sequence", "past", and "slots", the length of caches that do not grow."""
    ranges: Mapping[str, Bounds]
    replacements: Mapping[str, Expr]

    def most(self, value: Expr) -> int:
        """The greatest value of an expression of dimensions."""
        return value.substitute(self.replacements).bounds(self.ranges)[1]

    def size_bytes(self, dtype: str, shape: Iterable[int | Expr]) -> int:
        """The bytes of the largest tensor of a shape, rounded up to the alignment of buffers."""
        size = self.most(product(list(shape))) * dtype_of(dtype).itemsize
        return aligned(max(size, 1))


def aligned(size_bytes: int) -> int:
    """A size or address rounded up to `ALIGNMENT_BYTES`."""
    return -(-size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def _guess(names: Iterable[str]) -> dict[str, str]:
    roles: dict[str, str] = {}
    for name in names:
        lower = name.lower()
        if "batch" in lower:
            roles.setdefault("batch", name)
        elif "past" in lower and "seq" not in lower.split("past")[0]:
            roles.setdefault("past", name)
        elif ("seq" in lower or lower in ("s", "tokens")) and "total" not in lower:
            roles.setdefault("sequence", name)
    return roles


def _dimensions(module: ModuleOp) -> tuple[str, ...]:
    """Names of all dimensions in the program's ports (the arguments and results of @main in value form), in order."""
    found: dict[str, None] = {}
    for op in module.body.block.ops:
        if isinstance(op, FuncOp) and op.sym_name.data == "main":
            for kind in (*op.function_type.inputs, *op.function_type.outputs):
                if is_tensor(kind):
                    found.update(dict.fromkeys(sorted(name for dim in shape_of(kind) for name in dim.symbols)))
        elif isinstance(op, PortOp):
            found.update(dict.fromkeys(sorted(name for dim in op.view.shape_exprs for name in dim.symbols)))
    return tuple(found)


def capacity_of(ctx: CompileContext, module: ModuleOp, more: Iterable[str] = ()) -> Capacity:
    """The capacity of a program; `more` names dimensions beside those of its ports.

    Roles come from the notes of import and raise, or from the names where there are none.
    """
    names = tuple(dict.fromkeys((*_dimensions(module), *more)))
    context = ctx.options.context or DEFAULT_CONTEXT
    noted: Mapping[str, str] = ctx.notes.get("roles") or ctx.notes.get("dims", {}).get("roles") or {}
    guessed = _guess(names)
    roles = dict(noted) or guessed
    if guessed.get("past") not in (None, *roles.values()):
        roles.setdefault("past", guessed["past"])  # without a cache, as of a mask over past and new tokens
    ranges: dict[str, Bounds] = {name: (1, context) for name in names}
    ranges |= {name: (0, context) for name in ctx.notes.get("dims", {}).get("empty", ()) if name in ranges}
    replacements: dict[str, Expr] = {}
    if "batch" in roles:
        ranges[roles["batch"]] = (1, ctx.options.max_batch)
    if "past" in roles:
        past = roles["past"]
        ranges[past] = (0, max(context - max(ctx.notes.get("dims", {}).get("growth", 1), 1), 0))
        if "sequence" in roles:
            ranges[roles["sequence"]] = (1, context)
            ranges[TOTAL] = (1, context)
            replacements[past] = Expr.symbol(TOTAL) - Expr.symbol(roles["sequence"])
    return Capacity(context, ctx.options.max_batch, names, roles, ranges, replacements)
