"""Whether the shapes of a program's inputs and outputs make sense up to the capacity that it is compiled for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crossbank.runtime.expr import Expr, ExprError
from crossbank.runtime.program import Code, ProgramError
from crossbank.runtime.verifier import MAX_DIMENSIONS, corners, free_dimensions


def check_ports(code: Code, model: str) -> None:
    """ProgramError CB0115 for more dimensions than a program takes, or where some of them make another negative."""
    free = free_dimensions(code)
    if len(free) > MAX_DIMENSIONS:
        raise ProgramError(
            "CB0115",
            f"{len(free)} dimensions are open, a program takes {MAX_DIMENSIONS}: {', '.join(free)}"[:300],
            model,
            "export with fewer dynamic axes, or with one name for axes that are equal",
        )
    for function in code.functions.values():
        for port in (*function.inputs, *function.outputs):
            _check_sizes(code, port.shape, f"{model}: {port.name}")


def _check_sizes(code: Code, shape: Sequence[Expr], where: str) -> None:
    samples = corners(code)
    for dim in shape:
        low = int(np.min(dim.evaluate(samples), initial=0)) if dim.symbols <= samples.keys() else 0
        if low < 0:
            raise ProgramError(
                "CB0115",
                f"dimension {dim} is {low} for some sizes of the inputs",
                where,
                "export with axes whose sizes fit each other",
            )


def check_shapes(code: Code, equations: Sequence[str], model: str) -> None:
    """What is wrong with the shapes of a model whose program doesn't pass its check.

    ProgramError CB0115 for tensors of negative sizes, CB0113 for an equation "a = b" between shapes that import assumed
    and that some sizes refute; programs that pass do without.
    """
    for layout in code.layouts:
        _check_sizes(code, layout.shape, model)
    samples = corners(code)
    for equation in equations:
        sides = [Expr.of(side) for side in equation.split(" = ")]
        if any(not side.symbols <= samples.keys() for side in sides):
            continue
        try:
            with np.errstate(all="ignore"):
                left, right = (
                    np.broadcast_to(side.evaluate(samples), len(next(iter(samples.values())))) for side in sides
                )
        except (ExprError, ArithmeticError):
            continue
        if np.any(left != right):
            at = int(np.argmax(left != right))
            sizes = ", ".join(f"{name} {int(values[at])}" for name, values in samples.items())
            raise ProgramError(
                "CB0113",
                f"shapes fit only where {equation}; for {sizes} these are {int(left[at])} and {int(right[at])}",
                model,
                "export with axes whose sizes fit each other for all sizes of the inputs",
            )
