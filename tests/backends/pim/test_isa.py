"""AiM's instruction set as declared: numbers within the device, and what commands cost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from crossbank.backends.pim.commands import Costs, finish
from crossbank.backends.pim.isa import ISA
from crossbank.backends.pim.timing import with_refresh
from crossbank.backends.system import load_system
from crossbank.runtime.clock import Clock, simple_clock
from crossbank.runtime.coster import StepCosts, TensorCost
from crossbank.runtime.program import ProgramError

CONFIG = load_system("aim").engines["pim"].config
CHANNELS = {"first_channel": 0, "channels": 32}


def cost(clock: Clock, name: str, **operands: Any) -> None:
    clock.engine = "pim"
    ISA.instructions[name].time(clock, SimpleNamespace(**operands), Costs.of(CONFIG))


def test_every_source_is_a_number_of_the_system_file() -> None:
    known = load_system("aim").quantities
    for paths in ISA.sources.values():
        for path in paths:
            assert path in known or f"pim.{path}" in known, path


@pytest.mark.parametrize(
    ("name", "operands"),
    [
        ("mac_abk", {"column": 60, "columns": 5}),
        ("mac_abk", {"buffer_column": np.array([0, 60]), "columns": 8}),
        ("wr_bias", {"latch": 32}),
        ("wr_gb", {"first_channel": 16, "channels": 17}),
        ("wr_sbk", {"bank": np.array([3, 16])}),
        ("rd_sbk", {"channel": 32}),
    ],
)
def test_numbers_beyond_the_device_are_refused(name: str, operands: dict[str, Any]) -> None:
    check = ISA.instructions[name].check
    assert check is not None
    with pytest.raises(ProgramError, match="the device has"):
        check(SimpleNamespace(**operands), CONFIG)


def test_numbers_within_the_device_pass() -> None:
    check = ISA.instructions["mac_abk"].check
    assert check is not None
    check(SimpleNamespace(column=0, columns=64, buffer_column=0, latch=31, row=10**6, **CHANNELS), CONFIG)


def test_refresh_lengthens_commands_as_on_average() -> None:
    clock, plain = simple_clock(), Costs.of(CONFIG).plain
    for row in range(64):
        cost(clock, "wr_bias", latch=0, src=None, **CHANNELS)
        cost(clock, "mac_abk", row=row, columns=64, macs=0, **CHANNELS)
        cost(clock, "rd_mac", **CHANNELS)
    without = simple_clock()
    config = {**CONFIG, "timing": {**CONFIG["timing"], "trfc_cycles": 0}}
    without.engine = "pim"
    for row in range(64):
        for name, more in (("wr_bias", {}), ("mac_abk", {"row": row, "columns": 64, "macs": 0}), ("rd_mac", {})):
            ISA.instructions[name].time(without, SimpleNamespace(**CHANNELS, **more), Costs.of(config))
    expected = int(with_refresh(plain, int(without.ready("pim").time_ps[0])))
    assert int(clock.ready("pim").time_ps[0]) == pytest.approx(expected, rel=1e-3)


def test_finish_splits_time_and_adds_energy() -> None:
    unit = Costs.of(CONFIG)
    costs = StepCosts(np.array([3_333_000]), {("pim", "mac", 4): np.array([3_333_000])}, {}, {}, {})
    finish(costs, "pim", unit, 2)
    assert sum(int(value[0]) for value in costs.path_ps.values()) == 3_333_000
    assert int(costs.path_ps["pim", "refresh", 4][0]) == 210_000
    refreshes = 3_333_000 / (unit.plain.trefi * unit.plain.tck_ps) * 2
    banks = unit.plain.channels * unit.plain.banks
    (energy,) = costs.energy_j.values()
    assert energy[0] == pytest.approx(refreshes * banks * unit.plain.refresh_bank_pj * 1e-12)


def test_moves_take_latency_and_bytes_per_hop() -> None:
    clock = simple_clock()
    cost(clock, "move", bytes=32_000, hops=3)
    assert int(clock.ready("pim").time_ps[0]) == 3 * (100_000 + 1_000_000)


def test_energy_counts_the_channels_that_are_driven() -> None:
    energies: list[float] = []
    for channels in (8, 32):
        clock = simple_clock()
        cost(clock, "wr_gb", src=TensorCost((1024,), "float32", 1), first_channel=0, channels=channels)
        cost(clock, "mac_abk", row=0, columns=64, macs=1, first_channel=0, channels=channels)
        energies.append(sum(float(value[0]) for value in clock.energy_j.values()))
        count = ISA.instructions["mac_abk"].counts
        assert count is not None
        counts = count(SimpleNamespace(columns=64, channels=channels, macs=1), Costs.of(CONFIG))
        assert dict(counts.padding) == {"lanes and banks without an operand": channels * 16 * 1024 - 1}
    assert energies[1] == pytest.approx(4 * energies[0])
