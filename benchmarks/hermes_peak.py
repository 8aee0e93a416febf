"""The published peak of the HERMES chip, from a program of nothing but products on all 64 arrays."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import crossbank
from benchmarks.bars import ROOT, Options, Row
from benchmarks.models import linear

SYSTEM = ROOT / "backends" / "targets" / "hermes.toml"
FEATURES = 2048
"""A 2048 x 2048 matrix fills 8 x 8 arrays of 256 x 256."""
VECTORS = 4096
PUBLISHED = {1: (63.1, 9.76), 4: (16.1, 2.48)}
"""Phases: TOPS and TOPS/W (Le Gallo et al., Nature Electronics 2023, abstract)."""
TOLERANCE = 0.02
TRAFFIC = ("network", "chip link", "accumulate")
"""What carries vectors to the arrays and adds partial sums of several arrays: no part of an array's own product."""


def run(options: Options) -> Iterator[Row]:
    """Throughput and efficiency for each number of phases."""
    with tempfile.TemporaryDirectory() as folder:
        model = linear(Path(folder) / "linear.onnx", VECTORS, FEATURES, FEATURES)
        for phases, (tops, tops_per_w) in PUBLISHED.items():
            text = re.sub(r"(?m)^(phases = \{ value = )\d+", rf"\g<1>{phases}", SYSTEM.read_text(encoding="utf-8"))
            system = Path(folder) / f"hermes{phases}.toml"
            system.write_text(text, encoding="utf-8")
            yield from _rows(crossbank.compile(model, system, quiet=True), phases, tops, tops_per_w)


def _rows(program: crossbank.Program, phases: int, tops: float, tops_per_w: float) -> Iterator[Row]:
    cost = program.cost(prompt=1, generate=1)
    operations = 2 * cost.macs
    carrying_j = sum(
        share["energy_j"]
        for component, share in cost.breakdown["component"].items()
        if component.removeprefix("analog: ") in TRAFFIC
    )
    yield _near(f"{phases}-phase, TOPS", operations / cost.time_s * 1e-12, tops)
    yield _near(f"{phases}-phase, TOPS/W", operations / (cost.energy_j - carrying_j) * 1e-12, tops_per_w)
    value = operations / cost.energy_j * 1e-12
    yield Row(f"{phases}-phase, TOPS/W with traffic and partial sums", "", f"{value:.3f}", None)


def _near(name: str, value: float, published: float) -> Row:
    off = value / published - 1
    return Row(name, f"{published:g} within {TOLERANCE:.0%}", f"{value:.3f} ({off:+.2%})", abs(off) <= TOLERANCE)
