"""The control instructions that every stream may use: loops, calls and synchronisation.

Their meaning and cost are the interpreter's own (`executor`, `coster`), so their functions are never called.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, NoReturn

from crossbank.runtime.isa import Field, InstructionSet, Kind, count, enum


class LoopKind(IntEnum):
    """How the trips of a loop relate."""

    SEQUENTIAL = 0
    """Trips run one after another and may read what earlier ones wrote."""
    PARALLEL = 1
    """Trips are independent: engine registers and private memory are undefined at the start of each."""


def _interpreted(*_: object) -> NoReturn:
    raise AssertionError("control instructions belong to the interpreter")


def _no_unit(config: Mapping[str, Any], machine: object = None) -> None:
    return None


ISA = InstructionSet(
    "core",
    1,
    1,
    "Control flow and synchronisation, common to all streams.",
    make_unit=_no_unit,
    make_cost_unit=_no_unit,
)

LOOP = ISA.define(
    "loop",
    1,
    [Field("counter", Kind.REGISTER, "runs from 0 to trips - 1"), count("trips"), enum("kind", LoopKind)],
    "Repeat the records up to the matching end.",
    _interpreted,
    _interpreted,
)
END = ISA.define("end", 2, [], "Close the innermost loop.", _interpreted, _interpreted)
CALL = ISA.define(
    "call",
    3,
    [
        Field("block", Kind.BLOCK),
        Field("table", Kind.TABLE, "one column per parameter register of the block"),
        count("first", "first row"),
        count("rows", "how many rows: the block runs once for each, in order"),
    ],
    "Run a block once for each of some rows of a constants table, the row's values in the block's registers.",
    _interpreted,
    _interpreted,
)
SIGNAL = ISA.define(
    "signal",
    4,
    [Field("token", Kind.TOKEN)],
    "Add one to a token when everything before has finished.",
    _interpreted,
    _interpreted,
)
WAIT = ISA.define(
    "wait",
    5,
    [Field("token", Kind.TOKEN)],
    "Stand until the token is at least one, then take one.",
    _interpreted,
    _interpreted,
)
