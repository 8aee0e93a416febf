"""The graph as an xDSL module in value form: functions of `onnx` operations, weight symbols, layers as one call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xdsl.dialects.builtin import ArrayAttr, FunctionType, IntegerAttr, ModuleOp, StringAttr, SymbolRefAttr, i64
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from crossbank.compiler.frontend.dims import (
    Roles,
    cache_lengths,
    encoder_lengths,
    free_masks,
    roles,
    tokens_fed,
    total_length,
)
from crossbank.compiler.frontend.errors import ATTRIBUTE, DTYPE, FrontendError
from crossbank.compiler.frontend.graph import ABSENT, Graph, Info, Node
from crossbank.compiler.frontend.load import Weights, load
from crossbank.compiler.frontend.positions import position_limits
from crossbank.compiler.frontend.repeats import Carried, Each, Inner, Item, Repeat, Shared, Source, Static, find_repeats
from crossbank.compiler.frontend.shapes import Shapes, infer
from crossbank.compiler.frontend.simplify import simplify
from crossbank.dialects.imc import RepeatOp, UseOp, WeightOp
from crossbank.dialects.location import locate, set_node_names
from crossbank.dialects.onnx import DimsValueOp, build, constant, encode
from crossbank.dialects.shape import tensor
from crossbank.dialects.tensor_names import set_tensor_names
from crossbank.passes.context import CompileContext

CONSTANT_ELEMENTS = 64
"""Static tensors up to this size are `onnx.Constant`, except vectors of floats, which are parameters of the model."""


def import_model(path: str | Path, ctx: CompileContext, weights: Weights = "auto") -> ModuleOp:
    """The value-form module of an ONNX file; its tensors are declared in `ctx.tensors`.

    Notes: `nodes` (all node names of the file), `folded` (those that need no operation), `inputs`, `outputs` (names),
    `weight_inputs` (inputs that may be weights), `bound` (inputs that branches were taken for), `dims` (see
    `_note`). Raises FrontendError for a file that can't be imported.
    """
    graph = load(Path(path), weights)
    free_masks(graph)
    shapes = infer(graph)
    found = roles(graph)
    solved = shapes.equations.solved
    assumed = cache_lengths(graph, found, solved) | total_length(graph, found, solved)
    assumed |= tokens_fed(graph, found, solved)
    if assumed:
        shapes = infer(graph, assumed)
    declared = position_limits(graph, shapes, found)
    simplify(graph, shapes.infos)
    items = find_repeats(graph, shapes.infos)
    module = _Module(graph, shapes, ctx).build(items)
    _note(ctx, graph, shapes, found, declared)
    ctx.model_name = ctx.model_name or Path(path).name
    return module


def _note(ctx: CompileContext, graph: Graph, shapes: Shapes, found: Roles, declared: Mapping[str, int]) -> None:
    """`dims`: `roles` (batch, sequence, past: symbol names), `cache_inputs`, `equations` (symbol -> expression that
    replaced it), `unsolved` (equations merely assumed), `empty` (dimensions that may be 0),
    `limits` (length expression -> most that a table allows)."""
    solved = {name: str(expr) for name, expr in shapes.equations.solved.items()}
    ctx.notes["nodes"] = list(graph.imported)
    ctx.notes["folded"] = graph.folded
    ctx.notes["inputs"] = [port.name for port in graph.inputs]
    ctx.notes["weight_inputs"] = graph.weight_inputs
    ctx.notes["outputs"] = [port.name for port in graph.outputs]
    ctx.notes["bound"] = dict(graph.bound)
    ctx.notes["dims"] = {
        "roles": {
            role: name
            for role, name in (
                ("batch", found.batch),
                ("sequence", found.sequence),
                ("past", found.past),
                *encoder_lengths(graph, found).items(),
            )
            if name is not None and name not in solved
        },
        "cache_inputs": list(found.cache_inputs),
        "equations": solved,
        "unsolved": sorted(shapes.equations.unsolved),
        "empty": list(graph.empty),
        "limits": {
            length: min(limits[length] for limits in (shapes.limits, declared) if length in limits)
            for length in {**shapes.limits, **declared}
        },
    }


@dataclass
class _Module:
    graph: Graph
    shapes: Shapes
    ctx: CompileContext
    weights: dict[tuple[str, ...], WeightOp] = field(default_factory=dict[tuple[str, ...], WeightOp])
    symbols: set[str] = field(default_factory=set[str])
    functions: list[FuncOp] = field(default_factory=list[FuncOp])

    def build(self, items: Sequence[Item]) -> ModuleOp:
        main = _Body(self, [self.type(port.name) for port in self.graph.inputs])
        for port, argument in zip(self.graph.inputs, main.block.args, strict=True):
            main.name(argument, port.name)
            main.values[port.name] = argument
        for item in items:
            if isinstance(item, Repeat):
                self.repeat(item, main)
            else:
                main.node(item, [main.value(name) for name in item.inputs])
        function = main.finish("main", [main.required(name) for name in self.graph.results])
        for key, ports in (("input_names", self.graph.inputs), ("output_names", self.graph.outputs)):
            function.attributes[key] = ArrayAttr([StringAttr(port.name) for port in ports])
        return ModuleOp([*self.weights.values(), function, *self.functions])

    def info(self, name: str) -> Info:
        return self.shapes.infos[name]

    def type(self, name: str) -> Attribute:
        info = self.info(name)
        try:
            return tensor(info.dtype, info.shape)
        except ValueError as error:
            raise FrontendError(
                DTYPE, str(error), f"{self.graph.file}: {name}", "export the model in float32"
            ) from error

    def weight(self, tensors: tuple[str, ...]) -> WeightOp:
        """The declaration of a static tensor: one name, or one per call of a repeated function."""
        if tensors not in self.weights:
            symbol, i = tensors[0], 1
            while symbol in self.symbols:
                i += 1
                symbol = f"{tensors[0]}#{i}"
            self.symbols.add(symbol)
            for name in tensors:
                if name not in self.ctx.tensors:
                    self.ctx.tensors.declare(name, self.graph.store.entry(name))
            properties = {
                "sym_name": StringAttr(symbol),
                "type": self.type(tensors[0]),
                "tensors": ArrayAttr([StringAttr(name) for name in tensors]),
            }
            self.weights[tensors] = WeightOp(properties=properties)
        return self.weights[tensors]

    def repeat(self, repeat: Repeat, main: _Body) -> None:
        carried = [main.required(carried.first) for carried in repeat.carried]
        shared = [main.required(name) for name in repeat.shared]
        each = [main.required(name) for names in repeat.each for name in names]
        body = _Body(self, [v.type for v in (*carried, *shared, *each[:: repeat.count])], repeat.count)
        places: dict[Source, SSAValue] = {}
        kinds: list[Source] = [Carried(i) for i in range(len(carried))]
        kinds += [Shared(i) for i in range(len(shared))] + [Each(i) for i in range(len(repeat.each))]
        places.update(zip(kinds, body.block.args, strict=True))
        for j, node in enumerate(repeat.layers[0]):
            operands = [body.source(source, places) for source in repeat.sources[j]]
            names = tuple(layer[j].name for layer in repeat.layers)
            outputs = [
                tuple(layer[j].outputs[o] if o < len(layer[j].outputs) else ABSENT for layer in repeat.layers)
                for o in range(len(node.outputs))
            ]
            for o, result in enumerate(body.node(node, operands, names, outputs)):
                if result is not None:
                    places[Inner(j, o)] = result
        leaving = [places[Inner(*carried.result)] for carried in repeat.carried]
        leaving += [places[Inner(*result)] for result, _ in repeat.each_out]
        name = f"layer{len(self.functions)}"
        self.functions.append(body.finish(name, leaving))
        types = [value.type for value in leaving]
        op = RepeatOp(
            operands=[carried, shared, each],
            result_types=[types[: len(carried)], [t for t in types[len(carried) :] for _ in range(repeat.count)]],
            properties={"callee": SymbolRefAttr(name), "count": IntegerAttr(repeat.count, i64)},
        )
        locate(op, repeat.layers[0][0].name)
        main.block.add_op(op)
        for found, result in zip(repeat.carried, op.carried_out, strict=True):
            outputs = repeat.layers[-1][found.result[0]].outputs
            if found.result[1] < len(outputs) and outputs[found.result[1]] != ABSENT:
                main.values[outputs[found.result[1]]] = result
        for i, (_, names) in enumerate(repeat.each_out):
            for value, result in zip(names, op.each_out[i * repeat.count :], strict=False):
                if value != ABSENT:
                    main.values.setdefault(value, result)


class _Body:
    """One function while it is filled: values by ONNX name; constants and uses of weights are made when asked for."""

    def __init__(self, module: _Module, types: Iterable[Attribute], calls: int = 1) -> None:
        self.module, self.calls = module, calls
        self.block = Block(arg_types=list(types))
        self.values: dict[str, SSAValue] = {}
        self.statics: dict[tuple[str, ...], SSAValue] = {}

    def name(self, value: SSAValue, name: str) -> SSAValue:
        hint = "".join(c if c.isalnum() and c.isascii() else "_" for c in name).strip("_")
        value.name_hint = hint if hint and not hint[0].isdigit() else f"v{hint}"
        return value

    def add(self, op: Operation, name: str) -> SSAValue:
        self.block.add_op(op)
        if origin := self.module.graph.origin.get(name):
            locate(op, origin)
        return self.name(op.results[0], name)

    def value(self, name: str) -> SSAValue | None:
        return None if name == ABSENT else self.required(name)

    def required(self, name: str) -> SSAValue:
        """The value of an ONNX name, made from static data if need be."""
        if name not in self.values:
            self.values[name] = self.static((name,) * self.calls)
        return self.values[name]

    def source(self, source: Source | None, places: dict[Source, SSAValue]) -> SSAValue | None:
        if isinstance(source, Static):
            return self.static(source.names)
        return None if source is None else places[source]

    def static(self, names: tuple[str, ...]) -> SSAValue:
        """A static tensor: the same in each call (constant, shape value or weight), or one per call."""
        if names not in self.statics:
            self.statics[names] = self._static(names)
        return self.statics[names]

    def _static(self, names: tuple[str, ...]) -> SSAValue:
        info, store = self.module.info(names[0]), self.module.graph.store
        if info.symbolic and info.data is not None:
            value = encode([str(expr) for expr in info.data.reshape(-1)])
            op = DimsValueOp(properties={"value": value}, result_types=[self.module.type(names[0])])
            return self.add(op, names[0])
        if len(set(names)) == 1 and info.known and info.data is not None and is_constant(info):
            return self.add(constant(info.data, self.module.graph.opsets.get("", 1)), names[0])
        if names[0] not in store:
            raise AssertionError(f"{names[0]} has no value here")
        use = UseOp(
            properties={"weight": SymbolRefAttr(self.module.weight(names).sym_name)},
            result_types=[self.module.type(names[0])],
        )
        return self.add(use, names[0])

    def node(
        self,
        node: Node,
        inputs: Sequence[SSAValue | None],
        names: Sequence[str] = (),
        outputs: Sequence[tuple[str, ...]] = (),
    ) -> list[SSAValue | None]:
        """Add one node, of these names and outputs in each call; its results by output position."""
        types = [None if name == ABSENT else self.module.type(name) for name in node.outputs]
        try:
            op = build(node.op_type, inputs, types, node.attributes, node.version, node.domain)
        except (ValueError, TypeError) as error:
            where = self.module.graph.where(node)
            raise FrontendError(ATTRIBUTE, str(error), where, "export the model again") from error
        self.block.add_op(op)
        if names:
            set_node_names(op, tuple(names))
        else:
            locate(op, node.name)
        each = outputs or [(name,) for name in node.outputs]
        set_tensor_names(op, [found for found, kind in zip(each, types, strict=True) if kind is not None])
        rest = iter(op.results)
        results = [None if name == ABSENT else self.name(next(rest), name) for name in node.outputs]
        for name, result in zip(node.outputs, results, strict=True):
            if result is not None and not names:
                self.values[name] = result
        return results

    def finish(self, name: str, results: Sequence[SSAValue]) -> FuncOp:
        self.block.add_op(ReturnOp(*results))
        kind = FunctionType.from_lists([a.type for a in self.block.args], [r.type for r in results])
        return FuncOp(name, kind, Region([self.block]))


def is_constant(info: Info) -> bool:
    """Whether a known tensor is small enough to be an `onnx.Constant`."""
    if info.data is None or info.data.size > CONSTANT_ELEMENTS:
        return False
    return not (info.data.ndim == 1 and info.data.size > 1 and info.data.dtype.kind not in "biu")
