"""Loops as the lowering of this family writes them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from crossbank.backends.interface import Lowering
from crossbank.runtime.expr import ONE, ZERO, Expr


@contextmanager
def repeated(to: Lowering, trips: int | Expr) -> Generator[Expr]:
    """A sequential loop; without one for a single trip."""
    if Expr.of(trips) == ONE:
        yield ZERO
        return
    with to.loop(trips) as counter:
        yield counter
