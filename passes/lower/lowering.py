"""The tools that families write instructions with: `LoweringContext` is the `Lowering` of one block."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import BoolAttr, IntegerAttr, StringAttr, SymbolRefAttr, i64
from xdsl.ir import Block, Operation, OpResult, Region, SSAValue

from crossbank.dialects.imc import BlockOp, CallOp, LoopOp, UseOp, ViewAttr
from crossbank.dialects.instructions import FieldValue, instruction_op
from crossbank.dialects.location import copy_location, node_name
from crossbank.dialects.mapping import CacheInfo, Placement, WeightInfo
from crossbank.dialects.onnx import DimsValueOp, attribute
from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.dialects.tensor_names import tensor_names
from crossbank.passes.lower.program_builder import MEMORY, PRIVATE, ProgramBuilder
from crossbank.passes.lower.writing import Writing
from crossbank.passes.place.mappings import placement_of
from crossbank.runtime.expr import Expr
from crossbank.runtime.program import ProgramError

if TYPE_CHECKING:
    from crossbank.backends.system import EngineSpec, System


@dataclass
class LoweringContext:
    """Writes one block; see `backends.interface.Lowering`, which it implements."""

    builder: ProgramBuilder
    op: BlockOp
    values: dict[SSAValue, ViewAttr] = field(default_factory=dict[SSAValue, ViewAttr])
    targets: dict[SSAValue, ViewAttr] = field(default_factory=dict[SSAValue, ViewAttr])
    """Where results are to lie, for those whose place is settled before their operation is lowered."""
    source: Operation | None = None
    """The operation being lowered."""
    writing: Writing = field(default_factory=Writing)
    setup_block: LoweringContext | None = None
    _bodies: list[Block] = field(default_factory=list[Block])
    _caches: dict[str, tuple[ViewAttr, ViewAttr]] = field(default_factory=dict[str, "tuple[ViewAttr, ViewAttr]"])
    _setup_rows: LoweringContext | None = None
    _setup_params: dict[str, Expr] = field(default_factory=dict[str, Expr])

    def __post_init__(self) -> None:
        self._bodies.append(self.op.body.block)

    @property
    def system(self) -> System:
        return self.builder.system

    @property
    def block(self) -> str:
        return self.op.sym_name.data

    @property
    def calls(self) -> int:
        return self.op.calls.value.data

    # ------------------------------------------------------------- tensors

    def view(self, value: SSAValue) -> ViewAttr:
        """Where a tensor lies; ValueError for one that nothing has written yet."""
        if value not in self.values:
            owner = value.owner
            if isinstance(owner, UseOp):
                self.values[value] = self._weight(owner.weight, value)
            elif isinstance(owner, DimsValueOp):
                self.lower(owner)
            elif isinstance(owner, Operation) and owner.name == "onnx.Constant":
                self.values[value] = self.builder.constant(f"{self.block}_constant", [attribute(owner, "value")])
            if value not in self.values:
                name = owner.name if isinstance(owner, Operation) else "an argument"
                raise ValueError(f"a result of {name} is read before it is written")
        return self.values[value]

    def _weight(self, weight: SymbolRefAttr, value: SSAValue) -> ViewAttr:
        return ViewAttr.of(weight.root_reference.data, dtype_of(value), shape_of(value))

    def bind(self, value: SSAValue, view: ViewAttr) -> None:
        """Let a result be a view of memory that exists."""
        self.values[value] = view

    def result(self, value: SSAValue) -> ViewAttr:
        """A C-contiguous buffer for a result."""
        if value not in self.values:
            view = self.targets.get(value)
            if view is None:
                owner = value.owner.name.split(".")[-1] if isinstance(value, OpResult) else "value"
                view = self.builder.tensor(f"{self.block}_{owner}".lower(), dtype_of(value), shape_of(value))
            self.values[value] = view
        return self.values[value]

    def scratch(self, dtype: str, shape: Sequence[int | Expr], space: str = MEMORY) -> ViewAttr:
        """A temporary in the working memory or, for the trips of a parallel loop, in private memory."""
        if space not in (MEMORY, PRIVATE):
            raise ValueError(f"no scratch in space {space!r}")
        return self.builder.tensor(f"{self.block}_scratch", dtype, shape, space)

    def constant(self, name: str, per_call: Sequence[NDArray[Any]]) -> ViewAttr:
        """Read-only data made by the compiler."""
        if len(per_call) not in (1, self.calls):
            raise ValueError(f"{name}: {len(per_call)} arrays for {self.calls} calls")
        return self.builder.constant(f"{self.block}_{name}", per_call)

    def param(self, name: str, values: Sequence[int] | NDArray[np.int64]) -> Expr:
        """A register that each call of the block sets to its own value."""
        return self.builder.param(self.block, self.calls, name, values)

    # -------------------------------------------------------- instructions

    def add(self, op: Operation) -> None:
        """Put an operation at the end of the innermost open loop."""
        if self.source is not None:
            copy_location(op, self.source)
        self.writing.add(op)
        self._bodies[-1].add_op(op)

    def emit(self, engine: str, instruction: str, **operands: FieldValue) -> None:
        """Add an instruction of an engine's set."""
        isa = self.builder.ctx.backend(self.system.engines[engine].kind).isa
        self.add(instruction_op(isa, instruction, engine, **operands))

    @contextmanager
    def loop(self, trips: int | Expr, parallel: bool = False) -> Generator[Expr]:
        """A loop around what is emitted inside; gives its counter."""
        counter = self.builder.register(f"{self.block}_i")
        body = Block()
        self.add(
            LoopOp.create(
                properties={
                    "counter": StringAttr(counter),
                    "trips": StringAttr(str(Expr.of(trips))),
                    "parallel": BoolAttr.from_bool(parallel),
                },
                regions=[Region(body)],
            )
        )
        self._bodies.append(body)
        yield Expr.symbol(counter)
        self._bodies.pop()

    def copy(self, target: ViewAttr, source: ViewAttr) -> None:
        """Copy a view to another of its shape, if they differ."""
        if target != source:
            self.add(self.builder.copy(target, source))

    def call(self, block: str, rows: int, first: int = 0) -> None:
        """Run another block for some rows of its table."""
        self.add(
            CallOp.create(
                properties={
                    "callee": SymbolRefAttr(block),
                    "first": IntegerAttr(first, i64),
                    "rows": IntegerAttr(rows, i64),
                }
            )
        )

    def lower(self, op: Operation) -> None:
        """Let the operation's family write its instructions; ProgramError CB0303 where that leaves a result open."""
        engine = self.engine_of(op)
        backend = self.builder.ctx.backend(engine.kind)
        outer, self.source = self.source, op
        depth = len(self._bodies)
        with self.writing.operation() as note:
            backend.lower(op, engine, self)
            for result in op.results:
                if result in self.values:
                    note(tensor_names(result), self.values[result])
        self.source = outer
        if len(self._bodies) != depth:
            raise ValueError(f"lowering {op.name} left a loop open")
        for result in op.results:
            if result not in self.values and result.first_use is not None:
                raise ProgramError(
                    "CB0303", f"engine {engine.name} left a result of {op.name} open", node_name(op), "mend its lower"
                )

    def engine_of(self, op: Operation) -> EngineSpec:
        """The engine that an operation is assigned to."""
        engine = op.attributes.get("engine")
        if not isinstance(engine, StringAttr):
            raise ProgramError("CB0303", f"{op.name} has no engine", node_name(op), "run assign-engines first")
        return self.system.engines[engine.data]

    # --------------------------------------------------- weights and caches

    def info(self, weight: str) -> WeightInfo:
        """The weight behind a symbol."""
        from crossbank.passes.tile.tile_weights import weight_info

        return weight_info(self.builder.weights[weight], self.builder.ctx)

    def placement(self, weight: str) -> Placement | None:
        """Where the instances of a weight, or of a cache held by its family, lie; None if in plain memory."""
        op = self.builder.weights.get(weight) or self.builder.cache_ops.get(weight)
        return None if op is None else placement_of(op, self.builder.ctx)

    def cache_info(self, symbol: str) -> CacheInfo:
        """The form of a cache."""
        return self.builder.caches[symbol]

    def cache_extent(self, symbol: str) -> tuple[Expr, Expr, Expr]:
        """The batch, past tokens and new tokens of a step."""
        cache = self.builder.caches[symbol]
        return cache.batch, cache.past, cache.new

    def cache(self, symbol: str) -> tuple[ViewAttr, ViewAttr]:
        """The whole key and value cache of this call."""
        if symbol not in self._caches:
            cache = self.builder.caches[symbol]
            if symbol not in self.builder.cache_stacks:
                shape = (cache.max_batch, cache.groups, cache.context, cache.head_dim)
                keys, values = (
                    self.builder.stack(f"{symbol}_{part}", cache.dtype, shape, cache.calls, kept=True)
                    for part in ("keys", "values")
                )
                self.builder.cache_stacks[symbol] = keys, values
            keys, values = self.builder.cache_stacks[symbol]
            offset = self.param(f"{symbol}_offset", keys.offsets)
            self._caches[symbol] = keys.at(offset), values.at(offset)
        return self._caches[symbol]

    # --------------------------------------------------------------- set-up

    def option(self, name: str, default: Any) -> Any:
        """What the user or the driver asked of families."""
        return self.builder.ctx.options.extra.get(name, default)

    def setup(self, engine: str, instruction: str, rows: int, **operands: FieldValue) -> None:
        """Add an instruction to the `setup` function: once for each call of this block, or once (`rows` 1)."""
        if self.setup_block is None:
            raise ValueError("a set-up block has no set-up of its own")
        if rows not in (1, self.calls):
            raise ValueError(f"set-up for {rows} rows of a block with {self.calls} calls")
        if rows == 1:
            first = {name: Expr.of(int(values[0])) for name, values in self.builder.param_values.items()}
            self._add_setup(self.setup_block, engine, instruction, operands, first)
            return
        if self._setup_rows is None:
            block = self.builder.block(f"setup_{self.block}", self.calls, entry=False)
            self._setup_rows = LoweringContext(self.builder, block)
            self.setup_block.source = self.source
            self.setup_block.call(self._setup_rows.block, self.calls)
            self.setup_block.source = None
        for name in _symbols(operands) & self.builder.param_values.keys():
            if name not in self._setup_params:
                self._setup_params[name] = self._setup_rows.param(name, self.builder.param_values[name])
        self._add_setup(self._setup_rows, engine, instruction, operands, self._setup_params)

    def _add_setup(
        self,
        block: LoweringContext,
        engine: str,
        instruction: str,
        operands: Mapping[str, FieldValue],
        replacements: Mapping[str, Expr],
    ) -> None:
        block.source = self.source
        block.emit(engine, instruction, **{name: _replaced(value, replacements) for name, value in operands.items()})
        block.source = None


def _symbols(operands: Mapping[str, FieldValue]) -> set[str]:
    found: set[str] = set()
    for value in operands.values():
        if isinstance(value, Expr):
            found |= value.symbols
        elif isinstance(value, ViewAttr):
            for part in (value.offset_expr, *value.shape_exprs, *value.stride_exprs):
                found |= part.symbols
    return found


def _replaced(value: FieldValue, replacements: Mapping[str, Expr]) -> FieldValue:
    def substitute(part: Expr) -> Expr:
        return part.substitute(replacements)

    if isinstance(value, Expr):
        return substitute(value)
    if isinstance(value, ViewAttr):
        shape, strides = map(substitute, value.shape_exprs), map(substitute, value.stride_exprs)
        return ViewAttr.of(value.buffer.data, value.dtype.data, [*shape], [*strides], substitute(value.offset_expr))
    return value
