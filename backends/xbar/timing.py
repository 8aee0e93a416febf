"""What the instructions of analog arrays cost: a pipeline of input transfer, MVM, and accumulation with read-out.

A group's MVM occupies its own arrays only; inputs and outputs share the on-chip network, and the links between chips
where a group lies on several. Programming is paid once, before the first token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crossbank.runtime.clock import Clock, latest
from crossbank.runtime.counts import Counts, traffic
from crossbank.runtime.engine_tables import COUNT, Number, check_table
from crossbank.runtime.program import ProgramError

PICO = 1e-12
BITS = Number(2, 24, whole=True)
NUMBERS: Mapping[str, Mapping[str, Number]] = {
    "organisation": {
        **dict.fromkeys(("arrays", "rows", "columns", "adcs", "devices_per_cell"), COUNT),
        **dict.fromkeys(("input_bits", "output_bits"), BITS),
        "phases": Number(1, 4, whole=True),
    },
    "timing": {
        **dict.fromkeys(("mvm_1phase_ps", "mvm_4phase_ps"), Number(0, 1 << 40, optional=True)),
        **dict.fromkeys(("accumulate_ps", "write_pulse_ns", "write_iterations"), Number(0, 1 << 40)),
        "cells_written_at_once": COUNT,
        "clock_hz": Number(optional=True),
    },
    "energy": dict.fromkeys(
        (
            "crossbar_pj_per_mvm", "adc_pj_per_conversion", "dac_pj_per_conversion", "digital_pj_per_output",
            "accumulate_pj_per_output", "write_pj_per_pulse",
        ),
        Number(),
    ),
}  # fmt: skip
"""What a table holds. Converters have at most the bits that float32 codes tell apart; `clock_hz` is for the reader."""
SOURCES: Mapping[str, tuple[str, ...]] = {
    "mvm": ("timing.mvm_1phase_ps", "timing.mvm_4phase_ps"),
    "crossbar": ("energy.crossbar_pj_per_mvm",),
    "adc": ("energy.adc_pj_per_conversion",),
    "dac": ("energy.dac_pj_per_conversion",),
    "local digital": ("energy.digital_pj_per_output",),
    "accumulate": ("timing.accumulate_ps", "energy.accumulate_pj_per_output"),
    "network": ("link.noc.bandwidth_bytes_per_s", "link.noc.energy_pj_per_bit", "link.noc.latency_ns"),
    "chip link": ("link.chip.bandwidth_bytes_per_s", "link.chip.energy_pj_per_bit", "link.chip.latency_ns"),
    "programming": ("timing.write_pulse_ns", "timing.write_iterations", "energy.write_pj_per_pulse"),
}
"""Which numbers each cost component rests on."""


@dataclass(frozen=True)
class Wire:
    """A network or link: latency, bandwidth and energy; free where the system has none."""

    latency_ps: int = 0
    ps_per_byte: float = 0.0
    pj_per_byte: float = 0.0

    @staticmethod
    def of(table: Mapping[str, Any] | None) -> Wire:
        """From a system file's link table."""
        if not table:
            return Wire()
        return Wire(
            round(float(table["latency_ns"]) * 1000),
            1e12 / float(table["bandwidth_bytes_per_s"]),
            8 * float(table["energy_pj_per_bit"]),
        )

    def duration_ps(self, size_bytes: int) -> int:
        """Latency and transfer of some bytes."""
        return self.latency_ps + round(size_bytes * self.ps_per_byte)


