"""The bytes of an ONNX file without its weights: large in-file tensors become references to where they lie in the file.

An ONNX file is one protobuf message; this reads just enough of its wire format to cut `raw_data` of initializers out
of `ModelProto.graph`, so that parsing costs what the graph costs and weights stay on disk, memory-mapped.
Field numbers: onnx.proto (ModelProto.graph 7, GraphProto.node 1, GraphProto.initializer 5, TensorProto.name 8,
raw_data 9, external_data 13, data_location 14).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from crossbank.compiler.frontend.errors import NOT_ONNX, TOO_LARGE, TRUNCATED, FrontendError

GRAPH, NODE, INITIALIZER, RAW_DATA, EXTERNAL_DATA, DATA_LOCATION = 7, 1, 5, 9, 13, 14
EXTERNAL = 1
MAX_NODES = 100_000
MAX_ENTRIES = 1_000_000
"""A graph has no more nodes, nor more of nodes, tensors, inputs, outputs and notes together."""
KEEP_BYTES = 1024
"""Tensors up to this size stay in the message."""
IN_FILE = "\0in-file"
"""The external-data location that stands for the model file itself."""
_MODEL_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Truncated(Exception):
    """The message wants more bytes than there are: where a field starts, and the bytes it needs."""


class _Malformed(Exception):
    """These bytes are no protobuf message."""


class _TooMany(Exception):
    """The graph has more parts than any model."""


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise _Malformed
    raise _Truncated(at, 1)


def _encode(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, payload: bytes) -> bytes:
    return _encode(number << 3 | _BYTES) + _encode(len(payload)) + payload


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, first byte, first payload byte, end of each field; the payload of scalars starts behind the tag."""
    while at < end:
        first = at
        tag, at = _varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        payload = at
        if kind == _VARINT:
            _, at = _varint(data, at, end)
        elif kind == _FIXED64:
            at += 8
        elif kind == _FIXED32:
            at += 4
        elif kind == _BYTES:
            length, payload = _varint(data, at, end)
            at = payload + length
        else:
            raise _Malformed
        if number == 0:
            raise _Malformed
        if at > end:
            raise _Truncated(first, at - end)
        yield number, first, payload, at


def _tensor(data: mmap.mmap, start: int, end: int) -> bytes | None:
    """The tensor with raw_data replaced by a reference into the file; None if it's small."""
    if end - start <= KEEP_BYTES:
        return None
    kept = bytearray()
    cut: tuple[int, int] | None = None
    for number, first, payload, stop in _fields(data, start, end):
        if number == RAW_DATA and stop - payload > KEEP_BYTES:
            cut = (payload, stop - payload)
        else:
            kept += data[first:stop]
    if cut is None:
        return None
    entries = (("location", IN_FILE), ("offset", str(cut[0])), ("length", str(cut[1])))
    for key, value in entries:
        kept += _field(EXTERNAL_DATA, _field(1, key.encode()) + _field(2, value.encode()))
    return bytes(kept) + _encode(DATA_LOCATION << 3 | _VARINT) + _encode(EXTERNAL)


def _graph(data: mmap.mmap, start: int, end: int) -> bytes:
    parts: list[bytes] = []
    nodes = 0
    for number, first, payload, stop in _fields(data, start, end):
        nodes += number == NODE
        if nodes > MAX_NODES or len(parts) >= MAX_ENTRIES:
            raise _TooMany
        skeleton = _tensor(data, payload, stop) if number == INITIALIZER else None
        parts.append(data[first:stop] if skeleton is None else _field(INITIALIZER, skeleton))
    return b"".join(parts)


def skeleton(path: Path) -> bytes:
    """The serialised ModelProto of a file, large initializers replaced by references with location `IN_FILE`.

    Raises FrontendError for an empty, truncated or foreign file.
    """
    if path.exists() and not path.is_file():
        raise FrontendError(NOT_ONNX, "not a file", str(path), "give the path of an .onnx file")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _model(data, path)
    except FileNotFoundError as error:
        raise FrontendError(NOT_ONNX, "there is no such file", str(path), "check the path") from error
    except (OSError, ValueError) as error:
        raise FrontendError(
            NOT_ONNX, f"not an ONNX file: {error}", str(path), "give the path of an .onnx file"
        ) from error


def _model(data: mmap.mmap, path: Path) -> bytes:
    parts: list[bytes] = []
    seen: list[int] = []
    try:
        for number, first, payload, stop in _fields(data, 0, len(data)):
            seen.append(number)
            if number not in _MODEL_FIELDS:
                raise _Malformed
            parts.append(_field(GRAPH, _graph(data, payload, stop)) if number == GRAPH else data[first:stop])
    except _Truncated as error:
        at, missing = error.args
        if seen and seen[0] in _MODEL_FIELDS:
            message = f"the file ends at byte {len(data)}, {missing} bytes before the end of a field at byte {at}"
            help = "export or download the model again"
            raise FrontendError(TRUNCATED, message, str(path), help) from error
        raise FrontendError(NOT_ONNX, "not an ONNX file", str(path), "give the path of an .onnx file") from error
    except _TooMany as error:
        message = f"the graph has more than {MAX_NODES} nodes, or {MAX_ENTRIES} parts in all"
        raise FrontendError(TOO_LARGE, message, str(path), "split the model, or export it with fewer nodes") from error
    except _Malformed as error:
        raise FrontendError(NOT_ONNX, "not an ONNX file", str(path), "give the path of an .onnx file") from error
    if GRAPH not in seen:
        raise FrontendError(
            NOT_ONNX, f"not an ONNX model: no graph in {len(data)} bytes", str(path), "give the path of an .onnx file"
        )
    return b"".join(parts)
