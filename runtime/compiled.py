"""A compiled program as its user holds it: run it, cost it, look into it, save it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossbank.runtime.expr import Expr
from crossbank.runtime.program import SPACE_SHIFT, Code, ProgramError
from crossbank.runtime.records import Decoder, Operand, Tensor
from crossbank.runtime.tensors import TensorStore

if TYPE_CHECKING:
    from crossbank.runtime.cost import Cost
    from crossbank.runtime.executor import Listener
    from crossbank.runtime.session import Session


@dataclass(frozen=True)
class Command:
    """One emitted instruction: where it stands, its operands as text, and the nodes it came from (one per call)."""

    block: str
    engine: str
    index: int
    name: str
    operands: dict[str, str]
    nodes: tuple[str, ...]


class Program:
    """A program and its tensors; made by `crossbank.compile` or `crossbank.load`."""

    def __init__(self, code: Code, tensors: TensorStore, phases: dict[str, float] | None = None) -> None:
        self.code = code
        self.tensors = tensors
        self.phases = phases
        """Seconds that each phase took, in the process that compiled."""

    def save(self, path: str | Path) -> None:
        """Write the program to a `.cbk` file; it appears whole or not at all."""
        from crossbank.runtime.program_file import save_program

        save_program(path, self.code, self.tensors)

    def session(
        self,
        seed: int = 0,
        time_s: float = 0.0,
        noise: bool = True,
        ideal: bool = False,
        listeners: Sequence[Listener] = (),
    ) -> Session:
        """A device in the state after programming, `time_s` seconds later.

        `noise=False` keeps converters and number formats; `ideal=True` switches those off too. `seed` names the device.
        `listeners` see every instruction before and after it is executed, such as `runtime.counters.Counters`.
        """
        from crossbank.runtime.session import Session

        return Session(self.code, self.tensors, seed=seed, time_s=time_s, noise=noise, ideal=ideal, listeners=listeners)

    def cost(
        self,
        prompt: int,
        generate: int = 1,
        batch: int = 1,
        *,
        exact: bool = False,
        progress: Callable[[str, float], None] | None = None,
    ) -> Cost:
        """Time, energy and area for a prompt of `prompt` tokens and `generate` new ones, `batch` sequences at once.

        `exact` follows every event instead of the short way (slow, equal figures); `progress` hears phase and share.
        """
        from crossbank.runtime.cost import generation_cost

        return generation_cost(self.code, prompt, generate, batch, exact, progress)

    def verify(self) -> None:
        """Check the program statically; ProgramError says what is wrong and where."""
        from crossbank.runtime.verifier import verify

        verify(self.code)

    def summary(self) -> dict[str, Any]:
        """What was compiled, as a plain dict: nodes, engines, recognised, unrecognised, instructions, memory …"""
        found = {"target": self.code.target, **self.code.summary, "limits": dict(self.code.limits)}
        if self.phases is not None:
            found["phases"] = dict(self.phases)
        return found

    @property
    def functions(self) -> list[str]:
        """The names of the entry points."""
        return list(self.code.functions)

    def commands(self, function: str = "main") -> Iterator[Command]:
        """The emitted instructions of a function, block by block, each block once."""
        if function not in self.code.functions:
            raise ProgramError(
                "CB0701", f"the program has no function {function!r}", help=f"it has {', '.join(self.functions)}"
            )
        decoder = Decoder(self.code)
        waiting, seen = [self.code.functions[function].block], set[str]()
        while waiting:
            name = waiting.pop(0)
            if name in seen:
                continue
            seen.add(name)
            block = self.code.blocks[name]
            for engine in block.streams:
                for index, decoded in enumerate(decoder.stream(name, engine)):
                    if decoded.name == "core.call":
                        waiting.append(str(decoded.operands["block"]))
                    slot = decoded.node
                    rows: Sequence[int] = block.nodes[:, slot].tolist() if slot < block.nodes.shape[1] else []
                    yield Command(
                        name,
                        engine,
                        index,
                        decoded.name,
                        {key: self._text(value) for key, value in decoded.operands.items()},
                        tuple(self.code.nodes[row] for row in rows if 0 <= row < len(self.code.nodes)),
                    )

    def _text(self, operand: Operand) -> str:
        if isinstance(operand, Tensor):
            shape = ", ".join(map(str, operand.layout.shape))
            return f"{operand.layout.dtype}[{shape}] at {self._place(operand.address)}"
        return operand.name.lower() if isinstance(operand, IntEnum) else str(operand)

    def _place(self, address: Expr) -> str:
        if not address.is_constant:
            return str(address)
        number = address.constant >> SPACE_SHIFT
        space = next((s.name for s in self.code.spaces.values() if s.number == number), str(number))
        return f"{space}+{address.constant & ((1 << SPACE_SHIFT) - 1):#x}"


def load(path: str | Path) -> Program:
    """Read a program from a `.cbk` file and check it; ProgramError says what is wrong."""
    from crossbank.runtime.program_file import load_program

    program = Program(*load_program(path))
    try:
        program.verify()
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError, MemoryError) as error:
        raise ProgramError(
            "CB0502", f"not a usable program: {type(error).__name__}: {error}", str(path), "compile the model again"
        ) from error
    return program
