"""Sets of bytes as disjoint rising ranges: what a program has written, and what an operand touches."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from crossbank.runtime.clock import IntArray

ByteRange: TypeAlias = "tuple[int, int]"
"""From the first byte to one past the last."""


@dataclass
class ByteRanges:
    """Bytes in disjoint ranges that do not touch, by their starts and ends in rising order."""

    starts: list[int] = field(default_factory=list[int])
    ends: list[int] = field(default_factory=list[int])

    def __iter__(self) -> Iterator[ByteRange]:
        return zip(self.starts, self.ends, strict=True)

    def copy(self) -> ByteRanges:
        """The same bytes, to add others to."""
        return ByteRanges(list(self.starts), list(self.ends))

    def add(self, start: int, end: int) -> None:
        """Add [start, end)."""
        i = bisect_right(self.ends, start - 1)
        j = bisect_right(self.starts, end)
        if i < j:
            start, end = min(start, self.starts[i]), max(end, self.ends[j - 1])
        self.starts[i:j], self.ends[i:j] = [start], [end]

    def missing(self, start: int, end: int) -> ByteRange | None:
        """The first part of [start, end) that is not in the set."""
        i = bisect_right(self.starts, start) - 1
        if i >= 0 and self.ends[i] >= end:
            return None
        begin = max(start, self.ends[i]) if i >= 0 else start
        return begin, min(end, self.starts[i + 1]) if i + 1 < len(self.starts) else end


def merged(first: IntArray, end: IntArray, groups: IntArray) -> list[ByteRange]:
    """Disjoint rising ranges that cover [first, end) of all entries; between the entries of one group all is covered.

    `first`, `end` and `groups` (entries,) are broadcast; groups are told apart by their numbers.
    """
    groups = np.broadcast_to(groups, first.shape)
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    pairs = np.stack([np.minimum.reduceat(first[order], starts), np.maximum.reduceat(end[order], starts)], axis=1)
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    reach = np.maximum.accumulate(pairs[:, 1])
    cuts = np.flatnonzero(pairs[1:, 0] > reach[:-1]) + 1
    begins, ends = pairs[np.r_[0, cuts], 0], reach[np.r_[cuts - 1, len(reach) - 1]]
    return list(zip(begins.tolist(), ends.tolist(), strict=True))
