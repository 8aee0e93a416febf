"""Emission: blocks of instructions become streams of records, one per engine, in a `Code`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import IntegerAttr, ModuleOp
from xdsl.ir import Block as IRBlock
from xdsl.ir import Operation

from crossbank.dialects.block_values import BlockValue, block_values, operation_of
from crossbank.dialects.imc import (
    BlockOp,
    BufferOp,
    CallOp,
    LoopOp,
    ParamOp,
    PortOp,
    SignalOp,
    StateOp,
    ViewAttr,
    WaitOp,
    WeightOp,
)
from crossbank.dialects.instructions import InstructionOp, operand_values
from crossbank.dialects.location import node_names
from crossbank.passes.capacity import Capacity, aligned, capacity_of
from crossbank.passes.context import CompileContext
from crossbank.passes.emit.check_ports import check_ports
from crossbank.passes.emit.summary import summary_of
from crossbank.passes.lower.program_builder import MEMORY
from crossbank.runtime import core_isa
from crossbank.runtime.expr import Bounds, Expr, sanitise
from crossbank.runtime.isa import Instruction
from crossbank.runtime.program import (
    SPACE_SHIFT,
    Block,
    Code,
    Constant,
    Engine,
    Function,
    Layout,
    NamedTensor,
    Port,
    Space,
    State,
    Table,
)
from crossbank.runtime.records import Operand, Pools, Tensor, encode, records

SPACES = {"io": 1, "mem": 2, "const": 3, "private": 4}
SPACE_KINDS = {"io": "io", "mem": "memory", "const": "const", "private": "private"}
CONST = "const"


@dataclass
class _Weights:
    """The const space: every tensor that an instruction names, once."""

    ctx: CompileContext
    ops: dict[str, WeightOp]
    constants: dict[str, Constant] = field(default_factory=dict[str, Constant])
    end: int = 0

    def addresses(self, symbol: str) -> NDArray[np.int64]:
        """The address of each call's tensor (calls,)."""
        return np.array([self._address(tensor.data) for tensor in self.ops[symbol].tensors], np.int64)

    def _address(self, name: str) -> int:
        if name not in self.constants:
            entry = self.ctx.tensors.entry(name)
            address = SPACES[CONST] << SPACE_SHIFT | self.end
            self.constants[name] = Constant(name, entry.dtype, entry.shape, address)
            self.end += aligned(max(entry.size_bytes, 1))
        return self.constants[name].address


@dataclass
class _Columns:
    """The parameters of one block: a register and a value per call each."""

    calls: int
    values: dict[str, NDArray[np.int64]] = field(default_factory=dict[str, Any])
    of_weight: dict[str, Expr] = field(default_factory=dict[str, Expr])


@dataclass
class _Nodes:
    """Node slots of one block: which nodes (one per call) the records of a slot stand for."""

    numbers: dict[str, int]
    """Number of each node in the program, shared by all blocks."""
    slots: dict[tuple[str, ...], int] = field(default_factory=dict[tuple[str, ...], int])

    def slot(self, op: Operation) -> int:
        names = node_names(op) or ("",)
        for name in names:
            self.numbers.setdefault(name, len(self.numbers))
        return self.slots.setdefault(names, len(self.slots))

    def table(self) -> NDArray[np.int32]:
        """Node numbers (rows, slots)."""
        rows = max((len(names) for names in self.slots), default=1)
        table = np.zeros((rows, max(len(self.slots), 1)), np.int32)
        for names, slot in self.slots.items():
            column = [self.numbers[name] for name in names]
            table[:, slot] = column if len(column) == rows else column[0]
        return table


