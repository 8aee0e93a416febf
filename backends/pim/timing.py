"""GDDR6-AiM command timing as max-plus transitions: what each instruction waits for, and what it then holds up.

The public cycle-level simulator (arkhadem/aim_simulator 0f28a07b, on Ramulator 2) works like this. A front end, the DMA
unit, decodes one instruction per cycle into one request per 256-bit column and channel. Each channel's controller
queues `queue_depth` requests and issues one DRAM command per cycle, in order, when the last of these has passed:

- rows: a precharge comes tRAS after the activate and tRTP after the last column read (tCWL + tBL + tWR after a write),
  an activate tRP after the precharge, the first column tRCD after the activate (each kind of column has its own tRCD).
  An all-bank instruction whose row is open in all banks skips both. All-bank activates have no tFAW.
- columns: tCCD (or the burst length tBL on the external bus) apart; tWTR and tRTW when the external bus turns round.
- modes: registers and the global buffer (WR_GB, WR_BIAS, RD_MAC, RD_AF) are reached in one mode, banks in the other. A
  change takes nMODCH = 32 cycles in which nothing issues, from when the next command would have been ready. This, not
  the transfer, is what WR_BIAS and RD_MAC cost around each group of MACs.
- blocking: RD_MAC, RD_AF, SYNC and EOC stop the DMA until the data is back or all is drained, so what comes after
  arrives late: RD_MACs are 3 cycles apart, WR_BIASes 2. Other instructions run ahead as far as the queues let them.

Artefacts kept because their cycles show: an access to a single bank leaves its queue when its row opens, so SYNC and
EOC don't wait for its data, and a register command behind a write pays two more mode changes; a read behind queued
writes is answered from the write queue; instructions and accesses don't mix in the queues. Not kept: the reordering of
accesses by row hits, and the row commands' use of the command bus while accesses overlap.

All state is instants in clock resources `<channels>.<slot>`, and what does not depend on time (open rows, mode, length
of the queue) in `clock.memo`. `columns` and rows are ints, or int64 arrays of one entry per step costed together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from crossbank.backends.pim.lane import CLOSED, DMA, Channels, Count, Lane, after
from crossbank.backends.pim.timing_rules import Column, DramTiming, Slot
from crossbank.runtime.clock import Clock, Instant, latest, pick

_FUNCTION_ROW = -2
"""AF opens a row of its own, that of the function's look-up table: this and below, by function."""

_CYCLE = "timing.tck_ps"
_CONTROL = ("energy.request_pj", "energy.command_pj")
SOURCES: Mapping[str, tuple[str, ...]] = {
    "activate": (_CYCLE, "timing.trcd_mac_cycles", "timing.trc_cycles"),
    "activation function": (_CYCLE, "timing.trcd_af_cycles", "energy.column_read_pj"),
    "bias": (_CYCLE, "timing.tbl_cycles"),
    "column": (_CYCLE, "timing.tccd_s_cycles", "timing.tccd_l_cycles"),
    "controller": _CONTROL,
    "copy": (_CYCLE, "timing.tccd_l_cycles"),
    "dram activate": ("energy.activate_bank_pj",),
    "dram read": ("energy.column_read_pj",),
    "dram write": ("energy.column_write_pj",),
    "global buffer": (_CYCLE, "timing.tbl_cycles", "energy.buffer_write_pj", "energy.buffer_read_pj"),
    "io": ("energy.io_pj",),
    "issue": (_CYCLE, "organisation.queue_depth"),
    "mac": (_CYCLE, "timing.tccd_s_cycles", "timing.tccd_l_cycles", "energy.mac_all_bank_pj"),
    "mode change": (_CYCLE, "timing.tmodch_cycles"),
    "multiply": (_CYCLE, "timing.tccd_l_cycles", "energy.ewmul_pj"),
    "precharge": (_CYCLE, "timing.trp_cycles", "timing.trtp_cycles", "timing.tras_cycles", "timing.twr_cycles"),
    "read": (_CYCLE, "timing.tccd_l_cycles"),
    "read-out": (_CYCLE, "timing.tcl_register_cycles", "timing.tbl_cycles", "energy.column_read_pj"),
    "refresh": (_CYCLE, "timing.trefi_cycles", "timing.trfc_cycles", "energy.refresh_bank_pj"),
    "turnaround": (_CYCLE, "timing.twtr_l_cycles", "timing.tregister_rtw_cycles"),
    "write": (_CYCLE, "timing.tccd_l_cycles"),
}  # fmt: skip
"""Which numbers each component of time and energy rests on."""


