"""ONNX's own node tests of the operators of language models, through every phase and the instruction streams.

`tests/data/onnx_node_tests_llm.txt` lists them, `onnx_node_exceptions.txt` those that fail, with reasons: it may only
shrink, so an exception that passes fails the run, like anything else that fails.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from crossbank import onnx_backend

DATA = Path(__file__).parent / "data"
BAR = 0.97
"""The least share of the listed tests that passes."""


@cache
def listed() -> dict[str, list[str]]:
    """The names of the tests by operator."""
    found: dict[str, list[str]] = {}
    names: list[str] = []
    for line in (DATA / "onnx_node_tests_llm.txt").read_text().splitlines():
        if line.startswith("  "):
            names.append(line.strip())
        elif ":" in line and not line.startswith("#"):
            names = found.setdefault(line.partition(":")[0], [])
    return {operator: names for operator, names in found.items() if names}


@cache
def exceptions() -> dict[str, str]:
    """Why each test that fails does."""
    lines = (DATA / "onnx_node_exceptions.txt").read_text().splitlines()
    pairs = (line.partition(": ") for line in lines if line and not line.startswith("#"))
    return {name: reason for name, _, reason in pairs}


@cache
def cases() -> dict[str, Any]:
    """ONNX's test cases by name; making them takes some ten seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {case.name: case for case in load_model_tests(kind="node")}


def array(value: Any) -> Any:
    """A value of a test case, as ONNX's own runner gives it to a backend: some lie there as protobuf."""
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def failure(name: str) -> str | None:
    """What goes wrong in a test; None if it passes."""
    case = cases().get(name)
    if case is None:
        return f"onnx {onnx.__version__} has no such test"
    try:
        program = onnx_backend.prepare(case.model, "CPU")
        for inputs, expected in case.data_sets:
            results = program.run([array(value) for value in inputs])
            Runner.assert_similar_outputs([array(value) for value in expected], results, case.rtol, case.atol)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


@pytest.mark.slow
@pytest.mark.parametrize("operator", sorted(listed()))
def test_listed(operator: str, record_property: Callable[[str, object], None]) -> None:
    failed = {name: reason for name in listed()[operator] if (reason := failure(name)) is not None}
    record_property("ONNX node tests passed", (len(listed()[operator]) - len(failed), len(listed()[operator])))
    expected = set(exceptions()) & set(listed()[operator])
    unexpected = "\n".join(f"{name}: {reason}" for name, reason in failed.items() if name not in expected)
    assert not unexpected, unexpected
    cured = sorted(expected - set(failed))
    assert not cured, f"no exceptions any more, take them off the list: {', '.join(cured)}"


def test_exceptions_are_few_and_explained() -> None:
    names = [name for tests in listed().values() for name in tests]
    assert len(names) == len(set(names)) == 1197
    assert set(exceptions()) <= set(names)
    assert all(len(reason.split()) > 3 for reason in exceptions().values())
    assert len(exceptions()) <= (1 - BAR) * len(names)
