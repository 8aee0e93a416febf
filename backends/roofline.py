"""The cost of a digital engine whose numbers are a clock, widths and a bandwidth: compute and traffic overlap.

Where a layer lies on several groups (chips), the engine has `units` of itself, and an operation's independent rows (the
heads of attention) are spread over them. An instruction takes `startup_cycles` and then the longer of its arithmetic
and its traffic. A number that the engine's table lacks costs nothing, so an engine with an empty table is free.

    [engine.timing]  clock_ghz, startup_cycles, bandwidth_bytes_per_s, and cycles per result and lane, `lanes` at once:
                     cycles_per_simple (add, compare, copy), cycles_per_special (exp, tanh, division), cycles_per_mac;
                     macs_per_cycle replaces lanes for products, sweep rows are padded to `mac_rows` and `mac_columns`
    [engine.energy]  simple_pj, special_pj, mac_pj, byte_pj, startup_pj
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossbank.backends.hiding import NONE, Scores
from crossbank.runtime.clock import Clock
from crossbank.runtime.counts import Counts, traffic
from crossbank.runtime.engine_tables import Number, check_table

KEYS: Mapping[str, tuple[str, ...]] = {
    "timing": (
        "clock_ghz", "startup_cycles", "bandwidth_bytes_per_s", "lanes", "cycles_per_simple", "cycles_per_special",
        "cycles_per_mac", "macs_per_cycle", "mac_rows", "mac_columns",
    ),
    "energy": ("simple_pj", "special_pj", "mac_pj", "byte_pj", "startup_pj"),
}  # fmt: skip
NUMBERS: dict[str, dict[str, Number]] = {
    section: {key: Number(optional=True) for key in keys} for section, keys in KEYS.items()
}
NUMBERS["timing"] |= dict.fromkeys(("mac_rows", "mac_columns"), Number(1, 1 << 40, whole=True, optional=True))
SOURCES: Mapping[str, tuple[str, ...]] = {
    "compute": (
        *(f"timing.{key}" for key in KEYS["timing"] if key != "bandwidth_bytes_per_s"),
        *("energy.simple_pj", "energy.special_pj", "energy.mac_pj"),
    ),
    "memory": ("timing.bandwidth_bytes_per_s", "energy.byte_pj"),
    "startup": ("timing.clock_ghz", "timing.startup_cycles", "energy.startup_pj"),
}
"""Which numbers each cost component rests on."""

PICO = 1e12


@dataclass(frozen=True)
class Work:
    """What one instruction does: results by class, and products as (batch, rows, columns, depth) each int or array.

    `parts` is how many independent rows the simple and special results fall into; those of a product are its rows.
    """

    simple: Any = 0
    special: Any = 0
    products: tuple[tuple[Any, Any, Any, Any], ...] = ()
    parts: Any = 1

    @property
    def macs(self) -> Any:
        """Multiply-accumulates of all products."""
        return sum(batch * rows * columns * depth for batch, rows, columns, depth in self.products)


@dataclass(frozen=True)
class Roofline:
    """The parameters of one engine; see the module's words for each."""

    clock_ghz: float = 0.0
    startup_cycles: float = 0.0
    bandwidth_bytes_per_s: float = 0.0
    lanes: float = 0.0
    cycles_per_simple: float = 1.0
    cycles_per_special: float = 1.0
    cycles_per_mac: float = 1.0
    macs_per_cycle: float = 0.0
    mac_rows: int = 1
    mac_columns: int = 1
    simple_pj: float = 0.0
    special_pj: float = 0.0
    mac_pj: float = 0.0
    byte_pj: float = 0.0
    startup_pj: float = 0.0
    units: int = 1

    @staticmethod
    def of(config: Mapping[str, Any]) -> Roofline:
        """The parameters in an engine's table; ProgramError CB0202 for a key that is none of them."""
        check_table(config, NUMBERS, others=("organisation", "arithmetic"))
        found: dict[str, Any] = {}
        for section, keys in KEYS.items():
            table: Mapping[str, Any] = config.get(section, {})
            found |= {key: table[key] for key in keys if key in table}
        return Roofline(**found, units=int(config.get("units", 1)))

    def spread(self, parts: Any) -> Any:
        """How many units share an operation of so many independent rows."""
        return np.minimum(np.maximum(parts, 1), self.units) if self.units > 1 else 1

    def compute_ps(self, work: Work) -> Any:
        """The time of the arithmetic, in ps: an int, or int64 (steps,)."""
        if not self.clock_ghz:
            return 0
        cycles: Any = 0.0
        if self.lanes:
            lanes = self.lanes * self.spread(work.parts)
            cycles = cycles + np.ceil(np.asarray(work.simple) / lanes) * self.cycles_per_simple
            cycles = cycles + np.ceil(np.asarray(work.special) / lanes) * self.cycles_per_special
        width = self.macs_per_cycle or self.lanes
        if width:
            for batch, rows, columns, depth in work.products:
                padded = _up(rows, self.mac_rows) * _up(columns, self.mac_columns)
                shared = width * self.spread(batch * rows)
                cycles = cycles + np.ceil(batch * padded * depth / shared) * self.cycles_per_mac
        return np.ceil(cycles * (1000.0 / self.clock_ghz)).astype(np.int64)

    def filled_up(self, work: Work) -> Any:
        """The MACs of whole sweeps beside those of the products."""
        swept: Any = 0
        for batch, rows, columns, depth in work.products:
            swept = swept + batch * _up(rows, self.mac_rows) * _up(columns, self.mac_columns) * depth
        return swept - work.macs

    def memory_ps(self, size_bytes: Any) -> Any:
        """The time of the traffic, in ps."""
        if not self.bandwidth_bytes_per_s:
            return 0
        return np.ceil(np.asarray(size_bytes) * (PICO / self.bandwidth_bytes_per_s)).astype(np.int64)

    def charge(self, clock: Clock, work: Work, size_bytes: Any) -> None:
        """Advance the engine by one instruction and count its energy."""
        start = clock.ready(clock.engine)
        startup_ps = round(self.startup_cycles * 1000.0 / self.clock_ghz) if self.clock_ghz else 0
        if startup_ps:
            start = clock.plus(start, startup_ps, "startup")
        rows = max((batch * rows for batch, rows, _, _ in work.products), default=work.parts, key=np.max)
        compute, memory = self.compute_ps(work), self.memory_ps(size_bytes / self.spread(rows))
        bound = np.maximum(memory - compute, 0)
        if np.any(compute):
            start = clock.plus(start, compute, "compute")
        if np.any(bound):
            start = clock.plus(start, bound, "memory")
        clock.set(clock.engine, start)
        energy_pj = np.asarray(work.simple) * self.simple_pj + np.asarray(work.special) * self.special_pj
        energy_pj = energy_pj + np.asarray(work.macs) * self.mac_pj
        if np.any(energy_pj):
            clock.spend("compute", energy_pj / PICO)
        if self.byte_pj:
            clock.spend("memory", np.asarray(size_bytes) * (self.byte_pj / PICO))
        if self.startup_pj:
            clock.spend("startup", self.startup_pj / PICO)


