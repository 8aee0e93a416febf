"""Trips that repeat: a loop's first trips are followed, and tell what all the others come to.

While what the families remember stays as it is, a trip maps ready times to ready times by maximum and sum alone. Facts
of all steps are compared; arrays, such as rows that each trip opens anew, are taken to be found by each trip as by the
ones before (see `isa.Field.timed`). Two laws of such maps give the rest of a loop exactly (Baccelli et al.,
"Synchronization and Linearity", 1992, chapter 3):

- *They keep common shifts.* Where the second of two trips moved all that either touched on by one amount, each further
  trip moves it on by that amount too. What neither touched no longer holds it up: it held up the first as much.
- *They are convex.* Resources may move on at rates of their own, as a network does that is faster than what it feeds:
  then ready times lie on a line. If two trips in a row move along it, and the last trip, made from where the line leads
  to, does so too, then each ready time is a convex function that meets a straight one in three points, and equals it
  between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from crossbank.runtime.clock import Clock, FloatArray, Instant, IntArray, pick, widened

Mask = NDArray[np.bool_]
"""Some of the steps."""


class Parted(Exception):
    """Some steps made a trip that others did not, and families remember what they can't tell step by step: from here
    on they can't be costed side by side."""

    def __init__(self, steps: Mask) -> None:
        super().__init__("steps that can't be costed side by side")
        self.steps = steps
        """Those that made the trip."""


@dataclass(frozen=True)
class State:
    """What a trip begins or ends with; instants and sums are replaced, never changed, so that references are enough."""

    written: frozenset[str]
    """The resources that the trip which ends here has set."""
    resources: Mapping[str, Instant]
    memo: Mapping[str, object]
    tokens: Mapping[int, int]
    sums: tuple[Mapping[Any, FloatArray], ...]
    start: Instant
    """The start of the step, when what nothing has used yet is free."""

    @staticmethod
    def of(clock: Clock, tokens: Mapping[int, int], written: Set[str]) -> State:
        """As it is now."""
        clock.settle()
        sums = tuple(dict(total.sums) for total in clock.totals)
        return State(frozenset(written), dict(clock.resources), dict(clock.memo), dict(tokens), sums, clock.zero())

    def restore(self, clock: Clock, tokens: dict[int, int]) -> None:
        """Make it so again."""
        clock.resources, clock.memo = dict(self.resources), dict(self.memo)
        tokens.clear()
        tokens.update(self.tokens)
        for total, sums in zip(clock.totals, self.sums, strict=True):
            total.fresh.clear()
            total.sums = dict(sums)

    def ready(self, name: str) -> Instant:
        """When a resource is free."""
        return self.resources.get(name, self.start)

    def moves(self, end: State) -> Iterator[tuple[str, Instant, Instant]]:
        """The resources that the trip from here to `end` has set, with when they were free and are."""
        for name in end.written & end.resources.keys():
            yield name, self.ready(name), end.resources[name]

    def same_facts(self, later: State) -> bool:
        """Whether tokens and what families remember of all steps are the same: whether a trip is the same map again."""
        return (
            self.tokens == later.tokens
            and self.memo.keys() == later.memo.keys()
            and all(_same(fact, later.memo[name]) for name, fact in self.memo.items())
        )


@dataclass
class Repeat:
    """A loop: `once(i)` costs its trip i on the clock, and each step makes as many as `counts` (steps,) says."""

    clock: Clock
    tokens: dict[int, int]
    """How often each token is signalled and not yet awaited."""
    once: Callable[[int], None]
    counts: IntArray

    def __post_init__(self) -> None:
        self.outer, self.most = self.clock.weight, int(self.counts.max(initial=0))
        self.written: set[str] = set()
        """What the last trip has set."""

    def every(self) -> None:
        """Make all trips one after the other."""
        for i in range(self.most):
            self._trip(i, self.counts > i)
        self.clock.weigh(self.outer)

    def short(self) -> None:
        """Make as few trips as tell the rest."""
        if self.most <= 2:
            self.every()
            return
        before = now = self._state()
        patience = 2  # trips until resources may be taken to keep to a line; twice as many whenever they don't
        for done in range(1, self.most + 1):
            self._trip(done - 1, self.counts >= done)
            first, before, now = before, now, self._state()
            left = np.maximum(self.counts - done, 0)
            if 1 < done < self.most and _together(before, now, left > 0):
                self._leap(before, now, left)
                break
            if patience < done < self.most and _in_line(first, before, now, left > 1):
                if self._land(before, now, left):
                    break
                patience = 2 * done
        self.clock.weigh(self.outer)

    def _state(self) -> State:
        return State.of(self.clock, self.tokens, self.written)

    def _trip(self, i: int, active: Mask) -> None:
        """Trip i of the steps that make it; the others stay as they are."""
        clock = self.clock
        clock.weigh(np.asarray(self.outer * active, np.float64))
        around, clock.written = clock.written, set()
        everyone = bool(active.all())
        resources, memo = ({}, {}) if everyone else (dict(clock.resources), dict(clock.memo))
        self.once(i)
        self.written, clock.written = clock.written, around | clock.written
        if everyone:
            return
        for name in self.written & clock.resources.keys():
            clock.resources[name] = pick(active, clock.resources[name], resources.get(name, clock.zero()))
        for name, fact in clock.memo.items():
            clock.memo[name] = _kept(active, fact, memo.get(name))

    def _leap(self, before: State, now: State, trips: IntArray) -> None:
        """Make so many trips more (steps,), all as the last one, from `before` to `now`."""
        for name, early, late in before.moves(now):
            self.clock.resources[name] = _further(early, late, trips)
        for total, sums in zip(self.clock.totals, before.sums, strict=True):
            total.repeat_last(sums, trips)

    def _land(self, before: State, now: State, left: IntArray) -> bool:
        """Leap to the last trip and make it: whether it moved all on as the trip from `before` to `now` did.

        Where it did not, all is `now` again. Its number is that of the longest steps: costs don't vary with it.
        """
        self._leap(before, now, np.maximum(left - 1, 0))
        last = self._state()
        self._trip(self.most - 1, left > 0)
        end = self._state()
        if last.same_facts(end) and _same_moves((before, now), (last, end), left > 1):
            return True
        now.restore(self.clock, self.tokens)
        return False


