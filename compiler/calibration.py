"""Calibration: run the emitted program exactly over sample tokens and let each family set its converters' ranges."""

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
            raise ProgramError("CB0108", f"can't read calibration text {calibration}: {error.strerror}") from error
    else:
        ids = np.asarray(calibration)
        if ids.dtype.kind not in "iu":
            raise ProgramError("CB0108", f"calibration ids are {ids.dtype}, not integers")
        if ids.ndim == 2:
            return ids[:MAX_WINDOWS, :context].astype(np.int64)
        ids = ids.reshape(-1).astype(np.int64)
    width = min(WINDOW_TOKENS, context, len(ids))
    if width < 1:
        raise ProgramError("CB0108", "the calibration text is empty")
    count = min(len(ids) // width, MAX_WINDOWS)
    return ids[: count * width].reshape(count, width)


def calibrate(program: Program, calibration: str | Path | NDArray[Any] | None) -> None:
    """Let every instruction set that has converters set their ranges from an exact run; none: their own defaults hold."""
    families = {engine.isa for engine in program.code.engines.values()}
    willing = [isa for name in sorted(families) if (isa := instruction_set(name)).calibrate is not None]
    if not willing or calibration is None:
        return
    windows = token_windows(calibration, int(program.code.limits.get("context", WINDOW_TOKENS)))
    for isa in willing:
        assert isa.calibrate is not None
        isa.calibrate(program, windows)
