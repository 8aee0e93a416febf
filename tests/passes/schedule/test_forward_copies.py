"""forward-copies removes a copy only where nothing can tell."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from crossbank.passes.schedule.forward_copies import ForwardCopiesPass
from tests.passes import toy


def forwarded(*ops: Operation, layer: list[Operation] | None = None) -> dict[str, list[str]]:
    ctx = toy.context()
    buffers = [toy.buffer(name, kept=name in ("x", "y")) for name in ("x", "y", "a", "b", "c")]
    blocks = [toy.block("main", ops)] + ([toy.block("layer", layer, entry=False, calls=2)] if layer else [])
    return toy.outline(toy.run(ctx, ModuleOp([*buffers, *blocks]), ForwardCopiesPass()))


def test_the_producer_writes_where_the_copy_went() -> None:
    assert forwarded(toy.act("a", "x"), toy.copy("b", "a"), toy.act("y", "b")) == {
        "main": ["v act b <- x", "v act y <- b"]
    }


def test_later_reads_follow_the_copy() -> None:
    assert forwarded(toy.act("a", "x"), toy.copy("b", "a"), toy.add("y", "a", "b")) == {
        "main": ["v act b <- x", "v add y <- b, b"]
    }


def test_kept_while_the_target_is_still_needed() -> None:
    ops = toy.act("b", "x"), toy.act("a", "x"), toy.act("y", "b"), toy.copy("b", "a"), toy.act("c", "b")
    assert "v copy b <- a" in forwarded(*ops)["main"]


def test_kept_where_the_producer_reads_the_target() -> None:
    assert "v copy b <- a" in forwarded(toy.act("b", "x"), toy.add("a", "b", "x"), toy.copy("b", "a"))["main"]


def test_kept_where_the_source_is_read_after_the_target_changed() -> None:
    ops = toy.act("a", "x"), toy.copy("b", "a"), toy.act("b", "x"), toy.add("y", "a", "b")
    assert "v copy b <- a" in forwarded(*ops)["main"]


def test_kept_where_a_called_block_touches_the_target_in_between() -> None:
    ops = toy.act("a", "x"), toy.call("layer", 2), toy.copy("b", "a")
    assert "v copy b <- a" in forwarded(*ops, layer=[toy.act("b", "x")])["main"]


def test_a_layer_writes_its_carried_buffer_at_once() -> None:
    layer = [toy.act("a", "b"), toy.act("c", "a"), toy.copy("b", "c")]
    assert forwarded(toy.call("layer", 2), layer=layer)["layer"] == ["v act a <- b", "v act b <- a"]


def test_kept_for_ports_as_sources() -> None:
    assert forwarded(toy.copy("b", "x"), toy.act("y", "b"))["main"] == ["v copy b <- x", "v act y <- b"]
