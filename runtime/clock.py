"""Time as max-plus algebra: instants, what they are blamed on, and the ready times of a machine's resources.

A command starts at the latest of the instants that it must wait for and ends a duration later. Nothing else moves
time, so a block of commands maps ready times to ready times, repeats compose, and a loop need not be followed to its
end (see `repeats`; Baccelli et al., "Synchronization and Linearity", 1992, chapter 3). All times are int64 picoseconds;
arrays have one entry per step costed together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

MOST_PENDING = 8
"""Additions to an instant's blame that wait to be worked in."""


class Instant:
    """A moment and the path that leads to it: `blame` (keys, steps) in ps sums over keys to `time_ps` (steps,).

    What `later` adds to the blame is worked in when somebody looks: most instants are only compared.
    """

    __slots__ = ("_blame", "_pending", "time_ps")

    def __init__(
        self, time_ps: IntArray, blame: IntArray, pending: tuple[tuple[int, IntArray | int], ...] = ()
    ) -> None:
        self.time_ps, self._blame, self._pending = time_ps, blame, pending

    @property
    def blame(self) -> IntArray:
        """Picoseconds by key and step."""
        if self._pending:
            held, steps = self._blame.shape
            wide = np.zeros((max(held, 1 + max(key for key, _ in self._pending)), steps), np.int64)
            wide[:held] = self._blame
            for key, duration_ps in self._pending:
                wide[key] += duration_ps
            self._blame, self._pending = wide, ()
        return self._blame

    def later(self, duration_ps: IntArray | int, key: int) -> Instant:
        """The instant `duration_ps` later, which is blamed on a key."""
        if len(self._pending) >= MOST_PENDING:
            return Instant(self.time_ps + duration_ps, self.blame, ((key, duration_ps),))
        return Instant(self.time_ps + duration_ps, self._blame, (*self._pending, (key, duration_ps)))


def widened(blame: IntArray, keys: int) -> IntArray:
    """Blame with at least so many keys."""
    held, steps = blame.shape
    if held >= keys:
        return blame
    wide = np.zeros((keys, steps), np.int64)
    wide[:held] = blame
    return wide


def pick(mask: NDArray[np.bool_], yes: Instant, no: Instant) -> Instant:
    """Step by step one of two instants."""
    count = np.count_nonzero(mask)
    if count == mask.size:
        return yes
    if not count:
        return no
    wide, other = yes.blame, no.blame
    keys = max(len(wide), len(other))
    blame = np.where(mask, widened(wide, keys), widened(other, keys))
    return Instant(np.where(mask, yes.time_ps, no.time_ps), blame)


def latest(first: Instant, *others: Instant) -> Instant:
    """The last of several instants, step by step, with the path that leads to it; the first of equals wins."""
    for other in others:
        if other is not first:
            first = pick(other.time_ps > first.time_ps, other, first)
    return first


@dataclass
class Totals:
    """Sums by key over the steps; what is added under one weight is added up first and weighed when it is settled."""

    steps: int
    sums: dict[Any, FloatArray] = field(default_factory=dict[Any, FloatArray])
    """(steps,) by key: replaced, never changed, so that a copy of the dict is a state to compare with."""
    fresh: dict[Any, Any] = field(default_factory=dict[Any, Any])
    """Not yet weighed: numbers, or arrays (steps,)."""

    def add(self, key: object, amount: IntArray | FloatArray | float) -> None:
        """Add to the sum of a key."""
        held = self.fresh.get(key)
        self.fresh[key] = amount if held is None else held + amount

    def settle(self, weight: FloatArray | float) -> None:
        """Weigh what has been added since the last time."""
        for key, amount in self.fresh.items():
            held = self.sums.get(key)
            added = amount * weight
            self.sums[key] = np.full(self.steps, added, np.float64) if held is None else held + added
        self.fresh.clear()

    def repeat_last(self, before: Mapping[Any, FloatArray], times: IntArray) -> None:
        """Add what has been added since the state `before` as often again."""
        for key, value in self.sums.items():
            was = before.get(key)
            if value is not was:
                self.sums[key] = value + (value - (0.0 if was is None else was)) * times


