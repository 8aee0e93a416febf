"""A generation as a trace for Perfetto or chrome://tracing: a track per engine, a slice per executed instruction.

The listener of the event-by-event cost: times are those that `cost` adds up, steps one after another. Instructions of
an engine that overlap (a pipeline of arrays) lie on further tracks of it. Form: "Trace Event Format" of Chromium,
complete events, microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from crossbank.runtime.clock import Clock, FloatArray, Instant, IntArray
from crossbank.runtime.cost import check_sizes, dimensions_of, prefill_steps
from crossbank.runtime.coster import Coster
from crossbank.runtime.program import Code, ProgramError

MOST_SLICES = 2_000_000
US = 1e-6
PROCESS = 1


@dataclass
class Recorder(Clock):
    """A clock that notes what the instruction being costed keeps busy, and what it spends."""

    busy: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])
    spent_j: float = 0.0

    def plus(self, instant: Instant, duration_ps: IntArray | int, component: str) -> Instant:
        """As Clock's."""
        duration = int(np.ravel(duration_ps)[0])
        if duration:
            start = int(instant.time_ps[0])
            self.busy.append((start, start + duration, component))
        return super().plus(instant, duration_ps, component)

    def spend(self, component: str, energy_j: FloatArray | float) -> None:
        """As Clock's."""
        self.spent_j += float(np.ravel(energy_j)[0])
        super().spend(component, energy_j)


@dataclass(frozen=True)
class Slice:
    """One executed instruction: when, on what, for which ONNX node, and what took how long."""

    engine: str
    name: str
    node: str
    start_ps: int
    end_ps: int
    components_ps: dict[str, int]
    energy_j: float


class _Listener:
    """Collects the slices of one step."""

    def __init__(self, code: Code, left: int) -> None:
        self.code, self.left = code, left
        self.clock = Recorder(steps=1)
        self.slices: list[Slice] = []

    def __call__(self, engine: str, name: str, block: str, slot: int, row: int) -> None:
        busy, self.clock.busy = self.clock.busy, []
        spent, self.clock.spent_j = self.clock.spent_j, 0.0
        if len(self.slices) >= self.left:
            raise ProgramError(
                "CB0707", f"the trace has more than {MOST_SLICES} slices", help="give a shorter --prompt or --generate"
            )
        at = int(self.clock.ready(engine).time_ps[0])
        components: dict[str, int] = {}
        for start, end, component in busy:
            components[component] = components.get(component, 0) + end - start
        first, last = min((start for start, _, _ in busy), default=at), max((end for _, end, _ in busy), default=at)
        self.slices.append(Slice(engine, name, self._node(block, slot, row), first, last, components, spent))

    def _node(self, block: str, slot: int, row: int) -> str:
        nodes = self.code.blocks[block].nodes
        number = int(nodes[row, slot]) if row < nodes.shape[0] and slot < nodes.shape[1] else -1
        return self.code.nodes[number] if 0 <= number < len(self.code.nodes) else ""


def generation_slices(
    code: Code, prompt: int, generate: int = 1, batch: int = 1, progress: Callable[[str, float], None] | None = None
) -> Iterator[tuple[str, int, int, list[Slice]]]:
    """Step by step: its name, its start and duration in ps, and the instructions that it executes."""
    check_sizes(code, prompt, generate, batch)
    coster, start_ps, slices = Coster(code), 0, 0
    steps = [("prefill", prompt, 0)] * prefill_steps(code, prompt)
    steps += [("decode", 1, past) for past in range(prompt, prompt + generate - 1)]
    for i, (name, new, past) in enumerate(steps):
        listener = _Listener(code, MOST_SLICES - slices)
        dimensions = dimensions_of(code, batch, new, np.array([past], np.int64), prompt)
        cost = coster.cost("main", dimensions, exact=True, clock=listener.clock, listener=listener)
        duration_ps = int(cost.time_ps[0])
        yield name, start_ps, duration_ps, listener.slices
        start_ps, slices = start_ps + duration_ps, slices + len(listener.slices)
        if progress:
            progress("trace", (i + 1) / len(steps))


def generation_trace(
    code: Code, prompt: int, generate: int = 1, batch: int = 1, progress: Callable[[str, float], None] | None = None
) -> dict[str, Any]:
    """The trace document, ready for JSON, of what `generation_cost` costs; ProgramError CB0707 for too long a one."""
    tracks: dict[tuple[str, int], int] = {("steps", 0): 0}
    events: list[dict[str, Any]] = []

    def put(track: tuple[str, int], name: str, start_ps: int, duration_ps: int, arguments: dict[str, Any]) -> None:
        number = tracks.setdefault(track, len(tracks))
        event = {"ph": "X", "pid": PROCESS, "tid": number, "ts": start_ps * US, "dur": duration_ps * US, "name": name}
        events.append(event | {"args": arguments})

    for name, start_ps, duration_ps, slices in generation_slices(code, prompt, generate, batch, progress):
        put(("steps", 0), name, start_ps, duration_ps, {})
        free: dict[str, list[int]] = {}
        for part in sorted(slices, key=lambda part: (part.start_ps, -part.end_ps)):
            lanes = free.setdefault(part.engine, [])
            lane = next((i for i, until in enumerate(lanes) if until <= part.start_ps), len(lanes))
            lanes[lane : lane + 1] = [part.end_ps]
            arguments: dict[str, Any] = {"node": part.node, "energy_pj": part.energy_j * 1e12}
            arguments |= {f"{component}_ns": value * 1e-3 for component, value in part.components_ps.items()}
            title = f"{part.name}  {part.node}".rstrip()
            put((part.engine, lane), title, start_ps + part.start_ps, part.end_ps - part.start_ps, arguments)
    names = [
        {"ph": "M", "pid": PROCESS, "name": "process_name", "args": {"name": f"crossbank {code.target}"}},
        *(
            {
                "ph": "M", "pid": PROCESS, "tid": number, "name": "thread_name",
                "args": {"name": engine if not lane else f"{engine} ({lane + 1})"},
            }
            for (engine, lane), number in tracks.items()
        ),
    ]  # fmt: skip
    return {"traceEvents": names + events, "displayTimeUnit": "ns"}
