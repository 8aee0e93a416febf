"""Instructions over several lanes at once equal the same instruction lane by lane."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from crossbank.backends.matrix.isa import ISA as MATRIX
from crossbank.backends.simd.isa import ISA as SIMD
from crossbank.runtime.isa import Access, InstructionSet, Kind

LANES = 3
RNG = np.random.default_rng(0)


def _f(*shape: int) -> np.ndarray:
    return RNG.standard_normal((LANES, *shape)).astype(np.float32)


def _i(high: int, *shape: int) -> np.ndarray:
    return RNG.integers(0, high, (LANES, *shape))


def _b(*shape: int) -> np.ndarray:
    return _f(*shape) > 0


def _shared(x: np.ndarray) -> np.ndarray:
    return x[:1]


CASES: list[tuple[InstructionSet, str, dict[str, Any]]] = [
    (SIMD, "copy", {"dst": _f(2, 4), "src": _f(2, 4)}),
    (SIMD, "value", {"dst": _i(9, 2), "n0": np.asarray([1, 2, 3]), "n1": 7}),
    (SIMD, "iota", {"dst": _i(9, 4), "start": np.asarray([1, -2, 3]), "step": 2}),
    (SIMD, "range", {"dst": _f(4), "start": _f(), "step": _f()}),
    (SIMD, "binary", {"dst": _f(2, 4), "a": _shared(_f(1, 4)), "b": _f(2, 4), "op": 0}),
    (SIMD, "binary", {"dst": _f(2, 4), "a": _shared(_f(1, 4)), "b": _f(2, 1), "op": 3}),
    (SIMD, "where", {"dst": _f(2, 4), "cond": _b(2, 4), "a": _f(1, 1), "b": _shared(_f(2, 4))}),
    (SIMD, "clip", {"dst": _f(2, 4), "src": _f(2, 4), "low": _f() - 1, "high": _shared(_f() + 2)}),
    (SIMD, "activation", {"dst": _f(2, 4), "src": _f(2, 4), "op": 2, "alpha": 0.0, "beta": 0.0}),
    (SIMD, "gated", {"dst": _f(2, 4), "gate": _f(2, 4), "up": _f(2, 4), "op": 0, "alpha": 0.0, "beta": 0.0}),
    (SIMD, "reduce", {"dst": _f(2), "src": _f(2, 3, 4), "op": 0, "axes": 2}),
    (SIMD, "reduce", {"dst": _f(), "src": _f(3, 4), "op": 9, "axes": 2}),
    (SIMD, "arg", {"dst": _i(9, 2), "src": _f(2, 4), "op": 0, "last": 0}),
    (SIMD, "softmax", {"dst": _f(2, 4), "src": _f(2, 4), "log": 0}),
    (SIMD, "layer_norm", {"dst": _f(2, 4), "src": _f(2, 4), "weight": _shared(_f(1, 4)), "epsilon": 0.1, "axes": 1}),
    (SIMD, "rms_norm", {"dst": _f(2, 4), "src": _f(2, 4), "weight": _f(1, 4), "epsilon": 0.1, "axes": 1}),
    (
        SIMD,
        "rotary",
        {"dst": _f(2, 8), "src": _f(2, 8), "cos": _f(1, 4), "sin": _f(1, 4), "width": 8, "interleaved": 0},
    ),
    (SIMD, "gather", {"dst": _f(2, 4), "table": _f(5, 4), "indices": _i(5, 2)}),
    (SIMD, "gather", {"dst": _f(2, 4), "table": _shared(_f(5, 4)), "indices": _i(5, 2)}),
    (SIMD, "gather", {"dst": _f(2, 4), "table": _f(5, 4), "indices": _shared(_i(5, 2))}),
    (SIMD, "gather_nd", {"dst": _f(2, 3), "data": _f(2, 4, 3), "indices": _i(4, 2, 1), "batch": 1}),
    (SIMD, "gather_nd", {"dst": _f(3), "data": _shared(_f(4, 2)), "indices": _i(2, 3, 2), "batch": 0}),
    (SIMD, "gather_elements", {"dst": _f(2, 3), "src": _f(2, 4), "indices": _i(4, 2, 3)}),
    (SIMD, "scatter_nd", {"dst": _f(4, 2), "indices": _i(4, 3, 1), "values": _f(3, 2), "op": 1}),
    (SIMD, "scatter_elements", {"dst": _f(2, 4), "indices": _i(4, 2, 3), "values": _f(2, 3), "op": 1}),
    (SIMD, "trilu", {"dst": _f(4, 4), "src": _f(4, 4), "upper": 1, "diagonal": np.asarray([0, 1, -1])}),
    (SIMD, "cumsum", {"dst": _f(2, 4), "src": _f(2, 4), "exclusive": 1, "reverse": 1}),
    (SIMD, "topk", {"values": _f(2, 3), "indices": _i(9, 2, 3), "src": _f(2, 6), "op": 0}),
    (SIMD, "one_hot", {"dst": _f(2, 5), "indices": _i(5, 2), "values": _shared(_f(2))}),
    (SIMD, "matmul", {"dst": _f(2, 5), "a": _f(2, 4), "b": _shared(_f(4, 5)), "scale": 0.5}),
    (
        SIMD,
        "mask_softmax",
        {
            "dst": _f(2, 6), "src": _f(2, 6), "mask": _shared(_f(1, 6)), "scale": 0.5, "softcap": 2.0,
            "limit": np.asarray([1, 6, 4]), "nan_to_zero": 0,
        },
    ),
    (SIMD, "quantize", {"dst": _f(4, 4).astype(np.int8), "src": _f(4, 4), "scale": _shared(_f(1, 4)), "zero": None}),
    (SIMD, "dequantize", {"dst": _f(4, 4), "src": _i(9, 4, 4).astype(np.int8), "scale": _f(1, 4), "zero": None}),
    (
        SIMD,
        "dynamic_quantize",
        {"dst": _f(4).astype(np.uint8), "scale": _f(), "zero": _f().astype(np.uint8), "src": _f(4)},
    ),
    (
        MATRIX,
        "gemm",
        {"dst": _f(2, 3, 5), "x": _f(2, 3, 4), "w": _shared(_f(4, 5)), "bias": _shared(_f(5)), "transposed": 0},
    ),
    (MATRIX, "gemm", {"dst": _f(3, 5), "x": _f(3, 4), "w": _f(5, 4), "bias": _f(5), "transposed": 1}),
    (MATRIX, "matmul", {"dst": _f(2, 3), "a": _f(2, 4), "b": _f(4, 3), "scale": 1.0}),
    (
        MATRIX,
        "attention",
        {
            "dst": _f(2, 4, 3, 8), "q": _f(2, 4, 3, 8), "k": _f(2, 2, 5, 8), "v": _shared(_f(2, 2, 5, 8)),
            "mask": _f(2, 1, 1, 5), "scale": 0.5, "softcap": 0.0, "causal": 1, "past": np.asarray([2, 1, 0]),
            "nan_to_zero": 0,
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[f"{name}{i}" for i, (_, name, _) in enumerate(CASES)])
def test_lanes(case: tuple[InstructionSet, str, dict[str, Any]]) -> None:
    """All lanes different, and each operand in turn shared by all."""
    isa, mnemonic, operands = case
    read = [f.name for f in isa.instructions[mnemonic].fields if f.access is Access.READ]
    _compare(isa, mnemonic, operands)
    for name in read:
        if operands.get(name) is not None:
            _compare(isa, mnemonic, {**operands, name: _shared(operands[name])})


def _compare(isa: InstructionSet, mnemonic: str, operands: dict[str, Any]) -> None:
    instruction, unit = isa.instructions[mnemonic], isa.make_unit({}, None)
    tensors = {f.name for f in instruction.fields if f.access is not None}
    fields = {f.name: operands.get(f.name, 0 if f.kind is Kind.COUNT else None) for f in instruction.fields}
    changed = [f.name for f in instruction.fields if f.access in (Access.WRITE, Access.UPDATE)]
    before = {name: np.array(fields[name]) for name in changed if fields[name] is not None}
    fields |= {name: np.array(value) for name, value in before.items()}
    instruction.execute(unit, SimpleNamespace(**fields))
    for lane in range(LANES):
        alone: dict[str, Any] = {}
        for name, value in fields.items():
            if isinstance(value, np.ndarray):
                source = before.get(name, value)
                one = source[lane : lane + 1] if len(source) > 1 else source
                alone[name] = np.array(one) if name in tensors else int(one[0])
            else:
                alone[name] = value
        instruction.execute(unit, SimpleNamespace(**alone))
        for name in before:
            np.testing.assert_allclose(fields[name][lane], alone[name][0], rtol=1e-6, atol=1e-7)