def _groups(timing: DramTiming, channels: Sequence[Channels]) -> Sequence[Channels]:
    return channels or (Channels("pim", timing.channels),)


def _columns(columns: Count) -> Count:
    if isinstance(columns, int) and columns < 1:
        raise ValueError(f"an AiM instruction takes at least one column, not {columns}")
    return columns if isinstance(columns, int) else np.maximum(columns, 1)


def _queued(
    clock: Clock,
    timing: DramTiming,
    kind: Column,
    columns: Count,
    channels: Sequence[Channels],
    row: Count = 0,
    bank: int | None = None,
) -> None:
    """An instruction of the AiM queue: decode, then in order behind what is queued in each channel."""
    columns = _columns(columns)
    rule = timing.rules[kind]
    decoded = clock.ready(DMA)
    free = after(clock, decoded, timing.tck_ps, "issue")
    for group in _groups(timing, channels):
        lane = Lane(clock, timing, group)
        lane.note("writes", 0)
        go = latest(decoded, lane.at(Slot.BUS), lane.at(Slot.ACCESS))
        if rule.opened is None:
            lane.settle(latest(go, *(lane.at(slot) for slot in rule.waits)))
            column = lane.start(latest(go, lane.at(Slot.BUS), *(lane.at(slot) for slot in rule.waits)), rule.register)
        else:
            lane.settle()
            column = lane.open(rule, row, bank, go).column
        last = lane.burst(kind, column, columns)
        lane.hold_up(kind, last, bank)
        if kind is Column.WRA16:
            lane.note("rows", np.full_like(lane.rows, CLOSED))
        lane.set(Slot.BUS, lane.after(last, 1, "issue"))
        if rule.done > 1:
            lane.hold(Slot.DRAINED, lane.after(last, rule.done + 1, rule.why))
        if kind in (Column.RDMAC16, Column.RDAF16):
            free = latest(free, lane.after(last, rule.done + 1, "read-out"))
            lane.note("run", None)
            continue
        free = latest(free, lane.after(lane.at(Slot.ACCESS), 1, "issue"))
        if (room := lane.room(column, columns, rule.spacing, joins=False)) is not None:
            free = latest(free, room)
    clock.set(DMA, free)


def _accessed(
    clock: Clock, timing: DramTiming, kind: Column, bank: int, row: Count, columns: Count, channels: Sequence[Channels]
) -> None:
    """Reads or writes of one bank, which overlap with one another, behind what is in the AiM queue."""
    columns = _columns(columns)
    rule = timing.rules[kind]
    decoded = clock.ready(DMA)
    free = after(clock, decoded, columns * timing.tck_ps, "issue")
    for group in _groups(timing, channels):
        lane = Lane(clock, timing, group)
        if kind is Column.RD and cast(int, lane.recall("writes") or 0) >= 2:
            lane.spend("io", columns * timing.io_pj)
            continue
        lane.note("writes", cast(int, lane.recall("writes") or 0) + 1 if kind is Column.WR else 0)
        lane.settle()
        registers = bool(lane.recall("register mode"))
        accepted = latest(decoded, lane.at(Slot.BUS))
        free = latest(free, lane.after(lane.at(Slot.BUS), columns, "issue"))
        go = latest(accepted, lane.at(Slot.MODE))
        access = lane.open(rule, row, bank, go)
        if registers:
            lane.set(Slot.MODE, access.first)
        last = lane.burst(kind, access.column, columns)
        following = lane.after(last, rule.spacing, rule.why)
        passed = lane.after(latest(go, lane.at(Slot.PIPE)), columns * rule.spacing, rule.why)
        late = np.where(
            access.miss, access.other, cast("NDArray[np.bool_]", lane.recall(f"bank{bank}.late", access.other))
        )
        lane.note(f"bank{bank}.late", late)
        lane.hold(Slot.PIPE, pick(late, passed, following))
        lane.hold(Slot.PIPE, following, bank)
        alone = access.miss & (np.asarray(columns) == 1)
        left, done = lane.after(last, 1, "issue"), lane.after(last, rule.done + 1, rule.why)
        lane.hold(Slot.ACCESS, pick(alone, lane.after(access.opened, 1, "issue"), left))
        lane.hold(Slot.DRAINED, pick(alone, lane.at(Slot.DRAINED), done))
        if alone.any():
            lane.note("stranded", (kind, bank, alone))
            lane.set(Slot.STRANDED, last)
        lane.hold_up(kind, last, bank, ~alone)
        if (room := lane.room(access.column, columns, rule.spacing, joins=not access.miss.any())) is not None:
            free = latest(free, room)
    clock.set(DMA, free)


