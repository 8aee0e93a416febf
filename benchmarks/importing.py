"""Seconds and memory to read large models: Llama-2-70B's graph, and a 7B model with its weights on disk."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bars import Options, Row, measured, within
from benchmarks.models import llama_7b, llama_70b

MEBI = 1 << 20
IMPORT = """
import time
start = time.perf_counter()
from crossbank.compiler.driver import compile_to_module
compile_to_module(sys.argv[1], "ideal", weights="shape-only", stop_after="import", quiet=True)
found["seconds"] = time.perf_counter() - start
"""
COMPILE = """
import threading, time
from pathlib import Path

def own_kib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssShmem")))

def watch():
    while not done.wait(0.01):
        found["own_bytes"] = max(found["own_bytes"], own_kib() * 1024)

found["own_bytes"], done = 0, threading.Event()
watcher = threading.Thread(target=watch)
watcher.start()
start = time.perf_counter()
import crossbank
crossbank.compile(sys.argv[1], sys.argv[2], context=2048, quiet=True).save(Path(sys.argv[1]).parent / "large.cbk")
found["seconds"] = time.perf_counter() - start
done.set()
watcher.join()
"""
"""Memory of its own: pages of files that are mapped are not counted."""


def run(options: Options) -> Iterator[Row]:
    """Import alone, then all phases and the saved program."""
    found = measured(IMPORT, llama_70b(options))
    yield within("Llama-2-70B, shapes, import", found["seconds"], 5, " s")
    yield within("Llama-2-70B, shapes, import, peak memory", found["peak_bytes"] / MEBI, 500, " MiB")
    with llama_7b(options) as model:
        for target in options.targets:
            found = measured(COMPILE, model, target)
            yield within(f"Llama-2-7B, 13.5 GB of float16, to {target}, saved", found["seconds"], 60, " s")
            yield within("... peak memory of its own", found["own_bytes"] / MEBI, 1536, " MiB")