def _together(before: State, now: State, steps: Mask) -> bool:
    """Whether the second of two trips moved all that they touched on by one amount, in some of the steps, and took
    nothing from any part of a path: between paths of equal length it doesn't choose."""
    if not before.same_facts(now):
        return False
    names = (before.written | now.written) & now.resources.keys()  # without tokens that both awaited
    touched = [(before.ready(name), now.resources[name]) for name in names]
    shifts = [(late.time_ps - early.time_ps)[steps] for early, late in touched]
    if not all((shift == shifts[0]).all() for shift in shifts):
        return False
    blames = (_blames(early, late) for early, late in touched)
    return all((late >= early).all() for early, late in blames)


def _in_line(first: State, second: State, third: State, steps: Mask) -> bool:
    """Whether two trips in a row moved each resource on by an amount of its own, in some of the steps, and likewise
    each part of its path."""
    if not (first.same_facts(second) and second.same_facts(third)):
        return False
    if not _same_moves((first, second), (second, third), steps):
        return False
    for name, early, now in second.moves(third):
        one, two, three = _blames(first.ready(name), early, now)
        if (three - two != two - one)[:, steps].any():
            return False
    return True


def _same_moves(one: tuple[State, State], other: tuple[State, State], steps: Mask) -> bool:
    """Whether two trips moved each resource on by the same amount, in some of the steps."""

    def moved(trip: tuple[State, State]) -> dict[str, IntArray]:
        return {name: (now.time_ps - early.time_ps)[steps] for name, early, now in trip[0].moves(trip[1])}

    ours, theirs = moved(one), moved(other)
    return ours.keys() == theirs.keys() and all((shift == theirs[name]).all() for name, shift in ours.items())


def _same(one: object, other: object) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        ones, others = cast("tuple[object, ...]", one), cast("tuple[object, ...]", other)
        return len(ones) == len(others) and all(map(_same, ones, others))
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return isinstance(one, np.ndarray) and isinstance(other, np.ndarray)
    return one == other


def _kept(active: Mask, new: object, old: object) -> object:
    """What a family remembers after a trip: arrays as they were in the steps that did not make it; Parted where they
    differ in anything else."""
    if new is old:
        return new
    if isinstance(new, np.ndarray) and isinstance(old, np.ndarray):
        return np.where(active, cast(IntArray, new), cast(IntArray, old))
    if isinstance(new, tuple) and isinstance(old, tuple):
        facts, former = cast("tuple[object, ...]", new), cast("tuple[object, ...]", old)
        if len(facts) == len(former):
            return tuple(_kept(active, fact, was) for fact, was in zip(facts, former, strict=True))
    if isinstance(new, int | str) and isinstance(old, int | str) and new == old:
        return new
    raise Parted(active)


def _further(before: Instant, now: Instant, trips: IntArray) -> Instant:
    """So many trips later, each of which adds what the last one did."""
    early, late = _blames(before, now)
    return Instant(now.time_ps + (now.time_ps - before.time_ps) * trips, late + (late - early) * trips)


def _blames(*instants: Instant) -> list[IntArray]:
    """What instants are blamed on, over the same keys."""
    blames = [instant.blame for instant in instants]
    keys = max(map(len, blames))
    return [widened(blame, keys) for blame in blames]
