"""The memory controller of one GDDR6-AiM channel, command by command, as the public cycle-level simulator has it.

It holds up to `queue_depth` requests of each kind: instructions of the AiM queue, reads, and writes. AiM instructions
are served in order. Accesses to single banks are served by readiness, then age: a read or write first, once its row has
been opened for it, then the older of those that can have their next command now; writes wait while there are reads,
until four fifths of their queue is filled, and then go on until a fifth is left. A read that arrives behind waiting
writes is answered from their queue. A mode change takes the place of the command that needs it
(arkhadem/aim_simulator 0f28a07b, src/dram_controller/impl/AiM_dram_controller.cpp, on Ramulator 2).

`timing.py` says the same of programs in closed form, for all their tokens at once.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from crossbank.backends.pim.constraints import ALL_BANKS, CLOSING, ONE_BANK, REGISTERS, Constraints, Dram
from crossbank.backends.pim.timing_rules import DramTiming

NEVER = 1 << 62
_EVERY_BANK = -1
_FULL_SHARE, _DRAINED_SHARE = 0.8, 0.2
"""Of the write queue: filled above the one, writes go first; below the other, reads do."""


class Kind(IntEnum):
    """Which queue a request waits in; BARRIER waits in the AiM queue until everything is over."""

    AIM = 0
    READ = 1
    WRITE = 2
    BARRIER = 3


class Request(NamedTuple):
    """One column command, or a barrier."""

    kind: Kind
    command: Dram = Dram.MODE
    bank: int = _EVERY_BANK
    row: int = 0
    blocking: bool = False
    """Whether the front end waits for it."""


class _Waiting:
    """A request in a queue."""

    __slots__ = ("arrived", "request")

    def __init__(self, request: Request, arrived: int) -> None:
        self.request, self.arrived = request, arrived


class Channel:
    """A channel's controller and the state of its banks. Time is in cycles; `tick` may skip those without an event."""

    def __init__(self, timing: DramTiming, constraints: Constraints) -> None:
        self.timing, self.constraints = timing, constraints
        self.counts: Counter[Dram] = Counter()
        self.forwarded = 0
        """Reads answered from the write queue."""
        self.next = NEVER
        """The next cycle with something to do."""
        self.freed = False
        """Whether the last tick took something from a queue."""
        groups, commands = timing.bank_groups, len(Dram)
        self._channel = [0] * commands
        self._groups = [[0] * commands for _ in range(groups)]
        self._banks = [[0] * commands for _ in range(timing.banks)]
        self._per_group = -(-timing.banks // groups)
        self._rows: list[int | None] = [None] * timing.banks
        self._row_of_all: int | None = None
        """The row that is open in all banks."""
        self._register_mode = False
        self._aim: deque[_Waiting] = deque()
        self._reads: list[_Waiting] = []
        self._writes: list[_Waiting] = []
        self._opened: list[_Waiting] = []
        """Accesses whose row was opened for them."""
        self._writes_first = False
        self._ticked = 0
        self._settled: bool | None = None
        """Whether writes go first in idle cycles after the last tick, if the queues of accesses are looked at then."""
        self._returning: deque[tuple[int, Request]] = deque()
        """What comes back, in order: from when on, and what."""
        self._written = 0
        """When the latest command that brings nothing back is over."""
        self._activates: deque[int] = deque([-NEVER] * 4, maxlen=4)
        self._done = [self._latency(command) for command in Dram]

    def _latency(self, command: Dram) -> int:
        timing = self.timing
        if command is Dram.WRA16:
            return timing.tcwl + timing.tbl + timing.trp
        column = command.column
        return 1 if column is None else max(1, timing.rules[column].done)

    def send(self, request: Request, now: int) -> bool:
        """Take a request, if there is room for it; AiM instructions and accesses don't mix in the queues."""
        accesses = bool(self._reads or self._writes)
        if request.kind in (Kind.AIM, Kind.BARRIER):
            if accesses or len(self._aim) >= self.timing.queue_depth:
                return False
            if not self._aim:
                self.next = now
            self._aim.append(_Waiting(request, now))
        else:
            if self._aim:
                return False
            if request.kind is Kind.READ and self._writes:
                self._returning.append((now + 1, request))
                self.forwarded += 1
            else:
                queue = self._reads if request.kind is Kind.READ else self._writes
                if len(queue) >= self.timing.queue_depth:
                    return False
                queue.append(_Waiting(request, now))
            self.next = now
        return True

    def tick(self, now: int) -> bool:
        """Act in a cycle; True where a request that the front end waits for has come back."""
        self.freed = False
        if now > self._ticked + 1 and self._settled is not None:
            self._writes_first = self._settled
        self._ticked = now
        answered = self._take_returned(now)
        waited = self._serve(now)
        self.next = self._plan(now, waited)
        return answered

    def _take_returned(self, now: int) -> bool:
        if not self._returning or self._due() > now:
            return False
        return self._returning.popleft()[1].blocking

    def _due(self) -> int:
        at, request = self._returning[0]
        return max(at, self._written + 1) if request.kind is Kind.BARRIER else at

    def _serve(self, now: int) -> bool:
        """Issue a command, if one can; False where what was chosen must not close a row that another has opened."""
        queue: list[_Waiting] | deque[_Waiting] = self._opened
        chosen = self._oldest_ready(self._opened, now)
        if chosen is None:
            if self._aim:
                queue, head = self._aim, self._aim[0]
                if head.request.kind is Kind.BARRIER:
                    self._aim.popleft()
                    self.freed = True
                    self._returning.append((now, head.request))
                    return True
                chosen = head if self._ready(self._needs(head.request), head.request.bank) <= now else None
            else:
                self._writes_first = self._choose_writes()
                queue = self._writes if self._writes_first else self._reads
                chosen = self._oldest_ready(queue, now)
        if chosen is None:
            return True
        request = chosen.request
        command = self._needs(request)
        if command in CLOSING and any(other.request.bank == request.bank for other in self._opened):
            return False
        if (request.command in REGISTERS) is not self._register_mode:
            self._register_mode = not self._register_mode
            command = Dram.MODE
        self._issue(command, request, now)
        if command is request.command:
            self._finish(request, now)
        elif command is Dram.ACTIVATE and request.kind is not Kind.AIM:
            self._opened.append(chosen)
        else:
            return True
        queue.remove(chosen)
        self.freed = True
        return True

    def _choose_writes(self) -> bool:
        """Whether writes go before reads."""
        depth = self.timing.queue_depth - 1
        if not self._reads:
            return True
        if self._writes_first:
            return len(self._writes) >= _DRAINED_SHARE * depth
        return len(self._writes) > _FULL_SHARE * depth

    def _oldest_ready(self, queue: Sequence[_Waiting], now: int) -> _Waiting | None:
        best: _Waiting | None = None
        for waiting in queue:
            if (best is None or waiting.arrived < best.arrived) and self._ready(
                self._needs(waiting.request), waiting.request.bank
            ) <= now:
                best = waiting
        return best

    def _needs(self, request: Request) -> Dram:
        """The command that a request needs next: its own, or one that opens its row."""
        command = request.command
        if command in ONE_BANK:
            row = self._rows[request.bank]
            if row == request.row:
                return command
            return Dram.ACTIVATE if row is None else Dram.PRECHARGE
        if command in ALL_BANKS:
            if request.row == self._row_of_all:
                return command
            closed = False
            for row in self._rows:
                if row is None:
                    closed = True
                elif row != request.row:
                    return Dram.PRECHARGE_ALL
            if closed:
                return Dram.ACTIVATE_ALL
            self._row_of_all = request.row
        return command

    def _ready(self, command: Dram, bank: int) -> int:
        """From when on a command may be issued."""
        ready = self._channel[command]
        if bank != _EVERY_BANK:
            ready = max(ready, self._groups[bank // self._per_group][command], self._banks[bank][command])
        if command is Dram.ACTIVATE and self.timing.tfaw:
            ready = max(ready, self._activates[0] + self.timing.tfaw)
        return ready

    def _issue(self, command: Dram, request: Request, now: int) -> None:
        self.counts[command] += 1
        holds, bank = self.constraints, request.bank
        scopes = [(self._channel, holds.channel)]
        if bank != _EVERY_BANK:
            scopes += [(self._groups[bank // self._per_group], holds.bank_group), (self._banks[bank], holds.bank)]
        for ready, follows in scopes:
            for other, cycles in follows[command]:
                if ready[other] < now + cycles:
                    ready[other] = now + cycles
        if command is Dram.ACTIVATE:
            self._rows[bank] = request.row
            self._activates.append(now)
        elif command is Dram.PRECHARGE:
            self._rows[bank] = self._row_of_all = None
        elif command is Dram.ACTIVATE_ALL:
            self._rows = [request.row] * len(self._rows)
        elif command in (Dram.PRECHARGE_ALL, Dram.WRA16):
            self._rows = [None] * len(self._rows)
            self._row_of_all = None

    def _finish(self, request: Request, now: int) -> None:
        over = now + self._done[request.command]
        if request.kind is Kind.READ or request.blocking:
            self._returning.append((over, request))
        else:
            self._written = max(self._written, over)

    def _plan(self, now: int, waited: bool) -> int:
        """The next cycle with something to do, if nothing arrives before; `waited`: not for a row of another's."""
        soonest = now + 1
        due = max(self._due(), soonest) if self._returning else NEVER
        waiting: list[_Waiting] = list(self._opened)
        self._settled = None if self._aim else self._choose_writes()
        if self._aim:
            waiting.append(self._aim[0])
        else:
            waiting += self._writes if self._settled else self._reads
        for other in waiting:
            if other.request.kind is Kind.BARRIER:
                return soonest
            ready = self._ready(self._needs(other.request), other.request.bank)
            if ready <= now and not waited:
                continue
            due = min(due, max(ready, soonest))
        return due
