"""AiM instruction traces, the text form that the public simulator reads: parse one and say what it costs.

One instruction per line, `AiM <name> <operands>` or `R|W MEM|GPR|CFR <operands>`, as the simulator's README lists them,
with spaces or commas between; numbers decimal or 0x; a line that starts with `#` is a comment; what follows EOC is not
read. Bit i of a channel mask is channel `channels - 1 - i`, as in the simulator and in CENT's trace generator.

The simulator doesn't hold an instruction against the size of the device. CENT's traces of a rotary embedding multiply
more columns than a row has, and counts rest on that: such a line is costed as if its row were that long, and noted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from crossbank.backends.pim import timing as pim
from crossbank.backends.pim.constraints import Dram
from crossbank.backends.pim.controller import Kind, Request
from crossbank.backends.pim.replay import Instruction, Replay, replay
from crossbank.backends.pim.timing_rules import DramTiming
from crossbank.backends.system import load_system
from crossbank.runtime.program import ProgramError

FIELDS: Mapping[str, tuple[str, ...]] = {
    "WR_GB": ("columns", "gpr", "mask"),
    "WR_BIAS": ("gpr", "mask"),
    "RD_MAC": ("gpr", "mask"),
    "RD_AF": ("gpr", "mask"),
    "MAC_ABK": ("columns", "mask", "row"),
    "MAC_SBK": ("columns", "mask", "bank", "row"),
    "EWMUL": ("columns", "mask", "row"),
    "COPY_BKGB": ("columns", "mask", "bank", "row"),
    "COPY_GBBK": ("columns", "mask", "bank", "row"),
    "AF": ("mask",),
    "WR_SBK": ("gpr", "mask", "bank", "row"),
    "RD_SBK": ("gpr", "mask", "bank", "row"),
    "WR_ABK": ("gpr", "mask", "row"),
    "EWADD": ("columns", "gpr", "gpr1"),
    "SYNC": (),
    "EOC": (),
    "W MEM": ("channel", "bank", "row"),
    "R MEM": ("channel", "bank", "row"),
    "W GPR": ("gpr",),
    "R GPR": ("gpr",),
    "W CFR": ("register", "value"),
    "R CFR": ("register", "value"),
}
"""The operands of each instruction, in order."""

_COLUMNS: Mapping[str, tuple[Kind, Dram]] = {
    "WR_GB": (Kind.AIM, Dram.WRGB),
    "WR_BIAS": (Kind.AIM, Dram.WRMAC16),
    "RD_MAC": (Kind.AIM, Dram.RDMAC16),
    "RD_AF": (Kind.AIM, Dram.RDAF16),
    "MAC_ABK": (Kind.AIM, Dram.MAC16),
    "MAC_SBK": (Kind.AIM, Dram.MAC),
    "EWMUL": (Kind.AIM, Dram.EWMUL16),
    "COPY_BKGB": (Kind.AIM, Dram.RDCP),
    "COPY_GBBK": (Kind.AIM, Dram.WRCP),
    "AF": (Kind.AIM, Dram.AF16),
    "WR_ABK": (Kind.AIM, Dram.WRA16),
    "WR_SBK": (Kind.WRITE, Dram.WR),
    "W MEM": (Kind.WRITE, Dram.WR),
    "RD_SBK": (Kind.READ, Dram.RD),
    "R MEM": (Kind.READ, Dram.RD),
}
"""The queue that an instruction goes to, and its column command."""
_BLOCKING = ("RD_MAC", "RD_AF")
_BARRIERS = ("SYNC", "EOC")
_REGISTERS = 3
"""Broadcast, bank groups of EWMUL, activation function."""
_FUNCTION_REGISTER = 2
_FUNCTION_ROW = -1
"""AF opens a row of its own, that of the function's look-up table: this and below, by function."""
_LONGEST = (1 << 16) - 1
_LAST_ROW = (1 << 29) - 1
_NUMBER = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|[0-9]+)")


@dataclass(frozen=True)
class Command:
    """One line of a trace; `channels` is a bit set, bit i for channel i."""

    line: int
    name: str
    operands: Mapping[str, int]
    channels: int = 0


@dataclass(frozen=True)
class TraceCost:
    """What a trace costs on one device."""

    cycles: int
    time_ns: float
    energy_pj: float
    by_command: Mapping[str, int]
    """Instructions by name."""
    energy_by_component_pj: Mapping[str, float] = field(default_factory=dict[str, float])
    notes: Sequence[str] = ()
    """What no device could do, and is costed all the same."""


def _malformed(line: int, path: str, message: str, help: str) -> ProgramError:
    return ProgramError("CB0204", message, f"{path}:{line}", help)


