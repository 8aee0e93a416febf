"""split, tile and place: each instance gets units of its own, layer by layer, in as few groups as first fit takes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp

from crossbank.dialects.imc import WeightOp
from crossbank.dialects.mapping import Tiling
from crossbank.passes.assign.assign_engines import AssignEnginesPass
from crossbank.passes.context import CompileContext
from crossbank.passes.place.mappings import placement_of
from crossbank.passes.place.place_weights import Packing, PlaceWeightsPass
from crossbank.passes.split.split_weights import SplitWeightsPass
from crossbank.passes.tile.tile_weights import TileWeightsPass, weight_info
from crossbank.runtime.program import ProgramError
from tests.passes import toy

BEFORE = (AssignEnginesPass(), SplitWeightsPass(), TileWeightsPass())


def held(module: ModuleOp) -> dict[str, WeightOp]:
    return {op.sym_name.data: op for op in module.body.block.ops if isinstance(op, WeightOp)}


def test_split_and_tile_write_the_tiling_of_the_family() -> None:
    ctx = toy.context()
    head = held(toy.run(ctx, toy.layers(ctx), *BEFORE))["head"]
    mapping = head.mapping
    assert mapping is not None
    text = str(mapping)
    for part in (
        'engine = "m"',
        "split = {rows = {array = 1 : i64}, columns = {array = 2 : i64}}",
        "tile = [4 : i64, 4 : i64]",
        "units = 2",
        "bytes = 128",
    ):
        assert part in text
    assert weight_info(head, ctx).out_features == 8


def test_rows_of_a_layer_come_before_the_next_layer_and_main_last() -> None:
    ctx = toy.context()
    module = toy.run(ctx, toy.layers(ctx), *BEFORE, PlaceWeightsPass())
    places = {name: placement_of(op, ctx) for name, op in held(module).items()}
    assert places["w"] is not None and places["head"] is not None
    assert places["w"].first_unit.tolist() == [0, 1, 2]
    assert places["head"].first_unit.tolist() == [3]
    assert ctx.notes["groups"] == 1
    assert ctx.notes["units"] == {"m": {"used": 5, "total": 6}}


def test_too_few_groups_name_the_node_and_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy, "UNITS_PER_GROUP", 2)
    ctx = toy.context(groups=1)
    with pytest.raises(ProgramError) as caught:
        toy.run(ctx, toy.layers(ctx), *BEFORE, PlaceWeightsPass())
    text = str(caught.value)
    assert "error[CB0311]: weights do not fit the arrays of 1 chip (--chips 1)" in text
    assert "toy.onnx: mul.2" in text
    assert "needs 1 arrays; toy has 2 a chip, 0 free" in text
    assert "--chips auto        (3 chips for the weights)" in text


def tiling(units: int, within_group: bool) -> Tiling:
    return Tiling((1, units), (4, 4), units, 8, within_group, 0, 0)


@given(st.lists(st.tuples(st.integers(1, 8), st.booleans()), max_size=40))
def test_no_two_instances_share_a_unit(instances: list[tuple[int, bool]]) -> None:
    packing = Packing(8)
    taken = np.zeros(8 * 400, bool)
    for units, within in instances:
        first = packing.place(tiling(units, within))
        assert not taken[first : first + units].any()
        taken[first : first + units] = True
        if within:
            assert first // 8 == (first + units - 1) // 8
    assert taken[: len(packing.used) * 8].sum() == sum(packing.used) == taken.sum()


def test_tables_are_kept_by_content(tmp_path) -> None:  # type: ignore[no-untyped-def]
    ctx = CompileContext()
    first = ctx.keep_table(np.arange(6))
    assert ctx.keep_table(np.arange(6)) == first != ctx.keep_table(np.arange(6).reshape(2, 3))
    ctx.notes["groups"] = 3
    ctx.save_tables(tmp_path)
    again = CompileContext()
    again.load_tables(tmp_path)
    assert again.tables.keys() == ctx.tables.keys() and again.notes == {"groups": 3}
    np.save(tmp_path / "tables" / f"{first}.npy", np.arange(7))
    with pytest.raises(ProgramError, match="changed"):
        CompileContext().load_tables(tmp_path)
