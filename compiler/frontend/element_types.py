"""Whether the element types of a node's inputs are those that its schema allows: ONNX's own, or onnxruntime's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
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
def type_mismatch(op_type: str, version: int, dtypes: tuple[str | None, ...], domain: str = "") -> str | None:
    """What is wrong with the element types (None: no input) of a node; None if nothing is.

    Operators without a schema take what their rule takes.
    """
    formals = _formals(op_type, version, domain)
    if not formals:
        return None
    bound: dict[str, tuple[int, str]] = {}
    for i, dtype in enumerate(dtypes):
        kind, homogeneous, allowed = formals[min(i, len(formals) - 1)]
        if dtype is None:
            continue
        if allowed and dtype not in allowed:
            return f"input {i} holds {dtype}, {op_type} of opset {version} takes {', '.join(sorted(allowed))}"
        if not homogeneous:
            continue
        first, other = bound.setdefault(kind, (i, dtype))
        if other != dtype:
            return f"input {i} holds {dtype} and input {first} {other}: {op_type} takes one type"
    return None


def dtypes_of(inputs: Sequence[Info | None]) -> tuple[str | None, ...]:
    """The element types of a node's inputs."""
    return tuple(None if info is None else info.dtype for info in inputs)


@lru_cache(1 << 10)
def _formals(op_type: str, version: int, domain: str) -> Sequence[tuple[str, bool, frozenset[str]]]:
    """For each input that a schema knows: the type's name, whether variadic ones share it, and what it may be."""
    if not domain:
        schema = schema_of(op_type, version)
        found: Sequence[Any] = () if schema is None else schema.inputs
        return [(formal.type_str, formal.is_homogeneous, _dtypes(formal.types)) for formal in found]
    formals = _contributed().get((domain, op_type), ())
    return [(formal.typeStr, formal.isHomogeneous, _dtypes(formal.types)) for formal in formals]


@lru_cache
def _contributed() -> Mapping[tuple[str, str], Sequence[Any]]:
    """The inputs of onnxruntime's own operators."""
    state: Any = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    return {(schema.domain, schema.name): schema.inputs for schema in state.get_all_operator_schema() if schema.domain}


def _dtypes(types: Iterable[str]) -> frozenset[str]:
    return frozenset(_names()[name] for name in types if name in _names())