class _Emitter:
    def __init__(self, module: ModuleOp, ctx: CompileContext) -> None:
        self.ctx = ctx
        ops = list(module.body.block.ops)
        self.blocks = {op.sym_name.data: op for op in ops if isinstance(op, BlockOp)}
        self.buffers = {op.sym_name.data: op for op in ops if isinstance(op, BufferOp)}
        self.ports = [op for op in ops if isinstance(op, PortOp)]
        self.states = [op for op in ops if isinstance(op, StateOp)]
        self.weights = _Weights(ctx, {op.sym_name.data: op for op in ops if isinstance(op, WeightOp)})
        self.capacity: Capacity = capacity_of(ctx, module)
        self.columns = {name: _Columns(op.calls.value.data) for name, op in self.blocks.items()}
        for op in ops:
            if isinstance(op, ParamOp):
                self.columns[op.block.data].values[op.sym_name.data] = _values(op)
        self.pools = Pools(blocks=list(self.blocks), tables=[n for n, op in self.blocks.items() if not _entry(op)])
        self.nodes: dict[str, int] = {"": 0}
        self.tokens = 0
        self.ranges: dict[str, Bounds] = dict(self.capacity.ranges)
        for columns in self.columns.values():
            for name, values in columns.values.items():
                self.ranges[name] = int(values.min()), int(values.max())

    def code(self) -> Code:
        blocks = {name: self._block(name) for name in self.blocks}
        config = self.ctx.system.as_config()
        groups = int(self.ctx.notes.get("groups", 1))
        config["group"] = {**config.get("group", {}), "count": groups}
        layers = max((op.calls.value.data for op in self.blocks.values()), default=1)
        units = {"units": -(-groups // max(layers, 1))} if groups > layers else {}
        registers = {name: self.ranges[name] for name in self.pools.registers}
        registers.update({name: bounds for name, bounds in self.ranges.items() if name not in registers})
        return Code(
            target=self.ctx.system.name,
            system=config,
            engines={
                spec.name: Engine(spec.name, spec.kind, self.ctx.backend(spec.kind).isa.name, {**spec.config, **units})
                for spec in self.ctx.system.engines.values()
            },
            spaces=self._spaces(),
            registers=registers,
            dimensions=self.capacity.dimensions,
            capacity=dict(self.capacity.replacements),
            expressions=self.pools.expressions,
            layouts=self.pools.layouts,
            functions=self._functions(),
            blocks=blocks,
            tables={name: self._table(name) for name in self.pools.tables},
            tokens=self.tokens,
            nodes=list(self.nodes),
            constants=self.weights.constants,
            states=tuple(self._state(op) for op in self.states),
            limits={
                "context": self.capacity.context,
                "max_batch": self.capacity.max_batch,
                "groups": int(self.ctx.notes.get("groups", 1)),
            },
            context_of=dict(self.capacity.roles),
        )

    # ------------------------------------------------------------- tensors

    def _tensor(self, block: str, view: ViewAttr) -> Tensor:
        layout = Layout(view.dtype.data, view.shape_exprs, view.stride_exprs)
        symbol = view.buffer.data
        base = self._weight(block, symbol) if symbol in self.weights.ops else Expr.of(self._base(symbol))
        return Tensor(base + view.offset_expr, layout)

    def _base(self, symbol: str) -> int:
        buffer = self.buffers[symbol]
        if buffer.address is None:
            raise ValueError(f"buffer {symbol} has no address: run allocate-buffers first")
        return SPACES[buffer.space.data] << SPACE_SHIFT | buffer.address.value.data

    def _weight(self, block: str, symbol: str) -> Expr:
        """The address of a weight in a block: a parameter where it differs from call to call."""
        columns = self.columns[block]
        if symbol not in columns.of_weight:
            addresses = self.weights.addresses(symbol)
            if len(set(addresses.tolist())) == 1:
                columns.of_weight[symbol] = Expr.of(int(addresses[0]))
            elif len(addresses) != columns.calls:
                raise ValueError(f"weight {symbol}: {len(addresses)} tensors in a block with {columns.calls} calls")
            else:
                register = sanitise(f"{block}_at_{symbol}")
                while register in self.ranges:
                    register += "_"
                columns.values[register] = addresses
                self.ranges[register] = int(addresses.min()), int(addresses.max())
                columns.of_weight[symbol] = Expr.symbol(register)
        return columns.of_weight[symbol]

    # ------------------------------------------------------------- records

    def _block(self, name: str) -> Block:
        op = self.blocks[name]
        nodes = _Nodes(self.nodes)
        streams: dict[str, list[NDArray[np.void]]] = {}
        self._body(name, op.body.block, streams, nodes)
        columns = self.columns[name]
        return Block(
            name=name,
            parameters=tuple(columns.values),
            streams={engine: records(streams[engine]) for engine in self.ctx.system.engines if engine in streams},
            nodes=nodes.table(),
            values=tuple(self._value(name, value) for value in block_values(op)),
        )

    def _value(self, block: str, value: BlockValue) -> NamedTensor:
        lies = self._tensor(block, value.view)
        return NamedTensor(value.operation, value.names, lies.address, lies.layout)

    def _body(self, name: str, body: IRBlock, streams: dict[str, list[NDArray[np.void]]], nodes: _Nodes) -> None:
        def add(engine: str, instruction: Instruction, operands: dict[str, Operand], op: Operation) -> None:
            record = encode(core_isa.ISA, instruction, operands, nodes.slot(op), self.pools)
            streams.setdefault(engine, []).append(record)

        for op in body.ops:
            match op:
                case InstructionOp():
                    operands: dict[str, Operand] = {
                        key: self._tensor(name, value) if isinstance(value, ViewAttr) else value
                        for key, value in operand_values(op).items()
                    }
                    slot, operation = nodes.slot(op), operation_of(op)
                    record = encode(op.ISA, op.INSTRUCTION, operands, slot, self.pools, operation)
                    streams.setdefault(op.engine.data, []).append(record)
                case LoopOp():
                    trips, counter = Expr.of(op.trips.data), op.counter.data
                    self.ranges[counter] = 0, max(self._most(trips) - 1, 0)
                    kind = core_isa.LoopKind(int(bool(op.parallel.value.data)))
                    inner: dict[str, list[NDArray[np.void]]] = {}
                    self._body(name, op.body.block, inner, nodes)
                    for engine, stream in inner.items():
                        add(engine, core_isa.LOOP, {"counter": counter, "trips": trips, "kind": kind}, op)
                        streams[engine].extend(stream)
                        add(engine, core_isa.END, {}, op)
                case CallOp():
                    callee = op.callee.root_reference.data
                    rows = {"first": Expr.of(op.first.value.data), "rows": Expr.of(op.rows.value.data)}
                    for engine in self._engines(callee):
                        add(engine, core_isa.CALL, {"block": callee, "table": callee, **rows}, op)
                case SignalOp():
                    self.tokens = max(self.tokens, op.token.value.data + 1)
                    add(op.engine.data, core_isa.SIGNAL, {"token": op.token.value.data}, op)
                case WaitOp():
                    add(op.engine.data, core_isa.WAIT, {"token": op.token.value.data}, op)
                case _:
                    raise ValueError(f"{op.name} can't be emitted")

    def _most(self, trips: Expr) -> int:
        return trips.substitute(self.capacity.replacements).bounds(self.ranges)[1]

    def _engines(self, block: str) -> list[str]:
        """The engines that take part in a block, through the blocks that it calls too."""
        found: dict[str, None] = {}
        for op in self.blocks[block].body.walk():
            if isinstance(op, InstructionOp):
                found[op.engine.data] = None
            elif isinstance(op, CallOp):
                found.update(dict.fromkeys(self._engines(op.callee.root_reference.data)))
        return list(found)

    # -------------------------------------------------------------- tables

    def _table(self, name: str) -> Table:
        columns = self.columns[name]
        values = np.zeros((columns.calls, len(columns.values)), np.int64)
        for i, column in enumerate(columns.values.values()):
            values[:, i] = column
        return Table(name, tuple(columns.values), values)

    def _spaces(self) -> dict[str, Space]:
        used = {CONST: self.weights.end}
        for buffer in self.buffers.values():
            assert buffer.address is not None
            end = buffer.address.value.data + aligned(Expr.of(buffer.size.data).constant)
            used[buffer.space.data] = max(used.get(buffer.space.data, 0), end)
        spaces: dict[str, Space] = {}
        for name, number in SPACES.items():
            memory = self.ctx.system.memory_for("working") if name == MEMORY else None
            capacity = memory["capacity_bytes"] * int(self.ctx.notes.get("groups", 1)) if memory else None
            spaces[name] = Space(
                name, number, SPACE_KINDS[name], used.get(name, 0), None if capacity is None else round(capacity)
            )
        return spaces

    def _functions(self) -> dict[str, Function]:
        functions: dict[str, Function] = {}
        for name, op in self.blocks.items():
            if _entry(op):
                ports = [entry for entry in self.ports if entry.function.data == name]
                functions[name] = Function(
                    name,
                    name,
                    inputs=tuple(self._port(entry) for entry in ports if not entry.output.value.data),
                    outputs=tuple(self._port(entry) for entry in ports if entry.output.value.data),
                )
        return functions

    def _port(self, op: PortOp) -> Port:
        address = self._base(op.view.buffer.data) + op.view.offset_expr.constant
        return Port(op.port.data, op.view.dtype.data, op.view.shape_exprs, address)

    def _state(self, op: StateOp) -> State:
        return State(
            op.state.data,
            op.input.data if op.input else None,
            op.output.data if op.output else None,
            op.axis.value.data,
            Expr.of(op.past.data),
        )


def _values(op: ParamOp) -> NDArray[np.int64]:
    return np.frombuffer(op.values.data.data, np.int64)


def _entry(op: BlockOp) -> bool:
    assert isinstance(op.entry, IntegerAttr)
    return bool(op.entry.value.data)


def emit(module: ModuleOp, ctx: CompileContext) -> Code:
    """The program of a module whose buffers have addresses and whose engines have tokens."""
    code = _Emitter(module, ctx).code()
    check_ports(code, ctx.model_name)
    code.summary.update(summary_of(ctx, code))
    return code
