"""A GDDR6-AiM device as command timing sees it: parameters from a system file, and a rule for each column command."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum, StrEnum
from functools import cached_property
from typing import Any, cast

from crossbank.runtime.engine_tables import Number, check_table
from crossbank.runtime.program import ProgramError


class Column(Enum):
    """The DRAM commands that move or use one 256-bit column."""

    WRGB = "write the global buffer"
    WRMAC16 = "write the accumulators of all banks"
    RDMAC16 = "read the accumulators of all banks"
    RDAF16 = "read the activation function results of all banks"
    MAC16 = "multiply and accumulate in all banks"
    AF16 = "activation function in all banks"
    EWMUL16 = "multiply two banks of each bank group into a third"
    WRA16 = "write all banks and close their rows"
    MAC = "multiply and accumulate in one bank"
    RDCP = "copy from a bank to the global buffer"
    WRCP = "copy from the global buffer to a bank"
    RD = "read a bank"
    WR = "write a bank"


class Slot(StrEnum):
    """What commands of a channel wait for; each is a resource that says from when on."""

    BUS = "bus"
    """The next command of the instruction queue."""
    ACCESS = "access"
    """Accesses to single banks have left their queue."""
    OPENED = "opened"
    """The latest activate."""
    PRECHARGE = "precharge"
    PRECHARGE_SINGLE = "precharge-single"
    """As far as commands to single banks hold up a precharge of all banks; so for the activate."""
    ACTIVATE = "activate"
    ACTIVATE_SINGLE = "activate-single"
    ACTIVATE_NEXT = "activate-next"
    READ = "read"
    WRITE = "write"
    DATA_IN = "data-in"
    REGISTER_IN = "register-in"
    DATA_OUT = "data-out"
    MODE = "mode"
    """The mode change that accesses asked for is over."""
    RUN = "run"
    """The first column of what the queue may still hold."""
    PIPE = "pipe"
    """The throughput of accesses, which pass one another; that of a bank is the order of its columns."""
    DRAINED = "drained"
    STRANDED = "stranded"
    """The column of the last access, where its row had to be opened."""


@dataclass(frozen=True)
class Rule:
    """A kind of column command: what it waits for beside its row, and what it holds up for how many cycles."""

    waits: tuple[Slot, ...] = ()
    opened: int | None = None
    """Cycles from the activate; None where no row is needed."""
    spacing: int = 1
    """Cycles from column to column of a burst."""
    holds: tuple[tuple[Slot, int, str], ...] = ()
    """Slot, cycles after the last column, and what the wait is blamed on."""
    done: int = 1
    """Cycles until the data is back, and until SYNC counts the command as done."""
    register: bool = False
    """Whether it needs the register mode."""
    why: str = "column"
    """What the burst's time is blamed on."""


