"""The module-level part of a program in buffer form while it is written: buffers, constants, parameters, ports, states.

Names are made unique; registers are made safe to stand in expressions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ArrayAttr, BoolAttr, DenseArrayBase, IntegerAttr, StringAttr, i64
from xdsl.ir import Block, Operation, Region

from crossbank.dialects.imc import BlockOp, BufferOp, ParamOp, PortOp, StateOp, ViewAttr, WeightOp
from crossbank.dialects.instructions import InstructionOp, instruction_op
from crossbank.dialects.llm import CacheOp
from crossbank.dialects.mapping import CacheInfo
from crossbank.dialects.shape import tensor
from crossbank.passes.capacity import Capacity
from crossbank.passes.context import CompileContext
from crossbank.runtime.expr import Expr, sanitise
from crossbank.runtime.isa import Access
from crossbank.runtime.program import ProgramError

if TYPE_CHECKING:
    from crossbank.backends.system import System

MEMORY, PORTS, PRIVATE = "mem", "io", "private"


@dataclass(frozen=True)
class Stack:
    """Equal tensors one after another, one per call of a block: call i has its own at `i * stride_bytes`."""

    buffer: str
    dtype: str
    shape: tuple[Expr, ...]
    stride_bytes: int
    count: int

    def at(self, offset: int | Expr) -> ViewAttr:
        """The tensor at a byte offset."""
        return ViewAttr.of(self.buffer, self.dtype, self.shape, offset=offset)

    def slot(self, call: int) -> ViewAttr:
        """The tensor of one call."""
        return self.at(call * self.stride_bytes)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """The byte offset of each call's tensor."""
        return np.arange(self.count, dtype=np.int64) * self.stride_bytes


