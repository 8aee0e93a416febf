"""Where the operations of a block leave tensors of the ONNX file: `values` of an `imc.block`, as records and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, IntegerAttr, StringAttr, i64
from xdsl.ir import Attribute, Operation

from crossbank.dialects.imc import BlockOp, ViewAttr

OPERATION = "operation"
"""The attribute of an instruction that says which operation of its block it belongs to."""


@dataclass(frozen=True)
class BlockValue:
    """A tensor of the file: what the instructions of `operation` leave at `view`, called `names` in each call."""

    operation: int
    names: tuple[str, ...]
    view: ViewAttr


def block_values(block: BlockOp) -> list[BlockValue]:
    """The values of a block."""
    found: list[BlockValue] = []
    for entry in block.values or ():
        fields = cast("DictionaryAttr", entry).data
        operation, names, view = fields["operation"], fields["names"], fields["view"]
        assert isinstance(operation, IntegerAttr) and isinstance(names, ArrayAttr) and isinstance(view, ViewAttr)
        texts = tuple(n.data for n in cast("ArrayAttr[Attribute]", names) if isinstance(n, StringAttr))
        found.append(BlockValue(operation.value.data, texts, view))
    return found


def set_block_values(block: BlockOp, values: Sequence[BlockValue]) -> None:
    """Set the values of a block."""
    if not values:
        block.values = None
        return
    block.values = ArrayAttr(
        [
            DictionaryAttr(
                {
                    "operation": IntegerAttr(value.operation, i64),
                    "names": ArrayAttr([StringAttr(name) for name in value.names]),
                    "view": value.view,
                }
            )
            for value in values
        ]
    )


def operation_of(op: Operation) -> int:
    """The operation that an instruction belongs to; 0 if it leaves nothing of the file's."""
    found = op.attributes.get(OPERATION)
    return found.value.data if isinstance(found, IntegerAttr) else 0


def set_operation(op: Operation, number: int) -> None:
    """Say which operation an instruction belongs to."""
    op.attributes[OPERATION] = IntegerAttr(number, i64)
