"""Where each ONNX node went: every one is executed, computed within another, a view of memory, or folded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class NodeAccount:
    """The nodes of a model, each in one place."""

    executed: list[str]
    """Those that instructions are named after."""
    absorbed: dict[str, list[str]]
    """By an executed node (one of several calls, for a repeated one), those that its instructions compute besides."""
    views: list[str]
    """Those that move nothing: their result is another look at memory that something else wrote."""
    folded: list[str]
    """Those whose result was known when the model was compiled."""


def account(
    computed: Iterable[tuple[Sequence[str], Sequence[str]]], executed: Iterable[str], folded: Iterable[str]
) -> NodeAccount:
    """Tell nodes apart by whether instructions carry them.

    `computed` has the nodes of each operation before it was lowered, one per call, and those that it absorbed. A node
    of which a part was folded counts where the rest of it is.
    """
    direct = dict.fromkeys(filter(None, executed))
    absorbed: dict[str, dict[str, None]] = {}
    untouched: dict[str, None] = {}
    for names, others in computed:
        if direct.keys().isdisjoint(names):
            untouched.update(dict.fromkeys((*names, *others)))
        else:
            inside = (name for name in (*names, *others) if name not in direct)
            absorbed.setdefault(next(name for name in names if name in direct), {}).update(dict.fromkeys(inside))
    carried = direct.keys() | {name for others in absorbed.values() for name in others}
    known = {name: None for name in folded if name not in carried}
    return NodeAccount(
        list(direct),
        {name: list(others) for name, others in absorbed.items() if others},
        [name for name in untouched if name not in carried and name not in known],
        list(known),
    )
