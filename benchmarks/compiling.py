"""Seconds and memory to compile GPT-2-small, and Llama-2-70B from its shapes alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.bars import Options, Row, measured, within
from benchmarks.models import gpt2_small, llama_70b

LIVE_OPS = 5000
MEBI = 1 << 20
SCRIPT = """
import time
start = time.perf_counter()
import crossbank
model, target, weights, context = sys.argv[1:]
program = crossbank.compile(model, target, weights=weights, context=int(context), quiet=True)
found |= program.summary() | {"seconds": time.perf_counter() - start}
"""


def run(options: Options) -> Iterator[Row]:
    """Time, peak memory and operations for each model and target."""
    for target in ("hermes", "aim"):
        if target in options.targets:
            yield from _rows(f"GPT-2-small to {target}", gpt2_small(options), target, "auto", 1024, 15, 1536)
            yield from _rows(f"Llama-2-70B to {target}", llama_70b(options), target, "shape-only", 4096, 20, 1024)


def _rows(
    name: str, model: Path, target: str, weights: str, context: int, seconds: float, mebibytes: int
) -> Iterator[Row]:
    found = measured(SCRIPT, model, target, weights, context)
    yield within(name, found["seconds"], seconds, " s")
    yield within(f"{name}, peak memory", found["peak_bytes"] / MEBI, mebibytes, " MiB")
    live = found["live_ops_max"]
    yield Row(f"{name}, live operations", f"<= {LIVE_OPS}", str(live), live <= LIVE_OPS)