def _parse_line(words: Sequence[str], line: int, path: str, timing: DramTiming) -> Command:
    name = words[1].removeprefix("ISR_") if words[0] == "AiM" and len(words) > 1 else " ".join(words[:2])
    names = FIELDS.get(name)
    if names is None or words[0] not in ("AiM", "R", "W") or (words[0] == "AiM") == (" " in name):
        help = "see docs/systems.md for the instructions" if words[0] == "AiM" else "a line starts with AiM, R or W"
        raise _malformed(line, path, f"unknown instruction {' '.join(words[:2])!r}", help)
    usage = " ".join(["AiM " * (words[0] == "AiM") + name, *names])
    if len(words) - 2 != len(names):
        message = f"{name} takes {len(names)} operands, not {len(words) - 2}"
        raise _malformed(line, path, message, f"write {usage}")
    operands: dict[str, int] = {}
    for operand, word in zip(names, words[2:], strict=True):
        if not _NUMBER.fullmatch(word):
            raise _malformed(line, path, f"{operand} {word!r} is not a number", f"write {usage}")
        operands[operand] = int(word, 16 if "x" in word.lower() else 10)
    limits = {"columns": (0, _LONGEST), "bank": (0, timing.banks - 1), "row": (0, _LAST_ROW),
              "channel": (0, timing.channels - 1), "mask": (1, (1 << timing.channels) - 1)}  # fmt: skip
    if name == "W CFR":
        limits["register"] = (0, _REGISTERS - 1)
    for operand, value in operands.items():
        low, high = limits.get(operand, (0, value if value >= 0 else 0))
        if not low <= value <= high:
            shown = (hex(low), hex(high)) if operand == "mask" else (str(low), str(high))
            raise _malformed(line, path, f"{operand} {value} is out of range", f"from {shown[0]} to {shown[1]}")
    mask = operands.get("mask", 0)
    channels = sum(1 << (timing.channels - 1 - i) for i in range(timing.channels) if mask >> i & 1)
    if "channel" in operands:
        channels = 1 << operands["channel"]
    if name == "WR_ABK" and channels.bit_count() != 1:
        raise _malformed(line, path, "WR_ABK writes one channel", f"its mask {mask:#x} names {channels.bit_count()}")
    return Command(line, name, operands, channels)


def parse_trace(lines: Iterable[str], timing: DramTiming, path: str = "trace") -> list[Command]:
    """The instructions up to EOC; ProgramError CB0204 names the line of what is malformed."""
    commands: list[Command] = []
    number = 0
    for number, text in enumerate(lines, 1):
        words = text.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        command = _parse_line(words, number, path, timing)
        commands.append(command)
        if command.name == "EOC":
            return commands
    raise _malformed(number, path, "the trace ends without EOC", "end it with the line AiM EOC")


def _instructions(commands: Sequence[Command], timing: DramTiming) -> list[Instruction]:
    """What the front end makes of each line; configuration and general-purpose registers cost it a cycle."""
    everything, function = (1 << timing.channels) - 1, 0
    found: list[Instruction] = []
    for command in commands:
        name, get = command.name, command.operands.get
        if name in _BARRIERS:
            found.append(Instruction(Request(Kind.BARRIER, blocking=True), everything))
            continue
        if name == "W CFR" and get("register") == _FUNCTION_REGISTER:
            function = get("value", 0)
        if name not in _COLUMNS:
            found.append(Instruction())
            continue
        kind, column = _COLUMNS[name]
        row = _FUNCTION_ROW - function if column is Dram.AF16 else get("row", 0)
        request = Request(kind, column, get("bank", -1), row, name in _BLOCKING)
        found.append(Instruction(request, command.channels, get("columns", 1)))
    return found


def _energy_pj(done: Replay, timing: DramTiming) -> dict[str, float]:
    """By component, of all channels."""
    energy = {"io": timing.io_pj * done.forwarded} if done.forwarded else dict[str, float]()
    for command, count in done.commands.items():
        column = command.column
        if column is not None:
            parts = timing.energies[column]
        elif command in (Dram.ACTIVATE, Dram.ACTIVATE_ALL):
            banks = 1 if command is Dram.ACTIVATE else timing.banks
            parts = {"dram activate": timing.activate_bank_pj * banks, "controller": timing.command_pj}
        else:
            parts = {"controller": timing.command_pj}
        for component, picojoules in parts.items():
            energy[component] = energy.get(component, 0.0) + picojoules * count
    return energy


def _notes(commands: Sequence[Command], timing: DramTiming, path: str) -> list[str]:
    """Where instructions go beyond the device, the first line of each kind."""
    beyond: dict[str, Command] = {}
    for command in commands:
        if command.operands.get("columns", 0) > timing.columns:
            beyond.setdefault("columns", command)
        if command.operands.get("row", 0) >= timing.rows:
            beyond.setdefault("row", command)
    has = {"columns": f"a row has {timing.columns}", "row": f"a bank has {timing.rows}"}
    return [
        f"{path}:{command.line}: {command.name} names {what} {command.operands[what]}, {has[what]}: costed as if it had"
        for what, command in beyond.items()
    ]


def trace_cycles(path: str | Path, timing: DramTiming, refresh: bool = True) -> TraceCost:
    """The cost of a trace file; ProgramError CB0204 for a malformed line, with its number."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProgramError("CB0204", f"can't read the trace {path}: {error}", help="give an AiM trace") from error
    commands = parse_trace(text.splitlines(), timing, str(path))
    done = replay(timing, _instructions(commands, timing))
    time_ps = done.cycles * timing.tck_ps
    energy = _energy_pj(done, timing)
    if refresh:
        time_ps = int(pim.with_refresh(timing, time_ps))
        energy["refresh"] = pim.refresh_energy_pj(timing, time_ps)
    energy["background"] = pim.background_energy_pj(timing, time_ps)
    return TraceCost(
        -(-time_ps // timing.tck_ps),
        time_ps / 1000,
        sum(energy.values()),
        dict(Counter(c.name for c in commands)),
        energy,
        _notes(commands, timing, str(path)),
    )


def trace_report(path: str | Path, refresh: bool = True) -> dict[str, Any]:
    """What a trace costs on the target `aim`, ready for JSON; ProgramError CB0204 for a malformed line."""
    engine = load_system("aim").engine("pim")
    if engine is None:
        raise ProgramError("CB0204", "the target aim has no pim engine", str(path), "install the package again")
    return asdict(trace_cycles(path, DramTiming.from_table(engine.config), refresh))
