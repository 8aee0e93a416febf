"""Graphs as exporters wrote them, with recorded onnxruntime outputs: a few here, all in `../shared/zoo`."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

HERE = Path(__file__).parent / "data" / "zoo"
SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "zoo"


def models(*prefixes: str) -> list[Path]:
    """Folders of zoo models by the beginning of their names, from the repository where `../shared/zoo` is absent."""
    folder = SHARED if SHARED.is_dir() else HERE
    return [path for path in sorted(folder.iterdir()) if path.name.startswith(prefixes)]


def parameters(*prefixes: str, usual: Container[str] = frozenset(), where: Callable[[str], bool] = bool) -> list[Any]:
    """Models as test parameters, those whose name passes `where`.

    In every run take part those kept in the repository, and `usual` ones; in long runs all.
    """
    kept = {path.name for path in HERE.iterdir()}
    return [
        pytest.param(path, id=path.name, marks=() if path.name in kept or path.name in usual else pytest.mark.slow)
        for path in models(*prefixes)
        if where(path.name)
    ]


def asked(folder: str | None) -> list[Any]:
    """Models in a folder as test parameters; those known for None, long ones in long runs only."""
    if folder is None:
        return parameters("")
    found = sorted(path.parent for path in Path(folder).glob("*/model.onnx") if (path.parent / "steps.npz").is_file())
    if not found:
        raise pytest.UsageError(f"no folder with model.onnx and steps.npz in {folder}")
    return [pytest.param(path, id=path.name) for path in found]


def cases(folder: Path) -> Iterator[tuple[str, dict[str, NDArray[Any]], dict[str, NDArray[Any]]]]:
    """Name, feeds and expected outputs of each recorded case."""
    with np.load(folder / "steps.npz") as arrays:
        found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        for key in arrays.files:
            case, side, name = key.split("/", 2)
            array = arrays[key]
            if name.endswith("::bf16"):
                name, array = name.removesuffix("::bf16"), array.view(ml_dtypes.bfloat16)
            found.setdefault(case, ({}, {}))[side == "out"][name] = array
    for case, (feeds, expected) in found.items():
        yield case, feeds, expected


def rows_held(tokens: int, room: int, window: int) -> int:
    """How many rows of a cache for a window count after so many tokens; what lies behind them is undefined.

    Source: the windowed cache of com.microsoft GroupQueryAttention, in the documentation of the operator.
    """
    leave = room - window + 1
    return tokens - leave * max(-(-(tokens - room) // leave), 0)


def error(got: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest absolute difference over largest absolute reference; infinite where shapes differ."""
    if got.shape != expected.shape:
        return float("inf")
    a, b = got.astype(np.float64), expected.astype(np.float64)
    scale = np.abs(b).max(initial=0.0)
    return float(np.abs(a - b).max(initial=0.0) / (scale if scale else 1.0))
