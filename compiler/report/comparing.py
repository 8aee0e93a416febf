"""A program's outputs beside onnxruntime's."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossbank.runtime.program import ProgramError

Array = NDArray[Any]


def read_inputs(path: Path) -> dict[str, Array]:
    """The arrays of an .npz; ProgramError CB0814 where it is none."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError) as error:
        raise ProgramError(
            "CB0814", f"can't read inputs: {error}", str(path), "write them with numpy.savez(path, name=array)"
        ) from error


def reference_session(model: Path) -> Any:
    """The model in onnxruntime on the CPU, graph optimisations off, so that it computes what the file says."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def relative_error(found: Array, expected: Array) -> float:
    """Largest absolute difference over the largest absolute reference."""
    if not expected.size:
        return 0.0
    wide, other = expected.astype(np.float64), found.astype(np.float64)
    scale = float(np.abs(wide).max())
    return float(np.abs(other - wide).max()) / (scale or 1.0)


def compare_with_onnxruntime(
    model: Path, feeds: Mapping[str, Array], found: Mapping[str, Array]
) -> list[tuple[str, str, float, float]]:
    """(output, shape, relative error, largest absolute difference) for each output, against onnxruntime."""
    session = reference_session(model)
    names = [output.name for output in session.get_outputs()]
    rows: list[tuple[str, str, float, float]] = []
    for name, expected in zip(names, session.run(None, dict(feeds)), strict=True):
        difference = np.abs(found[name].astype(np.float64) - expected.astype(np.float64))
        shape = "x".join(map(str, expected.shape))
        rows.append(
            (name, shape, relative_error(found[name], expected), float(difference.max()) if difference.size else 0.0)
        )
    return rows
