"""Names of the file's tensors: kept by what replaces an operation, by those that it equals, lost by what differs."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation

from crossbank.dialects.onnx import build
from crossbank.dialects.shape import tensor
from crossbank.dialects.tensor_names import OUTPUTS, forget_names, pass_on_names, set_tensor_names, tensor_names
from crossbank.passes.context import CompileContext
from crossbank.passes.raising.merge_equal import MergeEqualPass
from crossbank.passes.rewriting import forward, replace

TENSOR = tensor("float32", [2])


def body(count: int, named: bool = True) -> tuple[ModuleOp, list[Operation]]:
    """Relu of an argument, and Relus of that, each named t0, t1 …; the last is returned."""
    function = FuncOp("main", ([TENSOR], [TENSOR]))
    value, ops = function.args[0], list[Operation]()
    for i in range(count):
        op = build("Relu", [value], [TENSOR], {}, 14)
        if named:
            set_tensor_names(op, [[f"t{i}"]])
        function.body.block.add_op(op)
        ops.append(op)
        value = op.results[0]
    return ModuleOp([function]), ops


def test_what_replaces_an_operation_has_its_names() -> None:
    _, (first, second, third) = body(3)
    new = [build("Neg", [first.results[0]], [TENSOR], {}, 13), build("Abs", [first.results[0]], [TENSOR], {}, 13)]
    replace(second, new)
    assert [tensor_names(op.results[0]) for op in new] == [(), ("t1",)]
    forward(third, new[1].results[0])
    assert tensor_names(new[1].results[0]) == ("t1",)


def test_what_equals_an_unnamed_value_names_it() -> None:
    _, (first, second) = body(2, named=False)
    set_tensor_names(second, [["one", "two"]])
    forward(second, first.results[0])
    assert tensor_names(first.results[0]) == ("one", "two")


def test_equal_operations_keep_one_name() -> None:
    module, (first, second) = body(2)
    second.operands[0] = first.operands[0]
    MergeEqualPass().apply(CompileContext(), module)
    assert second.parent is None
    assert tensor_names(first.results[0]) == ("t0",)


def test_results_are_named_apart_and_forgotten_together() -> None:
    op = build("Split", [body(1)[1][0].results[0]], [TENSOR, TENSOR], {"num_outputs": 2}, 18)
    assert [tensor_names(result) for result in op.results] == [(), ()]
    set_tensor_names(op, [["a"], []])
    pass_on_names(body(1)[1][0].results[0], op.results[1])
    assert [tensor_names(result) for result in op.results] == [("a",), ("t0",)]
    forget_names(op)
    assert OUTPUTS not in op.attributes
    set_tensor_names(op, [[], []])
    assert OUTPUTS not in op.attributes
