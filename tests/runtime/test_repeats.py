"""A loop's rest told by its first trips is the loop followed to its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crossbank.runtime.clock import Clock, Instant, latest
from crossbank.runtime.repeats import Repeat

Map: TypeAlias = "Sequence[Sequence[int | None]]"
"""A trip: entry (i, j) is how much later than resource j, as the trip finds it, i is free; None for never waiting."""
FASTER_BEFORE: Map = [[3, None], [1, 7]]
"""The second resource waits for the first, and is slower."""
FASTER_BEHIND: Map = [[5, None], [1, 3]]
"""The second resource waits for the first, and is faster: a head start of it is used up after half as many trips."""


def looped(trip: Map, starts: Sequence[int], counts: Sequence[int], every: bool) -> tuple[Clock, int]:
    """The clock after `counts` trips of each step from ready times `starts`, and how many trips were costed."""
    clock, followed = Clock(steps=len(counts)), 0
    clock.engine = "e"
    for j, start in enumerate(starts):
        clock.set(str(j), clock.plus(clock.zero(), start, "start"))

    def once(i: int) -> None:
        nonlocal followed
        followed += 1
        found: list[Instant] = [clock.ready(str(j)) for j in range(len(starts))]
        for j, waits in enumerate(trip):
            some = [clock.plus(found[k], wait, f"{j} after {k}") for k, wait in enumerate(waits) if wait is not None]
            if some:
                clock.set(str(j), latest(*some))
        clock.spend("work", 0.5)
        clock.count("trips", 1)

    loop = Repeat(clock, {}, once, np.array(counts, np.int64))
    loop.every() if every else loop.short()
    return clock, followed


def hold_equal(short: Clock, every: Clock) -> None:
    for name, instant in every.resources.items():
        assert short.resources[name].time_ps.tolist() == instant.time_ps.tolist(), name
        assert short.resources[name].blame.sum(axis=0).tolist() == instant.time_ps.tolist(), name
    for ours, theirs in ((short.energy_j, every.energy_j), (short.counters, every.counters)):
        assert {key: value.tolist() for key, value in ours.items()} == {k: v.tolist() for k, v in theirs.items()}
    assert {k: v.tolist() for k, v in short.busy_ps.items()} == {k: v.tolist() for k, v in every.busy_ps.items()}


WAITS = st.one_of(st.none(), st.integers(0, 9))
MAPS = st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(WAITS, min_size=n, max_size=n), min_size=n, max_size=n))


@settings(max_examples=300)
@given(
    MAPS, st.lists(st.integers(0, 120), min_size=4, max_size=4), st.lists(st.integers(0, 60), min_size=1, max_size=3)
)
@example(FASTER_BEFORE, [0, 0], [60, 1, 0])
@example(FASTER_BEHIND, [0, 60], [60, 20, 3])
def test_the_short_way_is_the_long_way(trip: Map, starts: Sequence[int], counts: Sequence[int]) -> None:
    starts = starts[: len(trip)]
    hold_equal(looped(trip, starts, counts, False)[0], looped(trip, starts, counts, True)[0])


def test_resources_with_rates_of_their_own_need_four_trips() -> None:
    short, followed = looped(FASTER_BEFORE, [0, 0], [100_000, 70_000], False)
    assert followed <= 4
    assert short.ready("0").time_ps.tolist() == [300_000, 210_000]
    assert short.ready("1").time_ps.tolist() == [700_000, 490_000]


def test_what_is_overtaken_later_is_followed_until_then() -> None:
    short, followed = looped(FASTER_BEHIND, [0, 200], [10_000], False)
    assert 100 < followed < 500
    hold_equal(short, looped(FASTER_BEHIND, [0, 200], [10_000], True)[0])


def test_the_path_of_what_is_told_is_that_of_what_is_followed() -> None:
    short, every = (looped(FASTER_BEFORE, [0, 0], [50], way)[0] for way in (False, True))
    assert short.keys == every.keys
    for name, instant in every.resources.items():
        assert short.resources[name].blame.tolist() == instant.blame.tolist()
