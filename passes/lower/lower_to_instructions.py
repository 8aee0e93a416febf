"""Pass lower-to-instructions: functions over tensors become blocks of instructions on views of buffers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from xdsl.context import Context
from xdsl.dialects.builtin import ArrayAttr, ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from crossbank.dialects.imc import RepeatOp, UseOp, ViewAttr, WeightOp
from crossbank.dialects.llm import CacheOp
from crossbank.dialects.onnx import DimsValueOp
from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.passes.capacity import Capacity, capacity_of
from crossbank.passes.context import CompileContext
from crossbank.passes.lower.lower_caches import EXPORT, IMPORT, declare_states, lower_transfer
from crossbank.passes.lower.lowering import LoweringContext
from crossbank.passes.lower.program_builder import MEMORY, PORTS, ProgramBuilder, Stack
from crossbank.passes.place.caches import cache_info, cache_users
from crossbank.passes.rewriting import computed
from crossbank.runtime.expr import Expr
from crossbank.runtime.program import ProgramError

MAIN, SETUP = "main", "setup"


@dataclass(frozen=True)
class LowerToInstructionsPass(ModulePass):
    """Let the engines' families write the instructions of every operation.

    Before: `func.func @main(%x) { %y = "llm.activation"(%x) <{activation = "silu"}> {engine = "v"}  func.return %y }`
    After:  `"imc.block"() <{sym_name = "main", …}> ({ "vector.activation"() <{dst = …, …}> {engine = "v"} })`
            with an `imc.buffer` per tensor and an `imc.port` per input and output

    A repeated function becomes a block that an `imc.call` runs over the rows of its table of parameters; its carried
    tensors live in one buffer each. A block's `values` say which instructions leave which tensors of the ONNX file
    where. Also writes `import_cache` and `export_cache`, which move KV caches between ports and device state, and
    `setup` where a family asks for it.
    """

    name = "lower-to-instructions"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompileContext)
        weights = {entry.sym_name.data: entry for entry in op.body.block.ops if isinstance(entry, WeightOp)}
        caches = {entry.sym_name.data: entry for entry in op.body.block.ops if isinstance(entry, CacheOp)}
        functions = {entry.sym_name.data: entry for entry in op.body.block.ops if isinstance(entry, FuncOp)}
        ctx.notes["computed"] = computed(op)
        builder = ProgramBuilder(
            ctx, _capacity(ctx, op, caches), weights, {k: cache_info(v, ctx) for k, v in caches.items()}, caches
        )
        users = cache_users(op)
        _ProgramLowering(builder, functions).lower_main()
        declare_states(builder)
        lower_transfer(builder, users, IMPORT)
        lower_transfer(builder, users, EXPORT)
        for old in (*functions.values(), *caches.values()):
            old.detach()
            old.erase(safe_erase=False)
        op.body.block.add_ops(builder.finish())


def _capacity(ctx: CompileContext, module: ModuleOp, caches: dict[str, CacheOp]) -> Capacity:
    """Capacity for the dimensions of the ports, those of the caches included."""
    texts = [text.data for cache in caches.values() for text in (cache.batch, cache.past, cache.new)]
    capacity = capacity_of(ctx, module, sorted({name for text in texts for name in Expr.of(text).symbols}))
    ctx.notes["dimensions"] = capacity.dimensions
    return capacity


def _names(func: FuncOp, attribute: str, count: int) -> list[str]:
    """The ONNX names of a function's arguments or results."""
    found = func.attributes.get(attribute)
    if isinstance(found, ArrayAttr):
        names = [name.data for name in cast("ArrayAttr[StringAttr]", found)]
        if len(names) == count:
            return names
    return [f"{attribute.split('_')[0]}{i}" for i in range(count)]


def _returned(func: FuncOp) -> Sequence[SSAValue]:
    last = func.body.block.last_op
    assert isinstance(last, ReturnOp)
    return last.operands


def _producer(value: SSAValue) -> Operation | None:
    return value.owner if isinstance(value.owner, Operation) else None


