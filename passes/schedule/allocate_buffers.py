"""Pass allocate-buffers: an address for each buffer; buffers whose lives don't overlap share memory."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import IntegerAttr, ModuleOp, i64
from xdsl.passes import ModulePass

from crossbank.dialects.imc import BlockOp, BufferOp
from crossbank.passes.capacity import aligned
from crossbank.passes.context import CompileContext
from crossbank.passes.lower.program_builder import MEMORY
from crossbank.passes.schedule.lifetimes import Lifetime, lifetimes
from crossbank.runtime.expr import Expr
from crossbank.runtime.program import ProgramError
from crossbank.runtime.tables import MAX_SPACE_BYTES


@dataclass(frozen=True)
class AllocateBuffersPass(ModulePass):
    """Give each buffer an address in its space: kept ones first, then the others by first fit, the largest first.

    Before: `"imc.buffer"() <{sym_name = "scores", space = "mem", size = "4096", kept = false}>`
    After:  `"imc.buffer"() <{sym_name = "scores", …, address = 8192}>`

    Functions run one after another and share memory. Notes "memory" (bytes used, by space). ProgramError CB0312 where a
    memory of the system with the name of the space holds less, or a program has fewer addresses.
    """

    name = "allocate-buffers"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompileContext)
        blocks = {entry.sym_name.data: entry for entry in op.body.block.ops if isinstance(entry, BlockOp)}
        buffers = [entry for entry in op.body.block.ops if isinstance(entry, BufferOp)]
        lives = [lifetimes(block, blocks) for block in blocks.values() if block.entry.value.data]
        used: dict[str, int] = {}
        for space in dict.fromkeys(buffer.space.data for buffer in buffers):
            here = [buffer for buffer in buffers if buffer.space.data == space]
            end = 0
            _check_addresses(ctx, space, max(map(_size, here)))
            for buffer in here:
                if buffer.kept.value.data:
                    buffer.address = IntegerAttr(end, i64)
                    end += aligned(_size(buffer))
            used[space] = _share([b for b in here if not b.kept.value.data], lives, end)
            _check_addresses(ctx, space, used[space])
            _check(ctx, space, used[space])
        ctx.notes["memory"] = used


def _size(buffer: BufferOp) -> int:
    return Expr.of(buffer.size.data).constant


def _share(buffers: list[BufferOp], lives: list[dict[str, Lifetime]], base: int) -> int:
    """Place buffers from `base` on; gives the end of the memory used."""
    placed: list[tuple[int, int, list[Lifetime | None]]] = []
    end = base
    for buffer in sorted(buffers, key=lambda entry: (-_size(entry), entry.sym_name.data)):
        size, mine = aligned(_size(buffer)), [life.get(buffer.sym_name.data) for life in lives]
        address = base
        for start, stop, others in sorted(placed, key=lambda entry: entry[0]):
            if start < address + size and address < stop and _meet(mine, others):
                address = stop
        buffer.address = IntegerAttr(address, i64)
        placed.append((address, address + size, mine))
        end = max(end, address + size)
    return end


def _meet(mine: list[Lifetime | None], others: list[Lifetime | None]) -> bool:
    return any(a is not None and b is not None and a.overlaps(b) for a, b in zip(mine, others, strict=True))


def _check_addresses(ctx: CompileContext, space: str, used: int) -> None:
    """ProgramError CB0312 for more bytes than a program has addresses."""
    if used > MAX_SPACE_BYTES:
        raise ProgramError(
            "CB0312",
            f"inputs, outputs, buffers and caches need {used} bytes of memory {space} at context "
            f"{ctx.options.context} and batch {ctx.options.max_batch}; a program addresses {MAX_SPACE_BYTES}",
            ctx.model_name,
            "give a smaller --context or --max-batch, or export inputs of smaller dimensions",
        )


def _check(ctx: CompileContext, space: str, used: int) -> None:
    """Take as many groups as the working memory needs; ProgramError CB0312 where the user allows fewer."""
    memory = ctx.system.memory_for("working") if space == MEMORY else None
    if memory is None:
        return
    each = int(memory["capacity_bytes"])
    needed, allowed = -(-used // each), ctx.options.groups
    if allowed is not None and needed > allowed:
        group = f"{ctx.system.group.get('name', 'group')}{'s' if allowed > 1 else ''}"
        raise ProgramError(
            "CB0312",
            f"buffers and caches need {used} bytes at context {ctx.options.context} and batch {ctx.options.max_batch}; "
            f"memory {memory['name']!r} of {allowed} {group} (--chips {allowed}) has {allowed * each}",
            ctx.model_name,
            f"let the compiler choose: --chips auto ({needed}), or give a smaller --context or --max-batch",
        )
    ctx.notes["groups"] = max(int(ctx.notes.get("groups", 1)), needed)
