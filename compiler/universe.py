"""What xDSL's own tools find of this package: its dialects and passes, by the entry point `xdsl.universe`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from xdsl.ir import Dialect
from xdsl.passes import ModulePass
from xdsl.universe import Universe

from crossbank.compiler.phases import all_passes
from crossbank.runtime.registry import instruction_set, set_names


def _dialect(name: str) -> Callable[[], Dialect]:
    return lambda: getattr(import_module(f"crossbank.dialects.{name}"), name.upper())


def _instructions(name: str) -> Callable[[], Dialect]:
    from crossbank.dialects.instructions import dialect_of

    return lambda: dialect_of(instruction_set(name))


def _pass(kind: type[ModulePass]) -> Callable[[], type[ModulePass]]:
    return lambda: kind


UNIVERSE = Universe(
    all_dialects={name: _dialect(name) for name in ("onnx", "llm", "imc")}
    | {name: _instructions(name) for name in set_names() if name != "core"},
    all_passes={name: _pass(kind) for name, kind in all_passes().items()},
)
