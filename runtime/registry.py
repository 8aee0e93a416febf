"""Where instruction sets are found: by name through the entry points `crossbank.isa`, loaded when first asked for."""

from __future__ import annotations

import difflib
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from crossbank.runtime.isa import InstructionSet
from crossbank.runtime.program import Code, Engine, ProgramError

GROUP = "crossbank.isa"
_extra: dict[str, InstructionSet] = {}


@lru_cache(maxsize=1)
def _entries() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        if found.setdefault(entry.name, entry).value != entry.value:
            raise ProgramError(
                "CB0524",
                f"two installed packages bring an instruction set {entry.name!r}: "
                f"{found[entry.name].value} and {entry.value}",
                help="uninstall one of them",
            )
    return found


@lru_cache(maxsize=64)
def _load(name: str) -> InstructionSet:
    try:
        loaded = _entries()[name].load()
    except ImportError as error:
        raise ProgramError(
            "CB0524", f"instruction set {name!r} can't be loaded: {error}", help="install its package again"
        ) from error
    if not isinstance(loaded, InstructionSet) or loaded.name != name:
        raise ProgramError(
            "CB0524", f"entry point {name!r} of {GROUP} is no instruction set of that name", help="repair the plug-in"
        )
    return loaded


def set_names() -> list[str]:
    """The names of all instruction sets that are installed."""
    return sorted({*_entries(), *_extra})


def instruction_set(name: str) -> InstructionSet:
    """The instruction set of a name; ProgramError CB0524 where none is installed."""
    if name in _extra:
        return _extra[name]
    if name not in _entries():
        close = difflib.get_close_matches(name, set_names(), n=1)
        raise ProgramError(
            "CB0524",
            f"no instruction set {name!r} is installed",
            help=f"did you mean {close[0]!r}?" if close else f"installed are {', '.join(set_names())}",
        )
    return _load(name)


def sets_of(code: Code) -> dict[int, InstructionSet]:
    """The instruction sets that a program may use, by number: `core` and those of its engines."""
    found: dict[int, InstructionSet] = {}
    for name in ("core", *(engine.isa for engine in code.engines.values())):
        isa = instruction_set(name)
        if found.setdefault(isa.number, isa) is not isa:
            raise ProgramError(
                "CB0524",
                f"instruction sets {isa.name!r} and {found[isa.number].name!r} share number {isa.number}",
                help="give one of them another number",
            )
    return found


def make_unit(engine: Engine, machine: Any) -> Any:
    """The state of an engine for execution; ProgramError CB0207 where its table of numbers is unusable."""
    with _usable(engine):
        return instruction_set(engine.isa).make_unit(engine.config, machine)


def make_cost_unit(engine: Engine) -> Any:
    """What the `time` functions of an engine's instructions read; ProgramError CB0207 as for `make_unit`."""
    with _usable(engine):
        return instruction_set(engine.isa).make_cost_unit(engine.config)


@contextmanager
def _usable(engine: Engine) -> Generator[None]:
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        why = f"it lacks {error.args[0]!r}" if isinstance(error, KeyError) else str(error)
        raise ProgramError(
            "CB0207", f"the table of engine {engine.name} (kind {engine.kind}) is unusable: {why}",
            help="add or repair that in the system file, with its unit and source; see docs/systems.md",
        ) from error  # fmt: skip


@contextmanager
def extra_sets(*sets: InstructionSet) -> Generator[None]:
    """Make further instruction sets known inside a `with`, before those that are installed."""
    before = dict(_extra)
    _extra.update({isa.name: isa for isa in sets})
    try:
        yield
    finally:
        _extra.clear()
        _extra.update(before)
