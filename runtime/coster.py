"""What a program costs: the same records as the executor's, interpreted over time and energy instead of values.

Steps of equal function are costed side by side, one array entry each, as far as they stay together (`Parted`). A loop
is followed until its trips repeat, which tells the rest exactly (`repeats`); `exact=True` follows every trip instead:
the event-by-event cost, which the short way must equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from crossbank.runtime.clock import Clock, FloatArray, IntArray, latest
from crossbank.runtime.expr import Expr, Value
from crossbank.runtime.numerics import dtype_of
from crossbank.runtime.program import SPACE_SHIFT, Code, Layout, ProgramError
from crossbank.runtime.records import Decoded, Tensor
from crossbank.runtime.registry import instruction_set, make_cost_unit
from crossbank.runtime.repeats import Parted, Repeat
from crossbank.runtime.walk import Call, Loop, Node, Trees, follow

Registers: TypeAlias = "dict[str, Value]"
Key: TypeAlias = "tuple[str, str, int]"
Listener: TypeAlias = "Callable[[str, str, str, int, int], None]"
"""Hears engine, instruction, block, node slot and row of the block's call."""
NODE_BITS = 16
"""A cost's node is `block number << NODE_BITS | node slot`."""
NO_NODE = (1 << NODE_BITS) - 1
"""The node of what no node causes."""


@dataclass(frozen=True)
class TensorCost:
    """A tensor operand as `time` and `counts` functions see it: `shape` of ints or int64 (steps,) arrays."""

    shape: tuple[Value, ...]
    dtype: str
    space: int
    """Number of the memory space that it lies in."""
    values: NDArray[Any] | None = None
    """(trips, *shape), or (1, *shape) where all trips share it; None before anything runs."""

    @property
    def elements(self) -> Value:
        """How many elements, per step."""
        total: Value = 1
        for dim in self.shape:
            total = total * dim
        return total

    @property
    def bytes(self) -> Value:
        """How many bytes, per step."""
        return self.elements * dtype_of(self.dtype).itemsize


