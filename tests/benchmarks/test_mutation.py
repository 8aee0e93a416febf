"""Single instructions changed at random are noticed, and none makes the interpreter fail without a diagnostic."""

from __future__ import annotations

from collections import Counter

import pytest

import crossbank
from benchmarks.bars import SAMPLE
from benchmarks.mutation import BATCH, CONTEXT, SHARE, behaviour, changes, outcome

CHANGES = 60


@pytest.mark.slow
def test_changed_instructions_are_noticed() -> None:
    program = crossbank.compile(SAMPLE, "ideal", context=CONTEXT, max_batch=BATCH, quiet=True)
    expected = behaviour(program)
    found = Counter(outcome(program, change, expected) for change in changes(program.code, CHANGES, seed=3))
    assert found["crashes"] == 0
    assert found["survives"] <= (1 - SHARE) * CHANGES
