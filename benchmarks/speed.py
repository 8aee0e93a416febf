"""Tokens per second of the executor on GPT-2-small: `ideal` against onnxruntime in the same run, `hermes` by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime

import crossbank
from benchmarks.bars import Options, Row, at_least
from benchmarks.feeding import next_past, step_feeds
from benchmarks.models import gpt2_small

PREFILL, STEPS, ROUNDS, THREADS = 128, 24, 4, 2
SHARE = 0.5
HERMES_TOKENS_PER_S = 5.0


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def run(options: Options) -> Iterator[Row]:
    """Decode with the cache on the device, decode with caches fed and returned, and prefill."""
    model = gpt2_small(options)
    if "ideal" in options.targets:
        yield from _ideal(model)
    if "hermes" in options.targets:
        tokens = crossbank.compile(model, "hermes", context=1024, quiet=True).session().stream(np.arange(8), STEPS + 2)
        next(tokens), next(tokens)
        seconds = [_seconds(lambda: next(tokens)) for _ in range(STEPS)]
        yield at_least("hermes with noise, decode", 1 / float(np.median(seconds)), HERMES_TOKENS_PER_S, " tokens/s")


def _ideal(model: Path) -> Iterator[Row]:
    """Turn by turn with onnxruntime, so that both meet the same machine; medians."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = THREADS
    reference = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    session = crossbank.compile(model, "ideal", context=1024, quiet=True).session()
    generating = crossbank.compile(model, "ideal", context=1024, quiet=True).session()
    inputs, names = reference.get_inputs(), [o.name for o in reference.get_outputs()]
    ids = np.random.default_rng(0).integers(0, 50257, (1, PREFILL))
    prefill = step_feeds(inputs, ids, {})
    past = next_past(dict(zip(names, reference.run(names, prefill), strict=True)))
    step = step_feeds(inputs, ids[:, :1], past)
    tokens = generating.stream(ids[0], STEPS + 3)
    next(tokens), next(tokens)
    yield _share("decode, cache on the device", 1, STEPS, lambda: reference.run(names, step), lambda: next(tokens))
    for phase, count, rounds, feeds in (
        ("decode, caches fed and returned", 1, STEPS, step),
        ("prefill", PREFILL, ROUNDS, prefill),
    ):
        yield _share(
            phase, count, rounds, lambda f=feeds: reference.run(names, f), lambda f=feeds: session.run(names, f)
        )


def _share(phase: str, tokens: int, rounds: int, theirs: Callable[[], object], mine: Callable[[], object]) -> Row:
    mine(), theirs()
    pairs = [(_seconds(theirs), _seconds(mine)) for _ in range(rounds)]
    their_rate, my_rate = tokens / np.median(pairs, axis=0)
    share = my_rate / their_rate
    measured = f"{share:.2f} ({my_rate:.1f} of {their_rate:.1f} tokens/s)"
    return Row(f"ideal, {phase}, share of onnxruntime", f">= {SHARE:g}", measured, bool(share >= SHARE))
