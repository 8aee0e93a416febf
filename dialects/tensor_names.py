"""Which tensors of the ONNX file the results of an operation are: attribute `outputs`, names per result and call.

A rewriting passes them on where a new result equals an old one (`passes.rewriting`); a result without names is none of
the file's tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from xdsl.dialects.builtin import ArrayAttr, StringAttr
from xdsl.ir import Attribute, Operation, OpResult, SSAValue

OUTPUTS = "outputs"


def set_tensor_names(op: Operation, names: Sequence[Sequence[str]]) -> None:
    """Name the results of an operation: for each, one name, or one for each call of its function; none for unknown."""
    if any(names):
        op.attributes[OUTPUTS] = ArrayAttr([ArrayAttr([StringAttr(name) for name in result]) for result in names])
    else:
        op.attributes.pop(OUTPUTS, None)


def _of_results(op: Operation) -> list[tuple[str, ...]]:
    found = op.attributes.get(OUTPUTS)
    results = cast("ArrayAttr[Attribute]", found).data if isinstance(found, ArrayAttr) else ()
    named = [
        tuple(name.data for name in cast("ArrayAttr[Attribute]", result) if isinstance(name, StringAttr))
        for result in results
        if isinstance(result, ArrayAttr)
    ]
    return named if len(named) == len(op.results) else [()] * len(op.results)


def tensor_names(value: SSAValue) -> tuple[str, ...]:
    """The names of a result, one for each call of its function; none if it is no tensor of the file."""
    return _of_results(value.op)[value.index] if isinstance(value, OpResult) else ()


def pass_on_names(old: SSAValue, new: SSAValue) -> None:
    """Let a value that equals an old one have its names, unless it has some."""
    names = tensor_names(old)
    if names and isinstance(new, OpResult) and not tensor_names(new):
        known = _of_results(new.op)
        set_tensor_names(new.op, [names if i == new.index else other for i, other in enumerate(known)])


def forget_names(op: Operation) -> None:
    """The results of an operation, a copy that computes something else, are none of the file's tensors."""
    op.attributes.pop(OUTPUTS, None)