def wr_gb(clock: Clock, timing: DramTiming, columns: Count, channels: Sequence[Channels] = ()) -> None:
    """WR_GB: write columns of the global buffer."""
    _queued(clock, timing, Column.WRGB, columns, channels)


def wr_gb_apart(
    clock: Clock, timing: DramTiming, columns: Count, instructions: Count, channels: Sequence[Channels] = ()
) -> None:
    """As many WR_GB, each to an equal share of the channels; what follows waits for the last, which stands for all.

    The DMA goes on once all columns of an instruction are in queues. The first may find queues filled by what came
    before; after it, only what is longer than a queue keeps the DMA, while its channels change the mode and write.
    """
    columns = _columns(columns)
    rule, depth, decoded = timing.rules[Column.WRGB], timing.queue_depth, clock.ready(DMA)
    several = np.broadcast_to(np.asarray(instructions) > 1, clock.steps)
    if several.any():
        free = decoded
        for group in _groups(timing, channels):
            lane = Lane(clock, timing, group)
            fits = np.asarray(columns) <= depth
            long = lane.change(True) * timing.tmodch + (columns - depth - 1) * rule.spacing + 2
            each = np.where(fits, 1, np.maximum(long, 1))
            rest = np.maximum(np.asarray(instructions) - 2, 0) * each
            first = lane.offered(Column.WRGB, columns, decoded)
            free = latest(free, lane.busy(first, rest, "issue"))
        clock.set(DMA, pick(several, free, decoded))
    _queued(clock, timing, Column.WRGB, columns, channels)


def wr_bias(clock: Clock, timing: DramTiming, channels: Sequence[Channels] = ()) -> None:
    """WR_BIAS: write an accumulator of every bank."""
    _queued(clock, timing, Column.WRMAC16, 1, channels)


def mac_abk(clock: Clock, timing: DramTiming, columns: Count, row: Count, channels: Sequence[Channels] = ()) -> None:
    """MAC_ABK: multiply columns of `row` of all banks with the global buffer (or the neighbour bank), accumulate."""
    _queued(clock, timing, Column.MAC16, columns, channels, row)


def mac_sbk(
    clock: Clock, timing: DramTiming, columns: Count, bank: int, row: Count, channels: Sequence[Channels] = ()
) -> None:
    """MAC_SBK: the same in one bank."""
    _queued(clock, timing, Column.MAC, columns, channels, row, bank)


def rd_mac(clock: Clock, timing: DramTiming, channels: Sequence[Channels] = ()) -> None:
    """RD_MAC: read an accumulator of every bank; what follows waits."""
    _queued(clock, timing, Column.RDMAC16, 1, channels)


def af(clock: Clock, timing: DramTiming, function: int = 0, channels: Sequence[Channels] = ()) -> None:
    """AF: apply an activation function by its look-up table, which is a row of its own."""
    _queued(clock, timing, Column.AF16, 1, channels, _FUNCTION_ROW - function)


