"""allocate-buffers: no two buffers that are in use at once share a byte."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp

from crossbank.dialects.imc import BlockOp, BufferOp
from crossbank.passes.schedule.allocate_buffers import AllocateBuffersPass
from crossbank.passes.schedule.lifetimes import Lifetime, lifetimes
from tests.passes import toy


def lives(*blocks: BlockOp) -> dict[str, Lifetime]:
    return lifetimes(blocks[0], {block.sym_name.data: block for block in blocks})


def block(name: str, ops: list, entry: bool = True) -> BlockOp:  # type: ignore[type-arg]
    made = toy.block(name, ops, entry)
    assert isinstance(made, BlockOp)
    return made


def test_a_buffer_lives_from_first_to_last_access() -> None:
    found = lives(block("main", [toy.act("a", "x"), toy.act("b", "a"), toy.act("c", "b")]))
    assert found["a"] == Lifetime(0, 1) and found["b"] == Lifetime(1, 2)
    assert not found["a"].overlaps(found["c"])


def test_a_buffer_used_in_a_loop_and_outside_outlasts_the_loop() -> None:
    body = [toy.act("b", "a"), toy.act("c", "b"), toy.act("d", "c")]
    found = lives(block("main", [toy.act("a", "x"), toy.loop("i", 3, body), toy.act("y", "d")]))
    assert found["a"].end >= found["d"].start
    assert found["a"].overlaps(found["c"]) and found["a"].overlaps(found["d"])
    assert found["d"].overlaps(found["b"]) and found["b"] == Lifetime(1, 2)


def test_a_callees_own_buffers_live_within_the_call() -> None:
    layer = block("layer", [toy.act("b", "a"), toy.act("c", "b"), toy.act("a", "c")], entry=False)
    found = lives(block("main", [toy.act("a", "x"), toy.call("layer", 4), toy.act("y", "a"), toy.act("d", "y")]), layer)
    assert found["a"].overlaps(found["b"]) and found["a"].overlaps(found["c"])
    assert not found["b"].overlaps(found["d"])


def addresses(module: ModuleOp) -> dict[str, tuple[str, int, int]]:
    found: dict[str, tuple[str, int, int]] = {}
    for op in module.body.block.ops:
        if isinstance(op, BufferOp):
            assert op.address is not None
            start = op.address.value.data
            found[op.sym_name.data] = (op.space.data, start, start + int(op.size.data))
    return found


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=25),
    st.lists(st.integers(1, 500), min_size=10, max_size=10),
)
def test_buffers_that_meet_in_time_lie_apart(steps: list[tuple[int, int]], sizes: list[int]) -> None:
    ctx = toy.context()
    main = block("main", [toy.act(f"b{target}", f"b{source}") for target, source in steps])
    buffers = [toy.buffer(f"b{i}", size, kept=i == 0) for i, size in enumerate(sizes)]
    found = lives(main)
    placed = addresses(toy.run(ctx, ModuleOp([*buffers, main]), AllocateBuffersPass()))
    for (a, life), (b, other) in itertools.combinations(found.items(), 2):
        if life.overlaps(other) or "b0" in (a, b):
            assert placed[a][2] <= placed[b][1] or placed[b][2] <= placed[a][1]
    assert ctx.notes["memory"]["mem"] >= max(end for _, _, end in placed.values())


def test_a_chain_needs_two_buffers_worth_of_memory() -> None:
    ctx = toy.context()
    names = [f"b{i}" for i in range(8)]
    main = block("main", [toy.act(b, a) for a, b in itertools.pairwise(names)])
    toy.run(ctx, ModuleOp([*(toy.buffer(name) for name in names), main]), AllocateBuffersPass())
    assert ctx.notes["memory"] == {"mem": 2 * 64}


@pytest.mark.parametrize("space", ["io", "private"])
def test_each_space_counts_for_itself(space: str) -> None:
    ctx = toy.context()
    main = block("main", [toy.act("a", "b")])
    toy.run(ctx, ModuleOp([toy.buffer("a", space=space), toy.buffer("b"), main]), AllocateBuffersPass())
    assert ctx.notes["memory"] == {space: 64, "mem": 64}
