"""What an instruction does, apart from the time that it takes: products, padding, what masks hide, bytes moved.

Declared once per instruction (`Instruction.counts`) and read by both interpreters: the coster counts from shapes what
would be executed, the executor's listener `counters.Counters` what was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from crossbank.runtime.expr import Value


@dataclass(frozen=True)
class Counts:
    """One execution of an instruction: ints, or int64 arrays with an entry for each step or trip."""

    macs: Value = 0
    """Multiply-accumulates of the model."""
    padding: Mapping[str, Value] = field(default_factory=dict[str, Any])
    """Those that the hardware does beside them, on nothing of the model, by reason."""
    scores: Value = 0
    """Attention scores, a pair of a query and a key for each head, that a softmax takes."""
    hidden: Mapping[str, Value] = field(default_factory=dict[str, Any])
    """Of the scores, those that are computed and then masked, by reason."""
    bytes: Value = 0
    """Moved between memory and the engine."""
    others: Mapping[str, Value] = field(default_factory=dict[str, Any])
    """What the family counts besides."""

    def amounts(self) -> Iterator[tuple[str, Value]]:
        """The coster's counters, those that are not 0; `padded_macs` are those of the model and the padding."""
        padded = self.macs
        for amount in self.padding.values():
            padded = padded + amount
        found = {"macs": self.macs, "padded_macs": padded, "bytes": self.bytes, **self.others}
        for name, amount in found.items():
            if not isinstance(amount, int) or amount:
                yield name, amount


def traffic(operands: Any, names: Iterable[str]) -> Value:
    """The bytes of the tensor operands of some names; absent ones have none."""
    total: Value = 0
    for name in names:
        tensor = getattr(operands, name)
        if tensor is not None:
            total = total + tensor.bytes
    return total
