"""Where each node of a model went."""

from __future__ import annotations

from crossbank.passes.emit.node_account import account


def test_nodes_are_told_apart_by_what_carries_them() -> None:
    computed = [(["a0", "a1"], ["b0", "b1"]), (["c"], ["d"]), (["e"], ["a0", "f"]), (["g"], [])]
    found = account(computed, ["", "a0", "a1", "e"], ["d", "f", "h"])
    assert found.executed == ["a0", "a1", "e"]
    assert found.absorbed == {"a0": ["b0", "b1"], "e": ["f"]}
    assert found.views == ["c", "g"]
    assert found.folded == ["d", "h"]
