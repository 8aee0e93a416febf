"""Bits per byte of the trained sample on held-out text: bf16 banks, converters alone, and noise as it ages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import crossbank
from benchmarks.bars import SAMPLE, Options, Row
from crossbank.compiler.report.evaluating import evaluate

TEXT = SAMPLE.parent / "heldout.txt"
CALIBRATION = SAMPLE.parent / "calibration.txt"
CONTEXT = 512
AIM_LOSS, CONVERTER_LOSS = 0.005, 0.05
HOUR_S, DAY_S = 3600.0, 86400.0


def run(options: Options) -> Iterator[Row]:
    """The loss of each device against onnxruntime in fp32, with an interval over devices where noise is on."""
    if "aim" in options.targets:
        found = _evaluated(_compiled("aim"), options)
        yield _loss("aim", found, f"within {AIM_LOSS:.1%}", abs(found["relative_difference"]) <= AIM_LOSS)
    if "hermes" in options.targets:
        yield from _hermes(options)


def _hermes(options: Options) -> Iterator[Row]:
    calibrated = _compiled("hermes", calibration=CALIBRATION)
    for name, program in (("calibrated", calibrated), ("ranges from weights", _compiled("hermes"))):
        found = _evaluated(program, options, noise=False)
        bar, good = f"<= {CONVERTER_LOSS:.0%} loss", found["relative_difference"] <= CONVERTER_LOSS
        yield _loss(f"hermes, converters only, {name}", found, bar, good)
    for name, time_s in (("1 s", 1.0), ("1 hour", HOUR_S), ("1 day", DAY_S)):
        compensated = _evaluated(calibrated, options, time_s=time_s)
        yield _loss(f"hermes, noise, {name}", compensated, "reported", None)
    drifted = _evaluated(_compiled("hermes", calibration=CALIBRATION, drift_compensation=False), options, time_s=DAY_S)
    better = compensated["interval_95"][1] < drifted["interval_95"][0]
    yield _loss("hermes, noise, 1 day without compensation", drifted, "worse than with", better)


def _compiled(target: str, **options: Any) -> crossbank.Program:
    return crossbank.compile(SAMPLE, target, context=CONTEXT, quiet=True, **options)


def _evaluated(program: crossbank.Program, options: Options, **how: Any) -> dict[str, Any]:
    return evaluate(program, SAMPLE, TEXT, seeds=options.seeds, max_bytes=options.text_bytes, **how)


def _loss(name: str, found: dict[str, Any], bar: str, good: bool | None) -> Row:
    measured = f"{found['bits_per_byte']:.4f} of {found['reference_bits_per_byte']:.4f}"
    if found["seeds"] > 1:
        low, high = found["interval_95"]
        measured = f"{found['bits_per_byte']:.4f} [{low:.4f}, {high:.4f}]"
    return Row(name, bar, f"{measured} ({found['relative_difference']:+.2%})", good)
