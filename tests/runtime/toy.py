"""A toy instruction set for tests of the runtime, and a small builder of programs in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

import numpy as np

from crossbank.runtime.expr import Expr, product
from crossbank.runtime.isa import InstructionSet, Kind, count, enum, number, reads, updates, writes
from crossbank.runtime.program import SPACE_SHIFT, Block, Code, Constant, Engine, Function, Layout, Port, Space, Table
from crossbank.runtime.records import Operand, Pools, Tensor, encode, records
from crossbank.runtime.registry import instruction_set


class Way(IntEnum):
    """How `unary` maps its operand."""

    COPY = 0
    NEGATE = 1
    SQUARE = 2


class Unit:
    """An accumulator per lane."""

    def __init__(self, config: Mapping[str, Any], machine: Any) -> None:
        self.scale = float(config.get("scale", 1.0))
        self.accumulator = np.zeros(1)

    def enter_lanes(self, lanes: int) -> None:
        self.accumulator = np.zeros(lanes)

    def leave_lanes(self) -> None:
        self.accumulator = np.zeros(1)


def _unary(unit: Unit, operands: Any) -> None:
    x = operands.src
    operands.dst[...] = {Way.COPY: x, Way.NEGATE: -x, Way.SQUARE: x * x}[operands.way]


def _add(unit: Unit, operands: Any) -> None:
    operands.dst[...] = operands.a + operands.b if operands.b is not None else operands.a


def _matmul(unit: Unit, operands: Any) -> None:
    operands.dst[...] = operands.a @ operands.b


def _increase(unit: Unit, operands: Any) -> None:
    amount = np.asarray(operands.amount).reshape(-1, *[1] * (operands.dst.ndim - 1))
    operands.dst[...] += amount * operands.factor


def _load(unit: Unit, operands: Any) -> None:
    unit.accumulator = operands.src.reshape(operands.lanes, -1).sum(axis=1) * unit.scale


def _store(unit: Unit, operands: Any) -> None:
    operands.dst[...] = unit.accumulator.reshape(-1, *[1] * (operands.dst.ndim - 1))


def _free(clock: Any, operands: Any, unit: Any) -> None:
    return None


TOY = InstructionSet("toy", 200, 1, "For tests.", Unit, lambda config: None)
TOY.define("unary", 1, [writes("dst"), reads("src"), enum("way", Way)], "dst = way(src).", _unary, _free)
TOY.define(
    "add", 2, [writes("dst"), reads("a"), reads("b", "0 where absent", optional=True)], "dst = a + b.", _add, _free
)
TOY.define("matmul", 3, [writes("dst"), reads("a"), reads("b")], "dst = a @ b.", _matmul, _free)
TOY.define(
    "increase", 4, [updates("dst"), count("amount"), number("factor")], "dst += amount * factor.", _increase, _free
)
TOY.define("load", 5, [reads("src")], "The accumulator is the sum of src.", _load, _free)
TOY.define("store", 6, [writes("dst")], "dst = the accumulator.", _store, _free)

IO, MEMORY, CONST, PRIVATE = 1, 2, 3, 4


def contiguous(dims: Sequence[Expr]) -> tuple[Expr, ...]:
    """Strides of a C-contiguous tensor."""
    return tuple(product(dims[i + 1 :]) for i in range(len(dims)))


def at(
    space: int,
    offset: int | str | Expr,
    dims: Sequence[int | str],
    strides: Sequence[int | str] | None = None,
    dtype: str = "float32",
) -> Tensor:
    """A tensor operand; C-contiguous where no strides are given."""
    shape = tuple(Expr.of(d) for d in dims)
    steps = contiguous(shape) if strides is None else tuple(Expr.of(s) for s in strides)
    return Tensor(Expr.of(space << SPACE_SHIFT) + Expr.of(offset), Layout(dtype, shape, steps))


class Builder:
    """Collects streams and makes a Code of them."""

    def __init__(self, registers: Mapping[str, tuple[int, int]] | None = None) -> None:
        self.bounds = dict(registers or {})
        self.pools = Pools(registers=list(self.bounds), blocks=["main"])
        self.blocks: dict[str, Block] = {}
        self.tables: dict[str, Table] = {}
        self.constants: dict[str, Constant] = {}
        self.functions: dict[str, Function] = {}

    def op(self, text: str, node: int = 0, **operands: Operand) -> Any:
        """The record of `set.mnemonic`."""
        name, mnemonic = text.split(".")
        isa = TOY if name == "toy" else instruction_set(name)
        return encode(isa, isa.instructions[mnemonic], operands, node, self.pools)

    def block(self, name: str, streams: Mapping[str, Sequence[Any]], parameters: Sequence[str] = ()) -> None:
        """Add a block."""
        encoded = {engine: records(stream) for engine, stream in streams.items()}
        self.blocks[name] = Block(name, tuple(parameters), encoded, np.zeros((1, 1), np.int32))

    def constant(self, name: str, values: np.ndarray[Any, Any], address: int) -> None:
        """Declare a constant of the const space."""
        self.constants[name] = Constant(name, values.dtype.name, values.shape, CONST << SPACE_SHIFT | address)

    def function(self, name: str, block: str, inputs: Sequence[Port] = (), outputs: Sequence[Port] = ()) -> None:
        """Add an entry point."""
        self.functions[name] = Function(name, block, tuple(inputs), tuple(outputs))

    def code(self, **changes: Any) -> Code:
        """The program."""
        if not self.functions:
            self.function("main", "main")
        fields: dict[str, Any] = dict(
            target="toy",
            system={},
            engines={n: Engine(n, "simd", "toy", {}) for n in ("e0", "e1")},
            spaces={
                "io": Space("io", IO, "io", 1 << 16),
                "mem": Space("mem", MEMORY, "memory", 1 << 16),
                "const": Space("const", CONST, "const", 1 << 16),
                "private": Space("private", PRIVATE, "private", 1 << 10),
            },
            registers=self.bounds | {r: (0, 1 << 20) for r in self.pools.registers if r not in self.bounds},
            dimensions=tuple(self.bounds),
            capacity={},
            expressions=self.pools.expressions,
            layouts=self.pools.layouts,
            functions=self.functions,
            blocks={name: self.blocks[name] for name in self.pools.blocks},
            tables=self.tables,
            tokens=8,
            nodes=["node"],
            constants=self.constants,
        )
        return Code(**(fields | changes))


def port(name: str, dims: Sequence[int | str], offset: int, dtype: str = "float32") -> Port:
    """A port in the io space."""
    return Port(name, dtype, tuple(Expr.of(d) for d in dims), IO << SPACE_SHIFT | offset)


__all__ = ["CONST", "IO", "MEMORY", "PRIVATE", "TOY", "Builder", "Kind", "Way", "at", "port"]