@dataclass(frozen=True)
class ArrayTiming:
    """Times in ps and energies in pJ of one engine."""

    rows: int
    columns: int
    phases: int
    input_bits: int
    output_bits: int
    mvm_ps: int
    accumulate_ps: int
    program_ps: int
    crossbar_pj: float
    adc_pj: float
    dac_pj: float
    digital_pj: float
    accumulate_pj: float
    write_pj_per_cell: float
    network: Wire
    link: Wire

    @staticmethod
    def of(config: Mapping[str, Any]) -> ArrayTiming:
        """From an engine's table, which carries the system's links as `links`."""
        check_table(config, NUMBERS, others=("technology",))
        organisation, timing, energy = config["organisation"], config["timing"], config["energy"]
        phases = int(organisation["phases"])
        if phases not in (1, 4):
            raise ProgramError("CB0202", f"[engine.organisation]: phases is {phases}", help="give 1 or 4")
        links: Mapping[str, Any] = {link["name"]: link for link in config.get("links", [])}
        iterations = float(timing["write_iterations"])
        rows, columns = int(organisation["rows"]), int(organisation["columns"])
        writes = -(-rows * columns // int(timing["cells_written_at_once"])) * iterations
        return ArrayTiming(
            rows=rows,
            columns=columns,
            phases=phases,
            input_bits=int(organisation["input_bits"]),
            output_bits=int(organisation["output_bits"]),
            mvm_ps=int(timing[f"mvm_{phases}phase_ps"]) * -(-columns // int(organisation["adcs"])),
            accumulate_ps=int(timing["accumulate_ps"]),
            program_ps=round(writes * float(timing["write_pulse_ns"]) * 1000),
            crossbar_pj=float(energy["crossbar_pj_per_mvm"]),
            adc_pj=float(energy["adc_pj_per_conversion"]),
            dac_pj=float(energy["dac_pj_per_conversion"]),
            digital_pj=float(energy["digital_pj_per_output"]),
            accumulate_pj=float(energy["accumulate_pj_per_output"]),
            write_pj_per_cell=float(energy["write_pj_per_pulse"]) * iterations * int(organisation["devices_per_cell"]),
            network=Wire.of(links.get("noc")),
            link=Wire.of(links.get("chip")),
        )


def _arrays(clock: Clock) -> str:
    return f"{clock.engine}.arrays.{clock.node}"


def _transfer(clock: Clock, unit: ArrayTiming, name: str, start: Any, size_bytes: int, chips: int, copies: int) -> Any:
    """Move bytes over the network and, for a group on several chips, over the links; gives when they are there."""
    wire = latest(start, clock.ready(f"{clock.engine}.{name}"))
    clock.set(f"{clock.engine}.{name}", clock.plus(wire, round(size_bytes * unit.network.ps_per_byte), "network"))
    there = clock.plus(wire, unit.network.duration_ps(size_bytes), "network")
    clock.spend("network", size_bytes * unit.network.pj_per_byte * PICO)
    if chips > 1:
        there = clock.plus(there, unit.link.duration_ps(size_bytes), "chip link")
        clock.spend("chip link", size_bytes * copies * unit.link.pj_per_byte * PICO)
    return there


def mvm(clock: Clock, o: Any, unit: ArrayTiming) -> None:
    """Send the codes of x, convert and multiply in all arrays of the group at once."""
    width, chips = o.x.elements, o.chips
    arrays = o.row_tiles * o.column_tiles
    start = clock.ready(clock.engine)
    there = _transfer(clock, unit, "input", start, -(-width * unit.input_bits // 8), chips, chips - 1)
    begin = latest(there, clock.ready(_arrays(clock)))
    end = clock.plus(begin, unit.mvm_ps, "mvm")
    clock.set(_arrays(clock), end)
    clock.set(f"{clock.engine}.input", latest(clock.ready(f"{clock.engine}.input"), begin))  # the DACs' latch is free
    clock.set(f"{clock.engine}.done", latest(clock.ready(f"{clock.engine}.done"), end))
    clock.spend("crossbar", arrays * unit.crossbar_pj * PICO)
    clock.spend("adc", arrays * unit.columns * unit.phases * unit.adc_pj * PICO)
    clock.spend("dac", arrays * unit.rows * unit.phases * unit.dac_pj * PICO)
    clock.spend("local digital", arrays * unit.columns * unit.digital_pj * PICO)


def mvm_counts(o: Any, unit: ArrayTiming) -> Counts:
    """All cells of all arrays of the group multiply, those that hold no weight too; x arrives as codes."""
    macs, arrays = o.x.elements * o.outputs, o.row_tiles * o.column_tiles
    empty = arrays * unit.rows * unit.columns - macs
    codes_bytes = -(-o.x.elements * unit.input_bits // 8)
    return Counts(macs, {"cells without a weight": empty}, bytes=codes_bytes, others={"array_mvms": arrays})


def accumulate(clock: Clock, o: Any, unit: ArrayTiming) -> None:
    """Bring the partial sums of all row tiles to where they are added, add them, and send the sums to memory.

    Partial sums travel as codes of the ADCs; those of a chip share its network, and each chip of the group has one.
    """
    width, chips, others = o.dst.elements, o.chips, o.row_tiles - 1
    start = latest(clock.ready(clock.engine), clock.ready(_arrays(clock)))
    if others:
        codes_bytes = -(-others * width * unit.output_bits // 8)
        chip_bytes = -(-codes_bytes // chips)
        start = _transfer(clock, unit, "output", start, chip_bytes, 1, 0)
        clock.spend("network", (codes_bytes - chip_bytes) * unit.network.pj_per_byte * PICO)
    added = clock.plus(start, (others + (o.bias is not None)) * unit.accumulate_ps, "accumulate")
    clock.spend("accumulate", width * (others + (o.bias is not None)) * unit.accumulate_pj * PICO)
    there = _transfer(clock, unit, "output", added, width * 4, chips, min(o.row_tiles, chips) - 1)
    clock.set(f"{clock.engine}.done", latest(clock.ready(f"{clock.engine}.done"), there))


def sums_counts(o: Any, unit: ArrayTiming) -> Counts:
    """Sums leave in float32."""
    return Counts(bytes=o.dst.elements * 4)


def read_out(clock: Clock, o: Any, unit: ArrayTiming) -> None:
    """Send the partial sums of all row tiles to memory."""
    start = latest(clock.ready(clock.engine), clock.ready(_arrays(clock)))
    there = _transfer(clock, unit, "output", start, o.dst.elements * 4, o.chips, o.chips - 1)
    clock.set(f"{clock.engine}.done", latest(clock.ready(f"{clock.engine}.done"), there))


def program(clock: Clock, o: Any, unit: ArrayTiming) -> None:
    """Write row after row of all arrays of the group at once, each with the iterations of write and verify."""
    clock.set(clock.engine, clock.plus(clock.ready(clock.engine), unit.program_ps, "programming"))
    clock.spend("programming", o.weights.elements * unit.write_pj_per_cell * PICO)


def program_counts(o: Any, unit: ArrayTiming) -> Counts:
    """The matrix arrives as it is stored, with its scales, and the converters' ranges."""
    return Counts(bytes=traffic(o, ("weights", "scales", "zeros", "input_bound", "output_bound")))


def compensate(clock: Clock, o: Any, unit: ArrayTiming) -> None:
    """Sixteen MVMs of known vectors, see `array.READ_OUT_VECTORS`."""
    arrays = o.row_tiles * o.column_tiles
    clock.set(clock.engine, clock.plus(clock.ready(clock.engine), 16 * unit.mvm_ps, "mvm"))
    clock.spend("crossbar", 16 * arrays * unit.crossbar_pj * PICO)
    clock.spend("adc", 16 * arrays * unit.columns * unit.phases * unit.adc_pj * PICO)
    clock.spend("dac", 16 * arrays * unit.rows * unit.phases * unit.dac_pj * PICO)


def free(clock: Clock, o: Any, unit: ArrayTiming) -> None:
    """Time passes; nothing is done."""
