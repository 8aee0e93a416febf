"""How an instruction is declared: its fields, what it does, and what it costs; everything else derives from that.

An instruction set is one object per family. Encoder, decoder, assembler, verifier, the IR dialect and the reference
page read the declarations; the executor calls `execute`, the coster `time`, both `counts`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum
from typing import Any

import numpy as np

from crossbank.runtime.counts import Counts

ARGUMENTS = 16
"""Operand slots of a record."""

RECORD = np.dtype([("opcode", "<u2"), ("node", "<u2"), ("operation", "<u4"), ("args", "<i8", (ARGUMENTS,))])
"""One instruction: instruction set number in the high byte of `opcode`, node slot, operands.

`operation` is the number of the operation that leaves a `program.NamedTensor`, 0 for none.

An operand of a kind in `EXPRESSIBLE` is the value itself where it is >= 0, or expression number -(operand + 1) of
the program where it is negative. FLOAT operands are the bits of a float64.
"""

NO_LAYOUT = -1
"""The layout operand of an optional tensor that is absent."""


class Kind(StrEnum):
    """What an operand slot holds."""

    COUNT = "count"
    """A non-negative number, or an expression."""
    ADDRESS = "address"
    """A byte address (space << 44 | offset), or an expression; always followed by the tensor's LAYOUT."""
    LAYOUT = "layout"
    """An entry of the program's layouts (dtype, shape, strides), or NO_LAYOUT."""
    ENUM = "enum"
    """A member of the field's IntEnum."""
    FLOAT = "float"
    """A float64 immediate."""
    REGISTER = "register"
    """A register that the instruction writes (a loop's counter)."""
    BLOCK = "block"
    """A block of the program."""
    TABLE = "table"
    """A constants table of the program."""
    TOKEN = "token"
    """A synchronisation token."""


EXPRESSIBLE = frozenset({Kind.COUNT, Kind.ADDRESS})


class Access(Enum):
    """What an instruction does to a tensor operand."""

    READ = "read"
    WRITE = "write"
    UPDATE = "update"


@dataclass(frozen=True)
class Field:
    """One operand; a tensor is an ADDRESS field and takes a second slot for its layout."""

    name: str
    kind: Kind
    doc: str = ""
    bits: int = 32
    access: Access | None = None
    optional: bool = False
    members: type[IntEnum] | None = None
    low: int = 0
    """The least legal value of a COUNT."""
    timed: bool = True
    """Whether the value itself matters to `time`. An untimed one (a row number) may differ between trips that cost the
    same: whoever writes a loop of them sees to it that each trip finds rows open, or other ones, as the one before."""

    @property
    def slots(self) -> int:
        return 2 if self.kind is Kind.ADDRESS else 1


def reads(name: str, doc: str = "", optional: bool = False) -> Field:
    """A tensor that the instruction reads."""
    return Field(name, Kind.ADDRESS, doc, bits=63, access=Access.READ, optional=optional)


def writes(name: str, doc: str = "", optional: bool = False) -> Field:
    """A tensor that the instruction overwrites completely."""
    return Field(name, Kind.ADDRESS, doc, bits=63, access=Access.WRITE, optional=optional)


def updates(name: str, doc: str = "", optional: bool = False) -> Field:
    """A tensor that the instruction reads and changes, or overwrites in part."""
    return Field(name, Kind.ADDRESS, doc, bits=63, access=Access.UPDATE, optional=optional)


def count(name: str, doc: str = "", low: int = 0, bits: int = 32, timed: bool = True) -> Field:
    """A number or an expression of registers."""
    return Field(name, Kind.COUNT, doc, bits=bits, low=low, timed=timed)


def enum(name: str, members: type[IntEnum], doc: str = "") -> Field:
    """A choice."""
    return Field(name, Kind.ENUM, doc, bits=8, members=members)


def number(name: str, doc: str = "") -> Field:
    """A float64 constant."""
    return Field(name, Kind.FLOAT, doc, bits=64)


Execute = Callable[[Any, Any], None]
"""execute(unit, operands): see `executor.Unit` and `executor.Operands`."""
Time = Callable[[Any, Any, Any], None]
"""time(clock, operands, unit): see `clock.Clock` and `coster.TensorCost`."""
Count = Callable[[Any, Any], Counts]
"""counts(operands, unit): what one execution does, from operands and unit as `time` gets them."""
Check = Callable[[Any, Any], None]
"""check(operands, unit): the family's own static rules; raises VerifyError. Operands carry bounds, see `verifier`."""


@dataclass(frozen=True)
class Instruction:
    """One instruction: `mnemonic` is unique in its set, `code` its low opcode byte."""

    mnemonic: str
    code: int
    fields: tuple[Field, ...]
    doc: str
    execute: Execute
    time: Time
    check: Check | None = None
    counts: Count | None = None
    barrier: bool = False
    """Not moved across by the scheduler even where operands do not conflict (it has state beyond its operands)."""

    @property
    def slots(self) -> Sequence[tuple[str, Field]]:
        """(slot name, field) of each operand slot in order; a tensor `src` takes `src` and `src.layout`."""
        named: list[tuple[str, Field]] = []
        for entry in self.fields:
            named.append((entry.name, entry))
            if entry.kind is Kind.ADDRESS:
                named.append((f"{entry.name}.layout", Field(f"{entry.name}.layout", Kind.LAYOUT)))
        return named


@dataclass
class InstructionSet:
    """The instructions of one family: `number` is the high opcode byte, `version` goes into every program.

    `make_unit(config, machine)` builds the state of one engine for execution; `make_cost_unit(config)` the parameters
    that `time` functions read. `config` is the engine's table from the system file.
    """

    name: str
    number: int
    version: int
    doc: str
    make_unit: Callable[[Mapping[str, Any], Any], Any]
    make_cost_unit: Callable[[Mapping[str, Any]], Any]
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Which numbers of the engine's table each cost component rests on, as "section.key"; the coster tells from it
    how much of a total rests on assumed numbers. A component that is not listed rests on the engine's whole table."""
    finish: Callable[[Any, str, Any, int], None] | None = None
    """finish(costs, engine, unit, groups) adds to a step's `coster.StepCosts` what depends on its whole time (refresh);
    it may split times and add energy, never change a total time. None: nothing does."""
    calibrate: Callable[[Any, Any], Any] | None = None
    """calibrate(program, ids (windows, tokens)) gives converter ranges in the family's own form; None: has none."""
    instructions: dict[str, Instruction] = field(default_factory=dict[str, Instruction])
    by_code: dict[int, Instruction] = field(default_factory=dict[int, Instruction])

    def define(
        self,
        mnemonic: str,
        code: int,
        fields: Sequence[Field],
        doc: str,
        execute: Execute,
        time: Time,
        check: Check | None = None,
        counts: Count | None = None,
        barrier: bool = False,
    ) -> Instruction:
        """Declare an instruction; ValueError where it does not fit a record or repeats a name or code."""
        instruction = Instruction(mnemonic, code, tuple(fields), doc, execute, time, check, counts, barrier)
        if len(instruction.slots) > ARGUMENTS:
            raise ValueError(f"{self.name}.{mnemonic} has {len(instruction.slots)} operand slots, at most {ARGUMENTS}")
        if mnemonic in self.instructions or code in self.by_code or not 0 < code < 256:
            raise ValueError(f"{self.name}.{mnemonic} repeats a name or code")
        self.instructions[mnemonic] = self.by_code[code] = instruction
        return instruction

    def opcode(self, instruction: Instruction) -> int:
        """The 16-bit opcode of an instruction of this set."""
        return self.number << 8 | instruction.code
