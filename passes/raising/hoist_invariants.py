"""Work that is the same in every layer, such as combining masks, is done once, before the layers."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.rewriter import InsertPoint, Rewriter

from crossbank.dialects.imc import RepeatOp, UseOp, WeightOp
from crossbank.passes.raising.matching import constant
from crossbank.passes.raising.signature import with_shared
from crossbank.passes.rewriting import calls_of, entry_block, functions, is_pure


@dataclass(frozen=True)
class HoistInvariantsPass(ModulePass):
    """Move pure operations on shared operands out of repeated functions; their results become shared operands."""

    name = "hoist-invariants"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        weights = {found.sym_name.data: found for found in op.ops if isinstance(found, WeightOp)}
        for name, calls in calls_of(op).items():
            if len(calls) == 1:
                _hoist(functions(op)[name], calls[0], weights)


def _hoist(function: FuncOp, call: RepeatOp, weights: dict[str, WeightOp]) -> None:
    first = len(call.carried)
    shared = set(entry_block(function).args[first : first + len(call.shared)])
    invariant: set[SSAValue] = set(shared)
    moved: list[Operation] = []
    for op in entry_block(function).ops:
        if not is_pure(op) or op.regions or not op.results or not all(v in invariant for v in op.operands):
            continue
        if isinstance(op, UseOp):
            continue
        invariant.update(op.results)
        moved.append(op)
    inside = set(moved)
    escaping = [
        result
        for op in moved
        if not _is_cheap(op)
        for result in op.results
        if any(use.operation not in inside for use in result.uses)
    ]
    if not escaping:
        return
    outer: dict[SSAValue, SSAValue] = dict(zip(entry_block(function).args, [*call.carried, *call.shared], strict=False))
    for op in moved:
        copy = op.clone(outer)
        Rewriter.insert_op(copy, InsertPoint.before(call))
    new_shared: list[SSAValue] = []
    block = entry_block(function)
    position = first + len(call.shared)
    for result in escaping:
        argument = block.insert_arg(result.type, position)
        position += 1
        argument.name_hint = result.name_hint
        result.replace_all_uses_with(argument)
        new_shared.append(outer[result])
    function.update_function_type()
    with_shared(call, [*call.shared, *new_shared])
    _erase_dead(moved)


def _is_cheap(op: Operation) -> bool:
    """Constants stay where they are used."""
    return not op.operands or constant(op.results[0]) is not None


def _erase_dead(ops: list[Operation]) -> None:
    for op in reversed(ops):
        if not any(result.uses for result in op.results):
            op.detach()
            op.drop_all_references()
