"""Weights that an ONNX file only names: inputs of its graph, or names that nothing defines.

Values come from a safetensors file beside the model, `<model>.safetensors`, `model.safetensors`, or the files that
`model.safetensors.index.json` lists. Without one, `shape-only` takes the shapes of the inputs.
"""

from __future__ import annotations

import json
import math
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import onnx
from onnx import TensorProto

from crossbank.compiler.frontend.errors import DATA_RANGE, SHAPE, FrontendError

MAX_HEADER_BYTES = 100_000_000
"""The limit of the safetensors format."""
TYPES = {
    "F64": TensorProto.DOUBLE, "F32": TensorProto.FLOAT, "F16": TensorProto.FLOAT16, "BF16": TensorProto.BFLOAT16,
    "F8_E4M3": TensorProto.FLOAT8E4M3FN, "F8_E5M2": TensorProto.FLOAT8E5M2, "I64": TensorProto.INT64,
    "I32": TensorProto.INT32, "I16": TensorProto.INT16, "I8": TensorProto.INT8, "U8": TensorProto.UINT8,
    "U16": TensorProto.UINT16, "U32": TensorProto.UINT32, "U64": TensorProto.UINT64, "BOOL": TensorProto.BOOL,
}  # fmt: skip
_WEIGHTS = frozenset(
    number for name, number in TensorProto.DataType.items()
    if name.startswith(("FLOAT", "BFLOAT", "DOUBLE")) or name in ("INT8", "UINT8", "INT4", "UINT4", "INT2", "UINT2")
)  # fmt: skip
_MATRIX = {"MatMul": 1, "Conv": 1, "Einsum": 1, "Gather": 0, "GatherND": 0}
"""The operand of these operators that is a weight, even of three dimensions or more."""


def with_parameters(model: onnx.ModelProto, path: Path, shape_only: bool) -> onnx.ModelProto:
    """The model with these weights among its initializers; FrontendError where a file beside it disagrees with it."""
    missing = _dangling(model.graph)
    inputs = weight_inputs(model.graph)
    if not missing and not inputs:
        return model
    found = _beside(path) if missing or inputs else {}
    declared = {value.name: value for value in model.graph.input}
    taken: dict[str, TensorProto] = {}
    for name in (*missing, *inputs):
        if name in found:
            taken[name] = found[name]
            if name in declared:
                _check(found[name], declared[name], path)
        elif shape_only and name in inputs:
            taken[name] = _shape_of(declared[name])
    if not taken:
        return model
    given = onnx.ModelProto()
    given.CopyFrom(model)
    kept = [value for value in given.graph.input if value.name not in taken]
    del given.graph.input[:]
    given.graph.input.extend(kept)
    given.graph.initializer.extend(taken.values())
    return given


def _dangling(graph: onnx.GraphProto) -> list[str]:
    """Names that nodes read and nothing defines."""
    known = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    known.update(name for node in graph.node for name in node.output)
    return list(dict.fromkeys(name for node in graph.node for name in node.input if name and name not in known))


def weight_inputs(graph: onnx.GraphProto) -> list[str]:
    """Inputs of fixed size that a model doesn't take per step: vectors and matrices, and stacks of matrices."""
    initial = {tensor.name for tensor in graph.initializer}
    uses: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for node in graph.node:
        for i, name in enumerate(node.input):
            uses[name].append((node.op_type, i))
    found: list[str] = []
    for value in graph.input:
        kind = value.type.tensor_type
        dims = [dim.dim_value if dim.WhichOneof("value") == "dim_value" else 0 for dim in kind.shape.dim]
        if value.name in initial or kind.elem_type not in _WEIGHTS or not dims or min(dims) < 1:
            continue
        stacked = all(_MATRIX.get(operator) == i for operator, i in uses[value.name])
        if len(dims) <= 2 or (stacked and uses[value.name]):
            found.append(value.name)
    return found


def _shape_of(value: onnx.ValueInfoProto) -> TensorProto:
    kind = value.type.tensor_type
    return TensorProto(name=value.name, data_type=kind.elem_type, dims=[dim.dim_value for dim in kind.shape.dim])


def _check(tensor: TensorProto, value: onnx.ValueInfoProto, path: Path) -> None:
    wanted = _shape_of(value)
    if list(tensor.dims) != list(wanted.dims) or tensor.data_type != wanted.data_type:
        raise FrontendError(
            SHAPE,
            f"the model declares {_text(wanted)}, the file beside it has {_text(tensor)}",
            f"{path}: {value.name}",
            "export both from one checkpoint",
        )


def _text(tensor: TensorProto) -> str:
    return f"{TensorProto.DataType.Name(tensor.data_type).lower()}[{'x'.join(map(str, tensor.dims))}]"


# ----------------------------------------------------------------- safetensors


def _beside(path: Path) -> dict[str, TensorProto]:
    """The tensors of the safetensors files that belong to a model, as references to their bytes."""
    found: dict[str, TensorProto] = {}
    for file in _files(path):
        for name, entry, start in _header(file):
            if name != "__metadata__":
                found[name] = _reference(name, entry, start, file)
    return found


def _files(path: Path) -> list[Path]:
    for name in (f"{path.stem}.safetensors", "model.safetensors"):
        if (path.parent / name).is_file():
            return [path.parent / name]
    index = path.parent / "model.safetensors.index.json"
    if not index.is_file():
        return []
    try:
        names = {str(name) for name in json.loads(index.read_text("utf-8"))["weight_map"].values()}
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise _bad(index, "it is no index of safetensors files") from error
    if strange := [name for name in names if Path(name).name != name or not (path.parent / name).is_file()]:
        raise _bad(index, f"it names {min(strange)[:200]!r}, which is no file beside it")
    return [path.parent / name for name in sorted(names)]


def _header(file: Path) -> Iterator[tuple[str, Any, int]]:
    """Each entry of a safetensors header, and where the file's data starts."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
            raise _bad(file, f"its header has {length} bytes, the file {size}")
        text = stream.read(length)
    try:
        header: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad(file, "its header is no JSON") from error
    if not isinstance(header, dict):
        raise _bad(file, "its header is no table of tensors")
    for name, entry in cast("dict[str, Any]", header).items():
        yield name, entry, 8 + length


def _reference(name: str, entry: Any, start: int, file: Path) -> TensorProto:
    """A tensor whose bytes lie in the file; sizes and ends are checked where all external data is."""
    try:
        kind, dims = TYPES[entry["dtype"]], [int(dim) for dim in entry["shape"]]
        first, end = (int(place) for place in entry["data_offsets"])
        tensor = TensorProto(name=name, data_type=kind, dims=dims, data_location=TensorProto.EXTERNAL)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _bad(file, f"its entry of {name[:200]!r} is no tensor of a known type") from error
    if min(*dims, first, end - first) < 0 or math.prod(dims) > 1 << 62:
        raise _bad(file, f"its entry of {name[:200]!r} has a negative size or place")
    for key, value in (("location", file.name), ("offset", start + first), ("length", end - first)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _bad(file: Path, why: str) -> FrontendError:
    return FrontendError(DATA_RANGE, f"the weights can't be read: {why}", str(file), "fetch it again, or remove it")
