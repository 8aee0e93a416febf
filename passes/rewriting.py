"""Rewriting that loses no ONNX node: what replaces operations stands for their nodes.

An operation is located at the node whose output it computes (`dialects.location`); attribute `absorbed` lists the other
nodes that it computes on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from xdsl.dialects.builtin import ArrayAttr, ModuleOp, StringAttr, SymbolRefAttr
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute, Block, BlockArgument, Operation, OpResult, SSAValue
from xdsl.rewriter import InsertPoint, Rewriter
from xdsl.traits import Pure

from crossbank.dialects.imc import RepeatOp
from crossbank.dialects.llm import AttentionOp
from crossbank.dialects.location import copy_location, node_names
from crossbank.dialects.tensor_names import pass_on_names

ABSORBED = "absorbed"


def strings(attribute: Attribute | None) -> tuple[str, ...]:
    """The texts of an array of strings; none where there is no array."""
    items = cast("ArrayAttr[Attribute]", attribute).data if isinstance(attribute, ArrayAttr) else ()
    return tuple(item.data for item in items if isinstance(item, StringAttr))


def absorbed(op: Operation) -> tuple[str, ...]:
    """The ONNX nodes that an operation computes besides the one it is located at."""
    return strings(op.attributes.get(ABSORBED))


def nodes_of(op: Operation) -> tuple[str, ...]:
    """All ONNX nodes that an operation computes, over all calls of its function."""
    return tuple(name for name in dict.fromkeys((*node_names(op), *absorbed(op))) if name)


def computed(module: ModuleOp) -> list[tuple[list[str], list[str]]]:
    """Of each operation that stands for ONNX nodes, the node of each call, and those that it computes besides."""
    found: dict[tuple[str, ...], dict[str, None]] = {}
    for op in module.walk():
        if names := tuple(filter(None, node_names(op))):
            found.setdefault(names, {}).update(dict.fromkeys(filter(None, absorbed(op))))
    return [(list(names), list(others)) for names, others in found.items()]


def absorb(op: Operation, sources: Iterable[Operation]) -> None:
    """Let an operation stand for the ONNX nodes of others besides its own."""
    own = set(node_names(op))
    names = dict.fromkeys((*absorbed(op), *(name for source in sources for name in nodes_of(source))))
    kept = [StringAttr(name) for name in names if name not in own]
    if kept:
        op.attributes[ABSORBED] = ArrayAttr(kept)


def is_pure(op: Operation) -> bool:
    """Whether an operation does nothing but compute its results."""
    return op.has_trait(Pure) or (isinstance(op, AttentionOp) and op.cache is None)


def is_dead(op: Operation) -> bool:
    """Whether an operation is pure and none of its results is used."""
    return is_pure(op) and not any(result.uses for result in op.results)


def owner_of(value: SSAValue) -> Operation | None:
    """The operation that computes a value; None for an argument."""
    return value.op if isinstance(value, OpResult) else None


def erase_dead_above(values: Iterable[SSAValue]) -> list[Operation]:
    """Erase the operations that compute only values no longer used, and theirs; returns them, detached."""
    erased: list[Operation] = []
    pending = [op for value in values if (op := owner_of(value)) is not None]
    while pending:
        op = pending.pop()
        if op.parent is None or not is_dead(op):
            continue
        operands = list(op.operands)
        op.detach()
        op.drop_all_references()
        erased.append(op)
        pending += [above for operand in operands if (above := owner_of(operand)) is not None]
    return erased


def replace(
    root: Operation, new: Sequence[Operation], results: Sequence[SSAValue | None] | None = None
) -> list[Operation]:
    """Put `new` where `root` stands and erase `root` and whatever it alone needed.

    Users of root's results get `results` (the last new operation's by default; None for one without users). The last
    new operation inherits the nodes of everything erased; all get root's location. Returns what was erased.
    """
    Rewriter.insert_op(list(new), InsertPoint.before(root))
    values = list(new[-1].results if results is None else results)
    for old, value in zip(root.results, values, strict=True):
        if value is None:
            continue
        if value.name_hint is None:
            value.name_hint = old.name_hint
        pass_on_names(old, value)
        old.replace_all_uses_with(value)
    operands = list(root.operands)
    root.detach()
    root.drop_all_references()
    erased = [root, *erase_dead_above(operands)]
    for op in new:
        copy_location(op, root)
    if new:
        absorb(new[-1], reversed(erased))
    return erased


def forward(root: Operation, value: SSAValue) -> tuple[str, ...]:
    """Erase `root`, whose single result equals `value`; returns the ONNX nodes that are now folded away.

    They go to the operation that computes `value`, so nothing is lost unless it is an argument.
    """
    pass_on_names(root.results[0], value)
    root.results[0].replace_all_uses_with(value)
    operands = list(root.operands)
    root.detach()
    root.drop_all_references()
    erased = [root, *erase_dead_above(operands)]
    target = owner_of(value)
    if target is not None and target.parent is not None:
        absorb(target, reversed(erased))
        return ()
    return tuple(dict.fromkeys(name for op in erased for name in nodes_of(op)))


def functions(module: ModuleOp) -> dict[str, FuncOp]:
    """The functions of a module by name."""
    return {op.sym_name.data: op for op in module.ops if isinstance(op, FuncOp)}


def calls_of(module: ModuleOp) -> dict[str, list[RepeatOp]]:
    """The `imc.repeat`s of each function, in program order."""
    found: dict[str, list[RepeatOp]] = {}
    for function in functions(module).values():
        for op in function.body.ops:
            if isinstance(op, RepeatOp):
                found.setdefault(symbol(op.callee), []).append(op)
    return found


def multiplicity(module: ModuleOp) -> dict[str, int]:
    """How often each function runs in one run of the program: 1 for those that nothing calls."""
    calls = calls_of(module)

    def runs(name: str) -> int:
        if name not in calls:
            return 1
        total = 0
        for call in calls[name]:
            caller = call.parent_op()
            total += call.count.value.data * (runs(caller.sym_name.data) if isinstance(caller, FuncOp) else 1)
        return total

    return {name: runs(name) for name in functions(module)}


def symbol(reference: Attribute) -> str:
    """The name that a flat symbol reference refers to."""
    if not isinstance(reference, SymbolRefAttr):
        raise ValueError(f"{reference} is no symbol")
    return reference.root_reference.data


def entry_block(function: FuncOp) -> Block:
    """The only block of a function in value form."""
    return function.body.block


def argument_index(value: SSAValue, function: FuncOp) -> int | None:
    """The position of a value among the arguments of a function, None for any other value."""
    if isinstance(value, BlockArgument) and value.block is entry_block(function):
        return value.index
    return None
