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
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from crossbank.backends.pim.timing_rules import Column, DramTiming, Rule, Slot
from crossbank.runtime.clock import Clock, Instant, IntArray, latest, pick

Count = IntArray | int
"""A number, or one for each step; the entries of steps that don't execute the instruction count as one column."""

CLOSED = -1
"""The row of a bank that has none open."""
_FUNCTION_ROW = -2
"""AF opens a row of its own, that of the function's look-up table: this and below, by function."""


@dataclass(frozen=True)
class Channels:
    """Channels that do the same at the same time: the prefix of their resources, and how many they are."""

    name: str
    count: int


DMA = "pim.dma"
"""The resource of the front end, which all channels share."""

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


class _Access(NamedTuple):
    first: Instant
    """The first command, once the mode is right."""
    opened: Instant
    column: Instant
    miss: NDArray[np.bool_]
    """The steps in which the row had to be opened."""
    other: NDArray[np.bool_]
    """Those in which another had to be closed first."""


def _after(clock: Clock, instant: Instant, duration_ps: Count, why: str) -> Instant:
    """A constraint: an instant later than another. Unlike the durations of `clock.plus` it keeps nothing busy."""
    return instant.later(duration_ps, clock.key(why))


class _Lane:
    """A clock as one command sees it, for one group of channels."""

    def __init__(self, clock: Clock, timing: DramTiming, channels: Channels) -> None:
        self.clock, self.timing, self.name, self.count = clock, timing, channels.name, channels.count

    def at(self, slot: Slot, bank: int | None = None) -> Instant:
        return self.clock.ready(self._resource(slot, bank))

    def set(self, slot: Slot, instant: Instant, bank: int | None = None) -> None:
        self.clock.set(self._resource(slot, bank), instant)

    def hold(self, slot: Slot, instant: Instant, bank: int | None = None) -> None:
        self.set(slot, latest(self.at(slot, bank), instant), bank)

    def _resource(self, slot: Slot, bank: int | None) -> str:
        return f"{self.name}.{slot.value}" if bank is None else f"{self.name}.bank{bank}.{slot.value}"

    def after(self, instant: Instant, cycles: Count, why: str) -> Instant:
        return _after(self.clock, instant, cycles * self.timing.tck_ps, why)

    def busy(self, instant: Instant, cycles: Count, why: str) -> Instant:
        return self.clock.plus(instant, cycles * self.timing.tck_ps, why)

    def recall(self, key: str, default: object = None) -> object:
        return self.clock.memo.get(f"{self.name}.{key}", default)

    def note(self, key: str, value: object) -> None:
        self.clock.memo[f"{self.name}.{key}"] = value

    @property
    def rows(self) -> IntArray:
        """The open row of each bank, (banks, steps)."""
        rows = self.recall("rows")
        if rows is None:
            return np.full((self.timing.banks, self.clock.steps), CLOSED, np.int64)
        return cast(IntArray, rows)

    def spend(self, component: str, energy_pj: NDArray[np.floating[Any]] | float) -> None:
        self.clock.spend(component, np.asarray(energy_pj, np.float64) * (self.count * 1e-12))

    def start(self, ready: Instant, register: bool) -> Instant:
        """The first command of an instruction, in the mode that it needs."""
        if bool(self.recall("register mode")) == register:
            return ready
        self.note("register mode", register)
        self.spend("controller", self.timing.command_pj)
        return self.busy(ready, self.timing.tmodch, "mode change")

    def open(self, rule: Rule, row: Count, bank: int | None, go: Instant) -> _Access:
        """Close what is open in the way and open `row`, in one bank or in all."""
        timing, rows = self.timing, self.rows
        assert rule.opened is not None
        held = rows if bank is None else rows[bank : bank + 1]
        other = ((held != row) & (held != CLOSED)).any(axis=0)
        miss = other | (held == CLOSED).any(axis=0)
        if bank is None:
            precharge = latest(self.at(Slot.PRECHARGE), self.at(Slot.PRECHARGE_SINGLE))
            activate = latest(self.at(Slot.ACTIVATE), self.at(Slot.ACTIVATE_SINGLE))
        else:
            precharge = latest(self.at(Slot.PRECHARGE), self.at(Slot.PRECHARGE, bank))
            activate = latest(self.at(Slot.ACTIVATE), self.at(Slot.ACTIVATE, bank), self.at(Slot.ACTIVATE_NEXT))
            if timing.tfaw:
                activate = latest(activate, self.clock.ready(self._window(0)))
        column = self.after(self.at(Slot.OPENED), rule.opened, "activate")
        if bank is not None:
            column = latest(
                column, self.after(self.at(Slot.OPENED, bank), rule.opened, "activate"), self.at(Slot.PIPE, bank)
            )
        column = latest(column, *(self.at(slot) for slot in rule.waits))
        ready = pick(other, precharge, pick(miss, activate, column))
        first = self.start(latest(go, ready), rule.register)
        if not miss.any():
            return _Access(first, first, first, miss, other)
        opened = first
        if other.any():
            closed = self.busy(first, other * timing.trp, "precharge")
            opened = pick(other, latest(closed, activate), first)
        column = latest(self.busy(opened, miss * rule.opened, "activate"), column)
        self._opened(pick(other, go, opened), opened, row, bank, miss)
        activates = miss * (timing.banks if bank is None else 1)
        self.spend("dram activate", activates * timing.activate_bank_pj)
        self.spend("controller", (miss.astype(float) + other) * timing.command_pj)
        self.clock.count("activates", activates * self.count)
        return _Access(first, opened, pick(miss, column, first), miss, other)

    def _opened(self, served: Instant, opened: Instant, row: Count, bank: int | None, miss: NDArray[np.bool_]) -> None:
        timing = self.timing
        close = self.after(opened, timing.tras, "precharge")
        again = self.after(opened, timing.trc, "activate")
        self.set(Slot.OPENED, pick(miss, opened, self.at(Slot.OPENED, bank)), bank)
        self.hold(Slot.PRECHARGE, pick(miss, close, self.at(Slot.PRECHARGE, bank)), bank)
        self.hold(Slot.ACTIVATE, pick(miss, again, self.at(Slot.ACTIVATE, bank)), bank)
        if bank is None:
            self.note("rows", np.broadcast_to(np.asarray(row, np.int64), self.rows.shape))
            return
        rows = self.rows.copy()
        rows[bank] = row
        self.note("rows", rows)
        self.hold(Slot.PRECHARGE_SINGLE, pick(miss, close, self.at(Slot.PRECHARGE_SINGLE)))
        self.hold(Slot.ACTIVATE_SINGLE, pick(miss, again, self.at(Slot.ACTIVATE_SINGLE)))
        turn = latest(served, self.at(Slot.ACTIVATE_NEXT))
        self.set(Slot.ACTIVATE_NEXT, pick(miss, self.after(turn, timing.trrd, "activate"), turn))
        if timing.tfaw:
            over = self.after(opened, timing.tfaw, "activate")
            newest = [*(self.clock.ready(self._window(i)) for i in range(4)), over]
            for i in range(4):
                self.clock.set(self._window(i), pick(miss, newest[i + 1], newest[i]))

    def _window(self, i: int) -> str:
        return f"{self.name}.window{i}"

    def burst(self, kind: Column, column: Instant, columns: Count) -> Instant:
        """The last column of a burst that begins with `column`; its energy."""
        rule = self.timing.rules[kind]
        for component, energy_pj in self.timing.energies[kind].items():
            self.spend(component, energy_pj * columns)
        return self.busy(column, (columns - 1) * rule.spacing, rule.why)

    def hold_up(self, kind: Column, last: Instant, bank: int | None, steps: NDArray[np.bool_] | None = None) -> None:
        """What the last column of a burst holds up, in some steps."""
        for slot, cycles, why in self.timing.rules[kind].holds:
            until = self.after(last, cycles, why)
            if steps is not None:
                until = pick(steps, until, self.clock.zero())
            if slot is Slot.PRECHARGE and bank is not None:
                self.hold(Slot.PRECHARGE, until, bank)
                slot = Slot.PRECHARGE_SINGLE
            self.hold(slot, until)

    def room(self, column: Instant, columns: Count, spacing: int, joins: bool) -> Instant | None:
        """When the DMA can go on, if these columns fill the queue behind those of the instruction before."""
        depth = self.timing.queue_depth
        before, before_spacing = cast("tuple[Count, int]", self.recall("run") or (0, 0))
        self.note("run", (before + columns if joins else columns, spacing))
        start = self.at(Slot.RUN)
        if not joins:
            self.set(Slot.RUN, column)
        # Two cycles after the column that lets the last one into the queue.
        fills, fills_alone = np.asarray(before + columns) > depth, np.asarray(columns) > depth
        if not fills.any():
            return None
        behind = self.after(start, np.maximum(before + columns - depth - 1, 0) * before_spacing + 2, "issue")
        alone = self.after(column, np.maximum(columns - depth - 1, 0) * spacing + 2, "issue")
        steps = self.clock.steps
        room = pick(np.broadcast_to(fills_alone, steps), alone, behind)
        return pick(np.broadcast_to(fills, steps), room, self.clock.ready(DMA))

    def settle(self, register_ready: Instant | None = None) -> None:
        """Let the last access, if alone in a row just opened, have its column before what comes next.

        A register command changes the mode as soon as it is ready; a write then changes it back, a read waits.
        """
        stranded = self.recall("stranded")
        if stranded is None:
            return
        kind, bank, alone = cast("tuple[Column, int, NDArray[np.bool_]]", stranded)
        column, change = self.at(Slot.STRANDED), self.timing.tmodch
        if register_ready is not None:
            if kind is Column.RD:
                return
            due = latest(self.busy(register_ready, alone * change, "mode change"), column)
            column = pick(alone, self.busy(due, alone * change, "mode change"), column)
            self.hold(Slot.BUS, pick(alone, self.after(column, 1, "issue"), self.at(Slot.BUS)))
            self.note("register mode", False)
        self.note("stranded", None)
        self.hold_up(kind, column, bank, alone)


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
    free = _after(clock, decoded, timing.tck_ps, "issue")
    for group in _groups(timing, channels):
        lane = _Lane(clock, timing, group)
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
    free = _after(clock, decoded, columns * timing.tck_ps, "issue")
    for group in _groups(timing, channels):
        lane = _Lane(clock, timing, group)
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
    clock.set(DMA, _after(clock, clock.ready(DMA), timing.tck_ps, "issue"))


def ewadd(clock: Clock, timing: DramTiming, columns: Count) -> None:
    """EWADD: add general-purpose registers; a cycle of the DMA however many, for the simulator charges nothing else."""
    _columns(columns)
    configure(clock, timing)


def sync(clock: Clock, timing: DramTiming, channels: Sequence[Channels] = ()) -> None:
    """SYNC: stop the DMA until all channels have drained."""
    decoded = free = clock.ready(DMA)
    for group in _groups(timing, channels):
        lane = _Lane(clock, timing, group)
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
