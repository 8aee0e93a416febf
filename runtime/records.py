"""Records and back: the encoder and decoder of instructions, for all that write or read streams."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from crossbank.runtime.expr import Expr
from crossbank.runtime.isa import ARGUMENTS, NO_LAYOUT, RECORD, Field, Instruction, InstructionSet, Kind
from crossbank.runtime.program import Code, Layout, ProgramError
from crossbank.runtime.registry import sets_of

LARGEST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor operand: where it starts (space << 44 | byte offset) and how it lies."""

    address: Expr
    layout: Layout


Operand: TypeAlias = "Tensor | Expr | IntEnum | float | str | int | None"
"""By kind: ADDRESS a Tensor or None, COUNT an Expr, ENUM a member, FLOAT a float, TOKEN an int, REGISTER, BLOCK and
TABLE names. The encoder also takes ints and texts for Exprs, numbers and lower-case names for ENUM members."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """An instruction with its operands by field name, and its node slot and operation."""

    isa: InstructionSet
    instruction: Instruction
    operands: Mapping[str, Operand]
    node: int
    operation: int = 0

    @property
    def name(self) -> str:
        """Set and mnemonic, such as "simd.softmax"."""
        return f"{self.isa.name}.{self.instruction.mnemonic}"


@dataclass
class Pools:
    """The tables that records refer to by number, growing as records are encoded.

    A register, block or table has the number of its place: a `Code` made from pools must keep the order of `registers`,
    `blocks` and `tables` in its dicts, and take `expressions` and `layouts` as they are.
    """

    expressions: list[Expr] = field(default_factory=list[Expr])
    layouts: list[Layout] = field(default_factory=list[Layout])
    registers: list[str] = field(default_factory=list[str])
    blocks: list[str] = field(default_factory=list[str])
    tables: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self._expressions = {e: i for i, e in reversed(list(enumerate(self.expressions)))}
        self._layouts = {e: i for i, e in reversed(list(enumerate(self.layouts)))}
        self._names = {
            kind: {name: i for i, name in enumerate(names)}
            for kind, names in (
                (Kind.REGISTER, self.registers),
                (Kind.BLOCK, self.blocks),
                (Kind.TABLE, self.tables),
            )
        }

    @staticmethod
    def of(code: Code) -> Pools:
        """The pools of a program, to encode more records for it."""
        return Pools(
            list(code.expressions), list(code.layouts), list(code.registers), list(code.blocks), list(code.tables)
        )

    def expression(self, value: Expr) -> int:
        """The operand of an expression: its value where it is a constant >= 0, else -(number + 1)."""
        if value.is_constant and 0 <= value.constant <= LARGEST:
            return value.constant
        number = self._expressions.setdefault(value, len(self.expressions))
        if number == len(self.expressions):
            self.expressions.append(value)
        return -(number + 1)

    def layout(self, value: Layout) -> int:
        """The number of a layout."""
        number = self._layouts.setdefault(value, len(self.layouts))
        if number == len(self.layouts):
            self.layouts.append(value)
        return number

    def named(self, kind: Kind, name: str) -> int:
        """The number of a register, block or table, added where it is new."""
        names = {Kind.REGISTER: self.registers, Kind.BLOCK: self.blocks, Kind.TABLE: self.tables}[kind]
        number = self._names[kind].setdefault(name, len(names))
        if number == len(names):
            names.append(name)
        return number


def _bad(name: str, entry: Field, problem: str) -> ProgramError:
    return ProgramError("CB0522", f"{name}: operand {entry.name} {problem}")


def _member(name: str, entry: Field, value: Operand) -> IntEnum:
    assert entry.members is not None
    try:
        match value:
            case str():
                return entry.members[value.upper()]
            case int():
                return entry.members(int(value))
            case _:
                raise ValueError
    except (KeyError, ValueError):
        known = ", ".join(m.name.lower() for m in entry.members)
        raise _bad(name, entry, f"is {value!r}, not one of {known}") from None


def _encode_count(name: str, entry: Field, value: Operand, pools: Pools) -> int:
    if not isinstance(value, Expr | int | str | np.integer) or isinstance(value, bool):
        raise _bad(name, entry, f"is {value!r}, not a number or an expression")
    expression = Expr.of(int(value) if isinstance(value, np.integer) else value)
    if expression.is_constant and not entry.low <= expression.constant < 1 << entry.bits:
        raise _bad(name, entry, f"is {expression}, outside {entry.low} to {(1 << entry.bits) - 1}")
    return pools.expression(expression)


def _encode_operand(name: str, entry: Field, value: Operand, pools: Pools) -> list[int]:
    match entry.kind:
        case Kind.ADDRESS:
            if value is None:
                if not entry.optional:
                    raise _bad(name, entry, "is missing")
                return [0, NO_LAYOUT]
            if not isinstance(value, Tensor):
                raise _bad(name, entry, f"is {value!r}, not a tensor")
            return [_encode_count(name, entry, value.address, pools), pools.layout(value.layout)]
        case Kind.COUNT:
            return [_encode_count(name, entry, value, pools)]
        case Kind.ENUM:
            return [int(_member(name, entry, value))]
        case Kind.FLOAT:
            if isinstance(value, str | Expr | Tensor) or value is None:
                raise _bad(name, entry, f"is {value!r}, not a number")
            return [struct.unpack("<q", struct.pack("<d", float(value)))[0]]
        case Kind.REGISTER | Kind.BLOCK | Kind.TABLE:
            if not isinstance(value, str):
                raise _bad(name, entry, f"is {value!r}, not a name")
            return [pools.named(entry.kind, value)]
        case Kind.TOKEN:
            if not isinstance(value, int) or value < 0:
                raise _bad(name, entry, f"is {value!r}, not a token's number")
            return [value]
        case Kind.LAYOUT:
            raise _bad(name, entry, "is a layout without a tensor")


def encode(
    isa: InstructionSet,
    instruction: Instruction,
    operands: Mapping[str, Operand],
    node: int,
    pools: Pools,
    operation: int = 0,
) -> NDArray[np.void]:
    """The record () of an instruction; ProgramError CB0522 names an operand that is missing, unknown or unfit."""
    name = f"{isa.name}.{instruction.mnemonic}"
    arguments: list[int] = []
    unknown = operands.keys() - {entry.name for entry in instruction.fields}
    if unknown:
        raise ProgramError("CB0522", f"{name} has no operand {', '.join(sorted(unknown))}")
    for entry in instruction.fields:
        if entry.name not in operands and not entry.optional:
            raise _bad(name, entry, "is missing")
        arguments += _encode_operand(name, entry, operands.get(entry.name), pools)
    record = np.zeros((), RECORD)
    record["opcode"], record["node"] = isa.opcode(instruction), node
    record["operation"] = operation
    record["args"][: len(arguments)] = arguments
    return record


def records(parts: Iterable[NDArray[np.void]]) -> NDArray[np.void]:
    """A stream (n,) of encoded records."""
    listed = list(parts)
    return np.array(listed, RECORD) if listed else np.zeros(0, RECORD)


class Decoder:
    """Reads the records of one program; ProgramError CB0521 for an unknown opcode, CB0522 for an unfit operand."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self._sets = sets_of(code)
        self._names = {
            Kind.REGISTER: list(code.registers),
            Kind.BLOCK: list(code.blocks),
            Kind.TABLE: list(code.tables),
        }

    def decode(self, record: NDArray[np.void] | np.void) -> Decoded:
        """The instruction of a record ()."""
        opcode = int(record["opcode"])
        isa = self._sets.get(opcode >> 8)
        instruction = isa.by_code.get(opcode & 255) if isa else None
        if isa is None or instruction is None:
            raise ProgramError(
                "CB0521",
                f"opcode {opcode:#06x} is no instruction of {', '.join(sorted(s.name for s in self._sets.values()))}",
            )
        name = f"{isa.name}.{instruction.mnemonic}"
        arguments: list[int] = record["args"].tolist()
        operands: dict[str, Operand] = {}
        at = 0
        for entry in instruction.fields:
            operands[entry.name] = self._operand(name, entry, arguments[at], arguments[min(at + 1, ARGUMENTS - 1)])
            at += entry.slots
        if any(arguments[at:]):
            raise ProgramError("CB0522", f"{name}: an operand slot after the last is not 0")
        return Decoded(isa, instruction, operands, int(record["node"]), int(record["operation"]))

    def stream(self, block: str, engine: str) -> Iterator[Decoded]:
        """The instructions of a block's stream in order; errors say which record."""
        isa = self.code.engines[engine].isa if engine in self.code.engines else None
        for i, record in enumerate(self.code.blocks[block].streams[engine]):
            try:
                decoded = self.decode(record)
                if decoded.isa.name not in ("core", isa):
                    raise ProgramError("CB0521", f"{decoded.name} in the stream of an engine of set {isa!r}")
            except ProgramError as error:
                raise ProgramError(error.code, error.message, f"block {block}, {engine}, record {i}") from error
            yield decoded

    def expression(self, operand: int) -> Expr:
        """The expression of an ADDRESS or COUNT operand; ProgramError CB0522 where the program has none."""
        if operand >= 0:
            return Expr.of(operand)
        if -operand > len(self.code.expressions):
            raise ProgramError("CB0522", f"expression {-operand - 1} of {len(self.code.expressions)}")
        return self.code.expressions[-operand - 1]

    def _operand(self, name: str, entry: Field, operand: int, following: int) -> Operand:
        match entry.kind:
            case Kind.ADDRESS:
                return self._tensor(name, entry, operand, following)
            case Kind.COUNT:
                if operand >= 0 and not entry.low <= operand < 1 << entry.bits:
                    raise _bad(name, entry, f"is {operand}, outside {entry.low} to {(1 << entry.bits) - 1}")
                return self.expression(operand)
            case Kind.ENUM:
                return _member(name, entry, operand)
            case Kind.FLOAT:
                return struct.unpack("<d", struct.pack("<q", operand))[0]
            case Kind.TOKEN:
                if not 0 <= operand < self.code.tokens:
                    raise _bad(name, entry, f"is {operand}, the program has {self.code.tokens} tokens")
                return operand
            case Kind.REGISTER | Kind.BLOCK | Kind.TABLE:
                names = self._names[entry.kind]
                if not 0 <= operand < len(names):
                    raise _bad(name, entry, f"is {operand}, the program has {len(names)} {entry.kind}s")
                return names[operand]
            case Kind.LAYOUT:
                raise _bad(name, entry, "is a layout without a tensor")

    def _tensor(self, name: str, entry: Field, address: int, layout: int) -> Tensor | None:
        if layout == NO_LAYOUT:
            if not entry.optional or address:
                raise _bad(name, entry, "has no layout")
            return None
        if not 0 <= layout < len(self.code.layouts):
            raise _bad(name, entry, f"has layout {layout}, the program has {len(self.code.layouts)} layouts")
        return Tensor(self.expression(address), self.code.layouts[layout])


def decode(record: NDArray[np.void] | np.void, code: Code) -> Decoded:
    """The instruction of one record; for many, make one `Decoder`."""
    return Decoder(code).decode(record)
