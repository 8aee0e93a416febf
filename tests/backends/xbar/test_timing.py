"""What analog arrays cost, held to the published totals and to sums by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from crossbank.backends.system import load_system
from crossbank.backends.xbar import timing
from crossbank.backends.xbar.timing import ArrayTiming
from crossbank.runtime.clock import Clock, simple_clock

PJ = 1e-12
NETWORK_PS_PER_BYTE = 1e12 / 256e9
NETWORK_PS = 10_000
NETWORK_PJ_PER_BYTE = 8 * 0.24
LINK_PJ_PER_BYTE = 8 * 6.6
MVM_PS = 64 * 256 * 256 * 2 / 16.1e12 * 1e12
"""Time of an all-array product in four phases at 16.1 TOPS (Le Gallo et al., Nature Electronics 2023, abstract)."""


def unit() -> ArrayTiming:
    engine = load_system("hermes").engine("xbar")
    assert engine is not None
    return ArrayTiming.of(engine.config)


def vector(elements: int) -> Any:
    return SimpleNamespace(elements=elements, shape=(elements,))


def product(clock: Clock, depth: int, outputs: int, chips: int = 1, bias: bool = False) -> None:
    """One vector times a matrix of `depth` x `outputs`."""
    group = {"array": 0, "row_tiles": -(-depth // 256), "column_tiles": -(-outputs // 256), "chips": chips}
    timing.mvm(clock, SimpleNamespace(**group, x=vector(depth), outputs=outputs), unit())
    bias_of = vector(outputs) if bias else None
    timing.accumulate(clock, SimpleNamespace(**group, dst=vector(outputs), bias=bias_of), unit())


def energy(clock: Clock) -> dict[str, float]:
    return {component: float(joules[0]) / PJ for (_, component, _), joules in clock.energy_j.items()}


def done_ps(clock: Clock) -> int:
    return int(clock.ready(f"{clock.engine}.done").time_ps[0])


def test_one_array() -> None:
    """Codes of 8 bits in, an MVM, float32 sums out; nothing to add."""
    clock = simple_clock()
    product(clock, 160, 160)
    network_ps = 2 * NETWORK_PS + (160 + 640) * NETWORK_PS_PER_BYTE
    assert done_ps(clock) == pytest.approx(MVM_PS + network_ps, abs=2)
    parts = energy(clock)
    assert parts["network"] == pytest.approx((160 + 640) * NETWORK_PJ_PER_BYTE)
    # an all-array MVM takes 8388608 operations / 2.48 TOPS/W, less the static power's share
    analog = parts["adc"] + parts["dac"] + parts["crossbar"]
    assert analog == pytest.approx((8388608 / 2.48e12 / PJ - 0.1 * MVM_PS) / 64, rel=1e-3)
    assert parts["accumulate"] == 0


def test_partial_sums_travel_to_where_they_are_added() -> None:
    """Four row tiles: three vectors of codes cross the network before the sums do."""
    clock = simple_clock()
    product(clock, 1024, 512)
    partial, sums = 3 * 512, 512 * 4
    assert energy(clock)["network"] == pytest.approx((1024 + partial + sums) * NETWORK_PJ_PER_BYTE)
    assert energy(clock)["accumulate"] == pytest.approx(3 * 512 * 0.15)
    network_ps = 3 * NETWORK_PS + (1024 + partial + sums) * NETWORK_PS_PER_BYTE
    assert done_ps(clock) == pytest.approx(MVM_PS + network_ps + 3 * 1000, abs=4)


def test_chips_bring_their_partial_sums_together_side_by_side() -> None:
    """Each chip's network carries its share, at the energy of all; one vector a chip crosses the links."""
    one, two = simple_clock(), simple_clock()
    product(one, 1024, 512)
    product(two, 1024, 512, chips=2)
    assert energy(two)["network"] == pytest.approx(energy(one)["network"])
    assert energy(two)["chip link"] == pytest.approx((1024 + 2048) * LINK_PJ_PER_BYTE)


def test_a_bias_is_one_more_addition() -> None:
    plain, biased = simple_clock(), simple_clock()
    product(plain, 100, 100)
    product(biased, 100, 100, bias=True)
    assert done_ps(biased) - done_ps(plain) == 1000
    assert energy(biased)["accumulate"] == pytest.approx(100 * 0.15)


def test_macs_are_those_of_the_matrix_and_padding_is_apart() -> None:
    operands = SimpleNamespace(x=vector(300), outputs=100, row_tiles=2, column_tiles=1, chips=1)
    counts = timing.mvm_counts(operands, unit())
    assert dict(counts.amounts()) == {
        "macs": 300 * 100, "array_mvms": 2, "padded_macs": 2 * 256 * 256, "bytes": 300,
    }  # fmt: skip


def test_components_name_numbers_of_the_system_file() -> None:
    clock = simple_clock()
    product(clock, 600, 600, chips=2)
    assert {component for _, component, _ in clock.energy_j} <= set(timing.SOURCES)
