"""Streams side by side: records nested into loops and calls, followed in any order that the tokens allow.

The coster and the verifier follow streams in the same way and differ in what a step does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from crossbank.runtime.core_isa import LoopKind
from crossbank.runtime.expr import Expr
from crossbank.runtime.program import Code, ProgramError
from crossbank.runtime.records import Decoded, Decoder


@dataclass(frozen=True)
class Loop:
    """A loop of one stream."""

    counter: str
    trips: Expr
    parallel: bool
    body: tuple[Node, ...]

    @property
    def name(self) -> str:
        return f"loop {self.counter}"


@dataclass(frozen=True)
class Call:
    """A call in one stream."""

    block: str
    table: str
    first: Expr
    rows: Expr

    @property
    def name(self) -> str:
        return f"call {self.block}[{self.first}:+{self.rows}]"


Node: TypeAlias = "Decoded | Loop | Call"


class Trees:
    """The streams of a program's blocks with loops nested, made when first asked for."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self._decoder = Decoder(code)
        self._trees: dict[str, dict[str, tuple[Node, ...]]] = {}

    def of(self, block: str) -> dict[str, tuple[Node, ...]]:
        """The streams of a block by engine; ProgramError CB0510 for loops that don't nest."""
        if block not in self._trees:
            self._trees[block] = {
                engine: _nest(list(self._decoder.stream(block, engine)), block)
                for engine in self.code.blocks[block].streams
            }
        return self._trees[block]


def _nest(records: list[Decoded], block: str) -> tuple[Node, ...]:
    stack: list[tuple[Decoded | None, list[Node]]] = [(None, [])]
    for record in records:
        if record.name == "core.loop":
            stack.append((record, []))
        elif record.name == "core.end":
            opened, body = stack.pop()
            if opened is None or not stack:
                raise ProgramError("CB0510", "an end without a loop", f"block {block}")
            trips, counter = opened.operands["trips"], opened.operands["counter"]
            assert isinstance(trips, Expr) and isinstance(counter, str)
            stack[-1][1].append(Loop(counter, trips, opened.operands["kind"] == LoopKind.PARALLEL, tuple(body)))
        elif record.name == "core.call":
            callee, table = record.operands["block"], record.operands["table"]
            first, rows = record.operands["first"], record.operands["rows"]
            assert (
                isinstance(callee, str)
                and isinstance(table, str)
                and isinstance(first, Expr)
                and isinstance(rows, Expr)
            )
            stack[-1][1].append(Call(callee, table, first, rows))
        else:
            stack[-1][1].append(record)
    if len(stack) != 1:
        raise ProgramError("CB0510", "a loop without an end", f"block {block}")
    return tuple(stack[0][1])


def follow(
    streams: Mapping[str, Sequence[Node]],
    step: Callable[[str, Decoded], bool],
    enter: Callable[[Mapping[str, Node]], None],
) -> None:
    """Follow streams to their ends: `step` takes an instruction, or returns False where it has to wait.

    Loops and calls are entered once, when all streams that share them have arrived; ProgramError CB0511 where streams
    wait for each other.
    """
    at = dict.fromkeys(streams, 0)
    while True:
        moved = [_advance(engine, nodes, at, step) for engine, nodes in streams.items()]
        fronts = {e: nodes[at[e]] for e, nodes in streams.items() if at[e] < len(nodes)}
        if not fronts:
            return
        ready = _meeting(streams, at, fronts)
        if ready:
            enter({engine: fronts[engine] for engine in ready})
            for engine in ready:
                at[engine] += 1
        elif not any(moved):
            raise ProgramError("CB0511", f"streams wait for each other: {', '.join(fronts)}")


def _advance(engine: str, nodes: Sequence[Node], at: dict[str, int], step: Callable[[str, Decoded], bool]) -> bool:
    start = at[engine]
    while at[engine] < len(nodes):
        node = nodes[at[engine]]
        if isinstance(node, Loop | Call) or not step(engine, node):
            break
        at[engine] += 1
    return at[engine] > start


def _meeting(streams: Mapping[str, Sequence[Node]], at: Mapping[str, int], fronts: Mapping[str, Node]) -> list[str]:
    """The engines standing at one loop or call at which nobody is missing."""
    for node in fronts.values():
        if isinstance(node, Loop | Call):
            sharing = [
                engine
                for engine, nodes in streams.items()
                if any(isinstance(n, Loop | Call) and n.name == node.name for n in nodes[at[engine] :])
            ]
            if all(isinstance(front := fronts.get(e), Loop | Call) and front.name == node.name for e in sharing):
                return sharing
    return []
