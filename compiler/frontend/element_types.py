"""Whether the element types of a node's inputs are those that its ONNX schema allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from onnx import TensorProto, helper

from crossbank.compiler.frontend.graph import Info
from crossbank.dialects.onnx import schema_of


@lru_cache
def _names() -> Mapping[str, str]:
    """The numpy name of each ONNX type as schemas write it: "tensor(float)" -> "float32"."""
    kinds = TensorProto.DataType
    skipped = (kinds.UNDEFINED, kinds.STRING)
    return {
        f"tensor({kinds.Name(kind).lower()})": helper.tensor_dtype_to_np_dtype(kind).name
        for kind in kinds.values()
        if kind not in skipped
    }


@lru_cache(1 << 14)
def type_mismatch(op_type: str, version: int, dtypes: tuple[str | None, ...]) -> str | None:
    """What is wrong with the element types (None: no input) of a node of ai.onnx; None if nothing is.

    Operators without a schema take what their rule takes.
    """
    schema = schema_of(op_type, version)
    if schema is None or not schema.inputs:
        return None
    bound: dict[str, tuple[int, str]] = {}
    for i, dtype in enumerate(dtypes):
        formal = schema.inputs[min(i, len(schema.inputs) - 1)]
        if dtype is None:
            continue
        allowed = _allowed(formal)
        if allowed and dtype not in allowed:
            return f"input {i} holds {dtype}, {op_type} of opset {version} takes {', '.join(sorted(allowed))}"
        if not formal.is_homogeneous:
            continue
        first, other = bound.setdefault(formal.type_str, (i, dtype))
        if other != dtype:
            return f"input {i} holds {dtype} and input {first} {other}: {op_type} takes one type"
    return None


def dtypes_of(inputs: Sequence[Info | None]) -> tuple[str | None, ...]:
    """The element types of a node's inputs."""
    return tuple(None if info is None else info.dtype for info in inputs)


def _allowed(formal: Any) -> frozenset[str]:
    return frozenset(_names()[name] for name in formal.types if name in _names())
