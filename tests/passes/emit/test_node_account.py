"""Where each node of a model went."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import crossbank
from crossbank.passes.emit.node_account import account
from tests import zoo

MOVES = frozenset({
    "Reshape", "Transpose", "Unsqueeze", "Squeeze", "Flatten", "Expand", "Slice", "Split", "Identity", "Gather", "Cast",
    "ConstantOfShape",
})  # fmt: skip
"""Operators whose result may be another look at memory: a Gather of one row, a Cast to the same type, one constant in
all places."""


def test_nodes_are_told_apart_by_what_carries_them() -> None:
    computed = [(["a0", "a1"], ["b0", "b1"]), (["c"], ["d"]), (["e"], ["a0", "f"]), (["g"], [])]
    found = account(computed, ["", "a0", "a1", "e"], ["d", "f", "h"])
    assert found.executed == ["a0", "a1", "e"]
    assert found.absorbed == {"a0": ["b0", "b1"], "e": ["f"]}
    assert found.views == ["c", "g"]
    assert found.folded == ["d", "h"]


@pytest.mark.parametrize("folder", zoo.parameters(""))
def test_no_node_of_a_recorded_model_is_lost(folder: Path) -> None:
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    names = [node.name for node in graph.node]
    if len(set(names)) < len(names) or any(node.op_type == "If" for node in graph.node) or not all(names):
        names = []
    summary = crossbank.compile(folder / "model.onnx", quiet=True).summary()
    within = {name for others in summary["absorbed"].values() for name in others}
    lists = [set(summary["executed"]), within, set(summary["views"]), set(summary["folded"])]
    every = set().union(*lists)
    assert sum(map(len, lists)) == len(every) == summary["nodes"]
    assert set(names) <= every
    kinds = {node.name: node.op_type for node in graph.node}
    assert {kinds[name] for name in summary["views"] if name in kinds} <= MOVES
