"""Which operands the instructions of analog arrays can be executed with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from crossbank.runtime.expr import Value
from crossbank.runtime.isa import Check
from crossbank.runtime.operand_rules import all_of, blocks, expect, kind, kinds, rank, refuse, shape_text
from crossbank.runtime.program import ProgramError


def _group(o: Any, config: Mapping[str, Any]) -> None:
    """A group's arrays lie on as many chips as the instruction pays for."""
    chips = getattr(o, "chips", None)
    arrays = int(config["organisation"]["arrays"])
    first = np.asarray(o.array)
    last = first + np.asarray(o.row_tiles) * np.asarray(o.column_tiles) - 1
    spanned = int((last // arrays - first // arrays).max()) + 1
    if chips is not None and spanned > int(np.asarray(chips).min()):
        raise ProgramError(
            "CB0563", f"the group spans {spanned} chips, the instruction says {int(np.asarray(chips).min())}"
        )


def _tiles(what: str, features: Value, size: int, tiles: Value) -> None:
    """So many rows or columns take as many arrays as the instruction says."""
    needed = -(-np.asarray(features) // size)
    if np.any(needed != np.asarray(tiles)):
        refuse(f"{what} of {shape_text([features])} features takes {shape_text([needed])} arrays, not {tiles}")


def _program(o: Any, config: Mapping[str, Any]) -> None:
    if len(o.weights.shape) != 2:
        refuse(f"weights are {shape_text(o.weights.shape)}, a matrix is expected")
    k, n = o.weights.shape[::-1] if o.transposed else o.weights.shape
    organisation = config["organisation"]
    _tiles("an input", k, int(organisation["rows"]), o.row_tiles)
    _tiles("an output", n, int(organisation["columns"]), o.column_tiles)
    if kind(o.weights) == "i" and getattr(o, "scales", None) is None:
        refuse(f"weights are {o.weights.dtype} without scales")
    if (o.input_bound is None) != (o.output_bound is None):
        refuse("the ranges of one kind of converter only")
    if o.input_bound is not None:
        expect("input_bound", o.input_bound.shape, (o.row_tiles,))
        expect("output_bound", o.output_bound.shape, (o.row_tiles, n))


def _mvm(o: Any, config: Mapping[str, Any]) -> None:
    organisation = config["organisation"]
    if len(o.x.shape) != 1:
        refuse(f"x is {shape_text(o.x.shape)}, a vector is expected")
    _tiles("an input", o.x.shape[0], int(organisation["rows"]), o.row_tiles)
    _tiles("an output", o.outputs, int(organisation["columns"]), o.column_tiles)


def _read_out(o: Any, config: Mapping[str, Any]) -> None:
    expect("dst", o.dst.shape[:-1], (o.row_tiles,))
    _tiles("an output", o.dst.shape[-1], int(config["organisation"]["columns"]), o.column_tiles)


def _accumulate(o: Any, config: Mapping[str, Any]) -> None:
    expect("dst", o.dst.shape[:-1], ())
    _tiles("an output", o.dst.shape[-1], int(config["organisation"]["columns"]), o.column_tiles)
    if o.bias is not None:
        expect("bias", o.bias.shape, o.dst.shape)


GROUP: Check = _group
PROGRAM = all_of(
    _group, kinds("fi", "weights"), kinds("f", "input_bound", "output_bound"), _program,
    blocks("weights", "scales", "zeros"),
)  # fmt: skip
MVM = all_of(_group, kinds("f", "x"), _mvm)
READ_OUT = all_of(_group, kinds("f", "dst"), rank(1, "dst"), _read_out)
ACCUMULATE = all_of(_group, kinds("f", "dst", "bias"), rank(1, "dst"), _accumulate)
