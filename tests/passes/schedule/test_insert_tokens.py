"""insert-tokens orders engines wherever they touch the same memory, with no wait that another implies."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from crossbank.passes.schedule.allocate_buffers import AllocateBuffersPass
from crossbank.passes.schedule.insert_tokens import InsertTokensPass
from tests.passes import toy

NAMES = ("x", "a", "b", "c", "d")


def tokens(*ops: Operation, layer: list[Operation] | None = None) -> dict[str, list[str]]:
    ctx = toy.context()
    blocks = [toy.block("main", ops)] + ([toy.block("layer", layer, entry=False, calls=2)] if layer else [])
    buffers = [toy.buffer(name, kept=True) for name in NAMES]
    return toy.outline(toy.run(ctx, ModuleOp([*buffers, *blocks]), InsertTokensPass()))


def test_read_after_write_waits() -> None:
    assert tokens(toy.mul("a", "x"), toy.act("b", "a"))["main"] == [
        "m mul a <- x",
        "m signal 0",
        "v wait 0",
        "v act b <- a",
    ]


def test_reads_of_both_do_not_wait() -> None:
    assert tokens(toy.mul("a", "x"), toy.act("b", "x"))["main"] == ["m mul a <- x", "v act b <- x"]


def test_write_after_read_waits() -> None:
    assert "v wait 0" in tokens(toy.mul("a", "b"), toy.act("b", "x"))["main"]


def test_a_wait_that_another_implies_is_left_out() -> None:
    ops = toy.mul("a", "x"), toy.mul("b", "x"), toy.act("c", "b"), toy.act("d", "a")
    assert sum("wait" in line for line in tokens(*ops)["main"]) == 1


def test_a_loop_of_two_engines_meets_at_its_end() -> None:
    lines = tokens(toy.loop("i", 3, [toy.mul("a", "b"), toy.act("b", "a")]))["main"]
    assert lines == [
        "loop 3",
        "  m mul a <- b",
        "  m signal 0",
        "  v wait 0",
        "  v act b <- a",
        "  v signal 1",
        "  m wait 1",
    ]


def test_a_called_block_meets_at_its_end_and_its_caller_relies_on_it() -> None:
    found = tokens(
        toy.mul("a", "x"), toy.call("layer", 2), toy.mul("c", "b"), layer=[toy.act("b", "a"), toy.mul("a", "b")]
    )
    assert found["layer"][-2:] == ["m signal 1", "v wait 1"]
    assert found["main"][-2:] == ["call layer 2", "m mul c <- b"]


def simulate(lines: list[str], seed: int) -> list[str] | None:
    """Run the streams of both engines in a random order that tokens allow; the order of instructions, None if stuck."""
    streams = {engine: [line for line in lines if line.startswith(engine)] for engine in "vm"}
    held: Counter[str] = Counter()
    order: list[str] = []
    pick = random.Random(seed)
    while any(streams.values()):
        ready = [e for e, s in streams.items() if s and not (" wait " in s[0] and not held[s[0].split()[-1]])]
        if not ready:
            return None
        engine = pick.choice(ready)
        line = streams[engine].pop(0)
        if " signal " in line:
            held[line.split()[-1]] += 1
        elif " wait " in line:
            held[line.split()[-1]] -= 1
        else:
            order.append(line)
    assert not +held
    return order


def values(lines: list[str]) -> dict[str, str]:
    """What each buffer holds in the end, as a term of what was there at the start."""
    state = {name: name for name in NAMES}
    for line in lines:
        _, mnemonic, target, _, source = line.split()
        state[target] = f"{mnemonic}({state[source]})"
    return state


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from(NAMES), st.sampled_from(NAMES)), min_size=1, max_size=14),
    st.integers(0, 1 << 30),
)
def test_any_order_that_tokens_allow_gives_the_same_values(steps: list[tuple[bool, str, str]], seed: int) -> None:
    steps = [(vector, target, source) for vector, target, source in steps if target != source]
    ops = [toy.act(target, source) if vector else toy.mul(target, source) for vector, target, source in steps]
    lines = tokens(*ops)["main"]
    plain = [line for line in lines if "signal" not in line and "wait" not in line]
    order = simulate(lines, seed)
    assert order is not None
    assert values(order) == values(plain)


def test_buffers_that_share_memory_are_ordered_too() -> None:
    ctx = toy.context()
    ops = toy.mul("a", "x"), toy.mul("b", "a"), toy.act("c", "x"), toy.act("d", "c")
    buffers = [toy.buffer(name, kept=name == "x") for name in NAMES]
    module = toy.run(ctx, ModuleOp([*buffers, toy.block("main", ops)]), AllocateBuffersPass(), InsertTokensPass())
    assert any("wait" in line for line in toy.outline(module)["main"])
