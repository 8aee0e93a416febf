"""What the instructions of GDDR6-AiM cost: DRAM commands by `timing`, refresh on average, transfers between devices.

All channels that a command drives act alike, and one that it leaves out is never later than those that it drives; so
one group of channels stands for all, and only energy counts how many there are. A token's key goes to one bank, whose
number depends on the token: bank 0 stands for it. A device does nothing else while another one works.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from crossbank.backends.pim import timing as dram
from crossbank.backends.pim.lane import DMA, Channels
from crossbank.backends.pim.layout import ELEMENT_BYTES, Device
from crossbank.backends.pim.timing_rules import DramTiming
from crossbank.runtime.clock import Clock, latest
from crossbank.runtime.coster import NO_NODE, StepCosts
from crossbank.runtime.counts import Counts, traffic

PICO = 1e-12
NOT_DRAM = ("link",)
"""Components whose time is no DRAM command's."""
SOURCES: Mapping[str, tuple[str, ...]] = {
    **dram.SOURCES,
    "load": ("timing.tck_ps", "timing.tbl_cycles", "energy.column_write_pj", "energy.io_pj"),
    "link": ("link.cxl.bandwidth_bytes_per_s", "link.cxl.latency_ns", "link.cxl.energy_pj_per_bit"),
}
"""Which numbers each component of time and energy rests on."""


