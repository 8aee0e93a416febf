"""emit turns blocks into records that decode to the same instructions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from crossbank.passes.assign.assign_engines import AssignEnginesPass
from crossbank.passes.emit.emit_streams import emit
from crossbank.passes.lower.lower_to_instructions import LowerToInstructionsPass
from crossbank.passes.place.place_weights import PlaceWeightsPass
from crossbank.passes.schedule import PASSES as SCHEDULE
from crossbank.passes.split.split_weights import SplitWeightsPass
from crossbank.passes.tile.tile_weights import TileWeightsPass
from crossbank.runtime.core_isa import CALL, SIGNAL, WAIT
from crossbank.runtime.core_isa import ISA as CORE
from crossbank.runtime.expr import Expr
from crossbank.runtime.program import SPACE_SHIFT, Code
from tests.passes import toy

BEFORE = (AssignEnginesPass(), SplitWeightsPass(), TileWeightsPass(), PlaceWeightsPass(), LowerToInstructionsPass())


@pytest.fixture(scope="module")
def code() -> Code:
    ctx = toy.context()
    ctx.notes["nodes"] = ["first", "head"]
    return emit(toy.run(ctx, toy.layers(ctx), *BEFORE, *(kind() for kind in SCHEDULE)), ctx)


def opcodes(code: Code, block: str, engine: str) -> list[int]:
    return code.blocks[block].streams[engine]["opcode"].tolist()


def test_each_engine_has_its_own_stream(code: Code) -> None:
    signal, wait, call = (CORE.opcode(entry) for entry in (SIGNAL, WAIT, CALL))
    vector, matrix = toy.VECTOR.instructions, toy.MATRIX.instructions
    assert opcodes(code, "main", "v") == [toy.VECTOR.opcode(vector["act"]), signal, call]
    assert opcodes(code, "main", "m") == [wait, call, toy.MATRIX.opcode(matrix["mul"])]
    assert opcodes(code, "layer", "m") == [toy.MATRIX.opcode(matrix["mul"]), signal, wait]


def test_node_tables_have_a_row_per_call(code: Code) -> None:
    layer = code.blocks["layer"]
    stream = layer.streams["m"]
    assert [code.nodes[row[stream[0]["node"]]] for row in layer.nodes] == ["mul.0", "mul.1", "mul.2"]
    main = code.blocks["main"]
    assert code.nodes[main.nodes[0, main.streams["v"][0]["node"]]] == "first"


def test_tables_hold_what_differs_per_call(code: Code) -> None:
    table = code.tables["setup_layer"]
    assert table.columns == code.blocks["setup_layer"].parameters
    units, addresses = table.values.T
    assert units.tolist() == [0, 1, 2]
    assert addresses.tolist() == [code.constants[f"w.{i}"].address for i in range(3)]
    for name, column in zip(table.columns, table.values.T, strict=True):
        assert code.registers[name] == (column.min(), column.max())


def test_ports_have_addresses_in_the_io_space(code: Code) -> None:
    main = code.functions["main"]
    assert [port.name for port in (*main.inputs, *main.outputs)] == ["x", "y"]
    assert {port.address >> SPACE_SHIFT for port in (*main.inputs, *main.outputs)} == {code.spaces["io"].number}
    assert main.inputs[0].shape == (Expr.of("seq"), Expr.of(4))


def test_constants_do_not_overlap(code: Code) -> None:
    ends = sorted((entry.address, entry.address + entry.size_bytes) for entry in code.constants.values())
    assert all(stop <= start for (_, stop), (start, _) in itertools.pairwise(ends))
    assert len(ends) == 4


def test_the_summary_counts(code: Code) -> None:
    summary = code.summary
    assert summary["engines"]["matrix"]["macs"] == 80
    assert summary["nodes"] == 2
    assert summary["instructions"] == sum(
        len(stream) for block in code.blocks.values() for stream in block.streams.values()
    )
    assert np.isfinite(list(summary["memory"].values())).all()
