"""Crossbank compiles language models for in-memory computing, runs them with the device's arithmetic, and costs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossbank.compiler.driver import compile as compile
    from crossbank.compiler.report.comparing_nodes import compare_nodes as compare_nodes
    from crossbank.runtime.compiled import Program as Program
    from crossbank.runtime.compiled import load as load
    from crossbank.runtime.cost import Cost as Cost
    from crossbank.runtime.program import ProgramError as ProgramError

__all__ = ["Cost", "Program", "ProgramError", "compare_nodes", "compile", "load"]

_PLACES = {
    "compile": "crossbank.compiler.driver",
    "compare_nodes": "crossbank.compiler.report.comparing_nodes",
    "load": "crossbank.runtime.compiled",
    "Program": "crossbank.runtime.compiled",
    "Cost": "crossbank.runtime.cost",
    "ProgramError": "crossbank.runtime.program",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for only then: a program runs without the compiler."""
    if name not in _PLACES:
        raise AttributeError(f"module 'crossbank' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)
