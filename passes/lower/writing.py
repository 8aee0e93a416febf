"""Which instructions write which tensors of the ONNX file, noted while a block is being written.

Instructions of an operation whose result is such a tensor carry the operation's number. A result that is a mere view of
what another operation wrote (reshape, transpose) is noted as that one's, if nothing else of it is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from xdsl.ir import Operation

from crossbank.dialects.block_values import BlockValue, set_block_values, set_operation
from crossbank.dialects.imc import BlockOp, ViewAttr
from crossbank.dialects.instructions import InstructionOp, field_accesses
from crossbank.runtime.isa import Access

Note = Callable[[Sequence[str], ViewAttr], None]
"""note(names, view): a result of the operation that is a tensor of the file, by its name in each call."""


@dataclass
class Writing:
    """The operations of one block, by number from 1 on."""

    current: int = 0
    instructions: list[list[Operation]] = field(default_factory=lambda: [[]])
    """Those of each operation; of none first."""
    writers: dict[str, int] = field(default_factory=dict[str, int])
    """The operation that last wrote to a buffer."""
    values: list[BlockValue] = field(default_factory=list[BlockValue])
    noted: set[tuple[int, str]] = field(default_factory=set[tuple[int, str]])
    """Operations and buffers of the values."""

    def add(self, op: Operation) -> None:
        """Note an instruction of the operation being lowered."""
        if isinstance(op, InstructionOp):
            self.instructions[self.current].append(op)
            for entry in field_accesses(op):
                if entry.access is not Access.READ:
                    self.writers[entry.view.buffer.data] = self.current

    @contextmanager
    def operation(self) -> Generator[Note]:
        """An operation being lowered; gives what notes its results."""
        outer, self.current = self.current, len(self.instructions)
        self.instructions.append([])
        yield self._note
        self.current = outer

    def _note(self, names: Sequence[str], view: ViewAttr) -> None:
        buffer = view.buffer.data
        writer = self.writers.get(buffer, 0)
        if not names or not writer or (writer != self.current and (writer, buffer) in self.noted):
            return
        self.noted.add((writer, buffer))
        self.values.append(BlockValue(writer, tuple(names), view))

    def finish(self, block: BlockOp) -> None:
        """Write what was noted into the block and its instructions."""
        for number in {value.operation for value in self.values}:
            for instruction in self.instructions[number]:
                set_operation(instruction, number)
        set_block_values(block, self.values)