@dataclass(frozen=True)
class Costs:
    """One kind of device: its command timing, its organisation, the link to the next."""

    timing: DramTiming
    """With longer cycles, in which refresh is accounted for."""
    device: Device
    plain: DramTiming
    link_latency_ps: int = 0
    link_ps_per_byte: float = 0.0
    link_pj_per_byte: float = 0.0

    @staticmethod
    def of(config: Mapping[str, Any]) -> Costs:
        """From an engine's table, which carries the system's links as `links`.

        Refresh takes tRFC of every tREFI. As in `timing.with_refresh` that is spread evenly: every cycle is longer.
        """
        timing = DramTiming.from_table(config)
        cycle = timing.tck_ps * timing.trefi / (timing.trefi - timing.trfc)
        links = cast("Sequence[Mapping[str, Any]]", config.get("links", ()))
        link = links[0] if links else dict[str, Any]()
        return Costs(
            replace(timing, tck_ps=round(cycle)),
            Device.of(config),
            timing,
            round(float(link.get("latency_ns", 0)) * 1000),
            1e12 / float(link["bandwidth_bytes_per_s"]) if link else 0.0,
            8 * float(link.get("energy_pj_per_bit", 0)),
        )

    def columns(self, shape: Sequence[Any]) -> Any:
        """The columns that pieces (…, pieces, elements) take."""
        pieces = shape[-2] if len(shape) > 1 else 1
        return pieces * -(-shape[-1] // self.device.lanes)


def finish(costs: StepCosts, engine: str, unit: Costs, groups: int) -> None:
    """Show what refresh takes of the time of DRAM commands, and add the energy of refreshing all devices."""
    timing = unit.plain
    for key, time_ps in list(costs.path_ps.items()):
        if key[0] == engine and key[1] not in NOT_DRAM:
            part = time_ps * timing.trfc // timing.trefi
            refresh = (engine, "refresh", key[2])
            costs.path_ps[key] = time_ps - part
            costs.path_ps[refresh] = costs.path_ps.get(refresh, np.zeros_like(part)) + part
    power_pj_per_ps = dram.refresh_energy_pj(timing, 1.0) * groups
    costs.energy_j[engine, "refresh", NO_NODE] = costs.time_ps.astype(np.float64) * (power_pj_per_ps * PICO)


Issue = Callable[[Clock, Any, Costs], None]


def moves(tensors: Sequence[str]) -> Callable[[Any, Costs], Counts]:
    """The `counts` of a command that carries tensors between memory and banks or registers."""
    return lambda o, unit: Counts(bytes=traffic(o, tensors))


def _driven(o: Any) -> tuple[Channels]:
    return (Channels("pim", cast(int, o.channels)),)


def command(issue: Issue) -> Issue:
    """A command of the front end, which tokens may hold up; what it reads out is there when the front end goes on."""

    def time(clock: Clock, o: Any, unit: Costs) -> None:
        clock.set(DMA, latest(clock.ready(DMA), clock.ready(clock.engine)))
        issue(clock, o, unit)
        clock.set(clock.engine, clock.ready(DMA))

    return time


def wr_gb(clock: Clock, o: Any, unit: Costs) -> None:
    """One WR_GB per segment, issued one after another to channels of their own."""
    dram.wr_gb_apart(clock, unit.timing, unit.columns(o.src.shape), math.prod(o.src.shape[:-2]), _driven(o))


def wr_bias(clock: Clock, o: Any, unit: Costs) -> None:
    """One WR_BIAS."""
    dram.wr_bias(clock, unit.timing, _driven(o))


def mac_abk(clock: Clock, o: Any, unit: Costs) -> None:
    """One MAC_ABK."""
    dram.mac_abk(clock, unit.timing, o.columns, o.row, _driven(o))


def mac_abk_counts(o: Any, unit: Costs) -> Counts:
    """All lanes of all banks multiply, those whose column or bank holds nothing of the model too."""
    lanes = o.columns * o.channels * (unit.device.lanes * unit.device.banks)
    return Counts(
        o.macs, {"lanes and banks without an operand": lanes - o.macs}, others={"bank_bytes": lanes * ELEMENT_BYTES}
    )


def rd_mac(clock: Clock, o: Any, unit: Costs) -> None:
    """One RD_MAC."""
    dram.rd_mac(clock, unit.timing, _driven(o))


def af(clock: Clock, o: Any, unit: Costs) -> None:
    """One AF."""
    dram.af(clock, unit.timing, int(o.function), _driven(o))


def rd_af(clock: Clock, o: Any, unit: Costs) -> None:
    """One RD_AF."""
    dram.rd_af(clock, unit.timing, _driven(o))


def ewmul(clock: Clock, o: Any, unit: Costs) -> None:
    """One EWMUL."""
    dram.ewmul(clock, unit.timing, o.columns, o.row, _driven(o))


def wr_sbk(clock: Clock, o: Any, unit: Costs) -> None:
    """A WR_SBK per column."""
    dram.write_single_bank(clock, unit.timing, 0, o.row, unit.columns(o.src.shape), (Channels("pim", 1),))


def rd_sbk(clock: Clock, o: Any, unit: Costs) -> None:
    """A RD_SBK per column, and a wait for the data."""
    dram.read_single_bank(clock, unit.timing, 0, o.row, unit.columns(o.dst.shape), (Channels("pim", 1),))
    dram.sync(clock, unit.timing)


def wr_abk(clock: Clock, o: Any, unit: Costs) -> None:
    """A WR_ABK per channel, issued back to back."""
    clock.set(DMA, clock.plus(clock.ready(DMA), (o.channels - 1) * unit.timing.tck_ps, "issue"))
    dram.write_all_banks(clock, unit.timing, o.row, _driven(o))


def rd_abk(clock: Clock, o: Any, unit: Costs) -> None:
    """A RD_SBK per bank, channels side by side, and a wait for the data."""
    for bank in range(unit.device.banks):
        dram.read_single_bank(clock, unit.timing, bank, o.row, 1, _driven(o))
    dram.sync(clock, unit.timing)


def copy_bkgb(clock: Clock, o: Any, unit: Costs) -> None:
    """One COPY_BKGB."""
    dram.copy_bank_to_buffer(clock, unit.timing, o.columns, 0, o.row, _driven(o))


def copy_gbbk(clock: Clock, o: Any, unit: Costs) -> None:
    """One COPY_GBBK."""
    dram.copy_buffer_to_bank(clock, unit.timing, o.columns, 0, o.row, _driven(o))


def load(clock: Clock, o: Any, unit: Costs) -> None:
    """The matrix over the external buses of all channels, a burst per column."""
    columns = -(-o.weights.elements // unit.device.lanes)
    cycles = -(-columns // unit.device.channels) * unit.timing.tbl
    clock.set(DMA, clock.plus(clock.ready(DMA), cycles * unit.timing.tck_ps, "load"))
    clock.spend("load", columns * (unit.timing.column_write_pj + unit.timing.io_pj) * PICO)


def move(clock: Clock, o: Any, unit: Costs) -> None:
    """Some bytes over links, one after another."""
    each = unit.link_latency_ps + np.ceil(np.asarray(o.bytes) * unit.link_ps_per_byte).astype(np.int64)
    clock.set(DMA, clock.plus(clock.ready(DMA), each * o.hops, "link"))
    clock.spend("link", np.asarray(o.bytes) * np.asarray(o.hops) * unit.link_pj_per_byte * PICO)


def move_counts(o: Any, unit: Costs) -> Counts:
    """What passes links, once for each."""
    return Counts(others={"link_bytes": o.bytes * o.hops})


def sync(clock: Clock, o: Any, unit: Costs) -> None:
    """Until all channels have drained."""
    dram.sync(clock, unit.timing)
