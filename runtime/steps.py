"""Records made ready to run: operands resolved once, what depends on registers compiled, streams nested by loops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from crossbank.runtime.core_isa import LoopKind
from crossbank.runtime.expr import Expr
from crossbank.runtime.isa import Access, Execute
from crossbank.runtime.machine import Array, Lanes, Machine
from crossbank.runtime.program import SPACE_SHIFT, ProgramError
from crossbank.runtime.records import Decoded, Decoder, Tensor

Registers: TypeAlias = "dict[str, Any]"
Number: TypeAlias = "Callable[[Mapping[str, Any]], Any]"
MAX_KEPT = 4096
"""Views of constants that one operand keeps at most."""


class Operands:
    """What `execute` gets: one attribute per field, valid during the call only.

    A tensor is an array with a leading lane axis, of size `lanes`, or 1 where all lanes share it; None where an
    optional one is absent. What is written or updated is written in place (`operands.dst[...] = value`). A COUNT is an
    int, or an int64 array (lanes,) where lanes differ; an ENUM its member; a FLOAT a float.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.lanes = 1

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{self.name} has no operand {name!r}")


class Slot:
    """A tensor operand of one instruction."""

    def __init__(self, name: str, access: Access | None, tensor: Tensor, machine: Machine) -> None:
        self.name, self.machine = name, machine
        self.reads, self.writes = access is not Access.WRITE, access is not Access.READ
        self.expression, self.symbols = tensor.address, tensor.address.symbols
        self.address: Number = tensor.address.compiled
        self.fixed = tensor.address.constant if tensor.address.is_constant else None
        self.shape = machine.shape(tensor.layout)
        self._last: int = -1
        self._dims: tuple[int, ...] = ()
        self._view: Array = np.empty(0)
        self._constants: dict[int, Array] = {}
        self._buffer: NDArray[np.uint8] | None = None
        self._base = 0
        self._affine: dict[str, tuple[Number, Number] | None] = {}
        self._scatter: NDArray[np.int64] | None = None

    def fetch(self, registers: Registers, lanes: Lanes) -> Array:
        """The operand's array (lanes or 1, *dims)."""
        if lanes.counter:
            return self._in_lanes(registers, lanes)
        shape = self.shape
        shape.update(registers)
        address = self.fixed if self.fixed is not None else self.address(registers)
        if address == self._last and shape.lane_dims is self._dims:
            return self._view
        if self._buffer is not None:
            try:
                view = np.ndarray(shape.lane_dims, shape.dtype, self._buffer, address - self._base, shape.lane_strides)
            except ValueError:
                view = self._first_view(address)
        else:
            view = self._constants.get(address)
            if view is None:
                view = self._first_view(address)
        self._last, self._dims, self._view = address, shape.lane_dims, view
        return view

    def _first_view(self, address: int) -> Array:
        shape, machine = self.shape, self.machine
        view = machine.view(address, shape.dtype, shape.dims, shape.strides)
        number = address >> SPACE_SHIFT
        self._buffer, self._base = machine.arena(number), number << SPACE_SHIFT
        if machine.space(address).kind == "const" and not shape.symbols and len(self._constants) < MAX_KEPT:
            self._constants[address] = view
        return view

    def _in_lanes(self, registers: Registers, lanes: Lanes) -> Array:
        shape = self.shape
        if lanes.counter in shape.symbols:
            raise ProgramError("CB0553", f"{self.name}: the form of a tensor differs between trips of a parallel loop")
        shape.update(registers)
        if lanes.counter in self.symbols:
            return self._per_lane(registers, lanes)
        address = self.address(registers)
        view = self.machine.lane_view(lanes, address, 0, shape.dtype, shape.dims, shape.strides)
        if self.writes and lanes.count > 1 and self.machine.space(address).kind != "private":
            raise self._race()
        return view

    def _race(self) -> ProgramError:
        return ProgramError("CB0553", f"{self.name}: the trips of a parallel loop write one and the same place")

    def flush(self, lanes: Lanes, value: Array) -> None:
        """Write back an operand that had to be copied because its lanes lie anywhere."""
        if self._scatter is not None:
            shape = self.shape
            self.machine.scatter(lanes, self._scatter, shape.dtype, shape.dims, shape.strides, value)
            self._scatter = None

    def _per_lane(self, registers: Registers, lanes: Lanes) -> Array:
        shape, machine = self.shape, self.machine
        if lanes.counter not in self._affine:
            self._affine[lanes.counter] = affine(self.expression, lanes.counter)
        split = self._affine[lanes.counter]
        if split is not None:
            step = split[1](registers)
            start = split[0](registers) + step * lanes.start
        else:
            addresses = np.asarray(self.address(registers), np.int64)
            steps = np.diff(addresses)
            if len(steps) and (steps != steps[0]).any():
                return self._anywhere(lanes, addresses)
            start, step = int(addresses[0]), int(steps[0]) if len(steps) else 0
        if self.writes and step == 0 and lanes.count > 1 and machine.space(start).kind != "private":
            raise self._race()
        try:
            return machine.lane_view(lanes, start, step, shape.dtype, shape.dims, shape.strides)
        except ProgramError:
            if self.writes or machine.space(start).kind != "const":
                raise
            addresses = start + step * np.arange(lanes.count, dtype=np.int64)
            return machine.gather(lanes, addresses, shape.dtype, shape.dims, shape.strides)

    def _anywhere(self, lanes: Lanes, addresses: NDArray[np.int64]) -> Array:
        shape = self.shape
        if self.writes:
            self._scatter = addresses
        if self.reads:
            return self.machine.gather(lanes, addresses, shape.dtype, shape.dims, shape.strides)
        return np.empty((lanes.count, *shape.dims), shape.dtype)


