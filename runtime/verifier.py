"""Static checks before a program runs: form, bounds, initialisation, synchronisation, capacity.

Dimensions are tried at all corners of their ranges at capacity, loop counters at their first and last trip, calls at
every row, all at once as arrays of samples; for expressions that are monotone in each register (affine ones, and
divisions of them) the corners are the extremes. What depends on data is checked by the executor as it runs.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from crossbank.runtime.clock import IntArray
from crossbank.runtime.expr import Expr, ExprError, Value
from crossbank.runtime.isa import Access
from crossbank.runtime.numerics import dtype_of
from crossbank.runtime.program import OFFSET_MASK, SPACE_SHIFT, Code, Constant, ProgramError, Space
from crossbank.runtime.records import Decoded, Tensor
from crossbank.runtime.walk import Call, Loop, Node, Trees, follow

MAX_TRIPS = 1 << 40
MAX_SAMPLES = 1 << 14
MAX_CALL_DEPTH = 8
ROW = ""
"""Stands among the registers of a sample for the rows of the calls that it is in."""
IN_ORDER = ("setup", "import_cache", "main", "export_cache")
"""Functions that run one after another: what the earlier ones wrote is there for the later ones."""


@dataclass(frozen=True)
class TensorRange:
    """A tensor operand over all samples: shape entries and byte addresses are ints or int64 arrays."""

    shape: tuple[Value, ...]
    dtype: str
    first: int
    """The lowest byte address."""
    end: int
    """One past the highest byte."""


@dataclass
class _Written:
    """Disjoint byte ranges that hold values."""

    starts: list[int] = field(default_factory=list[int])
    ends: list[int] = field(default_factory=list[int])

    def add(self, start: int, end: int) -> None:
        """Note that [start, end) holds values."""
        i = bisect_right(self.ends, start - 1)
        j = bisect_right(self.starts, end)
        if i < j:
            start, end = min(start, self.starts[i]), max(end, self.ends[j - 1])
        self.starts[i:j], self.ends[i:j] = [start], [end]

    def missing(self, start: int, end: int) -> tuple[int, int] | None:
        """The first part of [start, end) that holds none."""
        i = bisect_right(self.starts, start) - 1
        if i >= 0 and self.ends[i] >= end:
            return None
        begin = max(start, self.ends[i]) if i >= 0 else start
        return begin, min(end, self.starts[i + 1]) if i + 1 < len(self.starts) else end


@dataclass(frozen=True)
class _Touch:
    engine: str
    at: int
    first: int
    end: int
    write: bool
    where: str


def verify(code: Code) -> None:
    """Check a whole program; ProgramError (CB05xx) names the block, engine, record and both numbers."""
    _check_tables(code)
    for space in code.spaces.values():
        if space.capacity_bytes is not None and space.used_bytes > space.capacity_bytes:
            raise ProgramError(
                "CB0520", f"memory {space.name} needs {space.used_bytes} bytes and holds {space.capacity_bytes}",
                help="compile with a smaller --context or --max-batch, or more --chips",
            )  # fmt: skip
    trees = Trees(code)
    kept = _Written()
    for name in sorted(code.functions, key=lambda n: IN_ORDER.index(n) if n in IN_ORDER else -1):
        checker = _Checker(code, trees, kept if name in ("main", "export_cache") else _Written())
        checker.function(name)
        if name in IN_ORDER:
            for start, end in zip(checker.written.starts, checker.written.ends, strict=True):
                kept.add(start, end)


def _check_tables(code: Code) -> None:
    numbers = [space.number for space in code.spaces.values()]
    if len(set(numbers)) != len(numbers) or any(n < 0 or n >= 1 << (63 - SPACE_SHIFT) for n in numbers):
        raise ProgramError("CB0521", f"memory spaces have numbers {numbers}: each needs its own")
    for layout in code.layouts:
        try:
            dtype_of(layout.dtype)
        except ValueError as error:
            raise ProgramError("CB0521", str(error)) from None
        if len(layout.shape) != len(layout.strides):
            raise ProgramError(
                "CB0521", f"a layout has {len(layout.shape)} dimensions and {len(layout.strides)} strides"
            )
    for function in code.functions.values():
        if function.block not in code.blocks:
            raise ProgramError(
                "CB0521", f"function {function.name} starts in block {function.block!r}, which is missing"
            )
    for block in code.blocks.values():
        for engine in block.streams:
            if engine not in code.engines:
                raise ProgramError("CB0521", f"block {block.name} has a stream for engine {engine!r}, which is missing")
        if block.nodes.ndim != 2 or (
            block.nodes.size and not (block.nodes.min() >= -1 and block.nodes.max() < len(code.nodes))
        ):
            raise ProgramError("CB0521", f"block {block.name} names nodes that are missing")
    for table in code.tables.values():
        if table.values.ndim != 2 or table.values.shape[1] != len(table.columns):
            raise ProgramError(
                "CB0521", f"table {table.name} has {table.values.shape} values for {len(table.columns)} columns"
            )


def corners(code: Code) -> dict[str, IntArray]:
    """All corners of the dimensions' ranges that capacity allows, one sample per array entry."""
    free = sorted({s for name in code.dimensions for s in code.capacity.get(name, Expr.symbol(name)).symbols})
    missing = [name for name in free if name not in code.registers]
    if missing:
        raise ProgramError("CB0521", f"registers {', '.join(missing)} have no range")
    if len(free) > 10:
        raise ProgramError("CB0521", f"{len(free)} free dimensions are more than 10")
    samples: list[dict[str, int]] = []
    for choice in itertools.product(*(sorted(set(code.registers[name])) for name in free)):
        known: dict[str, Value] = dict(zip(free, choice, strict=True))
        values = {name: int(code.capacity.get(name, Expr.symbol(name)).evaluate(known)) for name in code.dimensions}
        if all(code.registers[name][0] <= value <= code.registers[name][1] for name, value in values.items()):
            samples.append(values)
    return {name: np.array([s[name] for s in samples], np.int64) for name in code.dimensions}


