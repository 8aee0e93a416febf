"""A toy system for pass tests: a vector engine `v`, and `m` that multiplies by matrices held in units of 4x4."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any

import numpy as np
from xdsl.dialects.builtin import BoolAttr, Builtin, IntegerAttr, ModuleOp, StringAttr, SymbolRefAttr, i64
from xdsl.dialects.func import Func
from xdsl.ir import Block, Operation, Region
from xdsl.parser import Parser
from xdsl.passes import ModulePass

from crossbank.backends.system import EngineSpec, read_system
from crossbank.dialects import load_dialects
from crossbank.dialects.imc import BlockOp, BufferOp, CallOp, LoopOp, SignalOp, ViewAttr, WaitOp
from crossbank.dialects.instructions import InstructionOp, dialect_of, field_accesses, instruction_op
from crossbank.dialects.llm import ActivationOp, LinearOp
from crossbank.dialects.mapping import CacheInfo, CacheSplit, Dimension, Legality, Split, Tiling, WeightInfo, parts_of
from crossbank.dialects.shape import shape_of
from crossbank.passes.context import CompileContext, CompileOptions
from crossbank.runtime.expr import Expr
from crossbank.runtime.isa import Access, InstructionSet, count, enum, number, reads, writes

SYSTEM = """
name = "toy"
[[engine]]
name = "v"
kind = "simd"
[[engine]]
name = "m"
kind = "matrix"
"""
UNIT = 4
UNITS_PER_GROUP = 6


class Function(IntEnum):
    SILU = 0
    GELU = 1


def _never(*_: Any) -> None:
    raise AssertionError("a toy does not run")


VECTOR = InstructionSet("toyvec", 70, 1, "A toy vector unit.", _never, _never)
VECTOR.define("copy", 1, [writes("dst"), reads("src")], "dst = src", _never, _never)
VECTOR.define("add", 2, [writes("dst"), reads("a"), reads("b")], "dst = a + b", _never, _never)
VECTOR.define(
    "act", 3, [writes("dst"), reads("src"), enum("op", Function), number("scale")], "dst = op(src)", _never, _never
)
MATRIX = InstructionSet("toymat", 71, 1, "A toy matrix engine.", _never, _never)
MATRIX.define("load", 1, [count("unit"), reads("src")], "unit = src", _never, _never)
MATRIX.define(
    "mul", 2, [writes("dst"), reads("x"), count("unit"), reads("bias", optional=True)], "dst = x @ unit", _never, _never
)


class Vector:
    kind = "simd"
    isa = VECTOR

    def accepts(self, op: Operation, engine: EngineSpec) -> Legality:
        legal = isinstance(op, ActivationOp) or op.name in ("onnx.Add", "onnx.Reshape")
        return Legality(legal, 1, f"no instruction for {op.name}", "teach it")

    def lower(self, op: Operation, engine: EngineSpec, to: Any) -> None:
        if op.name == "onnx.Reshape":
            source = to.view(op.operands[0])
            to.bind(op.results[0], ViewAttr.of(source.buffer.data, source.dtype.data, shape_of(op.results[0])))
        elif isinstance(op, ActivationOp):
            to.emit(engine.name, "act", dst=to.result(op.y), src=to.view(op.x), op=op.activation.data, scale=1.0)
        else:
            a, b = (to.view(value) for value in op.operands)
            to.emit(engine.name, "add", dst=to.result(op.results[0]), a=a, b=b)


class Matrix:
    kind = "matrix"
    isa = MATRIX

    def accepts(self, op: Operation, engine: EngineSpec) -> Legality:
        return Legality(isinstance(op, LinearOp), 5, "only products", "use a linear")

    def split_weight(self, weight: WeightInfo, engine: EngineSpec) -> tuple[Split, ...]:
        rows, columns = -(-weight.in_features // UNIT), -(-weight.out_features // UNIT)
        return Split(Dimension.ROWS, "array", rows), Split(Dimension.COLUMNS, "array", columns)

    def tile(self, weight: WeightInfo, splits: tuple[Split, ...], engine: EngineSpec) -> Tiling:
        grid = parts_of(splits, Dimension.ROWS), parts_of(splits, Dimension.COLUMNS)
        units = grid[0] * grid[1]
        size = weight.in_features * weight.out_features * 4
        return Tiling(grid, (UNIT, UNIT), units, UNITS_PER_GROUP, True, size, units * UNIT * UNIT * 4, "array", "chip")

    def split_cache(self, cache: CacheInfo, engine: EngineSpec) -> CacheSplit:
        heads = Split(Dimension.HEADS, "array", cache.groups)
        return CacheSplit((heads,), (heads, Split(Dimension.TOKENS, "array", cache.context // UNIT)))

    def cache_units(self, cache: CacheInfo, engine: EngineSpec) -> Tiling:
        size = 2 * cache.max_batch * cache.groups * cache.context * cache.head_dim * 4
        return Tiling((1, 1), (UNIT, UNIT), cache.groups, UNITS_PER_GROUP, True, size, size, "array", "chip")

    def lower(self, op: Operation, engine: EngineSpec, to: Any) -> None:
        assert isinstance(op, LinearOp)
        name = op.weight.owner.weight.root_reference.data  # type: ignore[union-attr]
        placement = to.placement(name)
        unit = to.param("unit", placement.first_unit)
        to.setup(engine.name, "load", to.calls, unit=unit, src=to.view(op.weight))
        to.emit(engine.name, "mul", dst=to.result(op.y), x=to.view(op.x), unit=unit, bias=None)


def context(context: int = 16, max_batch: int = 2, groups: int | None = None) -> CompileContext:
    """A context of the toy system with all dialects loaded."""
    ctx = CompileContext(read_system(SYSTEM, "toy"), {"simd": Vector(), "matrix": Matrix()})  # type: ignore[dict-item]
    ctx.options = CompileOptions(context, max_batch, groups)
    ctx.model_name = "toy.onnx"
    ctx.load_dialect(Builtin)
    ctx.load_dialect(Func)
    load_dialects(ctx)
    for isa in (VECTOR, MATRIX):
        ctx.load_dialect(dialect_of(isa))
    return ctx


def weights(ctx: CompileContext, names: Iterable[str], shape: tuple[int, ...]) -> None:
    """Declare float32 tensors of one shape."""
    for i, name in enumerate(names):
        ctx.tensors.add(name, np.full(shape, i, np.float32))


def parse(ctx: CompileContext, text: str) -> ModuleOp:
    module = Parser(ctx, text).parse_module()
    module.verify()
    return module


def run(ctx: CompileContext, module: ModuleOp, *passes: ModulePass) -> ModuleOp:
    """Apply passes, verifying after each."""
    for item in passes:
        item.apply(ctx, module)
        module.verify()
    return module


LAYERS = """
builtin.module {
  "imc.weight"() <{sym_name = "w", type = tensor<4x4xf32>, tensors = ["w.0", "w.1", "w.2"]}> : () -> ()
  "imc.weight"() <{sym_name = "head", type = tensor<4x8xf32>, tensors = ["head"]}> : () -> ()
  func.func @main(%x : tensor<?x4xf32, #onnx.dims<["seq", "4"]>>) -> tensor<?x8xf32, #onnx.dims<["seq", "8"]>>
      attributes {input_names = ["x"], output_names = ["y"]} {
    %a = "llm.activation"(%x) <{activation = "silu"}> {nodes = ["first"]}
      : (tensor<?x4xf32, #onnx.dims<["seq", "4"]>>) -> tensor<?x4xf32, #onnx.dims<["seq", "4"]>>
    %b = "imc.repeat"(%a) <{callee = @layer, count = 3 : i64, operandSegmentSizes = array<i32: 1, 0, 0>,
      resultSegmentSizes = array<i32: 1, 0>}>
      : (tensor<?x4xf32, #onnx.dims<["seq", "4"]>>) -> tensor<?x4xf32, #onnx.dims<["seq", "4"]>>
    %h = "imc.use"() <{weight = @head}> : () -> tensor<4x8xf32>
    %y = "llm.linear"(%b, %h) <{transposed = false, operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>}> {nodes = ["head"]}
      : (tensor<?x4xf32, #onnx.dims<["seq", "4"]>>, tensor<4x8xf32>) -> tensor<?x8xf32, #onnx.dims<["seq", "8"]>>
    func.return %y : tensor<?x8xf32, #onnx.dims<["seq", "8"]>>
  }
  func.func @layer(%x : tensor<?x4xf32, #onnx.dims<["seq", "4"]>>) -> tensor<?x4xf32, #onnx.dims<["seq", "4"]>> {
    %w = "imc.use"() <{weight = @w}> : () -> tensor<4x4xf32>
    %p = "llm.linear"(%x, %w) <{transposed = false, operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>}>
      {nodes = ["mul.0", "mul.1", "mul.2"]}
      : (tensor<?x4xf32, #onnx.dims<["seq", "4"]>>, tensor<4x4xf32>) -> tensor<?x4xf32, #onnx.dims<["seq", "4"]>>
    %q = "llm.activation"(%p) <{activation = "gelu"}> {nodes = ["act.0", "act.1", "act.2"]}
      : (tensor<?x4xf32, #onnx.dims<["seq", "4"]>>) -> tensor<?x4xf32, #onnx.dims<["seq", "4"]>>
    %r = "onnx.Add"(%x, %q) {version = 18 : i64, nodes = ["add.0", "add.1", "add.2"]}
      : (tensor<?x4xf32, #onnx.dims<["seq", "4"]>>, tensor<?x4xf32, #onnx.dims<["seq", "4"]>>)
      -> tensor<?x4xf32, #onnx.dims<["seq", "4"]>>
    func.return %r : tensor<?x4xf32, #onnx.dims<["seq", "4"]>>
  }
}
"""
"""Three layers x + gelu(x @ w), then a head: what the passes of the middle and back are tried on."""


def layers(ctx: CompileContext) -> ModuleOp:
    """The module of `LAYERS` with its tensors declared."""
    weights(ctx, ["w.0", "w.1", "w.2"], (4, 4))
    weights(ctx, ["head"], (4, 8))
    return parse(ctx, LAYERS)


def outline(module: ModuleOp) -> dict[str, list[str]]:
    """A line per operation of each block: "v act carried <- x", "m wait 0", "call layer 3"."""
    lines: dict[str, list[str]] = {}
    for op in module.body.block.ops:
        if isinstance(op, BlockOp):
            lines[op.sym_name.data] = [line for inner in op.body.block.ops for line in _lines(inner)]
    return lines


def _lines(op: Operation) -> list[str]:
    match op:
        case SignalOp():
            return [f"{op.engine.data} signal {op.token.value.data}"]
        case WaitOp():
            return [f"{op.engine.data} wait {op.token.value.data}"]
        case CallOp():
            return [f"call {op.callee.root_reference.data} {op.rows.value.data}"]
        case LoopOp():
            return [f"loop {op.trips.data}", *(f"  {line}" for inner in op.body.block.ops for line in _lines(inner))]
        case InstructionOp():
            views = list(field_accesses(op))
            written = [entry.view.buffer.data for entry in views if entry.access is Access.WRITE]
            read = [entry.view.buffer.data for entry in views if entry.access is not Access.WRITE]
            return [f"{op.engine.data} {op.INSTRUCTION.mnemonic} {', '.join(written)} <- {', '.join(read)}"]
        case _:
            return [op.name]


def view(buffer: str, shape: tuple[int | str, ...] = (4,), offset: int | str = 0) -> ViewAttr:
    """A contiguous float32 view."""
    return ViewAttr.of(buffer, "float32", [Expr.of(dim) for dim in shape], offset=Expr.of(offset))


def buffer(name: str, size: int = 64, space: str = "mem", kept: bool = False) -> Operation:
    """A buffer without address."""
    return BufferOp.create(
        properties={
            "sym_name": StringAttr(name),
            "space": StringAttr(space),
            "size": StringAttr(str(size)),
            "kept": BoolAttr.from_bool(kept),
        }
    )


def block(name: str, ops: Iterable[Operation], entry: bool = True, calls: int = 1) -> Operation:
    """A block of operations."""
    return BlockOp.create(
        properties={"sym_name": StringAttr(name), "entry": BoolAttr.from_bool(entry), "calls": IntegerAttr(calls, i64)},
        regions=[Region(Block(ops))],
    )


def loop(counter: str, trips: int | str, ops: Iterable[Operation]) -> Operation:
    """A sequential loop."""
    return LoopOp.create(
        properties={
            "counter": StringAttr(counter),
            "trips": StringAttr(str(trips)),
            "parallel": BoolAttr.from_bool(False),
        },
        regions=[Region(Block(ops))],
    )


def call(callee: str, rows: int) -> Operation:
    """A call of all rows."""
    return CallOp.create(
        properties={
            "callee": SymbolRefAttr(callee),
            "first": IntegerAttr(0, i64),
            "rows": IntegerAttr(rows, i64),
        }
    )


def copy(target: str, source: str) -> Operation:
    """`v` copies a buffer of four floats to another."""
    return instruction_op(VECTOR, "copy", "v", dst=view(target), src=view(source))


def act(target: str, source: str) -> Operation:
    """`v` computes a buffer from another."""
    return instruction_op(VECTOR, "act", "v", dst=view(target), src=view(source), op="silu", scale=1.0)


def add(target: str, a: str, b: str) -> Operation:
    """`v` adds two buffers."""
    return instruction_op(VECTOR, "add", "v", dst=view(target), a=view(a), b=view(b))


def mul(target: str, source: str) -> Operation:
    """`m` computes a buffer from another."""
    return instruction_op(MATRIX, "mul", "m", dst=view(target), x=view(source), unit=0)
