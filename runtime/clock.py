"""Time as max-plus algebra: instants, what they are blamed on, and the ready times of a machine's resources.

A command starts at the latest of the instants that it must wait for and ends a duration later. Nothing else moves
time, so a block of commands maps ready times to ready times, repeats compose, and a loop whose resources all shift by
the same amount from one trip to the next may be extrapolated exactly (Baccelli et al., "Synchronization and
Linearity", 1992, chapter 3). All times are int64 picoseconds; arrays have one entry per step costed together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment and the path that leads to it: `blame` (steps, keys) in ps sums over keys to `time_ps` (steps,)."""

    time_ps: IntArray
    blame: IntArray


def widened(blame: IntArray, keys: int) -> IntArray:
    """Blame with at least so many keys."""
    steps, held = blame.shape
    if held >= keys:
        return blame
    wide = np.zeros((steps, keys), np.int64)
    wide[:, :held] = blame
    return wide


def latest(first: Instant, *others: Instant) -> Instant:
    """The last of several instants, step by step, with the path that leads to it; the first of equals wins."""
    for other in others:
        if other is first:
            continue
        later = other.time_ps > first.time_ps
        count = np.count_nonzero(later)
        if count == later.size:
            first = other
        elif count:
            keys = max(first.blame.shape[1], other.blame.shape[1])
            blame = np.where(later[:, None], widened(other.blame, keys), widened(first.blame, keys))
            first = Instant(np.where(later, other.time_ps, first.time_ps), blame)
    return first


@dataclass
class Clock:
    """The ready times of named resources, with energy and counters, for `steps` executions costed side by side.

    An instruction's `time` function reads resources with `ready`, joins them with `latest`, adds durations with
    `plus` and writes them back with `set`; `engine`, `node` and `weight` are kept by the coster.
    """

    steps: int
    keys: dict[tuple[str, str, int], int] = field(default_factory=dict[tuple[str, str, int], int])
    """The column of blame of each (engine, component, node), in order of first use."""
    resources: dict[str, Instant] = field(default_factory=dict[str, Instant])
    energy_j: dict[tuple[str, str, int], FloatArray] = field(default_factory=dict[tuple[str, str, int], FloatArray])
    counters: dict[str, FloatArray] = field(default_factory=dict[str, FloatArray])
    busy_ps: dict[tuple[str, str], FloatArray] = field(default_factory=dict[tuple[str, str], FloatArray])
    """Durations added by (engine, component), whether on the critical path or not."""
    memo: dict[str, object] = field(default_factory=dict[str, object])
    """Facts that a family keeps between commands (the open row); part of the state that a repeat must reproduce."""
    engine: str = ""
    node: int = 0
    weight: FloatArray | float = 1.0
    """How often the instruction being costed happens per step: 0 where a loop around it has ended."""

    @property
    def tallies(self) -> Sequence[dict[Any, FloatArray]]:
        """What adds up: energy, counters and busy times."""
        return self.energy_j, self.counters, self.busy_ps

    def zero(self) -> Instant:
        """The start of the step."""
        return Instant(np.zeros(self.steps, np.int64), np.zeros((self.steps, 0), np.int64))

    def ready(self, resource: str) -> Instant:
        """When the resource is free; the start of the step if nothing has used it."""
        found = self.resources.get(resource)
        if found is None:
            found = self.resources[resource] = self.zero()
        return found

    def set(self, resource: str, instant: Instant) -> None:
        """Note when the resource is free again."""
        self.resources[resource] = instant

    def plus(self, instant: Instant, duration_ps: IntArray | int, component: str) -> Instant:
        """The instant `duration_ps` later (an int or one value per step), the wait blamed on `component`."""
        busy = (self.engine, component)
        self.busy_ps[busy] = self.busy_ps.get(busy, np.zeros(self.steps)) + np.asarray(duration_ps) * self.weight
        key = self.keys.setdefault((self.engine, component, self.node), len(self.keys))
        blame = widened(instant.blame, key + 1)
        blame = blame.copy() if blame is instant.blame else blame
        blame[:, key] += duration_ps
        return Instant(instant.time_ps + duration_ps, blame)

    def spend(self, component: str, energy_j: FloatArray | float) -> None:
        """Add energy in joules for one execution of the current instruction."""
        key = (self.engine, component, self.node)
        self.energy_j[key] = self.energy_j.get(key, np.zeros(self.steps)) + np.asarray(energy_j) * self.weight

    def count(self, counter: str, amount: IntArray | FloatArray | float) -> None:
        """Add to a counter (such as `macs` or `activates`) for one execution of the current instruction."""
        self.counters[counter] = self.counters.get(counter, np.zeros(self.steps)) + np.asarray(amount) * self.weight


def simple_clock(steps: int = 1) -> Clock:
    """A clock outside a program, for tests and for command traces."""
    return Clock(steps=steps)
