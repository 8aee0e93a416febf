"""What a program computes: its records, interpreted over values. This is the definition of the instruction sets.

The streams of a block run side by side, one per engine, each in order; they meet only at tokens, so the order in which
the interpreter takes them never shows. A CALL makes an engine run its own stream of the block once per row. Inside a
parallel loop all trips of a chunk run at once as lanes (see `steps.Operands`); a parallel loop inside another runs trip
by trip.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from crossbank.runtime.machine import Lanes, Machine
from crossbank.runtime.program import ProgramError
from crossbank.runtime.records import Decoded, Decoder
from crossbank.runtime.registry import make_unit
from crossbank.runtime.steps import (
    Body,
    Call,
    Loop,
    Operands,
    Registers,
    Step,
    Token,
    parallel_counters,
    prepare_stream,
    whole,
)

MAX_LANES = 1024
PRIVATE_BYTES = 64 << 20
"""Default limits of a chunk of lanes."""


class Unit(Protocol):
    """The state of one engine, made by its instruction set's `make_unit(config, machine)`.

    One whose registers are per trip also has `enter_lanes(lanes: int)` and `leave_lanes()`, called around each chunk of
    a parallel loop.
    """


@dataclass(frozen=True)
class Event:
    """An instruction being executed, for listeners.

    `function` is the entry point that runs, `row` that of the block's call, `node` names the program node that the
    instruction belongs to.
    """

    function: str
    engine: str
    block: str
    row: int
    index: int
    node: str
    decoded: Decoded
    operands: Operands
    lanes: Lanes
    registers: Mapping[str, Any]
    machine: Machine


class Listener(Protocol):
    """Sees every instruction before and after it is executed; for trace, counters and comparison."""

    def before(self, event: Event) -> None:
        """The operands are ready, nothing is written yet."""
        ...

    def after(self, event: Event) -> None:
        """The results are in the operands, and in memory."""
        ...


class Executor:
    """Runs the functions of a program on a machine.

    `lane_chunk` caps how many trips of a parallel loop run at once; `rotate` takes the streams in another order.
    """

    def __init__(
        self, machine: Machine, listeners: Sequence[Listener] = (), lane_chunk: int | None = None, rotate: int = 0
    ) -> None:
        self.machine, self.listeners = machine, list(listeners)
        self.code = machine.code
        fitting = PRIVATE_BYTES // machine.private_bytes if machine.private_bytes else MAX_LANES
        self.lane_chunk = lane_chunk or max(1, min(MAX_LANES, fitting))
        self.rotate = rotate
        self.units: dict[str, Any] = {engine.name: make_unit(engine, machine) for engine in self.code.engines.values()}
        self.function = ""
        """The entry point that runs, or ran last."""
        self._decoder = Decoder(self.code)
        self._bodies: dict[tuple[str, str], Body] = {}
        self._rows: dict[str, list[list[int]]] = {}
        self._sharing: dict[tuple[str, str], int] = {}

    def run(self, function: str, dimensions: Mapping[str, int]) -> None:
        """Run a function with its dimension registers set; ProgramError CB05xx says where it fails."""
        if function not in self.code.functions:
            raise ProgramError(
                "CB0701", f"the program has no function {function!r}", help=f"it has {', '.join(self.code.functions)}"
            )
        for name, value in dimensions.items():
            low, high = self.code.registers.get(name, (value, value))
            if not low <= value <= high:
                raise ProgramError("CB0552", f"{name} is {value}, the program takes {low} to {high}")
        self.function = function
        with np.errstate(all="ignore"):
            self._streams(self.code.functions[function].block, dimensions)

    def body(self, block: str, engine: str) -> Body:
        """An engine's stream of a block, ready to run; empty where it has none."""
        found = self._bodies.get((block, engine))
        if found is None:
            found = []
            if engine in self.code.blocks[block].streams:
                found = prepare_stream(self._decoder, block, engine, self.units[engine], self.machine)
            self._bodies[block, engine] = found
        return found

    def rows(self, table: str) -> list[list[int]]:
        """A constants table as Python integers."""
        if table not in self._rows:
            self._rows[table] = self.code.tables[table].values.tolist()
        return self._rows[table]

    def sharing(self, block: str, counter: str) -> int:
        """How many engines run the parallel loop of a counter in a block: those that share its private memory."""
        key = (block, counter)
        if key not in self._sharing:
            uses = [parallel_counters(self.body(block, engine)).count(counter) for engine in self.code.engines]
            uses = [n for n in uses if n]
            if len(set(uses)) > 1:
                raise ProgramError("CB0510", f"parallel loops of different engines share counter {counter}", block)
            self._sharing[key] = len(uses)
        return self._sharing[key]

    def _streams(self, block: str, dimensions: Mapping[str, int]) -> None:
        shared = Shared([0] * self.code.tokens)
        engines = list(self.code.blocks[block].streams)
        turn = self.rotate % len(engines) if engines else 0
        streams = [Stream(self, shared, engine, dict(dimensions)) for engine in engines[turn:] + engines[:turn]]
        running = [(stream, stream.follow(block, self.body(block, stream.engine))) for stream in streams]
        while running:
            before, left = shared.moves, len(running)
            running = [(stream, steps) for stream, steps in running if next(steps, self) is not self]
            if running and shared.moves == before and len(running) == left:
                fronts = "; ".join(stream.waiting for stream, _ in running)
                raise ProgramError("CB0511", f"streams wait for each other: {fronts}", f"block {block}")
        if any(shared.tokens):
            number = next(i for i, count in enumerate(shared.tokens) if count)
            raise ProgramError("CB0513", f"token {number} is signalled more often than awaited", f"block {block}")


