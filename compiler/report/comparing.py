"""A program's outputs beside onnxruntime's."""

from __future__ import annotations

import zipfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from crossbank.runtime.numerics import dtype_of
from crossbank.runtime.program import ProgramError
from crossbank.runtime.tensors import FileRange

if TYPE_CHECKING:
    from crossbank.runtime.compiled import Program
    from crossbank.runtime.session import Session

Array = NDArray[Any]


def read_inputs(path: Path) -> dict[str, Array]:
    """The arrays of an .npz; ProgramError CB0814 where it is none."""
    help = "write them with numpy.savez(path, name=array)"
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, NpzFile):
            raise ProgramError("CB0814", "an .npy holds one array without a name", str(path), help)
        with archive:
            found: dict[str, Any] = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise ProgramError("CB0814", "there is no such file of inputs", str(path), help) from error
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, MemoryError, zipfile.BadZipFile) as error:
        raise ProgramError("CB0814", f"can't read inputs: {error}", str(path), help) from error
    strange = [name for name, array in found.items() if not isinstance(array, np.ndarray)]
    if strange:
        raise ProgramError("CB0814", f"{strange[0]} is no array", str(path), help)
    return found


def with_formats(feeds: Mapping[str, Array], session: Session) -> dict[str, Array]:
    """The feeds, those that an .npz keeps as plain bytes (bfloat16) in the format that the session expects."""
    formats = {port.name: port.type.removeprefix("tensor(").removesuffix(")") for port in session.get_inputs()}
    return {
        name: array.view(dtype_of(formats[name]))
        if array.dtype == np.dtype("V2") and formats.get(name) == "bfloat16"
        else array
        for name, array in feeds.items()
    }


def model_of(program: Program, path: Path) -> Path:
    """The ONNX file that a program was compiled from: beside the program, its weights, or where we are."""
    name = Path(str(program.summary().get("model", ""))).name
    data = (program.tensors.entry(tensor).data for tensor in program.tensors)
    folders = dict.fromkeys([path.resolve().parent, *(d.path.parent for d in data if isinstance(d, FileRange)), Path()])
    for folder in folders:
        if name and (folder / name).is_file():
            return folder / name
    raise ProgramError(
        "CB0811", f"the model {name or '(unnamed)'} is not beside the program", str(path), "say where: --model FILE"
    )


def reference_session(model: Path) -> Any:
    """The model in onnxruntime on the CPU, graph optimisations off, so that it computes what the file says."""
    ort: Any = import_module("onnxruntime")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    with onnxruntime_errors(model):
        return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


@contextmanager
def onnxruntime_errors(model: Path) -> Generator[None]:
    """What onnxruntime refuses is a diagnostic; its exceptions have no base class but Exception."""
    try:
        yield
    except ProgramError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ProgramError(
            "CB0817",
            f"onnxruntime can't run the model: {lines[0]}",
            str(model),
            "leave --check and --compare-nodes out, or mend the model",
        ) from error


def relative_error(found: Array, expected: Array) -> float:
    """Largest absolute difference over the largest absolute reference."""
    if not expected.size:
        return 0.0
    wide, other = expected.astype(np.float64), found.astype(np.float64)
    scale = float(np.abs(wide).max())
    return float(np.abs(other - wide).max()) / (scale or 1.0)


def compare_with_onnxruntime(
    model: Path, feeds: Mapping[str, Array], found: Mapping[str, Array]
) -> dict[str, dict[str, float]]:
    """For each output `relative_error` and `max_abs_error` (largest absolute difference) against onnxruntime."""
    session = reference_session(model)
    names = [output.name for output in session.get_outputs()]
    with onnxruntime_errors(model):
        results: list[Array] = session.run(None, dict(feeds))
    rows: dict[str, dict[str, float]] = {}
    for name, expected in zip(names, results, strict=True):
        if name not in found or found[name].shape != expected.shape:
            raise ProgramError(
                "CB0818", f"the model's output {name} has shape {list(expected.shape)}, the program's has "
                f"{list(found[name].shape) if name in found else 'another name'}", str(model),
                "give the model that the program was compiled from: --model FILE",
            )  # fmt: skip
        difference = np.abs(found[name].astype(np.float64) - expected.astype(np.float64))
        rows[name] = {
            "relative_error": relative_error(found[name], expected),
            "max_abs_error": float(difference.max(initial=0.0)),
        }
    return rows
