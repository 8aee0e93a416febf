"""The cost of digital engines: hand-computed times, energies and counters."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from crossbank.backends.matrix.isa import ISA as MATRIX
from crossbank.backends.roofline import Roofline
from crossbank.backends.simd.isa import ISA as SIMD
from crossbank.runtime.clock import Clock, simple_clock
from crossbank.runtime.isa import InstructionSet

CONFIG = {
    "timing": {
        "clock_ghz": 2.0,
        "startup_cycles": 10,
        "lanes": 16,
        "cycles_per_special": 4,
        "bandwidth_bytes_per_s": 1e9,
        "macs_per_cycle": 64,
        "mac_rows": 8,
    },
    "energy": {"simple_pj": 1.0, "special_pj": 5.0, "mac_pj": 2.0, "byte_pj": 3.0},
}


def _tensor(*shape: Any, size: int = 4) -> SimpleNamespace:
    elements: Any = 1
    for dim in shape:
        elements = elements * dim
    return SimpleNamespace(shape=shape, elements=elements, bytes=elements * size, dtype="float32")


def _run(isa: InstructionSet, mnemonic: str, config: Any, steps: int = 1, **operands: Any) -> Clock:
    clock = simple_clock(steps)
    clock.engine = "e"
    instruction = isa.instructions[mnemonic]
    absent = {field.name: None for field in instruction.fields if field.optional}
    instruction.time(clock, SimpleNamespace(**{**absent, **operands}), isa.make_cost_unit(config))
    return clock


def _time_ps(clock: Clock) -> list[int]:
    return clock.ready("e").time_ps.tolist()


def test_an_engine_with_an_empty_table_is_free() -> None:
    x = _tensor(4, 8)
    for isa, mnemonic, operands in (
        (SIMD, "unary", {"dst": x, "src": x, "op": 5}),
        (MATRIX, "gemm", {"dst": x, "x": x, "w": _tensor(8, 8)}),
    ):
        clock = _run(isa, mnemonic, {}, **operands)
        assert _time_ps(clock) == [0] and not clock.energy_j


def test_compute_bound() -> None:
    config = {**CONFIG, "timing": {**CONFIG["timing"], "bandwidth_bytes_per_s": 1e15}}
    x = _tensor(100)
    clock = _run(SIMD, "unary", config, dst=x, src=x, op=5)
    assert _time_ps(clock) == [10 * 500 + 7 * 4 * 500]
    energy = {component: float(value.sum()) for (_, component, _), value in clock.energy_j.items()}
    assert energy == pytest.approx({"compute": 100 * 5e-12, "memory": 800 * 3e-12})


def test_memory_bound_in_several_steps_at_once() -> None:
    x = _tensor(np.asarray([1000, 2000]))
    clock = _run(SIMD, "copy", CONFIG, 2, dst=x, src=x)
    assert _time_ps(clock) == [5000 + 8000 * 1000, 5000 + 16000 * 1000]


def test_products_pad_rows_and_count_macs() -> None:
    config = {**CONFIG, "timing": {**CONFIG["timing"], "bandwidth_bytes_per_s": 0.0}}
    clock = _run(MATRIX, "gemm", config, dst=_tensor(1, 5, 64), x=_tensor(1, 5, 128), w=_tensor(128, 64))
    assert _time_ps(clock) == [5000 + 8 * 64 * 128 // 64 * 500]
    assert clock.counters["macs"].tolist() == [5 * 64 * 128]
    assert sum(float(e.sum()) for e in clock.energy_j.values()) == pytest.approx(
        2e-12 * 5 * 64 * 128 + 3e-12 * 4 * (320 + 640 + 8192)
    )


def test_attention_counts_both_products() -> None:
    q, k, v = _tensor(2, 6, 3, 8), _tensor(2, 2, 5, 8), _tensor(2, 2, 5, 4)
    clock = _run(MATRIX, "attention", {}, dst=_tensor(2, 6, 3, 4), q=q, k=k, v=v, softcap=0.0)
    assert clock.counters["macs"].tolist() == [2 * 6 * 3 * 5 * (8 + 4)]


def test_gather_moves_what_it_takes() -> None:
    config = {"timing": {"bandwidth_bytes_per_s": 1e12}}
    table, ids, dst = _tensor(50000, 64), _tensor(1, 3, size=8), _tensor(1, 3, 64)
    assert _time_ps(_run(SIMD, "gather", config, dst=dst, table=table, indices=ids)) == [2 * 768 + 24]


def test_every_instruction_has_a_cost() -> None:
    x = _tensor(2, 8)
    for isa in (SIMD, MATRIX):
        for mnemonic, instruction in isa.instructions.items():
            shape = _tensor(1, 2, 3, 8) if mnemonic == "attention" else x
            operands = {f.name: shape if f.access is not None else 1 for f in instruction.fields}
            assert _time_ps(_run(isa, mnemonic, CONFIG, **operands))[0] > 0


def test_time_never_rises_when_a_number_improves() -> None:
    x = _tensor(1000)
    slow = Roofline.of(CONFIG)
    base = _time_ps(_run(SIMD, "softmax", CONFIG, dst=x, src=x, log=0))[0]
    for key, better in (("clock_ghz", 3.0), ("lanes", 32), ("bandwidth_bytes_per_s", 2e9), ("startup_cycles", 5)):
        config = {**CONFIG, "timing": {**CONFIG["timing"], key: better}}
        assert _time_ps(_run(SIMD, "softmax", config, dst=x, src=x, log=0))[0] <= base
    assert slow.cycles_per_simple == 1.0