class _ProgramLowering:
    """Lowers @main and what it repeats."""

    def __init__(self, builder: ProgramBuilder, functions: dict[str, FuncOp]) -> None:
        self.builder = builder
        self.functions = functions
        self.lowered: set[str] = set()
        self.each: dict[tuple[RepeatOp, int], Stack] = {}
        """The stacked operands of each slot of a repeat."""
        self.each_out: dict[tuple[RepeatOp, int], Stack] = {}

    def lower_main(self) -> None:
        builder, func = self.builder, self.functions[MAIN]
        to = LoweringContext(builder, builder.block(MAIN, 1, entry=True))
        setup = LoweringContext(builder, builder.block(SETUP, 1, entry=True))
        to.setup_block = setup
        results = list(_returned(func))
        self._stack_each(to, func, results)
        for name, value in zip(_names(func, "input_names", len(func.args)), func.args, strict=True):
            if value not in to.values:
                to.values[value] = builder.tensor(name, dtype_of(value), shape_of(value), PORTS, kept=True)
            builder.port(MAIN, name, False, to.values[value])
        self._lower_body(to, func, self._output_ports(to, func, results))
        if setup.op.body.block.first_op is None:
            builder.blocks.remove(setup.op)

    def _output_ports(self, to: LoweringContext, func: FuncOp, results: list[SSAValue]) -> list[ViewAttr]:
        """The port of each result: where its producer writes it, if it is this port's alone."""
        ports: list[ViewAttr] = []
        for name, value in zip(_names(func, "output_names", len(results)), results, strict=True):
            view = to.targets.get(value)
            if view is None or view in ports:
                view = self.builder.tensor(f"{name}", dtype_of(value), shape_of(value), PORTS, kept=True)
                to.targets.setdefault(value, view)
            self.builder.port(MAIN, name, True, view)
            ports.append(view)
        return ports

    def _stack_each(self, to: LoweringContext, func: FuncOp, results: list[SSAValue]) -> None:
        """Give the `each` operands and results of repeats places one after another, ports among them included."""
        for op in func.body.block.ops:
            if not isinstance(op, RepeatOp):
                continue
            count = op.count.value.data
            for slot in range(len(op.each) // count):
                values = op.each[slot * count : (slot + 1) * count]
                space = PORTS if all(value in func.args for value in values) else MEMORY
                stack = self._stack(op, f"each{slot}", values[0], count, space)
                self.each[op, slot] = stack
                for call, value in enumerate(values):
                    if value in func.args and space == PORTS:
                        to.values.setdefault(value, stack.slot(call))
                    elif isinstance(value.owner, Operation):
                        to.targets.setdefault(value, stack.slot(call))
            for slot in range(len(op.each_out) // count):
                values = op.each_out[slot * count : (slot + 1) * count]
                space = PORTS if all(results.count(value) == 1 for value in values) else MEMORY
                stack = self._stack(op, f"each_out{slot}", values[0], count, space)
                self.each_out[op, slot] = stack
                for call, value in enumerate(values):
                    to.values[value] = stack.slot(call)
                    if space == PORTS:
                        to.targets[value] = stack.slot(call)

    def _stack(self, op: RepeatOp, name: str, value: SSAValue, count: int, space: str) -> Stack:
        callee = op.callee.root_reference.data
        return self.builder.stack(
            f"{callee}_{name}", dtype_of(value), shape_of(value), count, space, kept=space == PORTS
        )

    def _lower_body(self, to: LoweringContext, func: FuncOp, targets: Sequence[ViewAttr]) -> None:
        """Lower a function's operations, then bring its results to their targets."""
        for op in func.body.block.ops:
            match op:
                case ReturnOp() | UseOp() | DimsValueOp() | Operation(name="onnx.Constant"):
                    pass
                case RepeatOp():
                    self._lower_repeat(to, op)
                case _:
                    to.lower(op)
        to.writing.finish(to.op)
        views = [to.view(value) for value in _returned(func)]
        taken = {target.buffer.data for target in targets}
        for i, (target, view, value) in enumerate(zip(targets, views, _returned(func), strict=True)):
            if view != target and view.buffer.data in taken - {target.buffer.data}:
                to.source = _producer(value)
                views[i] = to.scratch(view.dtype.data, view.shape_exprs)
                to.copy(views[i], view)
        for target, view, value in zip(targets, views, _returned(func), strict=True):
            to.source = _producer(value)
            to.copy(target, view)
        to.source = None

    def _lower_repeat(self, to: LoweringContext, op: RepeatOp) -> None:
        builder, count, name = self.builder, op.count.value.data, op.callee.root_reference.data
        if name in self.lowered:
            raise ProgramError("CB0303", f"function {name} is repeated in two places", help="dump IR anew")
        self.lowered.add(name)
        func = self.functions[name]
        inner = LoweringContext(builder, builder.block(name, count, entry=False), setup_block=to.setup_block)
        to.source = op
        carried = [builder.tensor(f"{name}_carried", dtype_of(value), shape_of(value)) for value in op.carried]
        for buffer, value in zip(carried, op.carried, strict=True):
            to.copy(buffer, to.view(value))
        arguments = [*carried, *(to.view(value) for value in op.shared)]
        for slot in range(len(op.each) // count):
            stack = self.each[op, slot]
            for call in range(count):
                to.copy(stack.slot(call), to.view(op.each[slot * count + call]))
            arguments.append(stack.at(inner.param(f"each{slot}", stack.offsets)))
        inner.values.update(zip(func.args, arguments, strict=True))
        targets = list(carried)
        for slot in range(len(op.each_out) // count):
            stack = self.each_out[op, slot]
            targets.append(stack.at(inner.param(f"each_out{slot}", stack.offsets)))
        returned = _returned(func)
        for value, target in list(zip(returned, targets, strict=True))[len(carried) :]:
            inner.targets.setdefault(value, target)
        self._lower_body(inner, func, targets)
        to.call(inner.block, count)
        to.source = None
        to.values.update(zip(op.carried_out, carried, strict=True))
