"""Byte ranges hold what was added, and merge what touches."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from crossbank.runtime.byte_ranges import ByteRanges, merged


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), max_size=20), st.integers(0, 60), st.integers(1, 12))
def test_ranges_hold_what_was_added(added: list[tuple[int, int]], start: int, length: int) -> None:
    ranges, held = ByteRanges(), np.zeros(80, bool)
    for first, size in added:
        ranges.add(first, first + size)
        held[first : first + size] = True
    assert sum(end - first for first, end in ranges) == held.sum()
    gap = ranges.missing(start, start + length)
    missing = np.flatnonzero(~held[start : start + length])
    assert (gap is None) == (not missing.size)
    if gap is not None:
        assert gap[0] == start + missing[0]
        assert not held[gap[0] : gap[1]].any()


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9), st.integers(0, 2)), min_size=1, max_size=12))
def test_merging_covers_every_group_from_end_to_end(entries: list[tuple[int, int, int]]) -> None:
    first, size, group = (np.array(column, np.int64) for column in zip(*entries, strict=True))
    expected = np.zeros(60, bool)
    for number in set(group.tolist()):
        inside = group == number
        expected[first[inside].min() : (first + size)[inside].max()] = True
    found = merged(first, first + size, group)
    covered = np.zeros(60, bool)
    for begin, end in found:
        assert not covered[begin:end].any()
        covered[begin:end] = True
    assert covered.tolist() == expected.tolist()
