"""`ideal` on graphs as exporters wrote them: every recorded case of Llama and GPT-2 by three export routes."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np

import crossbank
from benchmarks.bars import Options, Row
from benchmarks.feeding import Array, relative_error

ROUTES = ("ts17", "dynamo", "optimum")
MODELS = ("llama", "gpt2")
TOLERANCE = 1e-4
HALF_TOLERANCE = 2e-3
"""Two units in the last place of float16: onnxruntime rounds after each operation of what is one operation here."""


def _cases(folder: Path) -> dict[str, tuple[dict[str, Array], dict[str, Array]]]:
    found: dict[str, tuple[dict[str, Array], dict[str, Array]]] = {}
    with np.load(folder / "steps.npz") as arrays:
        for key in arrays.files:
            case, side, name = key.split("/", 2)
            array = arrays[key]
            if name.endswith("::bf16"):
                name, array = name.removesuffix("::bf16"), array.view(ml_dtypes.bfloat16)
            found.setdefault(case, ({}, {}))[side == "out"][name] = array
    return found


def run(options: Options) -> Iterator[Row]:
    """A row per model."""
    zoo = options.shared / "zoo"
    if not zoo.is_dir():
        yield Row("zoo", "every recorded case", f"no folder {zoo}", False)
        return
    for folder in sorted(zoo.iterdir()):
        if folder.name.removeprefix("hf5_").startswith(ROUTES) and any(model in folder.name for model in MODELS):
            yield _model(folder)
            gc.collect()


def _model(folder: Path) -> Row:
    tolerance, worst, at = TOLERANCE, 0.0, ""
    session = crossbank.compile(folder / "model.onnx", quiet=True).session()
    cases = _cases(folder)
    for case, (feeds, expected) in cases.items():
        for name, got in zip(expected, session.run(list(expected), feeds), strict=True):
            error = relative_error(got, expected[name]) if got.dtype == expected[name].dtype else float("inf")
            tolerance = HALF_TOLERANCE if got.dtype == np.float16 else tolerance
            if error > worst:
                worst, at = error, f" ({case}, {name})" if error > tolerance else ""
    return Row(folder.name, f"<= {tolerance:g}", f"{worst:.2g} over {len(cases)} cases{at}", worst <= tolerance)
