"""The contract of a family of engines with the compiler: the questions that it answers, and the tools it is given.

A family is a `Backend` object named by the entry point `crossbank.backends`. The phases ask it whether it takes an
operation (assign) and to write its instructions (lower); one that holds weights or caches in units of its own, a
`WeightHolder` or `CacheHolder`, also how they are spread over its units (split) and how much room they take (tile). It
never sees the whole module, and no phase asks which family it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import Operation, SSAValue

from crossbank.backends.system import EngineSpec, System
from crossbank.dialects.imc import ViewAttr
from crossbank.dialects.mapping import CacheInfo, CacheSplit, Legality, Placement, Split, Tiling, WeightInfo
from crossbank.runtime.expr import Expr
from crossbank.runtime.isa import InstructionSet


class Lowering(Protocol):
    """What a family writes instructions with: values become views of buffers, instructions one operation each.

    All operations added carry the location of the operation being lowered.
    """

    @property
    def system(self) -> System: ...

    @property
    def block(self) -> str:
        """The name of the block being written."""
        ...

    @property
    def calls(self) -> int:
        """How many times the block being written is called (rows of its constants table)."""
        ...

    def view(self, value: SSAValue) -> ViewAttr:
        """Where a tensor lies."""
        ...

    def bind(self, value: SSAValue, view: ViewAttr) -> None:
        """Let a result be a view of memory that exists (reshape, transpose, slice): no instruction."""
        ...

    def result(self, value: SSAValue) -> ViewAttr:
        """A fresh C-contiguous buffer for a result, in the working memory."""
        ...

    def scratch(self, dtype: str, shape: Sequence[int | Expr], space: str = "mem") -> ViewAttr:
        """A temporary; space "private" is scratch of the trips of a parallel loop."""
        ...

    def constant(self, name: str, per_call: Sequence[NDArray[Any]]) -> ViewAttr:
        """Read-only data made by the compiler: one array (for all calls) or one per call of the block, of one shape."""
        ...

    def param(self, name: str, values: Sequence[int] | NDArray[np.int64]) -> Expr:
        """A register that each call of the block sets to its own value."""
        ...

    def emit(self, engine: str, instruction: str, **operands: ViewAttr | Expr | int | float | str | None) -> None:
        """Add `isa.mnemonic`: views for tensors (None if absent), expressions or ints for counts, floats, and the
        lower-case member name for an enum."""
        ...

    def loop(self, trips: int | Expr, parallel: bool = False) -> AbstractContextManager[Expr]:
        """A loop around what is emitted inside; gives its counter."""
        ...

    def placement(self, weight: str) -> Placement | None:
        """Where the instances of a weight lie, for the symbol of an `imc.use`d weight or of a cache that its family
        holds; None if it lies in plain memory."""
        ...

    def info(self, weight: str) -> WeightInfo:
        """The weight behind a symbol."""
        ...

    def cache(self, symbol: str) -> tuple[ViewAttr, ViewAttr]:
        """The whole key and value cache [max_batch, G, context, D] of this call, where they lie in plain memory."""
        ...

    def cache_extent(self, symbol: str) -> tuple[Expr, Expr, Expr]:
        """The batch, past tokens and new tokens of a step."""
        ...

    def cache_info(self, symbol: str) -> CacheInfo:
        """The form of a cache."""
        ...

    def option(self, name: str, default: Any) -> Any:
        """What the user or the driver asked of families: `calibration` (by instruction set), `drift_compensation` …"""
        ...

    def setup(
        self, engine: str, instruction: str, rows: int, **operands: ViewAttr | Expr | int | float | str | None
    ) -> None:
        """Add an instruction to the program's `setup` function, which runs once before the first step.

        `rows` is `calls` for what each call of the block needs (its own row of parameters), 1 for once.
        """
        ...


class Backend(Protocol):
    """A family of engines."""

    kind: str
    isa: InstructionSet

    def accepts(self, op: Operation, engine: EngineSpec) -> Legality:
        """Whether `engine` can run this llm, onnx or imc operation."""
        ...

    def lower(self, op: Operation, engine: EngineSpec, to: Lowering) -> None:
        """Write the instructions of one operation."""
        ...


class WeightHolder(Protocol):
    """A family that keeps weights in its own units; one without these methods has them in plain memory."""

    def split_weight(self, weight: WeightInfo, engine: EngineSpec) -> tuple[Split, ...]:
        """Over which units its rows and columns are spread."""
        ...

    def tile(self, weight: WeightInfo, splits: tuple[Split, ...], engine: EngineSpec) -> Tiling:
        """The units that a weight takes which is split like that; ProgramError CB0314 where no unit takes a part."""
        ...


class CacheHolder(Protocol):
    """A family that keeps KV caches in its own units; one without these methods has them in plain memory."""

    def split_cache(self, cache: CacheInfo, engine: EngineSpec) -> CacheSplit:
        """Over which units heads and tokens of keys and values are spread."""
        ...

    def cache_units(self, cache: CacheInfo, engine: EngineSpec) -> Tiling:
        """The room for the keys and values of one call, at capacity."""
        ...

    def lower_cache_import(
        self, symbol: str, keys: ViewAttr, values: ViewAttr, engine: EngineSpec, to: Lowering
    ) -> None:
        """Write the instructions that take a call's caches from two views [batch, G, past, D]."""
        ...

    def lower_cache_export(
        self, symbol: str, keys: ViewAttr, values: ViewAttr, engine: EngineSpec, to: Lowering
    ) -> None:
        """Write the instructions that give a call's caches to two views [batch, G, past + new, D]."""
        ...


Backends = Mapping[str, Backend]
