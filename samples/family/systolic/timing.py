"""What a product costs: the array is filled tile by tile, and one row of x passes a tile each cycle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crossbank.runtime.clock import Clock
from crossbank.runtime.counts import Counts, traffic


@dataclass(frozen=True)
class Parameters:
    """The numbers of the system file that timing reads."""

    cycle_ps: int
    rows: int
    columns: int
    mac_pj: float

    @staticmethod
    def of(config: Mapping[str, Any]) -> Parameters:
        """The parameters in an engine's table."""
        size = config["organisation"]
        return Parameters(
            round(1e12 / config["timing"]["clock_hz"]), size["rows"], size["columns"], config["energy"]["mac_pj"]
        )


def gemm(clock: Clock, o: Any, unit: Parameters) -> None:
    """Shapes are ints, or int64 arrays with an entry for each step that is costed at once; times are whole ps."""
    columns, depth = o.dst.shape[-1], o.x.shape[-1]
    rows = o.dst.elements // columns
    tiles = -(-depth // unit.rows) * -(-columns // unit.columns)
    cycles = tiles * (unit.rows + rows)
    clock.set(clock.engine, clock.plus(clock.ready(clock.engine), cycles * unit.cycle_ps, "compute"))
    clock.spend("compute", rows * columns * depth * (unit.mac_pj * 1e-12))


def gemm_counts(o: Any, unit: Parameters) -> Counts:
    """Tiles are whole: the array's places beyond the matrix multiply by nothing."""
    columns, depth = o.dst.shape[-1], o.x.shape[-1]
    rows = o.dst.elements // columns
    places = -(-depth // unit.rows) * unit.rows * -(-columns // unit.columns) * unit.columns
    macs = rows * columns * depth
    padding = {"places without a weight": rows * places - macs}
    return Counts(macs, padding, bytes=traffic(o, ("dst", "x", "w", "bias")))
