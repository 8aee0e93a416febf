"""Static checks before a program runs: form, bounds, initialisation, synchronisation, capacity.

Dimensions are tried at all corners of their ranges at capacity, loop counters at their first and last trip, calls at
every row, all at once as arrays of samples; for expressions that are monotone in each register (affine ones, and
divisions of them) the corners are the extremes. What depends on data is checked by the executor as it runs.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from crossbank.runtime.byte_ranges import ByteRange, ByteRanges, merged
from crossbank.runtime.clock import IntArray
from crossbank.runtime.expr import Expr, ExprError, Value, product
from crossbank.runtime.isa import Access
from crossbank.runtime.numerics import dtype_of
from crossbank.runtime.program import OFFSET_MASK, SPACE_SHIFT, Code, Port, ProgramError, Space
from crossbank.runtime.records import Decoded, Tensor
from crossbank.runtime.tables import check_tables
from crossbank.runtime.walk import Call, Loop, Node, Trees, follow

MAX_TRIPS = 1 << 40
MAX_SAMPLES = 1 << 14
MAX_DEPTH = 8
MAX_DIMENSIONS = 10
MAX_VISITS = 1 << 16
MAX_TOUCHES = 256
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
    check_tables(code)
    trees = Trees(code)
    kept = ByteRanges()
    for name in sorted(code.functions, key=lambda n: IN_ORDER.index(n) if n in IN_ORDER else -1):
        checker = _Checker(code, trees, kept if name in ("main", "export_cache") else ByteRanges())
        checker.function(name)
        if name in IN_ORDER:
            for start, end in checker.written:
                kept.add(start, end)


def free_dimensions(code: Code) -> list[str]:
    """The registers that the dimensions are computed from."""
    return sorted({s for name in code.dimensions for s in code.capacity.get(name, Expr.symbol(name)).symbols})


def corners(code: Code) -> dict[str, IntArray]:
    """All corners of the dimensions' ranges that capacity allows, one sample per array entry."""
    free = free_dimensions(code)
    missing = [name for name in free if name not in code.registers]
    if missing:
        raise ProgramError("CB0530", f"registers {', '.join(missing)} have no range")
    if len(free) > MAX_DIMENSIONS:
        raise ProgramError("CB0530", f"{len(free)} free dimensions are more than {MAX_DIMENSIONS}")
    samples: list[dict[str, int]] = []
    for choice in itertools.product(*(sorted(set(code.registers[name])) for name in free)):
        known: dict[str, Value] = dict(zip(free, choice, strict=True))
        values = {name: int(code.capacity.get(name, Expr.symbol(name)).evaluate(known)) for name in code.dimensions}
        if all(code.registers[name][0] <= value <= code.registers[name][1] for name, value in values.items()):
            samples.append(values)
    return {name: np.array([s[name] for s in samples], np.int64) for name in code.dimensions}


def contiguous(shape: Sequence[Expr]) -> tuple[Expr, ...]:
    """The strides of a C-contiguous tensor."""
    return tuple(product(shape[i + 1 :]) for i in range(len(shape)))


def _evenly(count: int) -> IntArray:
    """All of so many entries, or MAX_SAMPLES of them at even distances, the first and last among them."""
    return np.arange(count) if count <= MAX_SAMPLES else np.linspace(0, count - 1, MAX_SAMPLES).astype(np.int64)


def _token(node: Decoded) -> int:
    token = node.operands["token"]
    assert isinstance(token, int)
    return token


