"""A group of channels of GDDR6-AiM as one command of `timing` sees it: what it waits for, and what it holds up.

All state is instants in clock resources `<channels>.<slot>`, and what does not depend on time (open rows, mode, length
of the queue) in `clock.memo`.
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class Channels:
    """Channels that do the same at the same time: the prefix of their resources, and how many they are."""

    name: str
    count: int


DMA = "pim.dma"
"""The resource of the front end, which all channels share."""


class Access(NamedTuple):
    first: Instant
    """The first command, once the mode is right."""
    opened: Instant
    column: Instant
    miss: NDArray[np.bool_]
    """The steps in which the row had to be opened."""
    other: NDArray[np.bool_]
    """Those in which another had to be closed first."""


def after(clock: Clock, instant: Instant, duration_ps: Count, why: str) -> Instant:
    """A constraint: an instant later than another. Unlike the durations of `clock.plus` it keeps nothing busy."""
    return instant.later(duration_ps, clock.key(why))


class Lane:
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
        return f"{self.name}.{slot}" if bank is None else f"{self.name}.bank{bank}.{slot}"

    def after(self, instant: Instant, cycles: Count, why: str) -> Instant:
        return after(self.clock, instant, cycles * self.timing.tck_ps, why)

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

    def change(self, register: bool) -> bool:
        """Whether an instruction finds the other mode."""
        return bool(self.recall("register mode")) != register

    def start(self, ready: Instant, register: bool) -> Instant:
        """The first command of an instruction, in the mode that it needs."""
        if not self.change(register):
            return ready
        self.note("register mode", register)
        self.spend("controller", self.timing.command_pj)
        return self.busy(ready, self.timing.tmodch, "mode change")

    def open(self, rule: Rule, row: Count, bank: int | None, go: Instant) -> Access:
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
            return Access(first, first, first, miss, other)
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
        return Access(first, opened, pick(miss, column, first), miss, other)

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
        taken = self._taken(column, columns, spacing)
        before, _ = cast("tuple[Count, int]", self.recall("run") or (0, 0))
        self.note("run", (before + columns if joins else columns, spacing))
        if not joins:
            self.set(Slot.RUN, column)
        return taken

    def offered(self, kind: Column, columns: Count, decoded: Instant) -> Instant:
        """When the DMA can go on after columns of registers, in channels that stay as they are all the same."""
        rule = self.timing.rules[kind]
        go = latest(decoded, self.at(Slot.BUS), self.at(Slot.ACCESS))
        column = latest(go, *(self.at(slot) for slot in rule.waits))
        column = self.after(column, self.change(rule.register) * self.timing.tmodch, "mode change")
        free = latest(self.after(decoded, 1, "issue"), self.after(self.at(Slot.ACCESS), 1, "issue"))
        taken = self._taken(column, columns, rule.spacing)
        return free if taken is None else latest(free, taken)

    def _taken(self, column: Instant, columns: Count, spacing: int) -> Instant | None:
        """When the last of some columns, the first at `column`, is let into the queue; None if there is room."""
        depth = self.timing.queue_depth
        before, before_spacing = cast("tuple[Count, int]", self.recall("run") or (0, 0))
        # Two cycles after the column that lets the last one into the queue.
        fills, fills_alone = np.asarray(before + columns) > depth, np.asarray(columns) > depth
        if not fills.any():
            return None
        start = self.at(Slot.RUN)
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
