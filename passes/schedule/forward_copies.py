"""Pass forward-copies: let a tensor be written where it is to end, instead of copying it there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation
from xdsl.passes import ModulePass

from crossbank.dialects.block_values import block_values, set_block_values
from crossbank.dialects.imc import BlockOp, BufferOp, CallOp, ViewAttr, contiguous
from crossbank.dialects.instructions import InstructionOp, field_accesses
from crossbank.passes.capacity import Capacity, capacity_of
from crossbank.passes.context import CompileContext
from crossbank.runtime.expr import product
from crossbank.runtime.isa import Access


@dataclass(frozen=True)
class Touch:
    """An access to a buffer, at the place in the block's own list of the operation that it is in."""

    place: int
    access: Access
    op: Operation
    here: bool
    """Whether the instruction is in this block, not in one that it calls."""


@dataclass(frozen=True)
class ForwardCopiesPass(ModulePass):
    """Remove a copy of a whole tensor to another place, where its producer can write there at once.

    Before: `"v.add"() <{dst = %a …}>  "v.copy"() <{dst = %carried …, src = %a …}>`
    After:  `"v.add"() <{dst = %carried …}>`

    That is so where nothing touches the target between the first write of the source and the copy, and where no one of
    both is written while the other is still read.
    """

    name = "forward-copies"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompileContext)
        capacity = capacity_of(ctx, op)
        blocks = {entry.sym_name.data: entry for entry in op.body.block.ops if isinstance(entry, BlockOp)}
        buffers = {entry.sym_name.data: entry for entry in op.body.block.ops if isinstance(entry, BufferOp)}
        owners = _owners(blocks)
        for name, block in blocks.items():
            for copy in [entry for entry in block.body.block.ops if is_copy(entry)]:
                target, source = copy_views(copy)
                found = buffers.get(source.buffer.data)
                if (
                    found is None
                    or found.kept.value.data
                    or owners.get(source.buffer.data) != {name}
                    or source.buffer == target.buffer
                    or not _whole(target, source, found, capacity)
                    or not _free(block, blocks, copy, target.buffer.data, source.buffer.data)
                ):
                    continue
                _rename(block, source.buffer.data, target)
                copy.detach()
                copy.erase()
                found.detach()
                found.erase()
                del buffers[source.buffer.data]
                owners.setdefault(target.buffer.data, set()).add(name)


def is_copy(op: Operation) -> bool:
    """Whether an instruction copies one view to another and does nothing else."""
    return isinstance(op, InstructionOp) and op.INSTRUCTION.mnemonic == "copy" and len(op.INSTRUCTION.fields) == 2


def copy_views(op: Operation) -> tuple[ViewAttr, ViewAttr]:
    """The target and the source of a copy."""
    views = {entry.access: entry.view for entry in field_accesses(op)}
    return views[Access.WRITE], views[Access.READ]


def _owners(blocks: dict[str, BlockOp]) -> dict[str, set[str]]:
    """In which blocks each buffer is touched."""
    owners: dict[str, set[str]] = {}
    for name, block in blocks.items():
        for op in block.walk():
            for entry in field_accesses(op):
                owners.setdefault(entry.view.buffer.data, set()).add(name)
    return owners


def _whole(target: ViewAttr, source: ViewAttr, buffer: BufferOp, capacity: Capacity) -> bool:
    """Whether both views are contiguous and alike, and the source is all of its buffer."""
    shapes = [view.shape_exprs for view in (target, source)]
    return (
        target.dtype == source.dtype
        and product(shapes[0]) == product(shapes[1])
        and all(view.stride_exprs == contiguous(shape) for view, shape in zip((target, source), shapes, strict=True))
        and source.offset.data == "0"
        and str(capacity.size_bytes(source.dtype.data, shapes[1])) == buffer.size.data
    )


def _touches(block: BlockOp, blocks: dict[str, BlockOp], buffer: str) -> Iterator[Touch]:
    for place, op in enumerate(block.body.block.ops):
        for inner in op.walk():
            for entry in field_accesses(inner):
                if entry.view.buffer.data == buffer:
                    yield Touch(place, entry.access, inner, True)
            if isinstance(inner, CallOp):
                for touch in _touches(blocks[inner.callee.root_reference.data], blocks, buffer):
                    yield Touch(place, touch.access, touch.op, False)


def _free(block: BlockOp, blocks: dict[str, BlockOp], copy: Operation, target: str, source: str) -> bool:
    sources = list(_touches(block, blocks, source))
    targets = list(_touches(block, blocks, target))
    place = next(touch.place for touch in sources if touch.op is copy)
    first = min(touch.place for touch in sources)
    if any(first <= touch.place < place for touch in targets):
        return False
    later = [touch for touch in sources if touch.place > place]
    if not later:
        return True
    last = max(touch.place for touch in later)
    return all(touch.access is Access.READ for touch in later) and not any(
        touch.access is not Access.READ and place < touch.place <= last for touch in targets
    )


def _rename(block: BlockOp, buffer: str, target: ViewAttr) -> None:
    for op in block.walk():
        for entry in field_accesses(op):
            if entry.view.buffer.data == buffer:
                op.properties[entry.field] = _moved(entry.view, target)
    values = block_values(block)
    if any(value.view.buffer.data == buffer for value in values):
        set_block_values(
            block,
            [
                replace(value, view=_moved(value.view, target)) if value.view.buffer.data == buffer else value
                for value in values
            ],
        )


def _moved(view: ViewAttr, target: ViewAttr) -> ViewAttr:
    """A view of a buffer that has become part of another."""
    return ViewAttr.of(
        target.buffer.data,
        view.dtype.data,
        view.shape_exprs,
        view.stride_exprs,
        view.offset_expr + target.offset_expr,
    )