class _Checker:
    """Walks one function over all samples."""

    def __init__(self, code: Code, trees: Trees, kept: ByteRanges) -> None:
        self.code, self.trees = code, trees
        self.written, self.private = kept.copy(), ByteRanges()
        self.spaces = {space.number: space for space in code.spaces.values()}
        self.constants = sorted(code.constants.values(), key=lambda constant: constant.address)
        self.starts = [constant.address for constant in self.constants]
        self.samples: dict[str, IntArray] = {}
        self.block, self.depth, self.parallel = "", 0, False
        self.visited = 0
        self.counts: dict[str, int] = {}
        """Instructions of each engine so far."""
        self.clocks: dict[str, dict[str, int]] = {}
        """How many instructions of each other an engine knows to have finished."""
        self.tokens: dict[int, list[dict[str, int]]] = {}
        """For each token signalled and not yet awaited, what its engine knew."""
        self.touches: list[_Touch] = []
        """Accesses that some other engine may not know of yet."""
        self.room = MAX_TOUCHES
        self.engines = {
            engine for block in code.blocks.values() for engine, stream in block.streams.items() if stream.size
        }

    def function(self, name: str) -> None:
        """Check one entry point from its ports on."""
        function = self.code.functions[name]
        self.samples = corners(self.code)
        self.samples[ROW] = np.zeros(len(next(iter(self.samples.values()), [0])), np.int64)
        for port in function.inputs:
            for first, end in self._port(port, "input"):
                self.written.add(first, end)
        self._run(function.block, self.trees.of(function.block))
        if self._pending():
            raise ProgramError(
                "CB0513", f"token {next(iter(self._pending()))} is signalled and never awaited", f"function {name}"
            )
        for port in function.outputs:
            for first, end in self._port(port, "output"):
                gap = self.written.missing(first, end)
                if gap:
                    raise ProgramError(
                        "CB0523", f"output {port.name} is not written in bytes {gap[0] - first} to {gap[1] - first}"
                    )

    def _port(self, port: Port, what: str) -> list[ByteRange]:
        strides = contiguous(port.shape)
        return self._extents(Expr.of(port.address), port.shape, strides, port.dtype, f"{what} {port.name}")

    def _pending(self) -> dict[int, int]:
        """How often each token is signalled and not yet awaited."""
        return {token: len(waiting) for token, waiting in self.tokens.items() if waiting}

    def _run(self, block: str, streams: Mapping[str, Sequence[Node]]) -> None:
        outer, self.block = self.block, block
        follow(streams, self._step, self._enter)
        self.block = outer

    def _enter(self, nodes: Mapping[str, Node]) -> None:
        """Enter a loop or call that some engines share."""
        first, saved, pending = next(iter(nodes.values())), self.samples, self._pending()
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._bad("CB0531", f"loops and calls nest deeper than {MAX_DEPTH}")
        if isinstance(first, Loop):
            loops = {engine: node for engine, node in nodes.items() if isinstance(node, Loop)}
            if len({(loop.trips, loop.parallel) for loop in loops.values()}) > 1:
                raise self._bad("CB0531", f"loop {first.counter} differs between engines {', '.join(loops)}")
            self._loop(first, {engine: loop.body for engine, loop in loops.items()})
        elif isinstance(first, Call):
            if len(set(nodes.values())) > 1:
                raise self._bad("CB0525", f"{first.name} differs between engines {', '.join(nodes)}")
            self._call(first, list(nodes))
        if self._pending() != pending and not self._once(first, saved):
            raise self._bad("CB0513", f"{first.name} leaves tokens {self._pending()} behind that were {pending} before")
        self.depth -= 1
        self.samples = saved

    def _once(self, node: Node, samples: Mapping[str, IntArray]) -> bool:
        """Whether a loop or call runs exactly once, whatever the dimensions."""
        times = node.trips if isinstance(node, Loop) else node.rows if isinstance(node, Call) else None
        return times is not None and bool((np.asarray(times.evaluate({**samples})) == 1).all())

    def _loop(self, loop: Loop, bodies: Mapping[str, Sequence[Node]]) -> None:
        trips = np.broadcast_to(self._evaluate(loop.trips, f"trips of loop {loop.counter}"), self.samples[ROW].shape)
        if trips.size and (trips.min() < 0 or trips.max() > MAX_TRIPS):
            message = f"loop {loop.counter} has {trips.min()} to {trips.max()} trips, at most {MAX_TRIPS}"
            raise self._bad("CB0531", message)
        if loop.parallel and self.parallel:
            raise self._bad("CB0531", f"parallel loop {loop.counter} inside another")
        if loop.counter in self.samples:
            raise self._bad("CB0531", f"loop {loop.counter} counts in a register that is in use")
        inside = np.flatnonzero(trips > 0)
        if not inside.size:
            return
        ends = np.concatenate([np.zeros(inside.size, np.int64), trips[inside] - 1])
        self._select(np.concatenate([inside, inside]), {loop.counter: ends})
        outer, private = self.parallel, self.private
        if loop.parallel:
            self.parallel, self.private = True, ByteRanges()
        for _ in range(1 if loop.parallel or len(bodies) == 1 else 2):
            follow(bodies, self._step, self._enter)
        self.parallel, self.private = outer, private

    def _call(self, call: Call, engines: Sequence[str]) -> None:
        block, table = self.code.blocks[call.block], self.code.tables[call.table]
        if table.columns != block.parameters:
            raise self._bad(
                "CB0525", f"table {table.name} has columns {table.columns}, {block.name} takes {block.parameters}"
            )
        taken = [name for name in block.parameters if name in self.samples]
        if taken:
            raise self._bad("CB0525", f"{call.name} sets {', '.join(taken)}, which is in use")
        first, rows = self._evaluate(call.first, "first row"), self._evaluate(call.rows, "rows")
        end = int((first + rows).max())
        if first.min() < 0 or rows.min() < 0 or end > len(table.values):
            raise self._bad("CB0525", f"{call.name} uses rows {first.min()} to {end - 1} of {len(table.values)}")
        streams = self.trees.of(call.block)
        if set(streams) != set(engines):
            message = f"{call.name} is made by {', '.join(engines)}; {call.block} has streams for {', '.join(streams)}"
            raise self._bad("CB0525", message)
        calls, size = end - int(first.min()), len(self.samples[ROW])
        if not calls:
            return
        entries = _evenly(size * calls)
        row = int(first.min()) + entries // size
        values = dict(zip(block.parameters, table.values[row].T, strict=True))
        outer = self.samples[ROW]
        self._select(entries % size, values)
        self.samples[ROW] = outer[entries % size] * len(table.values) + row
        parallel, self.parallel = self.parallel, False
        for _ in range(2 if calls > 1 and len(streams) > 1 else 1):
            self._run(call.block, streams)
        self.parallel = parallel

    def _select(self, entries: IntArray, more: Mapping[str, IntArray]) -> None:
        """Go on with some entries of the samples, repeated or left out, and more registers for them."""
        kept = _evenly(len(entries))
        self.samples = {name: values[entries[kept]] for name, values in self.samples.items()}
        self.samples |= {name: values[kept] for name, values in more.items()}

    def _step(self, engine: str, node: Decoded) -> bool:
        clock = self.clocks.setdefault(engine, {})
        if node.name == "core.wait":
            waiting = self.tokens.get(_token(node))
            if not waiting:
                return False
            for other, count in waiting.pop(0).items():
                clock[other] = max(clock.get(other, 0), count)
        elif node.name == "core.signal":
            self.tokens.setdefault(_token(node), []).append({**clock, engine: self.counts.get(engine, 0)})
        else:
            self.visited += 1
            if self.visited > MAX_VISITS:
                raise self._bad("CB0531", f"calls and loops are nested to more than {MAX_VISITS} instructions")
            self.counts[engine] = self.counts.get(engine, 0) + 1
            self._instruction(engine, node)
        return True

    def _instruction(self, engine: str, node: Decoded) -> None:
        where = f"block {self.block}, {engine}: {node.name}"
        seen: dict[str, object] = {}
        writes: list[ByteRange] = []
        for entry in node.instruction.fields:
            operand, place = node.operands[entry.name], f"{where} {entry.name}"
            if isinstance(operand, Tensor):
                seen[entry.name], extents = self._tensor(operand, place)
                write = entry.access is not Access.READ
                if extents:
                    self._touch(engine, extents, write, place)
                if write:
                    writes += extents
                else:
                    self._must_hold(extents, place)
            elif isinstance(operand, Expr):
                values = seen[entry.name] = self._evaluate(operand, place)
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
            self._holding(first).add(first, end)

    def _tensor(self, tensor: Tensor, where: str) -> tuple[TensorRange, list[ByteRange]]:
        layout = tensor.layout
        shape = tuple(self._evaluate(dim, where) for dim in layout.shape)
        extents = self._extents(tensor.address, layout.shape, layout.strides, layout.dtype, where)
        first, end = (extents[0][0], extents[-1][1]) if extents else (0, 0)
        return TensorRange(shape, layout.dtype, first, end), extents

    def _touch(self, engine: str, extents: list[ByteRange], write: bool, where: str) -> None:
        """Note an access; refuse one that another engine's conflicts with and no token orders."""
        first, end = extents[0][0], extents[-1][1]
        kind = self._space(first, where).kind
        if kind == "const" and write:
            raise ProgramError("CB0532", "writes to constant memory", where)
        if kind in ("const", "private"):
            return
        clock = self.clocks.setdefault(engine, {})
        for other in self.touches:
            overlaps = other.first < end and first < other.end and (write or other.write)
            if other.engine != engine and overlaps and clock.get(other.engine, 0) < other.at:
                raise ProgramError("CB0527", f"no token orders this after {other.where}", where)
        self.touches.append(_Touch(engine, self.counts[engine], first, end, write, where))
        if len(self.touches) >= self.room:
            self._forget()

    def _forget(self) -> None:
        """Drop accesses that all other engines know to have finished."""
        known = {
            engine: min((self.clocks.get(other, {}).get(engine, 0) for other in self.engines - {engine}), default=None)
            for engine in self.engines
        }
        self.touches = [touch for touch in self.touches if (at := known[touch.engine]) is not None and at < touch.at]
        self.room = max(MAX_TOUCHES, 2 * len(self.touches))

    def _must_hold(self, extents: list[ByteRange], where: str) -> None:
        for first, end in extents:
            gap = None if self._space(first, where).kind == "const" else self._holding(first).missing(first, end)
            if gap:
                raise ProgramError(
                    "CB0523",
                    f"reads bytes {gap[0] - first} to {gap[1] - first} of its {end - first} before they are written",
                    where,
                )

    def _holding(self, address: int) -> ByteRanges:
        """What has been written of the kind of memory at an address; each trip has private memory of its own."""
        return self.private if self.spaces[address >> SPACE_SHIFT].kind == "private" else self.written

    def _space(self, address: int, where: str) -> Space:
        space = self.spaces.get(address >> SPACE_SHIFT)
        if space is None:
            raise ProgramError("CB0528", f"address {address:#x} lies in no memory", where)
        return space

    def _bad(self, code: str, message: str) -> ProgramError:
        return ProgramError(code, message, f"block {self.block}")

    def _evaluate(self, expression: Expr, where: str) -> IntArray:
        try:
            return np.atleast_1d(np.asarray(expression.evaluate({**self.samples}), np.int64))
        except (ExprError, ZeroDivisionError, OverflowError) as error:
            raise ProgramError("CB0526", str(error), where) from error

    def _extents(
        self, address: Expr, shape: Sequence[Expr], strides: Sequence[Expr], dtype: str, where: str
    ) -> list[ByteRange]:
        """The bytes touched over all samples, as disjoint rising ranges within one space; none if always empty.

        The rows of a table of calls may lie apart: what is between them is not touched.
        """
        dims = [self._evaluate(dim, where) for dim in shape]
        if any(dim.size and dim.min() < 0 for dim in dims):
            raise ProgramError("CB0528", f"a dimension of {' x '.join(map(str, shape))} is negative", where)
        size = dtype_of(dtype).itemsize
        reaches = [(dim - 1) * self._evaluate(stride, where) for dim, stride in zip(dims, strides, strict=True)]
        start = self._evaluate(address, where)
        low = start + size * sum((np.minimum(reach, 0) for reach in reaches), np.zeros(1, np.int64))
        high = start + size * sum((np.maximum(reach, 0) for reach in reaches), np.ones(1, np.int64))
        full = np.logical_and.reduce(np.broadcast_arrays(np.ones(1, bool), *(dim > 0 for dim in dims)))
        first, end, used = np.broadcast_arrays(low, high, full)
        if not used.any():
            return []
        first, end = first[used], end[used]
        self._check_inside(first, end, where)
        rows = self.samples[ROW] if used.size > 1 else np.zeros(1, np.int64)
        return merged(first, end, rows[used])

    def _check_inside(self, first: IntArray, end: IntArray, where: str) -> None:
        low, high = int(first.min()), int(end.max())
        space = self._space(low, where)
        if (high - 1) >> SPACE_SHIFT != space.number:
            raise ProgramError("CB0528", f"bytes {low:#x} to {high:#x} leave memory {space.name}", where)
        if space.kind != "const":
            reach = (low & OFFSET_MASK) + high - low
            if reach > space.used_bytes:
                message = f"bytes up to {reach} of memory {space.name}, which has {space.used_bytes}"
                raise ProgramError("CB0528", message, where)
            return
        for begin, stop in zip(first.tolist(), end.tolist(), strict=True):
            i = bisect_right(self.starts, begin) - 1
            if i < 0 or stop > self.constants[i].address + self.constants[i].size_bytes:
                raise ProgramError("CB0528", f"bytes {begin:#x} to {stop:#x} lie in no constant", where)