@dataclass
class StepCosts:
    """The cost of some steps of one function, an array entry per step.

    `time_ps` along the critical path, split by (engine, component, node) in `path_ps`; `energy_j` likewise; `busy_ps`
    by (engine, component); `counters` such as macs; `nodes` names the node keys.
    """

    time_ps: IntArray
    path_ps: dict[Key, IntArray]
    energy_j: dict[Key, FloatArray]
    busy_ps: dict[tuple[str, str], FloatArray]
    counters: dict[str, FloatArray]

    @staticmethod
    def joined(parts: Sequence[StepCosts], order: IntArray | None = None) -> StepCosts:
        """The steps of all parts: one part after the other, or by number in the order given."""

        def join(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
            whole = np.concatenate(arrays)
            return whole if order is None else whole[order]

        def merge(tables: Sequence[Mapping[Any, Any]]) -> dict[Any, Any]:
            zeros = [np.zeros_like(part.time_ps) for part in parts]
            keys = dict.fromkeys(key for table in tables for key in table)
            return {key: join([t.get(key, z) for t, z in zip(tables, zeros, strict=True)]) for key in keys}

        return StepCosts(
            join([part.time_ps for part in parts]),
            merge([part.path_ps for part in parts]),
            merge([part.energy_j for part in parts]),
            merge([part.busy_ps for part in parts]),
            merge([part.counters for part in parts]),
        )


class Coster:
    """Costs steps of a program's functions."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.trees = Trees(code)
        self._timed: dict[int, frozenset[str]] = {}
        self.units = {e.name: make_cost_unit(e) for e in code.engines.values()}
        self.numbers = {name: i for i, name in enumerate(code.blocks)}

    def cost(
        self,
        function: str,
        dimensions: Mapping[str, IntArray],
        exact: bool = False,
        clock: Clock | None = None,
        listener: Listener | None = None,
    ) -> StepCosts:
        """The cost of running `function` once per entry of the dimensions' arrays (steps,), each from rest.

        `listener` hears of each instruction when it has been costed on `clock`: all of them only where `exact`.
        """
        if function not in self.code.functions:
            raise ProgramError(
                "CB0701", f"the program has no function {function!r}", help=f"it has {', '.join(self.code.functions)}"
            )
        steps = len(next(iter(dimensions.values()))) if dimensions else 1
        registers: Registers = {name: np.asarray(value, np.int64) for name, value in dimensions.items()}
        missing = set(self.code.dimensions) - registers.keys()
        if missing:
            raise ProgramError(
                "CB0702", f"{function} needs dimensions {', '.join(sorted(missing))}", help="give each a value"
            )
        run = _Run(self, clock or Clock(steps=steps), registers, exact, listener)
        try:
            run.block(self.code.functions[function].block)
            return run.result()
        except Parted as parted:
            groups = [np.flatnonzero(steps) for steps in (parted.steps, ~parted.steps)]
        parts = [self.cost(function, {n: v[steps] for n, v in dimensions.items()}, exact) for steps in groups]
        return StepCosts.joined(parts, np.argsort(np.concatenate(groups)))

    def timed_registers(self, nodes: Sequence[Node]) -> frozenset[str]:
        """Registers on whose values the cost of some nodes depends."""
        found: set[str] = set()
        for node in nodes:
            if isinstance(node, Loop):
                found |= node.trips.symbols | self.timed_registers(node.body)
            elif isinstance(node, Call):
                found |= node.rows.symbols | node.first.symbols
                inner: set[str] = set()
                for stream in self.trees.of(node.block).values():
                    inner |= self.timed_registers(stream)
                found |= inner - set(self.code.blocks[node.block].parameters)
            else:
                if id(node) not in self._timed:
                    self._timed[id(node)] = _operand_registers(node)
                found |= self._timed[id(node)]
        return frozenset(found)


def _operand_registers(node: Decoded) -> frozenset[str]:
    names: set[str] = set()
    for entry in node.instruction.fields:
        operand = node.operands[entry.name]
        if isinstance(operand, Tensor):
            for dim in operand.layout.shape:
                names |= dim.symbols
        elif isinstance(operand, Expr) and entry.timed:
            names |= operand.symbols
    return frozenset(names)


class _Run:
    """One costing: the clock, the registers and the tokens under way."""

    def __init__(
        self, coster: Coster, clock: Clock, registers: Registers, exact: bool, listener: Listener | None
    ) -> None:
        self.coster, self.clock, self.registers, self.exact = coster, clock, registers, exact
        self.listener = listener
        self.within = ("", 0)
        """The block being costed, and the row of the call."""
        self.tokens: dict[int, int] = {}
        """How often each token is signalled and not yet awaited; the moments are resources, for a trip may leave them
        to the next."""
        self.number = 0
        self._end = clock.zero()

    def block(self, name: str) -> None:
        """Cost all streams of a block, from its registers as they stand."""
        outer, self.number = self.number, self.coster.numbers[name] << NODE_BITS
        self.within = (name, 0)
        self.streams(self.coster.trees.of(name))
        self.number = outer

    def streams(self, streams: Mapping[str, Sequence[Node]]) -> None:
        """Cost streams side by side."""
        follow(streams, self._instruction, self._enter)

    def _enter(self, nodes: Mapping[str, Node]) -> None:
        first = next(iter(nodes.values()))
        if isinstance(first, Loop):
            bodies = {engine: node.body for engine, node in nodes.items() if isinstance(node, Loop)}
            timed = frozenset[str]().union(*(self.coster.timed_registers(body) for body in bodies.values()))

            def trip(i: int) -> None:
                self.registers[first.counter] = i
                self.streams(bodies)

            self.repeat(first.trips.evaluate(self.registers), trip, varies=first.counter in timed)
        elif isinstance(first, Call):
            self._call(first, list(nodes))

    def _call(self, call: Call, engines: Sequence[str]) -> None:
        code = self.coster.code
        block, table = code.blocks[call.block], code.tables[call.table]
        tree = {engine: nodes for engine, nodes in self.coster.trees.of(call.block).items() if engine in engines}
        timed = frozenset[str]().union(*(self.coster.timed_registers(nodes) for nodes in tree.values()))
        columns = [i for i, name in enumerate(table.columns) if name in timed]
        first, rows = call.first.evaluate(self.registers), call.rows.evaluate(self.registers)
        if not isinstance(first, int) or not isinstance(rows, int):
            raise ProgramError("CB0512", f"the rows of {call.name} depend on data", f"block {call.block}")
        outer, self.number = self.number, self.coster.numbers[call.block] << NODE_BITS
        around = self.within
        row = first
        while row < first + rows:
            same = row + 1
            while same < first + rows and (table.values[same, columns] == table.values[row, columns]).all():
                same += 1

            def once(i: int, start: int = row) -> None:
                for name, value in zip(block.parameters, table.values[start + i], strict=True):
                    self.registers[name] = int(value)
                self.within = (call.block, start + i)
                self.streams(tree)

            self.repeat(same - row, once, varies=False)
            row = same
        self.number, self.within = outer, around

    def repeat(self, trips: Value, once: Callable[[int], None], varies: bool) -> None:
        """Run `once(i)` for i below `trips` (int or one value per step), all one by one if costs vary with i."""
        counts = np.broadcast_to(np.asarray(trips, np.int64), (self.clock.steps,))
        loop = Repeat(self.clock, self.tokens, once, counts)
        if self.exact or varies:
            loop.every()
        else:
            loop.short()

    def _instruction(self, engine: str, node: Decoded) -> bool:
        """Cost one instruction; False where it waits for a token that nobody has signalled yet."""
        clock = self.clock
        if node.name == "core.wait":
            token = node.operands["token"]
            assert isinstance(token, int)
            left = self.tokens.get(token, 0) - 1
            if left < 0:
                return False
            queue = [clock.resources.pop(_signalled(token, i)) for i in range(left + 1)]
            clock.set(engine, latest(clock.ready(engine), queue[0]))
            for i, instant in enumerate(queue[1:]):
                clock.set(_signalled(token, i), instant)
            self.tokens[token] = left
        elif node.name == "core.signal":
            token = node.operands["token"]
            assert isinstance(token, int)
            pending = self.tokens.get(token, 0)
            clock.set(_signalled(token, pending), latest(clock.ready(engine), clock.ready(f"{engine}.done")))
            self.tokens[token] = pending + 1
        else:
            clock.engine, clock.node = engine, self.number | node.node
            operands = SimpleNamespace(**{name: self._operand(v) for name, v in node.operands.items()})
            unit = self.coster.units[engine]
            node.instruction.time(clock, operands, unit)
            if node.instruction.counts is not None:
                for name, amount in node.instruction.counts(operands, unit).amounts():
                    clock.count(name, amount)
            if self.listener is not None:
                self.listener(engine, node.name, self.within[0], node.node, self.within[1])
        return True

    def _operand(self, operand: object) -> object:
        if isinstance(operand, Expr):
            return operand.compiled(self.registers)
        if isinstance(operand, Tensor):
            return TensorCost(self._shape(operand.layout), operand.layout.dtype, self._space(operand.address))
        return operand

    def _shape(self, layout: Layout) -> tuple[Value, ...]:
        return tuple(dim.compiled(self.registers) for dim in layout.shape)

    def _space(self, address: Expr) -> int:
        value = address.compiled(self.registers)
        return int(value if isinstance(value, int) else np.ravel(value)[0]) >> SPACE_SHIFT

    def result(self) -> StepCosts:
        """Join all resources at the end of the step."""
        clock = self.clock
        end = latest(clock.zero(), *clock.resources.values())
        path = {key: end.blame[row] for key, row in clock.keys.items() if row < len(end.blame)}
        costs = StepCosts(
            end.time_ps,
            {key: value for key, value in path.items() if value.any()},
            clock.energy_j,
            clock.busy_ps,
            clock.counters,
        )
        groups = int(self.coster.code.system.get("group", {}).get("count", 1))
        for engine in self.coster.code.engines.values():
            finish = instruction_set(engine.isa).finish
            if finish is not None:
                finish(costs, engine.name, self.coster.units[engine.name], groups)
        return costs


def _signalled(token: int, place: int) -> str:
    """The resource that says when a token was signalled that waits behind `place` others."""
    return f"token {token}.{place}"
