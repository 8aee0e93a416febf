"""Node by node beside onnxruntime: every tensor on every target, and the node at which something goes wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import crossbank
from crossbank.compiler.report.comparing_nodes import NodeError, compare_values
from crossbank.runtime.assembly.assembler import assemble
from crossbank.runtime.assembly.disassembler import disassemble
from crossbank.runtime.capture import Value
from crossbank.runtime.compiled import Program
from tests import zoo
from tests.compiler.frontend import models
from tests.test_end_to_end_ideal import LAYERS, SAMPLE, feeds

TOLERANCE = 1e-4
IDS = np.arange(14).reshape(2, 7) * 17 % 256
ZOO = ("ts17_kv_gpt2", "optimum_kv_llama", "genai_int4_llama", "hf5_dynamo18_kv_mixtral", "ortopt_gpt2")


@pytest.fixture(scope="module", params=["ideal", "aim", "hermes"])
def program(request: pytest.FixtureRequest) -> Program:
    return crossbank.compile(SAMPLE, request.param, context=32, max_batch=2, quiet=True)


def operators(rows: list[NodeError]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        found[row.op_type] = found.get(row.op_type, 0) + 1
    return found


def test_all_tensors_are_the_models_where_the_device_is_ideal(program: Program) -> None:
    past = [np.random.default_rng(i).standard_normal((2, 2, 5, 40)).astype(np.float32) for i in range(2 * LAYERS)]
    session = program.session(ideal=True)
    for given in (feeds(IDS, []), feeds(IDS[:, :1], past)):
        rows = crossbank.compare_nodes(session, given, SAMPLE, TOLERANCE)
        assert not any(row.first for row in rows)
        assert max(row.relative_error for row in rows) <= TOLERANCE
        nodes = [row.node for row in rows]
        assert len(set(nodes)) == len(nodes)
        assert nodes.index("node_linear") < nodes.index("node_linear_7") < nodes.index("node_linear_42")
        found = operators(rows)
        assert found["MatMul"] >= 8 * LAYERS + 1, "seven linears and an attention a layer, and the head"
        assert found["Add"] >= 4 * LAYERS, "two rotary embeddings and two sums a layer"
        assert rows[-1].tensor == "logits"


def test_devices_depart_where_they_compute(program: Program) -> None:
    """The first node above rounding is a product in banks or arrays; with 8-bit converters all that follow are."""
    rows = crossbank.compare_nodes(program.session(seed=3), feeds(IDS, []), SAMPLE, TOLERANCE)
    first = [row for row in rows if row.first]
    if program.code.target == "ideal":
        assert not first
        return
    assert [row.node for row in first] == ["node_linear"]
    assert first[0].engine == {"aim": "pim", "hermes": "analog"}[program.code.target]
    assert all(row.relative_error > TOLERANCE for row in rows[rows.index(first[0]) :])


def test_a_wrong_weight_is_found_where_it_is() -> None:
    """Layer 3 gets one of layer 2's weights: the node that uses it is the first that is wrong."""
    program = crossbank.compile(SAMPLE, context=32, max_batch=2, quiet=True)
    given, table = feeds(IDS, []), program.code.tables["layer0"]
    nodes = [row.node for row in crossbank.compare_nodes(program.session(), given, SAMPLE, TOLERANCE)]
    linears = [f"node_linear_{7 * 3 + i}" for i in range(7)]
    norms = [nodes[nodes.index(linears[i]) - 1] for i in (0, 4)]
    users = [norms[0], *linears[:4], norms[1], *linears[4:]]
    columns = [i for i, name in enumerate(table.columns) if "_at_" in name]
    assert len(columns) == len(users)
    kept = table.values.copy()
    for column, user in zip(columns, users, strict=True):
        table.values[:] = kept
        table.values[3, column] = kept[2, column]
        rows = crossbank.compare_nodes(program.session(), given, SAMPLE, TOLERANCE)
        assert [row.node for row in rows if row.first] == [user]
        assert [row.node for row in rows] == nodes


@pytest.mark.parametrize(("name", "target"), [*((name, "ideal") for name in ZOO), (ZOO[0], "aim"), (ZOO[1], "hermes")])
def test_exports_of_all_kinds(name: str, target: str) -> None:
    folder = zoo.HERE / name
    program = crossbank.compile(folder / "model.onnx", target, quiet=True)
    _, given, _ = next(zoo.cases(folder))
    rows = crossbank.compare_nodes(program.session(ideal=True), given, folder / "model.onnx", TOLERANCE)
    assert len(rows) >= 20 and not any(row.first for row in rows)


def test_external_data_stay_where_they_are(tmp_path: Path) -> None:
    """A copy of the graph reads them from the model's folder, and leaves nothing there."""
    path = tmp_path / "model.onnx"
    onnx.save(onnx.load(SAMPLE), path, save_as_external_data=True, location="weights", size_threshold=1024)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    program = crossbank.compile(path, context=32, max_batch=2, quiet=True)
    rows = crossbank.compare_nodes(program.session(), feeds(IDS, []), path, TOLERANCE)
    assert len(rows) > 100 and not any(row.first for row in rows)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before


def test_values_survive_files_and_assembly(tmp_path: Path) -> None:
    program = crossbank.compile(SAMPLE, "aim", context=32, max_batch=2, quiet=True)
    program.save(tmp_path / "a.cbk")
    loaded = crossbank.load(tmp_path / "a.cbk")
    again = assemble(disassemble(program.code))
    expected = {name: block.values for name, block in program.code.blocks.items()}
    assert sum(len(values) for values in expected.values()) > 25
    for code in (loaded.code, again):
        assert {name: block.values for name, block in code.blocks.items()} == expected


def test_infinities_and_numbers_that_are_none(tmp_path: Path) -> None:
    """Equal ones are equal; one that only one side has is no small error, and JSON has none."""
    built = models.model(
        [models.node("Log", ["x"], ["y"]), models.node("Add", ["y", "one"], ["z"])], {"x": (models.FLOAT, [3])}, ["z"],
        {"one": np.array([1, 1, 1], np.float32)},
    )  # fmt: skip
    path = tmp_path / "model.onnx"
    onnx.save(built, path)
    given = {"x": np.array([0, -1, np.e], np.float32)}

    def row(y: list[float]) -> NodeError:
        (found,) = compare_values([Value("y", "n", "e", "i", np.array(y, np.float32))], given, path)
        return found

    assert row([-np.inf, np.nan, 1.5]).relative_error == pytest.approx(0.5)
    for wrong in ([-np.inf, 0, 1], [np.inf, np.nan, 1], [-np.inf, np.nan, np.nan]):
        found = row(wrong)
        assert found.first and not found.relative_error <= 1
        assert found.to_dict()["relative_error"] is None
    assert row([-np.inf, np.nan, 1]).to_dict()["shape"] == [3]
    with pytest.raises(crossbank.ProgramError, match="CB0818"):
        compare_values([Value("y", "n", "e", "i", np.zeros(2, np.float32))], given, path)
