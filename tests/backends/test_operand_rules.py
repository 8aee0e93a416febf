"""What the vector and matrix engines refuse before anything runs: shapes, types and constants that don't agree."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from crossbank.backends.matrix.isa import ISA as MATRIX
from crossbank.backends.simd.isa import ISA as SIMD
from crossbank.backends.simd.kinds import Activation, Binary, Flag, Unary
from crossbank.runtime.program import ProgramError

VARIES = np.array([1, 5, 9])
"""A dimension over three samples."""


def f(*shape: Any) -> SimpleNamespace:
    return SimpleNamespace(shape=shape, dtype="float32")


def i(*shape: Any) -> SimpleNamespace:
    return SimpleNamespace(shape=shape, dtype="int64")


def b(*shape: Any) -> SimpleNamespace:
    return SimpleNamespace(shape=shape, dtype="bool")


def numbers(**given: int) -> dict[str, int]:
    return {f"n{k}": given.get(f"n{k}", 0) for k in range(12)}


NO = {"weight": None, "bias": None, "mean": None, "inverse": None}
GOOD: list[tuple[Any, str, dict[str, Any]]] = [
    (SIMD, "copy", {"dst": f(2, VARIES), "src": f(VARIES)}),
    (SIMD, "cast", {"dst": f(2, 3), "src": i(2, 1)}),
    (SIMD, "value", {"dst": i(2), **numbers(n0=3, n1=4)}),
    (SIMD, "unary", {"dst": b(3), "src": b(3), "op": Unary.NOT}),
    (SIMD, "binary", {"dst": f(2, VARIES), "a": f(VARIES), "b": f(2, 1), "op": Binary.ADD}),
    (SIMD, "binary", {"dst": b(3), "a": i(3), "b": i(1), "op": Binary.LESS}),
    (SIMD, "gated", {"dst": f(3), "gate": f(3), "up": f(3), "op": Activation.SILU, "alpha": 0.0, "beta": 0.0}),
    (SIMD, "reduce", {"dst": f(2), "src": f(2, 3, VARIES), "axes": 2}),
    (SIMD, "layer_norm", {**NO, "dst": f(2, 4), "src": f(2, 4), "weight": f(4), "mean": f(2, 1), "axes": 1}),
    (SIMD, "rotary", {"dst": f(VARIES, 8), "src": f(VARIES, 8), "cos": f(VARIES, 4), "sin": f(VARIES, 4), "width": 8}),
    (SIMD, "gather", {"dst": f(2, 3, 4), "table": f(9, 4), "indices": i(2, 3)}),
    (SIMD, "gather_nd", {"dst": f(3, 5), "data": f(2, 4, 5), "indices": i(3, 2), "batch": 0}),
    (SIMD, "scatter_nd", {"dst": f(4, 5), "indices": i(3, 1), "values": f(3, 5)}),
    (SIMD, "matmul", {"dst": f(2, 3, 4), "a": f(2, 3, VARIES), "b": f(VARIES, 4)}),
    (
        MATRIX,
        "gemm",
        {"dst": f(1, VARIES, 4), "x": f(1, VARIES, 3), "w": f(4, 3), "bias": f(4), "transposed": Flag.YES},
    ),
    (SIMD, "place", {"dst": f(2, 2, 9, 4), "src": f(2, 2, VARIES, 4), "starts": i(2)}),
    (SIMD, "evict", {"dst": f(2, 2, 5, 4), "src": f(2, 2, 9, 4), "first": i(2)}),
    (SIMD, "round_blocks", {"dst": f(2, 6), "src": f(2, 6), "block": 3}),
    (
        MATRIX,
        "gemm",
        {"dst": f(1, 4), "x": f(1, 6), "w": i(4, 6), "bias": None, "transposed": Flag.YES, "scales": f(1, 3)},
    ),
    (
        MATRIX,
        "attention",
        {"dst": f(1, 4, 2, 8), "q": f(1, 4, 2, 8), "k": f(1, 2, 7, 8), "v": f(1, 2, 7, 8), "mask": b(1, 1, 2, 7)},
    ),
]
BAD: list[tuple[Any, str, dict[str, Any]]] = [
    (SIMD, "place", {"dst": f(2, 2, 9, 4), "src": f(2, 2, 3, 4), "starts": i(3)}),
    (SIMD, "evict", {"dst": f(2, 2, 5, 4), "src": f(2, 2, 9, 4), "first": i(3)}),
    (SIMD, "evict", {"dst": f(2, 2, 5, 4), "src": f(2, 1, 9, 4), "first": i(2)}),
    (SIMD, "evict", {"dst": f(2, 2, 5, 4), "src": i(2, 2, 9, 4), "first": i(2)}),
    (SIMD, "place", {"dst": f(2, 2, 9, 4), "src": f(2, 1, 3, 4), "starts": i(2)}),
    (SIMD, "round_blocks", {"dst": f(2, 6), "src": f(2, 6), "block": 4}),
    (
        MATRIX,
        "gemm",
        {"dst": f(1, 4), "x": f(1, 6), "w": i(4, 6), "bias": None, "transposed": Flag.YES, "scales": f(1, 4)},
    ),
    (SIMD, "copy", {"dst": f(2, VARIES), "src": f(2, 5)}),
    (SIMD, "copy", {"dst": f(2), "src": i(2)}),
    (SIMD, "value", {"dst": i(2), **numbers(n2=1)}),
    (SIMD, "value", {"dst": i(13), **numbers()}),
    (SIMD, "unary", {"dst": f(3), "src": i(3), "op": Unary.EXP}),
    (SIMD, "unary", {"dst": f(3), "src": f(3), "op": Unary.IS_NAN}),
    (SIMD, "binary", {"dst": f(2, 3), "a": f(2, 3), "b": f(2), "op": Binary.ADD}),
    (SIMD, "binary", {"dst": f(3), "a": f(3), "b": i(3), "op": Binary.ADD}),
    (SIMD, "binary", {"dst": b(3), "a": b(3), "b": b(3), "op": Binary.PRELU}),
    (SIMD, "gated", {"dst": f(3), "gate": f(3), "up": f(3), "op": Activation.SILU, "alpha": 0.0, "beta": 1.0}),
    (SIMD, "reduce", {"dst": f(2), "src": f(2, 3, 4), "axes": 1}),
    (SIMD, "reduce", {"dst": f(), "src": f(2, 3), "axes": 3}),
    (SIMD, "layer_norm", {**NO, "dst": f(2, 4), "src": f(2, 4), "weight": f(3), "axes": 1}),
    (SIMD, "rotary", {"dst": f(2, 8), "src": f(2, 8), "cos": f(2, 3), "sin": f(2, 3), "width": 8}),
    (SIMD, "rotary", {"dst": f(2, 8), "src": f(2, 8), "cos": f(2, 8), "sin": f(2, 8), "width": 10}),
    (SIMD, "gather", {"dst": f(2, 3, 5), "table": f(9, 4), "indices": i(2, 3)}),
    (SIMD, "gather", {"dst": f(2, 4), "table": f(9, 4), "indices": f(2)}),
    (SIMD, "gather_nd", {"dst": f(3, 5), "data": f(2, 4, 5), "indices": i(3, 4), "batch": 0}),
    (SIMD, "scatter_nd", {"dst": f(4, 5), "indices": i(3, 1), "values": f(3, 4)}),
    (SIMD, "matmul", {"dst": f(2, 3, 4), "a": f(2, 3, 5), "b": f(VARIES, 4)}),
    (SIMD, "matmul", {"dst": f(4), "a": f(5), "b": f(5, 4)}),
    (MATRIX, "gemm", {"dst": f(1, 2, 4), "x": f(1, 2, 3), "w": f(4, 3), "bias": None, "transposed": Flag.NO}),
    (MATRIX, "gemm", {"dst": f(1, 2, 4), "x": f(1, 2, 3), "w": f(3, 4), "bias": f(1), "transposed": Flag.NO}),
    (
        MATRIX,
        "attention",
        {"dst": f(1, 4, 2, 8), "q": f(1, 4, 2, 8), "k": f(1, 3, 7, 8), "v": f(1, 3, 7, 8), "mask": None},
    ),
]


def check(isa: Any, mnemonic: str, operands: dict[str, Any]) -> None:
    found = isa.instructions[mnemonic].check
    assert found is not None
    found(SimpleNamespace(**operands), {})


@pytest.mark.parametrize(("isa", "mnemonic", "operands"), GOOD, ids=[case[1] for case in GOOD])
def test_operands_that_agree_pass(isa: Any, mnemonic: str, operands: dict[str, Any]) -> None:
    check(isa, mnemonic, operands)


@pytest.mark.parametrize(("isa", "mnemonic", "operands"), BAD, ids=[case[1] for case in BAD])
def test_operands_that_disagree_are_refused(isa: Any, mnemonic: str, operands: dict[str, Any]) -> None:
    with pytest.raises(ProgramError, match=r".+") as caught:
        check(isa, mnemonic, operands)
    assert caught.value.code == "CB0529"
    assert caught.value.help