class Shared:
    """What the streams of a function run share: tokens, and the lanes of parallel loops under way."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens
        self.moves = 0
        """Grows whenever some stream may have become able to go on."""
        self.lanes: dict[tuple[str, str, int, int], tuple[Lanes, int]] = {}


Steps = Generator[None, None, None]


class Stream:
    """One engine at work: its registers, lanes and place."""

    def __init__(self, executor: Executor, shared: Shared, engine: str, registers: Registers) -> None:
        self.executor, self.shared, self.engine, self.registers = executor, shared, engine, registers
        self.lanes = executor.machine.serial
        self.row = 0
        self.waiting = ""
        self._entries: dict[tuple[str, str], int] = {}

    def follow(self, block: str, body: Body) -> Steps:
        """Run items; yields where a token is missing, or to let others catch up."""
        tokens, shared = self.shared.tokens, self.shared
        for item in body:
            if isinstance(item, list):
                self._straight(block, item)
            elif isinstance(item, Token):
                number = item.number
                if item.wait:
                    while not tokens[number]:
                        self.waiting = f"{self.engine} for token {number} at {block}[{item.index}]"
                        yield
                    tokens[number] -= 1
                else:
                    tokens[number] += 1
                shared.moves += 1
            elif isinstance(item, Call):
                yield from self._call(block, item)
            else:
                yield from self._loop(block, item)

    def _straight(self, block: str, steps: list[Step]) -> None:
        registers, lanes = self.registers, self.lanes
        step = steps[0]
        try:
            if self.executor.listeners:
                for step in steps:
                    self._observed(block, step)
            else:
                for step in steps:
                    step.run(registers, lanes)
        except ProgramError as error:
            if error.where:
                raise
            raise ProgramError(error.code, error.message, self._where(block, step), error.help) from error
        except KeyError as error:
            if error.args[0] in registers or error.args[0] not in self.executor.code.registers:
                error.add_note(self._where(block, step))
                raise
            where = self._where(block, step)
            raise ProgramError("CB0552", f"register {error.args[0]} is used before it is set", where) from error
        except (ValueError, IndexError, TypeError, ArithmeticError) as error:
            raise ProgramError(
                "CB0555",
                f"{step.decoded.name} can't be executed on these operands: {error}",
                self._where(block, step),
                "the program is damaged, or the compiler is wrong: compile the model again",
            ) from error
        except Exception as error:
            error.add_note(self._where(block, step))
            raise

    def _observed(self, block: str, step: Step) -> None:
        executor = self.executor
        operands = step.prepare(self.registers, self.lanes)
        event = Event(
            function=executor.function,
            engine=self.engine,
            block=block,
            row=self.row,
            index=step.index,
            node=self.node(block, step),
            decoded=step.decoded,
            operands=operands,
            lanes=self.lanes,
            registers=self.registers,
            machine=executor.machine,
        )
        for listener in executor.listeners:
            listener.before(event)
        step.execute(step.unit, operands)
        step.finish(self.lanes)
        for listener in executor.listeners:
            listener.after(event)

    def node(self, block: str, step: Step) -> str:
        """The name of the program node that a step belongs to."""
        code, nodes = self.executor.code, self.executor.code.blocks[block].nodes
        if not len(nodes) or step.decoded.node >= nodes.shape[1]:
            return ""
        number = int(nodes[self.row % len(nodes), step.decoded.node])
        return code.nodes[number] if 0 <= number < len(code.nodes) else ""

    def _where(self, block: str, step: Step) -> str:
        return f"{self.node(block, step)} ({step.decoded.name}, block {block}, {self.engine}, record {step.index})"

    def _call(self, block: str, call: Call) -> Steps:
        executor = self.executor
        body = executor.body(call.block, self.engine)
        if not body:
            return
        first, count = whole(call.first(self.registers), "first"), whole(call.rows(self.registers), "rows")
        rows, columns = executor.rows(call.table), executor.code.tables[call.table].columns
        if first < 0 or first + count > len(rows):
            raise ProgramError(
                "CB0554",
                f"rows {first} to {first + count - 1} of table {call.table}, which has {len(rows)}",
                f"block {block}, {self.engine}, record {call.index}",
            )
        outer = self.row
        for self.row in range(first, first + count):
            self.registers.update(zip(columns, rows[self.row], strict=True))
            yield from self.follow(call.block, body)
        self.row = outer

    def _loop(self, block: str, loop: Loop) -> Steps:
        trips = whole(loop.trips(self.registers), f"the number of trips of loop {loop.counter}")
        if loop.parallel and not self.lanes.counter:
            yield from self._parallel(block, loop, trips)
            return
        for trip in range(trips):
            self.registers[loop.counter] = trip
            yield from self.follow(block, loop.body)

    def _parallel(self, block: str, loop: Loop, trips: int) -> Steps:
        executor, unit, counter = self.executor, self.executor.units[self.engine], loop.counter
        entry = self._entries[block, counter] = self._entries.get((block, counter), 0) + 1
        enter, leave = getattr(unit, "enter_lanes", None), getattr(unit, "leave_lanes", None)
        outer, sharing = self.lanes, executor.sharing(block, counter)
        for start in range(0, trips, executor.lane_chunk):
            key = (block, counter, entry, start)
            fresh = Lanes(min(executor.lane_chunk, trips - start), start, counter)
            lanes, users = self.shared.lanes.setdefault(key, (fresh, sharing))
            self.lanes = lanes
            self.registers[counter] = np.arange(start, start + lanes.count)
            if enter is not None:
                enter(lanes.count)
            try:
                yield from self.follow(block, loop.body)
            finally:
                if leave is not None:
                    leave()
            lanes, users = self.shared.lanes.pop(key)
            if users > 1:
                self.shared.lanes[key] = (lanes, users - 1)
                self.shared.moves += 1
                yield
            else:
                executor.machine.release(lanes)
        self.lanes = outer
        self.registers[counter] = max(trips - 1, 0)
