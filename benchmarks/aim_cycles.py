"""Cycles of GDDR6-AiM: of the reference traces, and of the compiler's own matrix-vector products."""

from __future__ import annotations

import csv
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import crossbank
from benchmarks.bars import ROOT, Options, Row, within
from benchmarks.models import linear
from crossbank.backends.pim.timing_rules import DramTiming
from crossbank.backends.pim.trace import trace_cycles
from crossbank.backends.system import load_system

SYSTEM = ROOT / "backends" / "targets" / "aim.toml"
MEAN, MOST = 0.03, 0.06
GEMVS = {(4096, 4096): 8124, (11008, 4096): 21060}
"""Cycles of the reference's reuse-GB schedule by (outputs, inputs)."""


def run(options: Options) -> Iterator[Row]:
    """A row per trace, their mean and greatest error, and a row per product."""
    engine = next(e for e in load_system("aim").engines.values() if e.kind == "pim")
    timing = DramTiming.from_table(engine.config)
    reference = options.shared / "reference" / "aim_cycles.csv"
    if reference.exists():
        yield from _traces(reference, timing)
    else:
        yield Row("traces", "mean <= 3%, each <= 6%", f"no file {reference}", False)
    for (outputs, inputs), cycles in GEMVS.items():
        found = _gemv_cycles(outputs, inputs, timing)
        yield Row(f"GEMV {outputs}x{inputs}, compiled", f"<= {cycles} cycles", f"{found:.0f}", found <= cycles)


def _traces(reference: Path, timing: DramTiming) -> Iterator[Row]:
    errors: list[float] = []
    with reference.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            found, expected = (
                trace_cycles(reference.parent / row["trace"], timing, refresh=False).cycles,
                int(row["cycles"]),
            )
            errors.append(abs(found / expected - 1))
            yield Row(Path(row["trace"]).stem, f"{expected} cycles", f"{found} ({found / expected - 1:+.2%})", None)
    yield within("traces, mean error", 100 * sum(errors) / len(errors), 100 * MEAN, " %")
    yield within("traces, greatest error", 100 * max(errors), 100 * MOST, " %")


def _gemv_cycles(outputs: int, inputs: int, timing: DramTiming) -> float:
    """Cycles of a compiled product of one vector, refresh off (a system file whose refresh takes no time)."""
    with tempfile.TemporaryDirectory() as folder:
        text, count = re.subn(r"(?m)^(trfc_cycles = \{ value = )\d+", r"\g<1>0", SYSTEM.read_text(encoding="utf-8"))
        if count != 1:
            raise RuntimeError("the system file has no trfc_cycles")
        system = Path(folder) / "aim.toml"
        system.write_text(text, encoding="utf-8")
        program = crossbank.compile(linear(Path(folder) / "gemv.onnx", 1, inputs, outputs), system, quiet=True)
        return program.cost(prompt=1).time_s * 1e12 / timing.tck_ps
