"""What a compiled program is: streams of records in blocks, and the tables that they refer to.

The file form is `program_file`; what is legal, `verifier`; what it means, `executor`; what it costs, `coster`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crossbank.runtime.expr import Bounds, Expr

FORMAT_VERSION = 3
SPACE_SHIFT = 44
OFFSET_MASK = (1 << SPACE_SHIFT) - 1
"""A byte address is `space number << SPACE_SHIFT | offset`."""


@dataclass(frozen=True)
class Layout:
    """How a tensor lies from its address on: dtype name of numpy or ml_dtypes, shape, strides in elements."""

    dtype: str
    shape: tuple[Expr, ...]
    strides: tuple[Expr, ...]


@dataclass(frozen=True)
class Space:
    """A memory: `kind` is "io" (feeds and results), "memory", "const" (weights, read-only) or "private".

    A private space is scratch inside parallel loops: each trip has its own contents. `capacity_bytes` None: unlimited.
    """

    name: str
    number: int
    kind: str
    used_bytes: int
    capacity_bytes: int | None = None


@dataclass(frozen=True)
class Port:
    """An input or output of the program, C-contiguous at `address`."""

    name: str
    dtype: str
    shape: tuple[Expr, ...]
    address: int


@dataclass(frozen=True)
class State:
    """A tensor kept on the device between steps: the program's input and output of these names stand for it.

    `axis` is the one that grows from step to step (the tokens of a KV cache); `past` its length before a step.
    """

    name: str
    input: str | None
    output: str | None
    axis: int
    past: Expr


@dataclass(frozen=True)
class Function:
    """An entry point: the block that it starts in, and what must be known before."""

    name: str
    block: str
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()


@dataclass(frozen=True)
class NamedTensor:
    """A tensor of the ONNX file: what an operation of a block leaves at `address` when its instructions have run.

    The instructions are those records whose `operation` is this number. `names` has one per row of the call, or one.
    """

    operation: int
    names: tuple[str, ...]
    address: Expr
    layout: Layout


@dataclass
class Block:
    """Streams that run side by side, one per engine; `parameters` are registers that a call's table row sets.

    `nodes` (rows, slots) gives the program node of each record's node slot, one row per table row (one for an entry
    block); it is indexed by the row of the call, modulo its number of rows.
    """

    name: str
    parameters: tuple[str, ...]
    streams: dict[str, NDArray[np.void]]
    nodes: NDArray[np.int32]
    values: tuple[NamedTensor, ...] = ()
    """The tensors of the ONNX file that the block computes."""


@dataclass
class Table:
    """Constants of the calls of a block: `values` (rows, columns) int64, a column per block parameter."""

    name: str
    columns: tuple[str, ...]
    values: NDArray[np.int64]


@dataclass(frozen=True)
class Engine:
    """An engine that a stream drives: its instruction set and its table from the system file."""

    name: str
    kind: str
    isa: str
    config: Mapping[str, Any]


class TensorSource(Protocol):
    """Where constant tensors come from; nothing is read before it is asked for."""

    def load(self, name: str) -> NDArray[Any]:
        """The tensor's values, memory-mapped where possible; ProgramError if shape-only."""
        ...


@dataclass(frozen=True)
class Constant:
    """A tensor in the const space: C-contiguous `shape` of `dtype` at `address`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    address: int

    @property
    def size_bytes(self) -> int:
        from crossbank.runtime.numerics import dtype_of

        return int(np.prod(self.shape, dtype=np.int64)) * dtype_of(self.dtype).itemsize


OF_INSTRUCTIONS = range(510, 580)
"""Numbers of the codes of programs whose instructions are wrong: damaged files, assembly that a person has changed."""
MEND = "compile the model again, or mend the assembly that the program was made from"


class ProgramError(Exception):
    """A program, or what it was given, that can't be used; `help` says the way out. docs/errors.md lists the codes."""

    def __init__(self, code: str, message: str, where: str = "", help: str = "") -> None:
        super().__init__(message)
        if not help and code[2:].isdigit() and int(code[2:]) in OF_INSTRUCTIONS:
            help = MEND
        self.code, self.message, self.where, self.help = code, message, where, help

    def __str__(self) -> str:
        lines = [f"error[{self.code}]: {self.message}"]
        if self.where:
            lines.append(f"  --> {self.where}")
        if self.help:
            lines.append(f"   = help: {self.help}")
        return "\n".join(lines)


@dataclass
class Code:
    """The executable content of a program.

    `registers` gives each register's bounds at capacity (dimensions, block parameters and loop counters); `derived`
    registers are set from others at the start of a function, e.g. past = total - seq, so that bounds are tight.
    """

    target: str
    system: Mapping[str, Any]
    engines: dict[str, Engine]
    spaces: dict[str, Space]
    registers: dict[str, Bounds]
    dimensions: tuple[str, ...]
    """Registers that a call's feeds bind (batch, sequence, past_sequence …)."""
    capacity: dict[str, Expr]
    """For bounds: replace a dimension by an expression of others (past_sequence -> total - sequence)."""
    expressions: list[Expr]
    layouts: list[Layout]
    functions: dict[str, Function]
    blocks: dict[str, Block]
    tables: dict[str, Table]
    tokens: int
    nodes: list[str]
    constants: dict[str, Constant]
    states: tuple[State, ...] = ()
    limits: dict[str, int] = field(default_factory=dict[str, int])
    """`context` and `max_batch` that the program was compiled for, and the names of their registers."""
    context_of: dict[str, str] = field(default_factory=dict[str, str])
    """Which dimension is "batch", "sequence" and "past" (keys), where the compiler knows."""
    summary: dict[str, Any] = field(default_factory=dict[str, Any])
