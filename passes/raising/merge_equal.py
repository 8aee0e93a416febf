"""Common subexpressions: equal pure operations on equal operands are computed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Attribute, Operation
from xdsl.passes import ModulePass

from crossbank.dialects.shape import dtype_of, is_tensor, shape_of
from crossbank.dialects.tensor_names import pass_on_names
from crossbank.passes.rewriting import absorb, entry_block, functions, is_pure


@dataclass(frozen=True)
class MergeEqualPass(ModulePass):
    """Merge equal operations of a function; the survivor stands for the ONNX nodes of all."""

    name = "merge-equal"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for function in functions(op).values():
            seen: dict[Any, Operation] = {}
            for found in list(entry_block(function).ops):
                if not is_pure(found) or not found.results or found.regions:
                    continue
                first = seen.setdefault(_key(found), found)
                if first is found:
                    continue
                for old, new in zip(found.results, first.results, strict=True):
                    pass_on_names(old, new)
                    old.replace_all_uses_with(new)
                absorb(first, [found])
                found.detach()
                found.drop_all_references()


def _key(op: Operation) -> Any:
    return (
        op.name,
        tuple(op.operands),
        tuple(sorted(((name, value) for name, value in op.properties.items()), key=lambda item: item[0])),
        tuple(_form(result.type) for result in op.results),
    )


def _form(found: Attribute) -> Any:
    return (dtype_of(found), shape_of(found)) if is_tensor(found) else found
