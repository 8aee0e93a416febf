"""Tensors caught on the way: written in pieces, in lanes, per row of a call, and gone from memory afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crossbank.runtime.capture import Capture
from crossbank.runtime.executor import Executor
from crossbank.runtime.expr import Expr
from crossbank.runtime.machine import Machine
from crossbank.runtime.program import Code, NamedTensor, ProgramError, Table
from crossbank.runtime.registry import extra_sets
from crossbank.runtime.tables import check_tables
from crossbank.runtime.tensors import TensorStore
from tests.runtime.toy import MEMORY, TOY, Builder, at


def caught(code: Code, names: list[str] | None = None, **dimensions: int) -> dict[str, Any]:
    """The tensors by name, in order of completion; memory counts 0, 1, 2 … as float32 before."""
    machine, capture = Machine(code, TensorStore()), Capture(code, names)
    machine.view(MEMORY << 44, np.dtype(np.float32), (256,), (4,))[0] = np.arange(256)
    with extra_sets(TOY):
        Executor(machine, [capture], lane_chunk=3).run("main", dimensions)
    return {value.name: value.array.tolist() for value in capture.values()}


def tensor(operation: int, names: tuple[str, ...], offset: Any, shape: list[Any], strides: Any = None) -> NamedTensor:
    lies = at(MEMORY, offset, shape, strides)
    return NamedTensor(operation, names, lies.address, lies.layout)


def plus(b: Builder, offset: Any, shape: list[Any], amount: int, operation: int, strides: Any = None) -> Any:
    record = b.op("toy.increase", dst=at(MEMORY, offset, shape, strides), amount=amount, factor=1.0)
    record["operation"] = operation
    return record


def program(b: Builder, records: list[Any], *values: NamedTensor) -> Code:
    b.block("main", {"e0": records})
    b.blocks["main"].values = values
    return b.code()


def test_a_value_is_what_its_operation_left_and_not_what_came_later() -> None:
    b = Builder()
    records = [plus(b, 0, [2], 10, 1), plus(b, 0, [2], 100, 2), plus(b, 0, [2], 1000, 0)]
    values = (tensor(2, ("second",), 0, [2]), tensor(1, ("first",), 0, [2]))
    code = program(b, records, *values)
    assert list(caught(code).items()) == [("first", [10, 11]), ("second", [110, 111])]
    assert caught(code, ["second"]) == {"second": [110, 111]}


def test_pieces_make_a_tensor_and_what_is_missing_leaves_none() -> None:
    b = Builder()
    whole, part = tensor(1, ("whole",), 0, [2, 2]), tensor(2, ("part",), 64, [3])
    code = program(b, [plus(b, 8, [2], 5, 1), plus(b, 64, [2], 5, 2), plus(b, 0, [2], 7, 1)], whole, part)
    assert caught(code) == {"whole": [[7, 8], [7, 8]]}


def test_a_part_of_what_is_written_and_a_transposed_view_of_it() -> None:
    b = Builder()
    values = tensor(1, ("column",), 4, [2], [2]), tensor(1, ("turned",), 0, [2, 2], [1, 2])
    assert caught(program(b, [plus(b, 0, [2, 2], 10, 1)], *values)) == {
        "column": [11, 13], "turned": [[10, 12], [11, 13]],
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["parallel", "sequential"])
def test_trips_write_rows_of_a_tensor_of_any_length(kind: str) -> None:
    b = Builder({"n": (0, 9)})
    opened = b.op("core.loop", counter="i", trips=Expr.of("n"), kind=kind)
    records = [opened, plus(b, "i*8", [2], 1, 1), b.op("core.end")]
    code = program(b, records, tensor(1, ("rows",), 0, ["n", 2]))
    assert caught(code, n=5) == {"rows": [[2 * i + 1, 2 * i + 2] for i in range(5)]}
    assert caught(code, n=0) == {}


def test_each_row_of_a_call_has_a_name_of_its_own() -> None:
    b = Builder({"base": (0, 64)})
    b.tables["layers"] = Table("layers", ("base",), np.array([[0], [16]], np.int64))
    b.block("main", {"e0": [b.op("core.call", block="layer", table="layers", first=0, rows=2)]})
    b.block("layer", {"e0": [plus(b, "base", [2], 1, 1)]}, ["base"])
    b.blocks["layer"].values = (tensor(1, ("one", "two"), "base", [2]),)
    assert caught(b.code()) == {"one": [1, 2], "two": [5, 6]}


def test_a_place_outside_of_memory_or_of_no_register_is_refused() -> None:
    b = Builder()
    code = program(b, [plus(b, 0, [2], 1, 1)], tensor(1, ("far",), 1 << 40, [2]))
    with pytest.raises(ProgramError, match="CB0551"):
        caught(code)
    code.blocks["main"].values = (tensor(1, ("odd",), "nowhere", [2]),)
    with pytest.raises(ProgramError, match="register nowhere says, which is missing"):
        check_tables(code)
