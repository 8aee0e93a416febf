"""AiM instruction traces, the text form that the public simulator reads: parse one and say what it costs.

One instruction per line, `AiM <name> <operands>` or `R|W MEM|GPR|CFR <operands>`, as the simulator's README lists them;
numbers decimal or 0x; a line that starts with `#` is a comment; what follows EOC is not read. Bit i of a channel mask
is channel `channels - 1 - i`, as in the simulator and in CENT's trace generator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from crossbank.backends.pim import timing as pim
from crossbank.backends.pim.timing import Channels, DramTiming
from crossbank.backends.system import load_system
from crossbank.runtime.clock import Clock, simple_clock
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

_FUNCTION_REGISTER = 2


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
        try:
            operands[operand] = int(word, 0)
        except ValueError:
            raise _malformed(line, path, f"{operand} {word!r} is not a number", f"write {usage}") from None
    limits = {"columns": (1, timing.columns), "bank": (0, timing.banks - 1), "row": (0, timing.rows - 1),
              "channel": (0, timing.channels - 1), "mask": (1, (1 << timing.channels) - 1)}  # fmt: skip
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
    for number, text in enumerate(lines, 1):
        words = text.split()
        if not words or words[0].startswith("#"):
            continue
        command = _parse_line(words, number, path, timing)
        commands.append(command)
        if command.name == "EOC":
            return commands
    raise _malformed(len(commands) + 1, path, "the trace ends without EOC", "end it with the line AiM EOC")


def _groups(commands: Sequence[Command], timing: DramTiming) -> dict[int, tuple[Channels, ...]]:
    """For each set of channels that some instruction names: the groups that it consists of, which act alike."""
    everything = (1 << timing.channels) - 1
    groups = [everything]
    for mask in {command.channels for command in commands} - {0}:
        groups = [part for group in groups for part in (group & mask, group & ~mask) if part]
    named = {group: Channels("pim" if group == everything else f"pim.{group:x}", group.bit_count()) for group in groups}
    masks = {command.channels or everything for command in commands}
    return {mask: tuple(named[group] for group in groups if group & mask) for mask in masks}


def _time(clock: Clock, timing: DramTiming, command: Command, function: int, groups: Sequence[Channels]) -> None:
    get = command.operands.get
    columns, bank, row = get("columns", 1), get("bank", 0), get("row", 0)
    transitions: Mapping[str, Callable[[], object]] = {
        "WR_GB": lambda: pim.wr_gb(clock, timing, columns, groups),
        "WR_BIAS": lambda: pim.wr_bias(clock, timing, groups),
        "RD_MAC": lambda: pim.rd_mac(clock, timing, groups),
        "RD_AF": lambda: pim.rd_af(clock, timing, groups),
        "MAC_ABK": lambda: pim.mac_abk(clock, timing, columns, row, groups),
        "MAC_SBK": lambda: pim.mac_sbk(clock, timing, columns, bank, row, groups),
        "EWMUL": lambda: pim.ewmul(clock, timing, columns, row, groups),
        "COPY_BKGB": lambda: pim.copy_bank_to_buffer(clock, timing, columns, bank, row, groups),
        "COPY_GBBK": lambda: pim.copy_buffer_to_bank(clock, timing, columns, bank, row, groups),
        "AF": lambda: pim.af(clock, timing, function, groups),
        "WR_SBK": lambda: pim.write_single_bank(clock, timing, bank, row, 1, groups),
        "W MEM": lambda: pim.write_single_bank(clock, timing, bank, row, 1, groups),
        "RD_SBK": lambda: pim.read_single_bank(clock, timing, bank, row, 1, groups),
        "R MEM": lambda: pim.read_single_bank(clock, timing, bank, row, 1, groups),
        "WR_ABK": lambda: pim.write_all_banks(clock, timing, row, groups),
        "SYNC": lambda: pim.sync(clock, timing, groups),
        "EOC": lambda: pim.end(clock, timing, groups),
    }
    transitions.get(command.name, partial(pim.configure, clock, timing))()


def trace_cycles(path: str | Path, timing: DramTiming, refresh: bool = True) -> TraceCost:
    """The cost of a trace file; ProgramError CB0204 for a malformed line, with its number."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProgramError("CB0204", f"can't read the trace {path}: {error}", help="give an AiM trace") from error
    commands = parse_trace(text.splitlines(), timing, str(path))
    groups = _groups(commands, timing)
    everything = (1 << timing.channels) - 1
    clock, function = simple_clock(), 0
    for command in commands:
        if command.name == "W CFR" and command.operands["register"] == _FUNCTION_REGISTER:
            function = command.operands["value"]
        _time(clock, timing, command, function, groups[command.channels or everything])
    time_ps = int(clock.ready(pim.DMA).time_ps[0])
    energy = {component: float(joules[0]) * 1e12 for (_, component, _), joules in clock.energy_j.items()}
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
    )


def trace_report(path: str | Path, refresh: bool = True) -> dict[str, Any]:
    """What a trace costs on the target `aim`, ready for JSON; ProgramError CB0204 for a malformed line."""
    engine = load_system("aim").engine("pim")
    if engine is None:
        raise ProgramError("CB0204", "the target aim has no pim engine", str(path), "install the package again")
    return asdict(trace_cycles(path, DramTiming.from_table(engine.config), refresh))
