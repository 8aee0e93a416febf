"""Where a program departs from its model: what it computes on the way beside onnxruntime's values of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crossbank.compiler.report.comparing import onnxruntime_errors, relative_error
from crossbank.runtime.program import ProgramError

if TYPE_CHECKING:
    from crossbank.runtime.capture import Value
    from crossbank.runtime.session import Session

Array = NDArray[Any]
THRESHOLD = 1e-2
ERRORS = ("relative_error", "max_abs_error")
FOLDER_OF_TENSORS = "session.model_external_initializers_file_folder_path"
"""The entry of a session's configuration that says where a model given as bytes has its external data."""


@dataclass(frozen=True)
class NodeError:
    """A tensor of the model as the device computed it: largest difference, absolute and over the reference's largest.

    Both are infinite where one of the two has an infinity or NaN that the other lacks.

    `node` and `op_type` are the node of the file whose output it is, the last of those that were computed as one;
    `engine` and `instruction` wrote it. `first` marks the first above the threshold.
    """

    tensor: str
    node: str
    op_type: str
    engine: str
    instruction: str
    shape: tuple[int, ...]
    relative_error: float
    max_abs_error: float
    first: bool = False

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, ready for JSON; infinite errors are None."""
        errors = {name: value for name in ERRORS if np.isfinite(value := getattr(self, name))}
        return asdict(self) | {"shape": list(self.shape)} | dict.fromkeys(ERRORS) | errors


def compare_nodes(
    session: Session, feeds: Mapping[str, Array], model: str | Path, threshold: float = THRESHOLD
) -> list[NodeError]:
    """Each tensor of the ONNX file that the program leaves in memory against onnxruntime's, in order of execution.

    What is fused into an operation has no value of its own: attention and norms are compared where they end. The first
    tensor whose relative error exceeds `threshold` is marked. Runs the session once on the feeds;
    errors as its `run`, CB0817 where onnxruntime refuses the model, CB0818 for another model than the program's.
    """
    return compare_values(session.values(feeds)[1], feeds, model, threshold)


def compare_values(
    values: Iterable[Value], feeds: Mapping[str, Array], model: str | Path, threshold: float = THRESHOLD
) -> list[NodeError]:
    """As `compare_nodes`, of what a run gave (`Session.values`)."""
    path = Path(model)
    graph = _Graph(path)
    known = [value for value in values if value.name in graph.producers]
    expected = graph.values([value.name for value in known], feeds)
    return list(_marked(_rows(path, graph, known, expected), threshold))


def _rows(path: Path, graph: _Graph, values: Collection[Value], expected: Mapping[str, Array]) -> Iterator[NodeError]:
    for value in values:
        wanted, found = expected[value.name], value.array
        if wanted.shape != found.shape:
            raise ProgramError(
                "CB0818", f"the model's tensor {value.name} has shape {list(wanted.shape)}, the program's has "
                f"{list(found.shape)}", str(path), "give the model that the program was compiled from: --model FILE",
            )  # fmt: skip
        node, op_type = graph.producers[value.name]
        relative, absolute = _errors(found, wanted)
        yield NodeError(value.name, node, op_type, value.engine, value.instruction, found.shape, relative, absolute)


def _errors(found: Array, wanted: Array) -> tuple[float, float]:
    """Relative and absolute error where the reference is finite; infinite where only one of both isn't, or differs."""
    got, reference = found.astype(np.float64), wanted.astype(np.float64)
    finite = np.isfinite(reference)
    if not np.array_equal(got[~finite], reference[~finite], equal_nan=True):
        return np.inf, np.inf
    difference = np.abs(got[finite] - reference[finite]).max(initial=0.0)
    return relative_error(got[finite], reference[finite]), float(difference)


def _marked(rows: Iterator[NodeError], threshold: float) -> Iterator[NodeError]:
    marked = False
    for row in rows:
        first = not marked and not row.relative_error <= threshold
        marked |= first
        yield replace(row, first=first)


class _Graph:
    """A model whose tensors are all to be had: a copy of its graph with more outputs; its large tensors stay files."""

    def __init__(self, path: Path) -> None:
        onnx: Any = import_module("onnx")
        self.path = path
        with onnxruntime_errors(path):
            self.model: Any = onnx.load(path, load_external_data=False)
        self.make: Any = onnx.ValueInfoProto
        self.producers: dict[str, tuple[str, str]] = {
            name: (node.name or name, node.op_type) for node in self.model.graph.node for name in node.output if name
        }
        """Name and operator of the node that computes each tensor."""

    def values(self, names: Collection[str], feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The tensors of these names in onnxruntime, graph optimisations off."""
        ort: Any = import_module("onnxruntime")
        had = {output.name for output in self.model.graph.output}
        self.model.graph.output.extend(self.make(name=name) for name in dict.fromkeys(names) if name not in had)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        options.add_session_config_entry(FOLDER_OF_TENSORS, str(self.path.resolve().parent))
        with onnxruntime_errors(self.path):
            session = ort.InferenceSession(self.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
            return dict(zip(names, session.run(list(names), dict(feeds)), strict=True))