def _up(value: Any, step: int) -> Any:
    return value if step == 1 else -(-value // step) * step


def charged(tensors: Sequence[str], work: Callable[[Any], Work]) -> Callable[[Clock, Any, Roofline], None]:
    """The `time` function of an instruction that moves `tensors` once and whose arithmetic `work` tells."""

    def time(clock: Clock, o: Any, unit: Roofline) -> None:
        unit.charge(clock, work(o), traffic(o, tensors))

    return time


def counted(
    tensors: Sequence[str], work: Callable[[Any], Work], scores: Callable[[Any], Scores] | None = None
) -> Callable[[Any, Roofline], Counts]:
    """The `counts` function of such an instruction, `scores` telling those of attention."""

    def counts(o: Any, unit: Roofline) -> Counts:
        done = work(o)
        sweeps = done.products and (unit.mac_rows > 1 or unit.mac_columns > 1)
        padding = {"rows and columns that fill up a sweep": unit.filled_up(done)} if sweeps else {}
        seen = NONE if scores is None else scores(o)
        return Counts(done.macs, padding, seen.count, seen.hidden, traffic(o, tensors))

    return counts


def batch_of(shape: Sequence[Any]) -> Any:
    """The product of all but the last two dimensions."""
    total: Any = 1
    for dim in shape[:-2]:
        total = total * dim
    return total


def matmul_work(o: Any) -> Work:
    """The products of dst [.., M, N] = a [.., M, K] @ b [.., K, N]."""
    shape = o.dst.shape
    return Work(products=((batch_of(shape), shape[-2], shape[-1], o.a.shape[-1]),))
