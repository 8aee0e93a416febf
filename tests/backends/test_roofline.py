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
from crossbank.runtime.counts import Counts
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


def _counts(isa: InstructionSet, mnemonic: str, config: Any, **operands: Any) -> Counts:
    instruction = isa.instructions[mnemonic]
    absent = {field.name: None for field in instruction.fields if field.optional}
    assert instruction.counts is not None
    return instruction.counts(SimpleNamespace(**{**absent, **operands}), isa.make_cost_unit(config))


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
    operands = {"dst": _tensor(1, 5, 64), "x": _tensor(1, 5, 128), "w": _tensor(128, 64)}
    clock, counts = _run(MATRIX, "gemm", config, **operands), _counts(MATRIX, "gemm", config, **operands)
    assert _time_ps(clock) == [5000 + 8 * 64 * 128 // 64 * 500]
    assert counts.macs == 5 * 64 * 128
    assert dict(counts.padding) == {"rows and columns that fill up a sweep": 3 * 64 * 128}
    assert counts.bytes == 4 * (320 + 640 + 8192)
    assert sum(float(e.sum()) for e in clock.energy_j.values()) == pytest.approx(
        2e-12 * 5 * 64 * 128 + 3e-12 * 4 * (320 + 640 + 8192)
    )


def test_attention_counts_both_products() -> None:
    q, k, v = _tensor(2, 6, 3, 8), _tensor(2, 2, 5, 8), _tensor(2, 2, 5, 4)
    operands = {"dst": _tensor(2, 6, 3, 4), "q": q, "k": k, "v": v, "softcap": 0.0}
    for past, hidden in ((2, 2 + 1), (0, 4 + 3 + 2), (4, 0), (7, 0)):
        counts = _counts(MATRIX, "attention", {}, causal=1, past=past, **operands)
        assert (counts.macs, counts.scores) == (2 * 6 * 3 * 5 * (8 + 4), 2 * 6 * 3 * 5)
        assert dict(counts.hidden) == {"causal": 2 * 6 * hidden}
    assert dict(_counts(MATRIX, "attention", {}, causal=0, past=0, **operands).hidden) == {"causal": 0}


def test_a_mask_hides_what_the_causal_limit_leaves() -> None:
    """Two lanes with 3 and 5 of 6 keys to see; the mask hides keys 0 and 4 of one of two heads."""
    hides = np.array([[1, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]], bool)
    lowest = np.finfo(np.float16).min
    for mask in (~hides, np.where(hides, lowest, 0).astype(np.float16), np.where(hides, -np.inf, 1.5)):
        operands = {"src": _tensor(2, 6), "dst": _tensor(2, 6), "limit": np.array([3, 5])}
        values = SimpleNamespace(values=mask[None], bytes=0)
        counts = _counts(SIMD, "mask_softmax", {}, mask=values, softcap=0.0, **operands)
        assert counts.scores == 12
        assert {reason: np.asarray(n).tolist() for reason, n in counts.hidden.items()} == {
            "causal": [2 * 3, 2 * 1], "mask": [1, 2],
        }  # fmt: skip


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