def _merged(first: IntArray, end: IntArray, rows: IntArray) -> list[tuple[int, int]]:
    """Disjoint rising ranges that cover [first, end) of all samples.

    What lies between two samples of a row is covered too (a loop is sampled at its first and last trip); what lies
    between the rows of a table is not.
    """
    order = np.argsort(np.broadcast_to(rows, first.shape), kind="stable")
    starts = np.flatnonzero(np.diff(np.broadcast_to(rows, first.shape)[order], prepend=-1))
    pairs = np.stack([np.minimum.reduceat(first[order], starts), np.maximum.reduceat(end[order], starts)], axis=1)
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    reach = np.maximum.accumulate(pairs[:, 1])
    cuts = np.flatnonzero(pairs[1:, 0] > reach[:-1]) + 1
    begins, ends = pairs[np.r_[0, cuts], 0], reach[np.r_[cuts - 1, len(reach) - 1]]
    return list(zip(begins.tolist(), ends.tolist(), strict=True))


def _token(node: Decoded) -> int:
    token = node.operands["token"]
    assert isinstance(token, int)
    return token


class _Checker:
    """Walks one function over all samples."""

    def __init__(self, code: Code, trees: Trees, kept: _Written) -> None:
        self.code, self.trees = code, trees
        self.written = _Written(list(kept.starts), list(kept.ends))
        self.spaces = {space.number: space for space in code.spaces.values()}
        self.constants = sorted(code.constants.values(), key=lambda c: c.address)
        self.starts = [c.address for c in self.constants]
        self.samples: dict[str, IntArray] = {}
        self._kept = np.zeros(0, np.int64)
        self.block, self.depth, self.parallel = "", 0, False
        self.counts: dict[str, int] = {}
        self.clocks: dict[str, dict[str, int]] = {}
        self.tokens: dict[int, list[dict[str, int]]] = {}
        self.touches: list[_Touch] = []

    def function(self, name: str) -> None:
        """Check one entry point from its ports on."""
        function = self.code.functions[name]
        self.samples = corners(self.code)
        self.samples[ROW] = np.zeros(len(next(iter(self.samples.values()), [0])), np.int64)
        for port in function.inputs:
            for first, end in self._extents(Expr.of(port.address), port.shape, None, port.dtype, f"input {port.name}"):
                self.written.add(first, end)
        self._run(function.block, self.trees.of(function.block))
        left = [token for token, waiting in self.tokens.items() if waiting]
        if left:
            raise ProgramError("CB0522", f"token {left[0]} is signalled and never waited for", f"function {name}")
        for port in function.outputs:
            for first, end in self._extents(Expr.of(port.address), port.shape, None, port.dtype, f"output {port.name}"):
                gap = self.written.missing(first, end)
                if gap:
                    raise ProgramError(
                        "CB0523", f"output {port.name} is not written in bytes {gap[0] - first} to {gap[1] - first}"
                    )

    def _run(self, block: str, streams: Mapping[str, Sequence[Node]]) -> None:
        outer, self.block = self.block, block
        follow(streams, self._step, self._enter)
        self.block = outer

    def _enter(self, nodes: Mapping[str, Node]) -> None:
        first = next(iter(nodes.values()))
        saved = self.samples
        self.depth += 1
        if self.depth > MAX_CALL_DEPTH:
            raise ProgramError("CB0524", f"loops and calls nest deeper than {MAX_CALL_DEPTH}", f"block {self.block}")
        if isinstance(first, Loop):
            self._loop(first, {e: n.body for e, n in nodes.items() if isinstance(n, Loop)})
        elif isinstance(first, Call):
            self._call(first, list(nodes))
        self.depth -= 1
        self.samples = saved

    def _loop(self, loop: Loop, bodies: Mapping[str, Sequence[Node]]) -> None:
        trips = np.broadcast_to(self._evaluate(loop.trips, f"trips of loop {loop.counter}"), self.samples[ROW].shape)
        if trips.size and (trips.min() < 0 or trips.max() > MAX_TRIPS):
            raise ProgramError(
                "CB0524",
                f"loop {loop.counter} has {trips.min()} to {trips.max()} trips, at most {MAX_TRIPS}",
                f"block {self.block}",
            )
        if loop.parallel and self.parallel:
            raise ProgramError("CB0524", f"parallel loop {loop.counter} inside another", f"block {self.block}")
        keep = np.flatnonzero(trips > 0)
        if not keep.size:
            return
        doubled = np.concatenate([keep, keep])
        self._thin({name: values[doubled] for name, values in self.samples.items()})
        counter = np.concatenate([np.zeros(keep.size, np.int64), trips[keep] - 1])
        self.samples[loop.counter] = counter[self._kept]
        outer, self.parallel = self.parallel, self.parallel or loop.parallel
        for _ in range(1 if loop.parallel or len(bodies) == 1 else 2):
            follow(bodies, self._step, self._enter)
        self.parallel = outer

    def _thin(self, samples: dict[str, IntArray]) -> None:
        size = len(samples[ROW])
        self._kept = np.arange(size) if size <= MAX_SAMPLES else np.linspace(0, size - 1, MAX_SAMPLES).astype(np.int64)
        self.samples = {name: values[self._kept] for name, values in samples.items()}

    def _call(self, call: Call, engines: Sequence[str]) -> None:
        block, table = self.code.blocks[call.block], self.code.tables[call.table]
        if table.columns != block.parameters:
            raise ProgramError(
                "CB0525", f"table {table.name} has columns {table.columns}, {block.name} takes {block.parameters}"
            )
        first, rows = self._evaluate(call.first, "first row"), self._evaluate(call.rows, "rows")
        if first.min() < 0 or rows.min() < 0 or (first + rows).max() > len(table.values):
            raise ProgramError(
                "CB0525",
                f"{call.name} uses rows up to {(first + rows).max()} of {len(table.values)}",
                f"block {self.block}",
            )
        wanted = np.arange(int(first.min()), int((first + rows).max()), dtype=np.int64)
        size = len(self.samples[ROW])
        index, row = np.tile(np.arange(size), len(wanted)), np.repeat(wanted, size)
        self._thin({name: values[index] for name, values in self.samples.items()})
        for name, column in zip(block.parameters, table.values.T, strict=True):
            self.samples[name] = column[row[self._kept]]
        self.samples[ROW] = self.samples[ROW] * len(table.values) + row[self._kept]
        streams = {e: nodes for e, nodes in self.trees.of(call.block).items() if e in engines}
        if set(self.trees.of(call.block)) - set(engines):
            raise ProgramError(
                "CB0525",
                f"{call.name} is not called by all engines that {call.block} has streams for",
                f"block {self.block}",
            )
        outer, self.parallel = self.parallel, False
        for _ in range(2 if len(wanted) > 1 and len(streams) > 1 else 1):
            self._run(call.block, streams)
        self.parallel = outer

    def _step(self, engine: str, node: Decoded) -> bool:
        clock = self.clocks.setdefault(engine, {})
        if node.name == "core.wait":
            waiting = self.tokens.get(_token(node))
            if not waiting:
                return False
            for other, count in waiting.pop(0).items():
                clock[other] = max(clock.get(other, 0), count)
            return True
        if node.name == "core.signal":
            self.tokens.setdefault(_token(node), []).append({**clock, engine: self.counts.get(engine, 0)})
            return True
        self.counts[engine] = self.counts.get(engine, 0) + 1
        self._instruction(engine, node)
        return True

    def _instruction(self, engine: str, node: Decoded) -> None:
        where = f"block {self.block}, {engine}: {node.name}"
        seen: dict[str, object] = {}
        writes: list[tuple[int, int]] = []
        for entry in node.instruction.fields:
            operand = node.operands[entry.name]
            if isinstance(operand, Tensor):
                layout = operand.layout
                extents = self._extents(
                    operand.address, layout.shape, layout.strides, layout.dtype, f"{where} {entry.name}"
                )
                shape = tuple(self._evaluate(dim, where) for dim in layout.shape)
                first, end = (extents[0][0], extents[-1][1]) if extents else (0, 0)
                seen[entry.name] = TensorRange(shape, layout.dtype, first, end)
                if not extents:
                    continue
                self._touch(engine, first, end, entry.access is not Access.READ, f"{where} {entry.name}")
                if entry.access is not Access.READ:
                    writes += extents
                    continue
                for first, end in extents:
                    self._must_hold(first, end, f"{where} {entry.name}")
            elif isinstance(operand, Expr):
                values = seen[entry.name] = self._evaluate(operand, f"{where} {entry.name}")
                if values.size and (values.min() < entry.low or int(values.max()) >= 1 << entry.bits):
                    raise ProgramError(
                        "CB0526",
                        f"{entry.name} is {values.min()} to {values.max()}, not {entry.low} to 2^{entry.bits} - 1",
                        where,
                    )
            else:
                seen[entry.name] = operand
        if node.instruction.check is not None:
            try:
                node.instruction.check(SimpleNamespace(**seen), self.code.engines[engine].config)
            except ProgramError as error:
                raise ProgramError(error.code, error.message, error.where or where, error.help) from error
        for first, end in writes:
            self.written.add(first, end)

    def _touch(self, engine: str, first: int, end: int, write: bool, where: str) -> None:
        """Note an access; refuse one that another engine's conflicts with and no token orders."""
        if self._space(first, where).kind in ("const", "private"):
            return
        clock = self.clocks.setdefault(engine, {})
        for other in self.touches:
            overlaps = other.first < end and first < other.end and (write or other.write)
            if other.engine != engine and overlaps and clock.get(other.engine, 0) < other.at:
                raise ProgramError("CB0527", f"no token orders this after {other.where}", where)
        self.touches.append(_Touch(engine, self.counts[engine], first, end, write, where))

    def _must_hold(self, first: int, end: int, where: str) -> None:
        kind = self._space(first, where).kind
        if kind == "const":
            return
        gap = self.written.missing(first, end)
        if gap:
            raise ProgramError(
                "CB0523",
                f"reads bytes {gap[0] - first} to {gap[1] - first} of its {end - first} before they are written",
                where,
            )

    def _space(self, address: int, where: str) -> Space:
        space = self.spaces.get(address >> SPACE_SHIFT)
        if space is None:
            raise ProgramError("CB0528", f"address {address:#x} lies in no memory", where)
        return space

    def _evaluate(self, expression: Expr, where: str) -> IntArray:
        try:
            value = expression.evaluate({**self.samples})
        except (ExprError, ZeroDivisionError, OverflowError) as error:
            raise ProgramError("CB0521", str(error), where) from error
        return np.atleast_1d(np.asarray(value, np.int64))

    def _extents(
        self, address: Expr, shape: Sequence[Expr], strides: Sequence[Expr] | None, dtype: str, where: str
    ) -> list[tuple[int, int]]:
        """The bytes touched over all samples, as disjoint rising ranges within one space; none if always empty.

        The rows of a table of calls may lie apart: what is between them is not touched.
        """
        at = self._evaluate(address, where)
        dims = [self._evaluate(dim, where) for dim in shape]
        if any(dim.size and dim.min() < 0 for dim in dims):
            raise ProgramError("CB0528", f"a dimension of {' x '.join(map(str, shape))} is negative", where)
        if strides is None:
            steps: list[IntArray] = []
            step = np.ones(1, np.int64)
            for dim in reversed(dims):
                steps.insert(0, step)
                step = step * dim
        else:
            steps = [self._evaluate(stride, where) for stride in strides]
        last = np.zeros(1, np.int64)
        lowest = np.zeros(1, np.int64)
        empty = np.zeros(1, bool)
        for dim, step in zip(dims, steps, strict=True):
            reach = (dim - 1) * step
            last, lowest = last + np.maximum(reach, 0), lowest + np.minimum(reach, 0)
            empty = empty | (dim == 0)
        size = dtype_of(dtype).itemsize
        first, end, used = np.broadcast_arrays(at + lowest * size, at + (last + 1) * size, ~empty)
        if not used.any():
            return []
        low, high = int(first[used].min()), int(end[used].max())
        space = self._space(low, where)
        if (high - 1) >> SPACE_SHIFT != space.number:
            raise ProgramError("CB0528", f"bytes {low:#x} to {high:#x} leave memory {space.name}", where)
        if space.kind == "const":
            for begin, stop in zip(first[used].tolist(), end[used].tolist(), strict=True):
                constant = self._constant(begin)
                if constant is None or stop > constant.address + constant.size_bytes:
                    raise ProgramError("CB0528", f"bytes {begin:#x} to {stop:#x} lie in no constant", where)
        elif (low & OFFSET_MASK) + (high - low) > space.used_bytes:
            raise ProgramError(
                "CB0528",
                f"bytes up to {(low & OFFSET_MASK) + high - low} of memory {space.name}, which has {space.used_bytes}",
                where,
            )
        rows = self.samples[ROW] if len(first) > 1 else np.zeros(1, np.int64)
        return _merged(first[used], end[used], rows[used])

    def _constant(self, address: int) -> Constant | None:
        i = bisect_right(self.starts, address) - 1
        return self.constants[i] if i >= 0 else None