def rd_af(clock: Clock, timing: DramTiming, channels: Sequence[Channels] = ()) -> None:
    """RD_AF: read the activation function's result of every bank; what follows waits."""
    _queued(clock, timing, Column.RDAF16, 1, channels)


def ewmul(clock: Clock, timing: DramTiming, columns: Count, row: Count, channels: Sequence[Channels] = ()) -> None:
    """EWMUL: multiply columns of two banks of each bank group into a third."""
    _queued(clock, timing, Column.EWMUL16, columns, channels, row)


def copy_bank_to_buffer(
    clock: Clock, timing: DramTiming, columns: Count, bank: int, row: Count, channels: Sequence[Channels] = ()
) -> None:
    """COPY_BKGB: copy columns of one bank to the global buffer."""
    _queued(clock, timing, Column.RDCP, columns, channels, row, bank)


def copy_buffer_to_bank(
    clock: Clock, timing: DramTiming, columns: Count, bank: int, row: Count, channels: Sequence[Channels] = ()
) -> None:
    """COPY_GBBK: copy columns of the global buffer to one bank."""
    _queued(clock, timing, Column.WRCP, columns, channels, row, bank)


def write_all_banks(clock: Clock, timing: DramTiming, row: Count, channels: Sequence[Channels] = ()) -> None:
    """WR_ABK: write one column of every bank and close the rows."""
    _queued(clock, timing, Column.WRA16, 1, channels, row)


def write_single_bank(
    clock: Clock, timing: DramTiming, bank: int, row: Count, columns: Count = 1, channels: Sequence[Channels] = ()
) -> None:
    """WR_SBK or W MEM, `columns` times: write columns of one bank."""
    _accessed(clock, timing, Column.WR, bank, row, columns, channels)


def read_single_bank(
    clock: Clock, timing: DramTiming, bank: int, row: Count, columns: Count = 1, channels: Sequence[Channels] = ()
) -> None:
    """RD_SBK or R MEM, `columns` times: read columns of one bank; nothing waits for the data but SYNC."""
    _accessed(clock, timing, Column.RD, bank, row, columns, channels)


def configure(clock: Clock, timing: DramTiming) -> None:
    """Write a configuration register or touch a general-purpose one: a cycle of the DMA."""
    clock.set(DMA, after(clock, clock.ready(DMA), timing.tck_ps, "issue"))


def ewadd(clock: Clock, timing: DramTiming, columns: Count) -> None:
    """EWADD: add general-purpose registers; a cycle of the DMA however many, for the simulator charges nothing else."""
    _columns(columns)
    configure(clock, timing)


def sync(clock: Clock, timing: DramTiming, channels: Sequence[Channels] = ()) -> None:
    """SYNC: stop the DMA until all channels have drained."""
    decoded = free = clock.ready(DMA)
    for group in _groups(timing, channels):
        lane = Lane(clock, timing, group)
        lane.note("writes", 0)
        go = latest(decoded, lane.at(Slot.BUS), lane.at(Slot.ACCESS))
        free = latest(free, lane.after(go, 2, "issue"), lane.after(lane.at(Slot.DRAINED), 1, "issue"))
    clock.set(DMA, free)


def end(clock: Clock, timing: DramTiming, channels: Sequence[Channels] = ()) -> Instant:
    """EOC: as SYNC; gives the end of the kernel."""
    sync(clock, timing, channels)
    return clock.ready(DMA)


def with_refresh(timing: DramTiming, time_ps: Count) -> Count:
    """The time with refresh, on average: of every tREFI, tRFC is lost.

    The simulator issues no refresh for this device (its refresh manager counts ranks, of which there are none).
    """
    return -(-time_ps * timing.trefi // (timing.trefi - timing.trfc))


def refresh_energy_pj(timing: DramTiming, time_ps: float) -> float:
    """Energy of the refreshes of all banks in some time that includes refresh."""
    return time_ps / (timing.trefi * timing.tck_ps) * timing.channels * timing.banks * timing.refresh_bank_pj


def background_energy_pj(timing: DramTiming, time_ps: float) -> float:
    """Standby energy of all channels, rows taken as open throughout."""
    return timing.channels * timing.background_mw * time_ps * 1e-3
