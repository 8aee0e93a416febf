"""Pass insert-tokens: engines run side by side, and wait for each other where they touch the same memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from xdsl.context import Context
from xdsl.dialects.builtin import IntegerAttr, ModuleOp, StringAttr, i64
from xdsl.ir import Block, Operation
from xdsl.passes import ModulePass
from xdsl.rewriter import InsertPoint, Rewriter

from crossbank.dialects.imc import BlockOp, BufferOp, CallOp, LoopOp, SignalOp, WaitOp
from crossbank.dialects.instructions import InstructionOp, field_accesses
from crossbank.dialects.location import copy_location
from crossbank.passes.context import CompileContext
from crossbank.runtime.expr import Expr
from crossbank.runtime.isa import Access

Range: TypeAlias = "tuple[str, int, int]"
"""A space and the bytes of a buffer in it, from start to end."""


@dataclass
class Footprint:
    """The memory that an engine reads and writes."""

    reads: set[Range] = field(default_factory=set[Range])
    writes: set[Range] = field(default_factory=set[Range])

    def add(self, other: Footprint) -> None:
        self.reads |= other.reads
        self.writes |= other.writes

    def conflicts(self, other: Footprint) -> bool:
        """Whether one writes what the other reads or writes."""
        return _meet(self.writes, other.writes) or _meet(self.writes, other.reads) or _meet(self.reads, other.writes)


def _meet(ours: set[Range], others: set[Range]) -> bool:
    return any(a[0] == b[0] and a[1] < b[2] and b[1] < a[2] for a in ours for b in others)


@dataclass
class Item:
    """An operation of a body as the engines see it; `joined` where all its engines wait for each other at its end."""

    op: Operation
    footprints: dict[str, Footprint]
    joined: bool


@dataclass
class Sequencer:
    """Inserts the tokens of one program."""

    ranges: Mapping[str, Range]
    blocks: Mapping[str, BlockOp]
    tokens: int = 0
    done: dict[str, Item] = field(default_factory=dict[str, Item])

    def sequence(self, body: Block, again: bool) -> tuple[dict[str, Footprint], bool]:
        """Put tokens into a body (which runs `again` and again, or once).

        Gives what each engine touches, and whether all wait for each other at the end.
        """
        items = [self._item(op) for op in body.ops]
        level = _Level(self, [item for item in items if item.footprints])
        level.order()
        total: dict[str, Footprint] = {}
        for item in items:
            for engine, footprint in item.footprints.items():
                total.setdefault(engine, Footprint()).add(footprint)
        engines = list(total)
        meet = any(total[a].conflicts(total[b]) for i, a in enumerate(engines) for b in engines[:i])
        if again and meet:
            level.join(body, engines)
        return total, again and meet

    def _item(self, op: Operation) -> Item:
        match op:
            case InstructionOp():
                found = Footprint()
                for entry in field_accesses(op):
                    memory = self.ranges.get(entry.view.buffer.data)
                    if memory is not None:
                        if entry.access is not Access.WRITE:
                            found.reads.add(memory)
                        if entry.access is not Access.READ:
                            found.writes.add(memory)
                return Item(op, {op.engine.data: found}, True)
            case LoopOp():
                total, joined = self.sequence(op.body.block, again=True)
                trips = Expr.of(op.trips.data)
                return Item(op, total, joined and trips.is_constant and trips.constant > 0)
            case CallOp():
                name = op.callee.root_reference.data
                if name not in self.done:
                    total, joined = self.sequence(self.blocks[name].body.block, again=True)
                    self.done[name] = Item(op, total, joined)
                return Item(op, self.done[name].footprints, self.done[name].joined)
            case _:
                return Item(op, {}, True)


class _Level:
    """The items of one body, and what each engine knows to have finished on the others.

    `known[e][f]` is the last item of engine f that engine e has waited for, directly or through others; so a wait that
    another implies is never inserted.
    """

    def __init__(self, sequencer: Sequencer, items: list[Item]) -> None:
        self.sequencer = sequencer
        self.items = items
        self.known: dict[str, dict[str, int]] = {}
        self.history: dict[str, list[int]] = {}
        self.after: dict[tuple[str, int], dict[str, int]] = {}
        """What an engine knew when it had finished an item."""
        self.names: dict[tuple[str, str], int] = {}

    def order(self) -> None:
        for i, item in enumerate(self.items):
            for engine, footprint in item.footprints.items():
                self._wait_for(i, engine, footprint)
            for engine in item.footprints:
                mine = self.known.setdefault(engine, {})
                if item.joined and len(item.footprints) > 1:
                    for other in item.footprints:
                        if other != engine:
                            self._learn(mine, self.known.setdefault(other, {}))
                            mine[other] = i
                mine.pop(engine, None)
            for engine in item.footprints:
                self.after[engine, i] = dict(self.known[engine])
                self.history.setdefault(engine, []).append(i)

    def _wait_for(self, i: int, engine: str, footprint: Footprint) -> None:
        mine = self.known.setdefault(engine, {})
        needed: list[tuple[int, str]] = []
        for other, past in self.history.items():
            if other == engine:
                continue
            for j in reversed(past):
                if j <= mine.get(other, -1):
                    break
                if footprint.conflicts(self.items[j].footprints[other]):
                    needed.append((j, other))
                    break
        for j, other in sorted(needed, reverse=True):
            if j > mine.get(other, -1):
                self._pair(other, engine, self.items[j].op, self.items[i].op)
                self._learn(mine, self.after[other, j])
                mine[other] = j
                mine.pop(engine, None)

    @staticmethod
    def _learn(mine: dict[str, int], theirs: dict[str, int]) -> None:
        for engine, item in theirs.items():
            mine[engine] = max(mine.get(engine, -1), item)

    def join(self, body: Block, engines: list[str]) -> None:
        """Let all engines meet at the end of the body: one hears all others, then tells them."""
        hub = next(iter(self.items[-1].footprints))
        last = {engine: self.history[engine][-1] for engine in engines}
        for engine in engines:
            if engine != hub and self.known[hub].get(engine, -1) < last[engine]:
                self._pair(engine, hub, None, None, body)
        for engine in engines:
            behind = [other for other in engines if self.known[engine].get(other, -1) < last[other] and other != engine]
            if engine != hub and behind:
                self._pair(hub, engine, None, None, body)

    def _pair(
        self, producer: str, consumer: str, after: Operation | None, before: Operation | None, body: Block | None = None
    ) -> None:
        """A signal of the producer and the wait of the consumer; at the end of `body` where no operations are given."""
        if (producer, consumer) not in self.names:
            self.names[producer, consumer] = self.sequencer.tokens
            self.sequencer.tokens += 1
        token = IntegerAttr(self.names[producer, consumer], i64)
        signal = SignalOp.create(properties={"engine": StringAttr(producer), "token": token})
        wait = WaitOp.create(properties={"engine": StringAttr(consumer), "token": token})
        if after is None or before is None:
            assert body is not None
            for made in (signal, wait):
                copy_location(made, self.items[-1].op)
                body.add_op(made)
            return
        for made, place in ((signal, after), (wait, before)):
            copy_location(made, place)
        Rewriter.insert_op(signal, InsertPoint.after(after))
        Rewriter.insert_op(wait, InsertPoint.before(before))


@dataclass(frozen=True)
class InsertTokensPass(ModulePass):
    """Insert a signal after an operation and a wait before a later one of another engine, where they touch the same
    memory and one of them writes.

    Before: `"m.gemm"() <{dst = %a …}> {engine = "m"}  "v.add"() <{…, a = %a …}> {engine = "v"}`
    After:  `"m.gemm"() …  "imc.signal"() <{engine = "m", token = 0}>
             "imc.wait"() <{engine = "v", token = 0}>  "v.add"() …`

    Each body (block or loop) has tokens of its own, with as many signals as waits; where a body repeats and its engines
    touch the same memory, they meet at its end. Notes "tokens".
    """

    name = "insert-tokens"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompileContext)
        blocks = {entry.sym_name.data: entry for entry in op.body.block.ops if isinstance(entry, BlockOp)}
        sequencer = Sequencer(_ranges(op), blocks)
        for block in blocks.values():
            if block.entry.value.data:
                sequencer.sequence(block.body.block, again=False)
        ctx.notes["tokens"] = sequencer.tokens


def _ranges(module: ModuleOp) -> dict[str, Range]:
    """Where each buffer lies; a space of its own where it has no address yet."""
    found: dict[str, Range] = {}
    for op in module.body.block.ops:
        if isinstance(op, BufferOp):
            size = Expr.of(op.size.data).constant
            if op.address is None:
                found[op.sym_name.data] = (f"{op.space.data}.{op.sym_name.data}", 0, size)
            else:
                start = op.address.value.data
                found[op.sym_name.data] = (op.space.data, start, start + size)
    return found
