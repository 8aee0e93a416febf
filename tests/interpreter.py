"""A numpy interpreter of value-form modules: what tests compare with recorded onnxruntime outputs.

Each ONNX operation runs alone in onnxruntime; results are checked against the dtype and shape that the IR states.
Other dialects join with `meaning`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from xdsl.dialects.builtin import ArrayAttr, ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Operation, SSAValue

from crossbank.dialects import onnx as dialect
from crossbank.dialects.imc import RepeatOp, UseOp, WeightOp
from crossbank.dialects.shape import dtype_of, shape_of
from crossbank.runtime.numerics import dtype_of as numpy_dtype
from crossbank.runtime.tensors import TensorStore

Array = NDArray[Any]
Meaning = Callable[["Interpreter", Any, list[Any]], Any]
MEANINGS: dict[str, Meaning] = {}
"""By operation name: (interpreter, operation, operands) -> its result, or a list of its results."""


def meaning(*names: str) -> Callable[[Meaning], Meaning]:
    """Register what operations compute."""

    def register(function: Meaning) -> Meaning:
        MEANINGS.update(dict.fromkeys(names, function))
        return function

    return register


class Interpreter:
    """Runs `@main` of a module; `registers` holds the dimensions of the run, `call` the layer of the repeat."""

    def __init__(self, module: ModuleOp, tensors: TensorStore) -> None:
        self.tensors = tensors
        self.functions = {op.sym_name.data: op for op in module.ops if isinstance(op, FuncOp)}
        self.weights = {op.sym_name.data: op for op in module.ops if isinstance(op, WeightOp)}
        self.registers: dict[str, int] = {}
        self.call = 0
        self.sessions: dict[tuple[int, int], ort.InferenceSession] = {}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name."""
        main = self.functions["main"]
        names, results = _names(main, "input_names"), _names(main, "output_names")
        arguments = [np.asarray(feeds[name]) for name in names]
        self.registers = {}
        for value, array in zip(main.body.block.args, arguments, strict=True):
            self.bind(value, array)
        for value, array in zip(main.body.block.args, arguments, strict=True):
            self.check(value, array)
        return dict(zip(results, self.block(main.body.block, arguments), strict=True))

    def bind(self, value: SSAValue, array: Array) -> None:
        """Set registers that are a dimension of the array."""
        for dim, size in zip(shape_of(value), array.shape, strict=True):
            if len(dim.symbols) == 1 and str(dim) in dim.symbols:
                self.registers.setdefault(str(dim), size)

    def check(self, value: SSAValue, array: Array) -> None:
        """The array has the type that the IR says."""
        assert array.dtype == numpy_dtype(dtype_of(value)), f"{value}: {array.dtype}"
        self.bind(value, array)
        expected = tuple(int(dim.evaluate(self.registers)) for dim in shape_of(value))
        assert array.shape == expected, f"{value.owner}: {array.shape} is not {expected}"

    def block(self, block: Block, arguments: Sequence[Array]) -> list[Array]:
        values: dict[SSAValue, Array] = dict(zip(block.args, arguments, strict=True))
        for op in block.ops:
            operands = [values[operand] for operand in op.operands]
            if isinstance(op, ReturnOp):
                return operands
            found = self.operation(op, operands)
            for result, array in zip(op.results, found, strict=True):
                self.check(result, array)
                values[result] = array
        raise AssertionError("a function without return")

    def operation(self, op: Operation, operands: list[Array]) -> list[Array]:
        run = MEANINGS.get(op.name)
        if run is None:
            assert dialect.is_onnx(op), f"no meaning of {op.name}"
            return self.node(op, operands)
        found = run(self, op, operands)
        return list(found) if isinstance(found, list | tuple) else [np.asarray(found)]

    def node(self, op: Operation, operands: list[Array]) -> list[Array]:
        """An ONNX operation, alone in onnxruntime."""
        static = {i: operands[i] for i, v in enumerate(op.operands) if isinstance(v.owner, UseOp)}
        key = (id(op), self.call if static else 0)
        if key not in self.sessions:
            self.sessions[key] = _session(op, static)
        feeds = {f"i{i}": array for i, array in enumerate(operands) if i not in static}
        return self.sessions[key].run(None, feeds)


def _names(function: FuncOp, key: str) -> list[str]:
    names = function.attributes[key]
    assert isinstance(names, ArrayAttr)
    return [name.data for name in names if isinstance(name, StringAttr)]


def _session(op: Operation, static: Mapping[int, Array]) -> ort.InferenceSession:
    """One node as a model of its own; weights are initializers, as kernels may pack them."""
    domain, _, op_type = dialect.op_type(op).rpartition(":")
    operands, results = iter(range(len(op.operands))), iter(range(len(op.results)))
    inputs = ["" if value is None else f"i{next(operands)}" for value in dialect.inputs(op)]
    outputs = ["" if value is None else f"o{next(results)}" for value in dialect.outputs(op)]
    node = helper.make_node(op_type, inputs, outputs, domain=domain)
    for name, value in dialect.attributes(op).items():
        held = numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        node.attribute.append(helper.make_attribute(name, held))
    graph = helper.make_graph(
        [node],
        "one",
        [_value(f"i{i}", value) for i, value in enumerate(op.operands) if i not in static],
        [_value(f"o{i}", value) for i, value in enumerate(op.results)],
        [numpy_helper.from_array(np.asarray(array, order="C"), f"i{i}") for i, array in static.items()],
    )
    opsets = [helper.make_opsetid(domain, dialect.version_of(op))]
    if domain:
        opsets.append(helper.make_opsetid("", 21))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _value(name: str, value: SSAValue) -> onnx.ValueInfoProto:
    elem_type = helper.np_dtype_to_tensor_dtype(numpy_dtype(dtype_of(value)))
    return helper.make_tensor_value_info(name, elem_type, [None] * len(shape_of(value)))


@meaning("onnx.Constant")
def constant(run: Interpreter, op: Operation, operands: list[Array]) -> Array:
    return dialect.attribute(op, "value")


@meaning("onnx.dims_value")
def dims_value(run: Interpreter, op: dialect.DimsValueOp, operands: list[Array]) -> Array:
    shape = [dim.constant for dim in shape_of(op.result)]
    numbers = [int(expr.evaluate(run.registers)) for expr in op.exprs]
    return np.array(numbers, numpy_dtype(dtype_of(op.result))).reshape(shape)


@meaning("imc.use")
def use(run: Interpreter, op: UseOp, operands: list[Array]) -> Array:
    names = run.weights[op.weight.root_reference.data].tensors.data
    return run.tensors.load(names[run.call if len(names) > 1 else 0].data)


@meaning("imc.repeat")
def repeat(run: Interpreter, op: RepeatOp, operands: list[Array]) -> list[Array]:
    count = op.count.value.data
    carried = operands[: len(op.carried)]
    shared = operands[len(op.carried) :][: len(op.shared)]
    each = operands[len(op.carried) + len(op.shared) :]
    body = run.functions[op.callee.root_reference.data].body.block
    out: list[list[Array]] = []
    for i in range(count):
        run.call = i
        results = run.block(body, [*carried, *shared, *each[i::count]])
        carried = results[: len(op.carried)]
        out.append(results[len(op.carried) :])
    run.call = 0
    return [*carried, *(out[i][slot] for slot in range(len(out[0])) for i in range(count))]
