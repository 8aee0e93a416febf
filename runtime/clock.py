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

MOST_PENDING = 8
"""Additions to an instant's blame that wait to be worked in."""


class Instant:
    """A moment and the path that leads to it: `blame` (steps, keys) in ps sums over keys to `time_ps` (steps,).

    What `later` adds to the blame is worked in when somebody looks: most instants are only compared.
    """

    __slots__ = ("_blame", "_pending", "time_ps")

    def __init__(
        self, time_ps: IntArray, blame: IntArray, pending: tuple[tuple[int, IntArray | int], ...] = ()
    ) -> None:
        self.time_ps, self._blame, self._pending = time_ps, blame, pending

    @property
    def blame(self) -> IntArray:
        """Picoseconds by step and key."""
        if self._pending:
            steps, held = self._blame.shape
            wide = np.zeros((steps, max(held, 1 + max(key for key, _ in self._pending))), np.int64)
            wide[:, :held] = self._blame
            for key, duration_ps in self._pending:
                wide[:, key] += duration_ps
            self._blame, self._pending = wide, ()
        return self._blame

    def later(self, duration_ps: IntArray | int, key: int) -> Instant:
        """The instant `duration_ps` later, which is blamed on a key."""
        if len(self._pending) >= MOST_PENDING:
            return Instant(self.time_ps + duration_ps, self.blame, ((key, duration_ps),))
        return Instant(self.time_ps + duration_ps, self._blame, (*self._pending, (key, duration_ps)))


def widened(blame: IntArray, keys: int) -> IntArray:
    """Blame with at least so many keys."""
    steps, held = blame.shape
    if held >= keys:
        return blame
    wide = np.zeros((steps, keys), np.int64)
    wide[:, :held] = blame
    return wide


def pick(mask: NDArray[np.bool_], yes: Instant, no: Instant) -> Instant:
    """Step by step one of two instants."""
    count = np.count_nonzero(mask)
    if count == mask.size:
        return yes
    if not count:
        return no
    wide, other = yes.blame, no.blame
    keys = max(wide.shape[1], other.shape[1])
    blame = np.where(mask[:, None], widened(wide, keys), widened(other, keys))
    return Instant(np.where(mask, yes.time_ps, no.time_ps), blame)


def latest(first: Instant, *others: Instant) -> Instant:
    """The last of several instants, step by step, with the path that leads to it; the first of equals wins."""
    for other in others:
        if other is not first:
            first = pick(other.time_ps > first.time_ps, other, first)
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
        self._add(self.busy_ps, (self.engine, component), duration_ps)
        return instant.later(duration_ps, self.key(component))

    def key(self, component: str) -> int:
        """The column of blame of a component, for the current instruction."""
        return self.keys.setdefault((self.engine, component, self.node), len(self.keys))

    def spend(self, component: str, energy_j: FloatArray | float) -> None:
        """Add energy in joules for one execution of the current instruction."""
        self._add(self.energy_j, (self.engine, component, self.node), energy_j)

    def count(self, counter: str, amount: IntArray | FloatArray | float) -> None:
        """Add to a counter (such as `activates`) for one execution of the current instruction.

        What doesn't depend on the state of the clock is told by the instruction's `counts` instead.
        """
        self._add(self.counters, counter, amount)

    def _add(self, tally: dict[Any, FloatArray], key: object, amount: IntArray | FloatArray | float) -> None:
        held = tally.get(key)
        added = np.broadcast_to(amount * self.weight, (self.steps,)) if held is None else held + amount * self.weight
        tally[key] = np.asarray(added, np.float64)


def simple_clock(steps: int = 1) -> Clock:
    """A clock outside a program, for tests and for command traces."""
    return Clock(steps=steps)
