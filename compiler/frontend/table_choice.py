"""`If` nodes that choose between tables by a condition that is known only as the program runs: a Where of both."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

BY_ROW: Mapping[str, Collection[int]] = {"GroupQueryAttention": (7, 8), "RotaryEmbedding": (2, 3)}
"""Operators of onnxruntime whose inputs at these positions are tables that are read row by row, at positions."""


def chosen_tables(
    node: onnx.NodeProto, branches: Mapping[str, onnx.GraphProto], users: Iterable[onnx.NodeProto], free: Sequence[str]
) -> list[onnx.NodeProto] | None:
    """Nodes that take the place of an `If` whose branches are only tables; None for another one.

    `free` are names for the two tables of each output. Tables of unlike length (the angles of short and of long
    contexts) become equally long where all `users` read them by row: what is added is never read, since the condition
    that chooses the short one holds for no position behind it.
    """
    choices = [_tables(branches[key]) for key in ("then_branch", "else_branch")]
    if choices[0] is None or choices[1] is None or not len(choices[0]) == len(choices[1]) == len(node.output):
        return None
    made: list[onnx.NodeProto] = []
    for i, (output, *both) in enumerate(zip(node.output, *choices, strict=True)):
        if not output:
            continue
        tables = both if both[0].shape == both[1].shape else _equally_long(output, both, users)
        if tables is None or tables[0].dtype != tables[1].dtype:
            return None
        names = free[2 * i : 2 * i + 2]
        for name, table in zip(names, tables, strict=True):
            value = numpy_helper.from_array(table, name)
            made.append(helper.make_node("Constant", [], [name], f"{node.name}/{name}", value=value))
        made.append(helper.make_node("Where", [node.input[0], *names], [output], f"{node.name}/{output}"))
    return made


def _tables(branch: onnx.GraphProto) -> list[NDArray[np.generic]] | None:
    """What a branch gives if that is written in it: Constant nodes, initializers."""
    found = {tensor.name: tensor for tensor in branch.initializer}
    for node in branch.node:
        values = [a.t for a in node.attribute if a.name == "value" and a.type == onnx.AttributeProto.TENSOR]
        if node.op_type != "Constant" or not values or len(node.output) != 1:
            return None
        found[node.output[0]] = values[0]
    tensors = [found.get(value.name) for value in branch.output]
    given = [tensor for tensor in tensors if tensor is not None]
    if len(given) != len(tensors) or any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in given):
        return None
    try:
        return [numpy_helper.to_array(tensor) for tensor in given]
    except (ValueError, TypeError):
        return None


def _equally_long(
    name: str, tables: Sequence[NDArray[np.generic]], users: Iterable[onnx.NodeProto]
) -> list[NDArray[np.generic]] | None:
    if not all(table.ndim == 2 for table in tables) or tables[0].shape[1] != tables[1].shape[1]:
        return None
    for user in users:
        if any(a.type == onnx.AttributeProto.GRAPH for a in user.attribute) and name not in user.output:
            return None
        by_row = BY_ROW.get(user.op_type, ()) if user.domain == "com.microsoft" else ()
        if any(value == name and i not in by_row for i, value in enumerate(user.input)):
            return None
    rows = max(len(table) for table in tables)
    return [np.concatenate([table, np.zeros((rows - len(table), table.shape[1]), table.dtype)]) for table in tables]
