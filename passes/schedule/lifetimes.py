"""From when to when each buffer is in use: block order, with calls and loops as regions of positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xdsl.ir import Block

from crossbank.dialects.imc import BlockOp, CallOp, LoopOp
from crossbank.dialects.instructions import field_accesses


@dataclass(frozen=True)
class Lifetime:
    """Positions from `start` to `end`, both included."""

    start: int
    end: int

    def overlaps(self, other: Lifetime) -> bool:
        return self.start <= other.end and other.start <= self.end


@dataclass
class _Timeline:
    blocks: Mapping[str, BlockOp]
    position: int = 0
    spans: list[list[int]] = field(default_factory=list[list[int]])
    """First and last position of each region (a loop's body, or a called block)."""
    touches: dict[str, list[tuple[int, tuple[int, ...]]]] = field(
        default_factory=dict[str, "list[tuple[int, tuple[int, ...]]]"]
    )
    """For each buffer: position and enclosing regions, outermost first, of each access."""

    def walk(self, block: Block, regions: tuple[int, ...]) -> None:
        for op in block.ops:
            if isinstance(op, LoopOp | CallOp):
                span = [self.position, self.position]
                self.spans.append(span)
                inside = (*regions, len(self.spans) - 1)
                body = op.body if isinstance(op, LoopOp) else self.blocks[op.callee.root_reference.data].body
                self.walk(body.block, inside)
                span[1] = self.position
            for entry in field_accesses(op):
                self.touches.setdefault(entry.view.buffer.data, []).append((self.position, regions))
            self.position += 1


def lifetimes(entry: BlockOp, blocks: Mapping[str, BlockOp]) -> dict[str, Lifetime]:
    """The lifetime of each buffer in a program function.

    A buffer touched only inside a region lives there, from its first access to its last: each trip or call starts
    anew. One that is touched outside too must outlast the whole region, for a later trip may need it again.
    """
    timeline = _Timeline(blocks)
    timeline.walk(entry.body.block, ())
    found: dict[str, Lifetime] = {}
    for buffer, touches in timeline.touches.items():
        shared = 0
        paths = [regions for _, regions in touches]
        while all(len(path) > shared for path in paths) and len({path[shared] for path in paths}) == 1:
            shared += 1
        bounds: list[int] = []
        for position, path in touches:
            bounds += timeline.spans[path[shared]] if len(path) > shared else [position]
        found[buffer] = Lifetime(min(bounds), max(bounds))
    return found