def affine(expression: Expr, counter: str) -> tuple[Number, Number] | None:
    """`expression` as base + step * counter, or None where it is no such sum."""
    base, step = Expr.of(0), Expr.of(0)
    for monomial, coefficient in expression.terms:
        rest = [atom for atom in monomial if atom != counter]
        term = Expr(((tuple(rest), coefficient),))
        if counter in term.symbols or len(monomial) - len(rest) > 1:
            return None
        if len(rest) == len(monomial):
            base = base + term
        else:
            step = step + term
    return base.compiled, step.compiled


class Step:
    """One instruction of an engine, ready to run."""

    def __init__(self, decoded: Decoded, index: int, unit: Any, machine: Machine) -> None:
        self.decoded, self.index, self.unit = decoded, index, unit
        self.execute: Execute = decoded.instruction.execute
        self.operands = Operands(decoded.name)
        self.slots: list[Slot] = []
        self.numbers: list[tuple[str, Number]] = []
        attributes = self.operands.__dict__
        for entry in decoded.instruction.fields:
            operand = decoded.operands[entry.name]
            attributes[entry.name] = operand
            if isinstance(operand, Tensor):
                self.slots.append(Slot(entry.name, entry.access, operand, machine))
            elif isinstance(operand, Expr) and operand.is_constant:
                attributes[entry.name] = operand.constant
            elif isinstance(operand, Expr):
                self.numbers.append((entry.name, operand.compiled))

    def prepare(self, registers: Registers, lanes: Lanes) -> Operands:
        """The operands for these registers."""
        operands = self.operands
        attributes = operands.__dict__
        for slot in self.slots:
            attributes[slot.name] = slot.fetch(registers, lanes)
        for name, number in self.numbers:
            attributes[name] = number(registers)
        attributes["lanes"] = lanes.count
        return operands

    def run(self, registers: Registers, lanes: Lanes) -> None:
        """Execute once for all lanes."""
        self.execute(self.unit, self.prepare(registers, lanes))
        if lanes.counter:
            self.finish(lanes)

    def finish(self, lanes: Lanes) -> None:
        """Write back what could not be written in place."""
        for slot in self.slots:
            if slot.writes:
                slot.flush(lanes, self.operands.__dict__[slot.name])


@dataclass(frozen=True)
class Loop:
    """A loop of one stream."""

    counter: str
    trips: Number
    parallel: bool
    body: Body
    index: int


@dataclass(frozen=True)
class Call:
    """A call in one stream: the engine runs its own stream of the block."""

    block: str
    table: str
    first: Number
    rows: Number
    index: int


@dataclass(frozen=True)
class Token:
    """A signal or a wait."""

    number: int
    wait: bool
    index: int


Item: TypeAlias = "list[Step] | Loop | Call | Token"
Body: TypeAlias = "list[Item]"


def prepare_stream(decoder: Decoder, block: str, engine: str, unit: Any, machine: Machine) -> Body:
    """The items of an engine's stream of a block; ProgramError CB0510 where loops and ends don't match."""
    stack: list[tuple[Decoded | None, int, Body]] = [(None, 0, [])]
    for index, decoded in enumerate(decoder.stream(block, engine)):
        body, operands = stack[-1][2], decoded.operands
        if decoded.isa.name != "core":
            if not body or not isinstance(body[-1], list):
                body.append([])
            steps = body[-1]
            assert isinstance(steps, list)
            steps.append(Step(decoded, index, unit, machine))
            continue
        match decoded.instruction.mnemonic:
            case "loop":
                stack.append((decoded, index, []))
            case "end":
                opened, at, inner = stack.pop()
                if opened is None:
                    raise ProgramError("CB0510", "an end without a loop", f"block {block}, {engine}, record {index}")
                parallel = opened.operands["kind"] is LoopKind.PARALLEL
                stack[-1][2].append(
                    Loop(str(opened.operands["counter"]), _number(opened, "trips"), parallel, inner, at)
                )
            case "call":
                first, rows = _number(decoded, "first"), _number(decoded, "rows")
                body.append(Call(str(operands["block"]), str(operands["table"]), first, rows, index))
            case mnemonic:
                token = operands["token"]
                assert isinstance(token, int)
                body.append(Token(token, mnemonic == "wait", index))
    if len(stack) > 1:
        raise ProgramError("CB0510", "a loop without an end", f"block {block}, {engine}, record {stack[-1][1]}")
    return stack[0][2]


def _number(decoded: Decoded, name: str) -> Number:
    operand = decoded.operands[name]
    assert isinstance(operand, Expr)
    return operand.compiled


def whole(value: Any, what: str) -> int:
    """A number that all lanes must agree on; ProgramError CB0553 where they don't."""
    if isinstance(value, int):
        return value
    if value.min() != value.max():
        raise ProgramError("CB0553", f"{what} differs between trips of a parallel loop")
    return int(value.flat[0])


def parallel_counters(body: Body) -> list[str]:
    """The counters of the parallel loops of a stream, in order."""
    found: list[str] = []
    for item in body:
        if isinstance(item, Loop):
            found += [item.counter] if item.parallel else parallel_counters(item.body)
    return found