@dataclass(frozen=True)
class DramTiming:
    """A device of the GDDR6-AiM family: times in cycles of `tck_ps`, organisation, energies in pJ per channel."""

    # organisation
    channels: int
    bank_groups: int
    banks: int
    """Per channel."""
    rows: int
    columns: int
    """256-bit columns of a row."""
    row_bytes: int
    global_buffer_bytes: int
    latches: int
    """Accumulators per bank that a schedule may hold at once; the timing does not depend on it."""
    queue_depth: int
    """Requests that a channel's controller holds before the DMA stalls."""
    # timing, in cycles except the cycle itself
    tck_ps: int
    tbl: int
    """Burst on the external bus."""
    tcl: int
    tcl_register: int
    tcwl: int
    tcwl_register: int
    tcwl_buffer: int
    trcd_rd: int
    trcd_wr: int
    trcd_mac: int
    trcd_ewmul: int
    trcd_af: int
    trcd_copy_rd: int
    trcd_copy_wr: int
    trp: int
    tras: int
    trc: int
    trtp: int
    twr: int
    tccd_s: int
    tccd_l: int
    trrd: int
    """Activates of banks in different groups."""
    trrd_l: int
    """Activates within a bank group."""
    tfaw: int
    """Any four single-bank activates and the next; 0 where it is not enforced. All-bank activates ignore it."""
    twtr_s: int
    twtr_l: int
    trtw: int
    """Bank read to bank write."""
    trtw_register: int
    """Bank read to register or buffer write."""
    tregister_rtw: int
    """Register read to register or buffer write."""
    tmodch: int
    """Change between bank and register mode."""
    trefi: int
    trfc: int
    # energy per command and channel
    activate_bank_pj: float
    """Activate and precharge of one bank."""
    mac_all_bank_pj: float
    ewmul_pj: float
    column_read_pj: float
    column_write_pj: float
    io_pj: float
    """256 bits over the external bus."""
    buffer_read_pj: float
    buffer_write_pj: float
    request_pj: float
    """Controller, per column."""
    command_pj: float
    """Physical interface, per DRAM command."""
    refresh_bank_pj: float
    background_mw: float
    """Per channel with rows open."""

    @staticmethod
    def from_table(table: Mapping[str, Any]) -> DramTiming:
        """From an engine's sections `organisation`, `timing` (keys `<field>_cycles`, `tck_ps`) and `energy`.

        Values are plain numbers. Raises ProgramError CB0202 for a key that is missing, unknown or not positive.
        """
        placement = {"working_rows": Number(0, 1 << 40, whole=True, optional=True)}
        check_table(table, {"placement": placement}, others=("organisation", "timing", "energy", "arithmetic"))
        values: dict[str, int | float] = {}
        for section in ("organisation", "timing", "energy"):
            found = cast("Mapping[str, Any]", table.get(section, {}))
            known = _keys(section)
            for key in found:
                if key not in known:
                    close = difflib.get_close_matches(key, known, n=1)
                    help = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(known))}"
                    raise ProgramError(
                        "CB0202", f"unknown key {key!r} in [engine.{section}] of a pim engine", help=help
                    )
            for key, (name, whole, least) in known.items():
                if key not in found:
                    raise ProgramError(
                        "CB0202",
                        f"[engine.{section}] of a pim engine lacks {key}",
                        help="add it to the system file, with its source",
                    )
                value = found[key]
                if isinstance(value, bool) or not isinstance(value, int | float) or value < least:
                    raise ProgramError(
                        "CB0202", f"[engine.{section}]: {key} is {value!r}", help=f"give a number of at least {least}"
                    )
                if whole and value != round(value):
                    raise ProgramError("CB0202", f"[engine.{section}]: {key} is {value}", help="give a whole number")
                values[name] = round(value) if whole else float(value)
        if values["trfc"] >= values["trefi"]:
            raise ProgramError("CB0202", "[engine.timing]: refresh takes all the time", help="trfc below trefi")
        return DramTiming(**cast("dict[str, Any]", values))

    @cached_property
    def rules(self) -> Mapping[Column, Rule]:
        """What each kind of column command waits for and holds up."""
        write_recovery = self.tcwl + self.tbl + self.twr
        read, write = max(1, self.tccd_s, self.tccd_l), max(1, self.tbl, self.tccd_s, self.tccd_l)
        buffer = max(1, self.tbl, self.tccd_s)
        # The slot, the cycles after the last column of the burst, and what the wait is blamed on.
        reads = (Slot.READ, read, "column")
        writes = (Slot.WRITE, write, "column")
        external_reads = (Slot.READ, write, "column")
        to_precharge = (Slot.PRECHARGE, self.trtp, "precharge")
        recover = (Slot.PRECHARGE, write_recovery, "precharge")
        drained = (Slot.REGISTER_IN, self.tregister_rtw, "turnaround")

        def turn(latency: int, gap: int) -> tuple[Slot, int, str]:
            return (Slot.DATA_OUT, latency + self.tbl + gap, "turnaround")

        register_read = Rule(
            waits=(Slot.READ, Slot.DATA_OUT), spacing=write, holds=(external_reads, drained),
            done=self.tcl_register + self.tbl, register=True, why="read-out",
        )  # fmt: skip
        twtr = max(self.twtr_s, self.twtr_l)
        return {
            Column.WRGB: Rule(
                waits=(Slot.WRITE, Slot.REGISTER_IN), spacing=buffer,
                holds=((Slot.WRITE, buffer, "column"), turn(self.tcwl_buffer, self.twtr_s)),
                done=self.tcwl_buffer + self.tbl, register=True, why="global buffer",
            ),
            Column.WRMAC16: Rule(
                waits=(Slot.WRITE, Slot.REGISTER_IN), spacing=write, holds=(writes, turn(self.tcwl_register, twtr)),
                done=self.tcwl_register + self.tbl, register=True, why="bias",
            ),
            Column.RDMAC16: register_read,
            Column.RDAF16: register_read,
            Column.MAC16: Rule(
                waits=(Slot.READ,), opened=self.trcd_mac, spacing=read, holds=(reads, to_precharge), why="mac"
            ),
            Column.AF16: Rule(opened=self.trcd_af, holds=(to_precharge,), why="activation function"),
            Column.EWMUL16: Rule(
                waits=(Slot.READ, Slot.WRITE), opened=self.trcd_ewmul, spacing=max(1, self.tccd_l), why="multiply",
                holds=(
                    (Slot.READ, self.tccd_l, "column"), (Slot.WRITE, self.tccd_l, "column"),
                    (Slot.PRECHARGE, max(self.trtp, self.tcwl + self.twr), "precharge"),
                ),
            ),
            Column.WRA16: Rule(
                waits=(Slot.WRITE, Slot.DATA_IN), opened=self.trcd_wr, spacing=write, why="write",
                holds=(writes, turn(self.tcwl, twtr), (Slot.ACTIVATE, write_recovery + self.trp, "precharge")),
                done=self.tcwl + self.tbl + self.trp,
            ),
            Column.MAC: Rule(
                waits=(Slot.READ,), opened=self.trcd_mac, spacing=read, holds=(reads, to_precharge), why="mac"
            ),
            Column.RDCP: Rule(
                waits=(Slot.READ,), opened=self.trcd_copy_rd, spacing=read, holds=(reads, to_precharge), why="copy"
            ),
            Column.WRCP: Rule(
                waits=(Slot.WRITE,), opened=self.trcd_copy_wr, spacing=read, holds=(writes, recover), why="copy"
            ),
            Column.RD: Rule(
                waits=(Slot.PIPE, Slot.DATA_OUT), opened=self.trcd_rd, spacing=write, why="read",
                holds=(
                    external_reads, to_precharge, (Slot.DATA_IN, self.trtw, "turnaround"),
                    (Slot.REGISTER_IN, self.trtw_register, "turnaround"),
                ),
                done=self.tcl + self.tbl,
            ),
            Column.WR: Rule(
                waits=(Slot.PIPE, Slot.DATA_IN), opened=self.trcd_wr, spacing=write, why="write",
                holds=(writes, turn(self.tcwl, twtr), recover), done=self.tcwl + self.tbl,
            ),
        }  # fmt: skip

    @cached_property
    def energies(self) -> Mapping[Column, Mapping[str, float]]:
        """Picojoules of one column command of one channel, by component."""
        control = {"controller": self.request_pj + self.command_pj}
        read = {"dram read": self.column_read_pj, **control}
        write = {"dram write": self.column_write_pj, **control}
        io = {"io": self.io_pj}
        return {
            Column.WRGB: {"global buffer": self.buffer_write_pj, **io, **control},
            Column.WRMAC16: {**write, **io},
            Column.RDMAC16: {"read-out": self.column_read_pj, **io, **control},
            Column.RDAF16: {"read-out": self.column_read_pj, **io, **control},
            Column.MAC16: {"mac": self.mac_all_bank_pj, **control},
            Column.AF16: {"activation function": self.banks * self.column_read_pj, **control},
            Column.EWMUL16: {"mac": self.ewmul_pj, **control},
            Column.WRA16: {"dram write": self.banks * self.column_write_pj, **io, **control},
            Column.MAC: {"mac": self.mac_all_bank_pj / self.banks, **control},
            Column.RDCP: {**read, "global buffer": self.buffer_write_pj},
            Column.WRCP: {**write, "global buffer": self.buffer_read_pj},
            Column.RD: {**read, **io},
            Column.WR: {**write, **io},
        }


def _keys(section: str) -> dict[str, tuple[str, bool, int]]:
    """The keys of a section: field of DramTiming, whether a whole number, least value."""
    names = [field.name for field in fields(DramTiming)]
    first_time, first_energy = names.index("tck_ps"), names.index("activate_bank_pj")
    if section == "organisation":
        return {name: (name, True, 1) for name in names[:first_time]}
    if section == "energy":
        return {name: (name, False, 0) for name in names[first_energy:]}
    cycles = {f"{name}_cycles": (name, True, 0) for name in names[first_time + 1 : first_energy]}
    return {"tck_ps": ("tck_ps", True, 1), **cycles}
