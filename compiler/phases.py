"""The phases of a compilation in order, and the passes of each: the one table that says what happens when."""

from __future__ import annotations

from importlib import import_module

from xdsl.passes import ModulePass

PHASES = ("import", "raise", "assign", "split", "tile", "place", "lower", "schedule", "emit")
"""`import` reads the ONNX file and `emit` writes records; those between are passes over IR."""

_FOLDERS = {"raise": "raising"}


def passes_of(phase: str) -> tuple[ModulePass, ...]:
    """The passes of a phase with their default options; none for import and emit."""
    if phase in ("import", "emit"):
        return ()
    module = import_module(f"crossbank.passes.{_FOLDERS.get(phase, phase)}")
    return tuple(kind() for kind in module.PASSES)


def all_passes() -> dict[str, type[ModulePass]]:
    """Every pass by name, for `crossbank opt`; optional passes included."""
    found: dict[str, type[ModulePass]] = {}
    for phase in PHASES[1:-1]:
        module = import_module(f"crossbank.passes.{_FOLDERS.get(phase, phase)}")
        for kind in (*module.PASSES, *getattr(module, "OPTIONAL", ())):
            found[kind.name] = kind
    return found
