"""Which DRAM command of GDDR6-AiM must follow which at what distance, in the channel, in a bank group and in a bank.

The distances are those of GDDR6 with the commands that AiM adds (arkhadem/aim_simulator 0f28a07b,
src/dram/impl/GDDR6.cpp, GDDR6_AiM_timing). Commands to all banks bind the whole channel.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from crossbank.backends.pim.timing_rules import Column, DramTiming


class Dram(IntEnum):
    """Every command that a controller issues: those to rows, the change of mode, and the columns."""

    ACTIVATE = 0
    ACTIVATE_ALL = 1
    PRECHARGE = 2
    PRECHARGE_ALL = 3
    MODE = 4
    RD = 5
    WR = 6
    MAC = 7
    RDCP = 8
    WRCP = 9
    MAC16 = 10
    EWMUL16 = 11
    AF16 = 12
    WRA16 = 13
    WRGB = 14
    WRMAC16 = 15
    RDMAC16 = 16
    RDAF16 = 17

    @property
    def column(self) -> Column | None:
        """What energy and latency it has as a column command; None for one to rows and for a change of mode."""
        return None if self < Dram.RD else Column[self.name]


ONE_BANK = frozenset({Dram.RD, Dram.WR, Dram.MAC, Dram.RDCP, Dram.WRCP})
"""Columns of one bank, whose row must be open."""
ALL_BANKS = frozenset({Dram.MAC16, Dram.EWMUL16, Dram.AF16, Dram.WRA16})
"""Columns of all banks, in each of which the row must be open."""
REGISTERS = frozenset({Dram.WRGB, Dram.WRMAC16, Dram.RDMAC16, Dram.RDAF16})
"""Columns of registers and the global buffer, which need the register mode."""
CLOSING = frozenset({Dram.PRECHARGE, Dram.PRECHARGE_ALL, Dram.WRA16})
"""Commands that close rows."""


class Follow(NamedTuple):
    """A command that must keep a distance."""

    command: Dram
    cycles: int


Follows = tuple[tuple[Follow, ...], ...]
"""For each command, by its number, those that must keep a distance from it."""


class Constraints(NamedTuple):
    """What a command holds up, by where: all of the channel, its bank group, its bank."""

    channel: Follows
    bank_group: Follows
    bank: Follows


_READ_OUT = (Dram.RDMAC16, Dram.RDAF16)
_BUS_READS = (Dram.RD, *_READ_OUT)
_BUS_WRITES = (Dram.WR, Dram.WRA16, Dram.WRGB, Dram.WRMAC16)
_BANK_READS = (Dram.RD, Dram.MAC, Dram.RDCP)
_BANK_WRITES = (Dram.WR, Dram.WRCP)
_ACTIVATES = (Dram.ACTIVATE, Dram.ACTIVATE_ALL)
_PRECHARGES = (Dram.PRECHARGE, Dram.PRECHARGE_ALL)


class _Distances:
    """Distances as they are stated; the greatest of each pair counts."""

    def __init__(self) -> None:
        self.cycles: dict[tuple[Dram, Dram], int] = {}

    def keep(self, first: Iterable[Dram], then: Iterable[Dram], cycles: int) -> None:
        following = tuple(then)
        for command in first:
            for other in following:
                self.cycles[command, other] = max(self.cycles.get((command, other), 0), cycles)

    def table(self) -> Follows:
        return tuple(
            tuple(Follow(then, cycles) for (first, then), cycles in self.cycles.items() if first is command and cycles)
            for command in Dram
        )


def constraints(timing: DramTiming) -> Constraints:
    """The distances of a device."""
    return Constraints(_channel(timing).table(), _bank_group(timing).table(), _bank(timing).table())


def _channel(timing: DramTiming) -> _Distances:
    both = _Distances()
    keep = both.keep
    # Columns: the external bus, the bus between bank groups, the one within them.
    keep(_BUS_READS, _BUS_READS, timing.tbl)
    keep(_BUS_WRITES, _BUS_WRITES, timing.tbl)
    reads, writes = (*_BANK_READS, *_READ_OUT, Dram.MAC16), (*_BANK_WRITES, Dram.WRA16, Dram.WRMAC16)
    keep(reads, reads, timing.tccd_s)
    keep((*writes, Dram.WRGB), (*writes, Dram.WRGB), timing.tccd_s)
    wide_reads, wide_writes = (*_READ_OUT, Dram.MAC16, Dram.EWMUL16), (Dram.WRA16, Dram.WRMAC16, Dram.EWMUL16)
    for wide, narrow in ((wide_reads, (*reads, Dram.EWMUL16)), (wide_writes, (*writes, Dram.EWMUL16))):
        keep(narrow, wide, timing.tccd_l)
        keep(wide, narrow, timing.tccd_l)
    # The external bus turns round. A write to registers starts sooner than one to a bank, by the write latencies.
    keep([Dram.RD], [Dram.WR, Dram.WRA16], timing.trtw)
    keep([Dram.RD], [Dram.WRGB, Dram.WRMAC16], timing.trtw_register)
    keep(_READ_OUT, [Dram.WRGB, Dram.WRMAC16], timing.tregister_rtw)
    keep(_READ_OUT, [Dram.WR, Dram.WRA16], timing.tregister_rtw + timing.tcwl_buffer - timing.tcwl)
    for latency, written in (
        (timing.tcwl, [Dram.WR, Dram.WRA16]),
        (timing.tcwl_buffer, [Dram.WRGB]),
        (timing.tcwl_register, [Dram.WRMAC16]),
    ):
        keep(written, _BUS_READS, latency + timing.tbl + timing.twtr_s)
    keep([Dram.WR], _READ_OUT, timing.tcwl + timing.tbl + timing.twtr_l)
    keep([Dram.WRA16], _BUS_READS, timing.tcwl + timing.tbl + timing.twtr_l)
    keep([Dram.WRMAC16], _BUS_READS, timing.tcwl_register + timing.tbl + timing.twtr_l)
    # Columns to precharges.
    recovery = timing.tcwl + timing.tbl + timing.twr
    keep([*_BANK_READS, Dram.MAC16, Dram.AF16, Dram.EWMUL16], [Dram.PRECHARGE_ALL], timing.trtp)
    keep([Dram.MAC16, Dram.AF16, Dram.EWMUL16], [Dram.PRECHARGE], timing.trtp)
    keep(_BANK_WRITES, [Dram.PRECHARGE_ALL], recovery)
    keep([Dram.EWMUL16], _PRECHARGES, timing.tcwl + timing.twr)
    # Rows.
    keep([Dram.ACTIVATE], [Dram.ACTIVATE], timing.trrd)
    for distance in (timing.trrd_l, timing.trc):
        keep(_ACTIVATES, [Dram.ACTIVATE_ALL], distance)
        keep([Dram.ACTIVATE_ALL], _ACTIVATES, distance)
    keep(_ACTIVATES, [Dram.PRECHARGE_ALL], timing.tras)
    keep([Dram.ACTIVATE_ALL], [Dram.PRECHARGE], timing.tras)
    keep(_PRECHARGES, [Dram.ACTIVATE_ALL], timing.trp)
    keep([Dram.PRECHARGE_ALL], [Dram.ACTIVATE, *_PRECHARGES], timing.trp)
    keep([Dram.PRECHARGE], [Dram.PRECHARGE_ALL], timing.trp)
    keep([Dram.WRA16], _ACTIVATES, recovery + timing.trp)
    # Rows to columns.
    keep(_ACTIVATES, [Dram.MAC16], timing.trcd_mac)
    keep(_ACTIVATES, [Dram.AF16], timing.trcd_af)
    keep(_ACTIVATES, [Dram.EWMUL16], timing.trcd_ewmul)
    keep(_ACTIVATES, [Dram.WRA16], timing.trcd_wr)
    for column, distance in _row_to_column(timing).items():
        keep([Dram.ACTIVATE_ALL], [column], distance)
    keep([Dram.MODE], [command for command in Dram if command is not Dram.MODE], timing.tmodch)
    return both


def _bank_group(timing: DramTiming) -> _Distances:
    within = _Distances()
    within.keep(_BANK_READS, _BANK_READS, timing.tccd_l)
    within.keep(_BANK_WRITES, _BANK_WRITES, timing.tccd_l)
    within.keep([Dram.WR], [Dram.RD], timing.tcwl + timing.tbl + timing.twtr_l)
    within.keep([Dram.ACTIVATE], [Dram.ACTIVATE], timing.trrd_l)
    return within


def _bank(timing: DramTiming) -> _Distances:
    within = _Distances()
    for column, distance in _row_to_column(timing).items():
        within.keep([Dram.ACTIVATE], [column], distance)
    within.keep(_BANK_READS, [Dram.PRECHARGE], timing.trtp)
    within.keep(_BANK_WRITES, [Dram.PRECHARGE], timing.tcwl + timing.tbl + timing.twr)
    within.keep([Dram.ACTIVATE], [Dram.ACTIVATE], timing.trc)
    within.keep([Dram.ACTIVATE], [Dram.PRECHARGE], timing.tras)
    within.keep([Dram.PRECHARGE], [Dram.ACTIVATE, Dram.PRECHARGE], timing.trp)
    return within


def _row_to_column(timing: DramTiming) -> dict[Dram, int]:
    return {
        Dram.MAC: timing.trcd_mac,
        Dram.RDCP: timing.trcd_copy_rd,
        Dram.RD: timing.trcd_rd,
        Dram.WRCP: timing.trcd_copy_wr,
        Dram.WR: timing.trcd_wr,
    }
