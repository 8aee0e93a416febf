"""Where an operation comes from: the name of its ONNX node, kept as an xDSL name location."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

from xdsl.dialects.builtin import ArrayAttr, FusedLoc, LocationAttr, NameLoc, NoneAttr, StringAttr
from xdsl.ir import Attribute, Operation

NODES = "nodes"


@lru_cache(maxsize=65536)
def location(name: str) -> NameLoc:
    """The location of an ONNX node."""
    return NameLoc(StringAttr(name), NoneAttr())


def locate(op: Operation, name: str) -> Operation:
    """Set the ONNX node that an operation comes from; returns the operation."""
    op.location = location(name)
    return op


def _name(found: LocationAttr) -> str:
    match found:
        case NameLoc():
            return found.desc.data
        case FusedLoc(locations=ArrayAttr(data=parts)):
            return next((name for part in parts if (name := _name(part))), "")  # pyright: ignore[reportArgumentType]
        case _:
            return ""


def node_name(op: Operation) -> str:
    """The ONNX node of an operation: of the first call, in a repeated function; empty if unknown."""
    return _name(op.location)


def node_names(op: Operation) -> tuple[str, ...]:
    """The ONNX node of an operation for each call of its function: one name outside repeated functions."""
    nodes = op.attributes.get(NODES)
    if isinstance(nodes, ArrayAttr):
        return tuple(node.data for node in cast("ArrayAttr[Attribute]", nodes) if isinstance(node, StringAttr))
    return (node_name(op),)


def set_node_names(op: Operation, names: tuple[str, ...]) -> Operation:
    """Set the ONNX node of each call of a repeated function; returns the operation."""
    op.attributes[NODES] = ArrayAttr([StringAttr(name) for name in names])
    return locate(op, names[0])


def copy_location(new: Operation, old: Operation) -> Operation:
    """Let a new operation stand for the ONNX nodes of an old one; returns the new operation."""
    new.location = old.location
    if NODES in old.attributes:
        new.attributes[NODES] = old.attributes[NODES]
    return new