@dataclass
class ProgramBuilder:
    """Collects the symbols of a program; `finish` gives them in the order in which they are to stand in the module."""

    ctx: CompileContext
    capacity: Capacity
    weights: dict[str, WeightOp]
    caches: dict[str, CacheInfo]
    cache_ops: dict[str, CacheOp]
    new_weights: list[Operation] = field(default_factory=list[Operation])
    buffers: list[Operation] = field(default_factory=list[Operation])
    params: list[Operation] = field(default_factory=list[Operation])
    ports: list[Operation] = field(default_factory=list[Operation])
    states: list[Operation] = field(default_factory=list[Operation])
    blocks: list[BlockOp] = field(default_factory=list[BlockOp])
    param_values: dict[str, NDArray[np.int64]] = field(default_factory=dict[str, Any])
    cache_stacks: dict[str, tuple[Stack, Stack]] = field(default_factory=dict[str, "tuple[Stack, Stack]"])
    _names: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        self._names |= {*self.weights, *self.caches, *self.capacity.ranges}

    @property
    def system(self) -> System:
        return self.ctx.system

    def unique(self, name: str) -> str:
        """A name that nothing has yet."""
        found, i = name, 1
        while found in self._names:
            found, i = f"{name}_{i}", i + 1
        self._names.add(found)
        return found

    def register(self, name: str) -> str:
        """A register name that nothing has yet."""
        return self.unique(sanitise(name))

    def buffer(self, name: str, size_bytes: int, space: str = MEMORY, kept: bool = False) -> str:
        """A buffer; returns its symbol."""
        symbol = self.unique(name)
        self.buffers.append(
            BufferOp.create(
                properties={
                    "sym_name": StringAttr(symbol),
                    "space": StringAttr(space),
                    "size": StringAttr(str(size_bytes)),
                    "kept": BoolAttr.from_bool(kept),
                }
            )
        )
        return symbol

    def tensor(
        self, name: str, dtype: str, shape: Sequence[int | Expr], space: str = MEMORY, kept: bool = False
    ) -> ViewAttr:
        """A C-contiguous tensor in a buffer of its own."""
        symbol = self.buffer(name, self.capacity.size_bytes(dtype, shape), space, kept)
        return ViewAttr.of(symbol, dtype, shape)

    def stack(
        self, name: str, dtype: str, shape: Sequence[int | Expr], count: int, space: str = MEMORY, kept: bool = False
    ) -> Stack:
        """`count` equal tensors in one buffer."""
        stride = self.capacity.size_bytes(dtype, shape)
        symbol = self.buffer(name, stride * count, space, kept)
        return Stack(symbol, dtype, tuple(Expr.of(dim) for dim in shape), stride, count)

    def constant(self, name: str, arrays: Sequence[NDArray[Any]]) -> ViewAttr:
        """Read-only data: one array, or one per call."""
        symbol = self.unique(name)
        first = arrays[0]
        kept = [f"table.{self.ctx.keep_table(array)}" for array in arrays]
        self.new_weights.append(
            WeightOp.create(
                properties={
                    "sym_name": StringAttr(symbol),
                    "type": tensor(first.dtype.name, first.shape),
                    "tensors": ArrayAttr([StringAttr(table) for table in kept]),
                }
            )
        )
        return ViewAttr.of(symbol, first.dtype.name, first.shape)

    def param(self, block: str, calls: int, name: str, values: Sequence[int] | NDArray[np.int64]) -> Expr:
        """A register that each call of a block sets; a constant where all calls agree."""
        column = np.asarray(values, np.int64).reshape(-1)
        if len(column) not in (1, calls):
            raise ValueError(f"{name}: {len(column)} values for {calls} calls of {block}")
        if (column == column[0]).all():
            return Expr.of(int(column[0]))
        register = self.register(f"{block}_{name}")
        self.param_values[register] = column
        self.params.append(
            ParamOp.create(
                properties={
                    "sym_name": StringAttr(register),
                    "block": StringAttr(block),
                    "values": DenseArrayBase.from_list(i64, [int(value) for value in column]),
                }
            )
        )
        return Expr.symbol(register)

    def port(self, function: str, name: str, output: bool, view: ViewAttr) -> None:
        """Declare an input or output of a program function."""
        self.ports.append(
            PortOp.create(
                properties={
                    "function": StringAttr(function),
                    "port": StringAttr(name),
                    "output": BoolAttr.from_bool(output),
                    "view": view,
                }
            )
        )

    def state(self, name: str, port_in: str, port_out: str, past: Expr) -> None:
        """Declare a cache tensor [batch, groups, tokens, head_dim]; a port name may be empty."""
        properties = {
            "state": StringAttr(name),
            "axis": IntegerAttr(2, i64),
            "past": StringAttr(str(past)),
        }
        if port_in:
            properties["input"] = StringAttr(port_in)
        if port_out:
            properties["output"] = StringAttr(port_out)
        self.states.append(StateOp.create(properties=properties))

    def block(self, name: str, calls: int, entry: bool) -> BlockOp:
        """A new block with an empty body."""
        op = BlockOp.create(
            properties={
                "sym_name": StringAttr(self.unique(name)),
                "entry": BoolAttr.from_bool(entry),
                "calls": IntegerAttr(calls, i64),
            },
            regions=[Region(Block())],
        )
        self.blocks.append(op)
        return op

    def copy(self, target: ViewAttr, source: ViewAttr) -> InstructionOp:
        """The instruction that copies one view to another, by the first engine that has a `copy` of that form."""
        for engine in self.system.engines.values():
            isa = self.ctx.backend(engine.kind).isa
            found = isa.instructions.get("copy")
            if found is None:
                continue
            written = [entry.name for entry in found.fields if entry.access is Access.WRITE]
            read = [entry.name for entry in found.fields if entry.access is Access.READ]
            if len(found.fields) == 2 and len(written) == len(read) == 1:
                return instruction_op(isa, "copy", engine.name, **{written[0]: target, read[0]: source})
        raise ProgramError(
            "CB0302",
            f"no engine of {self.system.name} copies tensors",
            help="add a vector engine to the system file",
        )

    def finish(self) -> list[Operation]:
        """All new module-level operations, in order."""
        return [*self.new_weights, *self.buffers, *self.params, *self.ports, *self.states, *self.blocks]
