"""The reference page of instructions, written from their declarations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from crossbank.runtime.isa import ARGUMENTS, Access, Field, Instruction, InstructionSet, Kind
from crossbank.runtime.registry import instruction_set, set_names

_HEAD = f"""# Instructions

Written by `crossbank.runtime.assembly.reference` from the declarations of the instruction sets; don't edit.

A record has an opcode (set number in the high byte), a node slot, and {ARGUMENTS} operand slots of 64 bits. A count or
an address is the value itself where it is >= 0, or expression number -(operand + 1) of the program where it is
negative. A tensor takes two slots, address and layout; layout -1 says that an optional tensor is absent. A float is the
bits of a float64.

In assembly every operand is written `name=value`: a tensor as `space[offset]:dtype[shape](strides)`, strides in
elements and left out where the tensor is C-contiguous; a count as an expression of registers; a choice by name.
"""
_ACCESS = {Access.READ: "reads", Access.WRITE: "writes", Access.UPDATE: "reads and writes"}


def reference_page(sets: Iterable[InstructionSet] | None = None) -> str:
    """One markdown page of all instructions of `sets` (of all that are installed for None), by set and opcode."""
    chosen = [instruction_set(name) for name in set_names()] if sets is None else list(sets)
    parts = [_HEAD]
    for isa in sorted(chosen, key=lambda isa: isa.number):
        parts.append(f"## {isa.name}\n\n{isa.doc} Set {isa.number}, version {isa.version}.\n")
        parts += [_instruction(isa, isa.by_code[code]) for code in sorted(isa.by_code)]
    return "\n".join(parts)


def _instruction(isa: InstructionSet, instruction: Instruction) -> str:
    lines = [f"### {isa.name}.{instruction.mnemonic}", "", f"`{isa.opcode(instruction):#06x}` {_line(instruction.doc)}"]
    if instruction.barrier:
        lines[-1] += " It has state beyond its operands: the scheduler moves nothing across it."
    if instruction.fields:
        lines += ["", "| operand | slots | kind | bits | meaning |", "|---|---|---|---|---|"]
        lines += _rows(instruction)
    return "\n".join([*lines, ""])


def _rows(instruction: Instruction) -> Iterator[str]:
    slot = 0
    for entry in instruction.fields:
        slots = f"{slot}" if entry.slots == 1 else f"{slot}, {slot + 1}"
        yield f"| `{entry.name}` | {slots} | {_kind(entry)} | {entry.bits} | {_line(_meaning(entry))} |"
        slot += entry.slots


def _kind(entry: Field) -> str:
    if entry.kind is Kind.ADDRESS:
        return "optional tensor" if entry.optional else "tensor"
    return "choice" if entry.kind is Kind.ENUM else entry.kind.value


def _meaning(entry: Field) -> str:
    parts = [_ACCESS[entry.access]] if entry.access else []
    if entry.members:
        parts.append(", ".join(f"`{member.name.lower()}` {member.value}" for member in entry.members))
    if entry.kind is Kind.COUNT and entry.low:
        parts.append(f"at least {entry.low}")
    if entry.doc:
        parts.append(entry.doc)
    return "; ".join(parts)


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
