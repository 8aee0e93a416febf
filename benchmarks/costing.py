"""Seconds to cost Llama-2-70B, and how they grow with layers and tokens."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator

import crossbank
from benchmarks.bars import Options, Row, within
from benchmarks.models import llama_70b
from crossbank.runtime.compiled import Program

PROMPT, GENERATE, CONTEXT = 512, 128, 4096
SECONDS = 1.0
GROWTH = 1.5
"""Twice the layers or twice the tokens may take this many times as long: less than in proportion."""


def _growth(base: tuple[Program, int], more: tuple[Program, int]) -> float:
    """How many times as long the second cost takes as the first: the shortest of three each, taken by turns."""
    times: list[list[float]] = [[], []]
    for _ in range(3):
        for taken, (program, generate) in zip(times, (base, more), strict=True):
            gc.collect()
            start = time.perf_counter()
            program.cost(prompt=PROMPT, generate=generate)
            taken.append(time.perf_counter() - start)
    return min(times[1]) / min(times[0])


def run(options: Options) -> Iterator[Row]:
    """Time, and growth with twice the tokens and twice the layers."""
    for target in ("hermes", "aim"):
        if target not in options.targets:
            continue
        whole, half = (
            crossbank.compile(llama_70b(options, layers), target, context=CONTEXT, weights="shape-only", quiet=True)
            for layers in (80, 40)
        )
        start = time.perf_counter()
        whole.cost(prompt=PROMPT, generate=GENERATE)
        yield within(f"Llama-2-70B on {target}, the first time", time.perf_counter() - start, SECONDS, " s")
        once = (whole, GENERATE)
        yield within(f"... {2 * GENERATE} tokens instead of {GENERATE}", _growth(once, (whole, 2 * GENERATE)), GROWTH)
        yield within("... 80 layers instead of 40", _growth((half, GENERATE), once), GROWTH)
