"""The short cost against the event-by-event cost: equal to the picosecond at random sizes, and energy as well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

import crossbank
from benchmarks.bars import SAMPLE, Options, Row
from crossbank.runtime.cost import Cost, generation_cost

SIZES = 10
ENERGY_TOLERANCE = 1e-9


def _picoseconds(seconds: float) -> int:
    return round(seconds * 1e12)


def _difference(short: Cost, exact: Cost) -> tuple[int, float]:
    """Picoseconds between the two, in the totals or in any share of them, and the relative difference of energy."""
    time_ps = max(abs(_picoseconds(a) - _picoseconds(b)) for a, b in zip(_times(short), _times(exact), strict=True))
    return time_ps, abs(short.energy_j - exact.energy_j) / (exact.energy_j or 1.0)


def _times(cost: Cost) -> list[float]:
    views: Mapping[str, Mapping[str, Mapping[str, float]]] = cost.breakdown
    return [cost.time_s, cost.ttft_s] + [
        share["time_s"] for view in sorted(views) if view != "busy" for _, share in sorted(views[view].items())
    ]


def run(options: Options) -> Iterator[Row]:
    """A row per target: the sample compiled for random contexts, at random prompts and lengths."""
    for target in options.targets:
        rng, worst_ps, worst_energy = np.random.default_rng(2), 0, 0.0
        for _ in range(SIZES):
            context = int(rng.integers(16, 513))
            prompt = int(rng.integers(1, context))
            generate = int(rng.integers(1, min(context - prompt, 24) + 2))
            batch = int(rng.integers(1, 5))
            code = crossbank.compile(SAMPLE, target, context=context, max_batch=4, quiet=True).code
            short, exact = (generation_cost(code, prompt, generate, batch, exact=e) for e in (False, True))
            time_ps, energy = _difference(short, exact)
            worst_ps, worst_energy = max(worst_ps, time_ps), max(worst_energy, energy)
        measured = f"{worst_ps} ps, energy {worst_energy:.1g}"
        good = worst_ps == 0 and worst_energy <= ENERGY_TOLERANCE
        yield Row(f"{target}, {SIZES} random sizes", f"0 ps, energy {ENERGY_TOLERANCE:g}", measured, good)
