"""Calibration: an exact run of the program over sample tokens tells each family the ranges of its converters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossbank.runtime.compiled import Program
from crossbank.runtime.program import ProgramError
from crossbank.runtime.registry import instruction_set

WINDOW_TOKENS = 256
MAX_WINDOWS = 8


def token_windows(calibration: str | Path | NDArray[Any], context: int) -> NDArray[np.int64]:
    """Token ids (windows, tokens) of a text file (its bytes are the ids) or an integer array."""
    if isinstance(calibration, str | Path):
        try:
            ids = np.frombuffer(Path(calibration).read_bytes(), np.uint8).astype(np.int64)
        except OSError as error:
            raise ProgramError(
                "CB0806", f"can't read the calibration text: {error.strerror}", str(calibration), "check the path"
            ) from error
    else:
        ids = np.asarray(calibration)
        if ids.dtype.kind not in "iu":
            raise ProgramError("CB0806", f"calibration ids are {ids.dtype}, not integers", help="give ids.astype(int)")
        if ids.ndim == 2:
            return ids[:MAX_WINDOWS, :context].astype(np.int64)
        ids = ids.reshape(-1).astype(np.int64)
    width = min(WINDOW_TOKENS, context, len(ids))
    if width < 1:
        where = str(calibration) if isinstance(calibration, str | Path) else ""
        raise ProgramError("CB0806", "the calibration text has 0 tokens, at least 1 is needed", where, "give another")
    count = min(len(ids) // width, MAX_WINDOWS)
    return ids[: count * width].reshape(count, width)


def calibration_of(program: Program, calibration: str | Path | NDArray[Any]) -> dict[str, Any]:
    """What each instruction set with converters makes of an exact run over the sample: ranges, in a form of its own."""
    families = sorted({engine.isa for engine in program.code.engines.values()})
    windows = token_windows(calibration, int(program.code.limits.get("context", WINDOW_TOKENS)))
    found: dict[str, Any] = {}
    for name in families:
        isa = instruction_set(name)
        if isa.calibrate is not None:
            found[name] = isa.calibrate(program, windows)
    return found
