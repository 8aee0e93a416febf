"""Values on the way: the tensors of the ONNX file that a program leaves in memory, caught as they are written.

A listener of the executor. Memory is used again as soon as nobody needs a tensor, so what the instructions of an
operation write is copied aside when they have run, instruction by instruction: a tensor may be written in pieces, by
several engines, in loops.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossbank.runtime.executor import Event
from crossbank.runtime.isa import Access
from crossbank.runtime.machine import Machine, extent
from crossbank.runtime.numerics import dtype_of
from crossbank.runtime.program import OFFSET_MASK, SPACE_SHIFT, Code, NamedTensor

Array = NDArray[Any]


@dataclass(frozen=True)
class Value:
    """A tensor of the ONNX file as a device computed it; `engine` wrote it last with `instruction`, for `node`."""

    name: str
    node: str
    engine: str
    instruction: str
    array: Array


class Capture:
    """Catches the tensors of the ONNX file by name, all or some; `values` gives them in the order of completion."""

    def __init__(self, code: Code, names: Collection[str] | None = None) -> None:
        self._names = None if names is None else frozenset(names)
        self._tensors: dict[tuple[str, int], list[NamedTensor]] = {}
        for block in code.blocks.values():
            for tensor in block.values:
                self._tensors.setdefault((block.name, tensor.operation), []).append(tensor)
        self._copies: dict[str, _Copy] = {}

    def before(self, event: Event) -> None:
        """Nothing."""

    def after(self, event: Event) -> None:
        """Copy what an instruction has written of the tensors of its operation."""
        tensors = self._tensors.get((event.block, event.decoded.operation), ()) if event.decoded.operation else ()
        for tensor in tensors:
            name = tensor.names[event.row % len(tensor.names)] if tensor.names else ""
            if not name or (self._names is not None and name not in self._names):
                continue
            copy = self._copies.pop(name, None) or _Copy(event.machine, tensor, event.registers)
            self._copies[name] = copy
            copy.event = event
            for entry in event.decoded.instruction.fields:
                operand = getattr(event.operands, entry.name)
                if entry.access in (Access.WRITE, Access.UPDATE) and operand is not None:
                    copy.take(operand)

    def values(self) -> list[Value]:
        """The tensors that are complete."""
        found: list[Value] = []
        for name, copy in self._copies.items():
            array, event = copy.array(), copy.event
            if array is not None and event is not None:
                found.append(Value(name, event.node, event.engine, event.decoded.name, array))
        return found


class _Copy:
    """The copy of one tensor while it is written: its bytes, and which of them are there."""

    def __init__(self, machine: Machine, tensor: NamedTensor, registers: Mapping[str, Any]) -> None:
        layout, self.machine = tensor.layout, machine
        self.event: Event | None = None
        self.dtype = dtype_of(layout.dtype)
        self.dims = tuple(int(dim.compiled(registers)) for dim in layout.shape)
        self.strides = tuple(int(step.compiled(registers)) * self.dtype.itemsize for step in layout.strides)
        self.address = int(tensor.address.compiled(registers))
        self.source = machine.view(self.address, self.dtype, self.dims, self.strides)[0]
        low, high = (0, 0) if 0 in self.dims else extent(self.dims, self.strides, self.dtype.itemsize)
        self.first = (self.address & OFFSET_MASK) + low
        """The offset of the lowest byte in its space."""
        self.start = -low
        self.held = np.zeros(high - low, np.uint8)
        self.there = np.zeros(high - low, np.bool_)

    def take(self, written: Array) -> None:
        """Copy what an operand (lanes, …) has of the tensor."""
        arena = self.machine.arena(self.address >> SPACE_SHIFT)
        if arena is None or not written.size or not len(self.held):
            return
        if not np.may_share_memory(written, arena):
            self._take_all()  # it was written back from elsewhere
            return
        place = written.__array_interface__["data"][0] - arena.__array_interface__["data"][0] - self.first
        low, high = extent(written.shape, written.strides, written.itemsize)
        if place + high <= 0 or place + low >= len(self.held):
            return
        if place + low < 0 or place + high > len(self.held):
            self._take_all()  # the tensor is a part of it
            return
        np.ndarray(written.shape, written.dtype, self.held, place, written.strides)[...] = written
        _bytes_of(self.there, written.shape, written.strides, written.itemsize, place)[...] = True

    def _take_all(self) -> None:
        np.ndarray(self.dims, self.dtype, self.held, self.start, self.strides)[...] = self.source
        self.there[:] = True

    def array(self) -> Array | None:
        """The tensor; None while some of it is missing."""
        if not len(self.held):
            return np.empty(self.dims, self.dtype)
        if not _bytes_of(self.there, self.dims, self.strides, self.dtype.itemsize, self.start).all():
            return None
        return np.ndarray(self.dims, self.dtype, self.held, self.start, self.strides).copy()


def _bytes_of(there: Array, dims: tuple[int, ...], strides: tuple[int, ...], size: int, start: int) -> Array:
    return np.ndarray((*dims, size), np.bool_, there, start, (*strides, 1))
