"""The instruction set of analog arrays: program, drift, compensate, multiply, accumulate.

All arrays of one weight matrix form a group and are driven together; a group is named by its first array, counted over
all chips. `session` registers give the time since programming and the seed of the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossbank.backends.simd.kinds import Flag
from crossbank.backends.xbar import calibration, operand_rules, semantics, timing
from crossbank.runtime.isa import Field, InstructionSet, count, enum, reads, writes


def _cost_unit(config: Mapping[str, Any]) -> timing.ArrayTiming:
    """What timing reads; a wrong technology is found here too, before anything runs."""
    semantics.technology(config)
    return timing.ArrayTiming.of(config)


ISA = InstructionSet(
    "xbar",
    5,
    1,
    "Analog arrays that multiply where the weights sit: one crossbar with DACs and ADCs each, grouped by matrix.",
    make_unit=semantics.Unit,
    make_cost_unit=_cost_unit,
    sources=timing.SOURCES,
    calibrate=calibration.calibrate,
)


def _group() -> list[Field]:
    return [
        count("array", "the first array of the group, over all chips", timed=False),
        count("row_tiles", "arrays that share columns", low=1),
        count("column_tiles", "arrays that share rows", low=1),
    ]


ISA.define(
    "program",
    1,
    [
        *_group(),
        reads("weights", "[K, N], or [N, K] if transposed"),
        reads("input_bound", "[row_tiles] full scale of the DACs, float32; without: from the weights", optional=True),
        reads("output_bound", "[row_tiles, N] full scale of the ADCs, float32", optional=True),
        enum("transposed", Flag),
        reads("scales", "of quantised weights, each for a block of them", optional=True),
        reads("zeros", "of quantised weights, as scales", optional=True),
    ],
    "Write a matrix into the arrays of a group, with the technology's programming error, and set its converters; "
    "quantised weights are written as (weights - zeros) * scales.",
    semantics.program,
    timing.program,
    check=operand_rules.PROGRAM,
    counts=timing.program_counts,
    barrier=True,
)
ISA.define(
    "drift",
    2,
    _group(),
    "Let the cells of a group be as old as the session says: conductance drift and slow read noise.",
    semantics.drift,
    timing.free,
    check=operand_rules.GROUP,
    barrier=True,
)
ISA.define(
    "compensate",
    3,
    _group(),
    "Read known vectors out of a group and set one digital factor per array that undoes its mean drift.",
    semantics.compensate,
    timing.compensate,
    check=operand_rules.GROUP,
    barrier=True,
)
ISA.define(
    "mvm",
    4,
    [
        *_group(),
        reads("x", "[K]"),
        count("outputs", "N, the columns in use", low=1),
        count("chips", "how many chips the group lies on", low=1),
    ],
    "Drive the rows of all arrays of a group with x through the DACs; the ADCs' codes of all columns stay in the "
    "output registers.",
    semantics.mvm,
    timing.mvm,
    check=operand_rules.MVM,
    counts=timing.mvm_counts,
    barrier=True,
)
ISA.define(
    "read_out",
    6,
    [writes("dst", "[row_tiles, N]"), *_group(), count("chips", "how many chips the group lies on", low=1)],
    "Scale the output registers of a group and write its partial sums, one row per row tile, for others to add.",
    semantics.read_out,
    timing.read_out,
    check=operand_rules.READ_OUT,
    counts=timing.sums_counts,
    barrier=True,
)
ISA.define(
    "accumulate",
    5,
    [
        writes("dst", "[N]"),
        *_group(),
        reads("bias", "[N]", optional=True),
        count("chips", "how many chips the group lies on", low=1),
    ],
    "Scale the output registers of a group, add them over its row tiles in float32, add a bias, and write the sums.",
    semantics.accumulate,
    timing.accumulate,
    check=operand_rules.ACCUMULATE,
    counts=timing.sums_counts,
    barrier=True,
)