@dataclass
class Clock:
    """The ready times of named resources, with energy and counters, for `steps` executions costed side by side.

    An instruction's `time` function reads resources with `ready`, joins them with `latest`, adds durations with
    `plus` and writes them back with `set`; `engine`, `node` and `weight` are kept by the coster.
    """

    steps: int
    keys: dict[tuple[str, str, int], int] = field(default_factory=dict[tuple[str, str, int], int])
    """The row of blame of each (engine, component, node), in order of first use."""
    resources: dict[str, Instant] = field(default_factory=dict[str, Instant])
    written: set[str] = field(default_factory=set[str])
    """The resources that have been set since the trip began that is under way."""
    memo: dict[str, object] = field(default_factory=dict[str, object])
    """Facts that a family keeps between commands: arrays (…, steps) as of open rows, or what is so in all steps."""
    engine: str = ""
    node: int = 0
    weight: FloatArray | float = 1.0
    """How often the instruction being costed happens per step (0 where a loop around it has ended); see `weigh`."""

    def __post_init__(self) -> None:
        self._start = Instant(np.zeros(self.steps, np.int64), np.zeros((0, self.steps), np.int64))
        self._energy_j, self._counters, self._busy_ps = (Totals(self.steps) for _ in range(3))
        self.totals = self._energy_j, self._counters, self._busy_ps

    def settle(self) -> None:
        """Weigh what has been added up since the last time."""
        for total in self.totals:
            total.settle(self.weight)

    @property
    def energy_j(self) -> dict[tuple[str, str, int], FloatArray]:
        """Joules by (engine, component, node)."""
        self.settle()
        return self._energy_j.sums

    @property
    def counters(self) -> dict[str, FloatArray]:
        """What has been counted, by name."""
        self.settle()
        return self._counters.sums

    @property
    def busy_ps(self) -> dict[tuple[str, str], FloatArray]:
        """Durations added by (engine, component), whether on the critical path or not."""
        self.settle()
        return self._busy_ps.sums

    def weigh(self, weight: FloatArray | float) -> None:
        """Set how often what follows happens per step."""
        self.settle()
        self.weight = weight

    def zero(self) -> Instant:
        """The start of the step."""
        return self._start

    def ready(self, resource: str) -> Instant:
        """When the resource is free; the start of the step if nothing has used it."""
        found = self.resources.get(resource)
        if found is None:
            found = self.resources[resource] = self.zero()
        return found

    def set(self, resource: str, instant: Instant) -> None:
        """Note when the resource is free again, be it no later than before."""
        self.resources[resource] = instant
        self.written.add(resource)

    def plus(self, instant: Instant, duration_ps: IntArray | int, component: str) -> Instant:
        """The instant `duration_ps` later (an int or one value per step), the wait blamed on `component`."""
        self._busy_ps.add((self.engine, component), duration_ps)
        return instant.later(duration_ps, self.key(component))

    def key(self, component: str) -> int:
        """The row of blame of a component, for the current instruction."""
        return self.keys.setdefault((self.engine, component, self.node), len(self.keys))

    def spend(self, component: str, energy_j: FloatArray | float) -> None:
        """Add energy in joules for one execution of the current instruction."""
        self._energy_j.add((self.engine, component, self.node), energy_j)

    def count(self, counter: str, amount: IntArray | FloatArray | float) -> None:
        """Add to a counter (such as `activates`) for one execution of the current instruction.

        What doesn't depend on the state of the clock is told by the instruction's `counts` instead.
        """
        self._counters.add(counter, amount)


def simple_clock(steps: int = 1) -> Clock:
    """A clock outside a program, for tests and for command traces."""
    return Clock(steps=steps)
