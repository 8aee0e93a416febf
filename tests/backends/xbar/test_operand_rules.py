"""What arrays refuse before anything runs: groups, matrices and vectors that don't agree."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from crossbank.backends.xbar.isa import ISA
from crossbank.runtime.program import ProgramError

CONFIG = {"organisation": {"rows": 256, "columns": 256, "arrays": 64}}


def f(*shape: int) -> SimpleNamespace:
    return SimpleNamespace(shape=shape, dtype="float32")


def group(array: int = 0, row_tiles: int = 2, column_tiles: int = 3, chips: int | None = 1) -> dict[str, Any]:
    paid = {} if chips is None else {"chips": chips}
    return {"array": array, "row_tiles": row_tiles, "column_tiles": column_tiles, **paid}


PROGRAM: dict[str, Any] = {
    **group(chips=None), "weights": f(300, 600), "input_bound": None, "output_bound": None, "transposed": False,
}  # fmt: skip
GOOD: list[tuple[str, dict[str, Any]]] = [
    ("program", PROGRAM),
    ("program", PROGRAM | {"weights": f(600, 300), "transposed": True, "input_bound": f(2), "output_bound": f(2, 600)}),
    ("mvm", {**group(), "x": f(300), "outputs": 600}),
    ("read_out", {**group(), "dst": f(2, 600)}),
    ("accumulate", {**group(array=62, chips=2), "dst": f(600), "bias": f(600)}),
]
BAD: list[tuple[str, dict[str, Any]]] = [
    ("program", PROGRAM | {"weights": f(1, 300, 600)}),
    ("program", PROGRAM | {"weights": f(600, 300)}),
    ("program", PROGRAM | {"input_bound": f(2)}),
    ("program", PROGRAM | {"input_bound": f(2), "output_bound": f(3, 600)}),
    ("mvm", {**group(), "x": f(200), "outputs": 600}),
    ("mvm", {**group(), "x": f(300), "outputs": 900}),
    ("mvm", {**group(), "x": f(1, 300), "outputs": 600}),
    ("read_out", {**group(), "dst": f(1, 600)}),
    ("accumulate", {**group(), "dst": f(600), "bias": f(1)}),
    ("accumulate", {**group(), "dst": f(2, 600), "bias": None}),
    ("accumulate", {**group(array=62), "dst": f(600), "bias": None}),
]


def check(mnemonic: str, operands: dict[str, Any]) -> None:
    found = ISA.instructions[mnemonic].check
    assert found is not None
    found(SimpleNamespace(**operands), CONFIG)


@pytest.mark.parametrize(("mnemonic", "operands"), GOOD)
def test_operands_that_agree_pass(mnemonic: str, operands: dict[str, Any]) -> None:
    check(mnemonic, operands)


@pytest.mark.parametrize(("mnemonic", "operands"), BAD)
def test_operands_that_disagree_are_refused(mnemonic: str, operands: dict[str, Any]) -> None:
    with pytest.raises(ProgramError, match=r".+"):
        check(mnemonic, operands)
