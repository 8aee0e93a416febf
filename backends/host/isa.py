"""The instruction set of a host processor: a piece of an ONNX graph, run by onnxruntime.

The piece travels in the program as the bytes of an ONNX model with inputs i0, i1 … and outputs o0, o1 …; an instruction
has room for seven tensors beside it, so there is one for each number of results, and `feed` for further inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossbank.backends.roofline import SOURCES, Roofline, Work, charged, counted
from crossbank.runtime.isa import InstructionSet, reads, writes
from crossbank.runtime.program import ProgramError

TENSORS = 7
"""Tensors of one instruction beside the model."""
MOST_RESULTS = 4


class Unit:
    """The onnxruntime sessions of a host, by the bytes of their models, and the inputs fed ahead of the next run."""

    def __init__(self) -> None:
        self.fed: list[NDArray[Any]] = []
        self._sessions: dict[bytes, Any] = {}

    def session(self, model: bytes) -> Any:
        """The session of a model; ProgramError CB0571 where onnxruntime refuses it."""
        if model not in self._sessions:
            onnxruntime: Any = import_module("onnxruntime")
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            try:
                self._sessions[model] = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            except Exception as error:
                raise ProgramError(
                    "CB0571",
                    f"onnxruntime can't run a piece of the model: {error}",
                    help="see which nodes lie on the host with crossbank inspect",
                ) from error
        return self._sessions[model]


def _make_unit(config: Mapping[str, Any], machine: object) -> Unit:
    return Unit()


def _given(o: Any, names: list[str]) -> list[NDArray[Any]]:
    tensors = [getattr(o, name) for name in names]
    return [np.array(t[0], order="C") for t in tensors if t is not None]


def _nothing(o: Any) -> Work:
    """Nobody knows what a piece of the model does."""
    return Work()


FEEDS = [f"in{i}" for i in range(TENSORS)]


def _feed(unit: Unit, o: Any) -> None:
    unit.fed += _given(o, FEEDS)


def _run(results: int) -> Any:
    sources = [f"in{i}" for i in range(TENSORS - results)]
    names = [f"out{i}" for i in range(results)]

    def execute(unit: Unit, o: Any) -> None:
        feeds = {f"i{i}": tensor for i, tensor in enumerate(unit.fed + _given(o, sources))}
        unit.fed = []
        session = unit.session(o.model[0].tobytes())
        try:
            found = session.run([f"o{i}" for i in range(results)], feeds)
        except Exception as error:
            raise ProgramError(
                "CB0571", f"onnxruntime failed on a piece of the model: {error}", help="check the inputs of this step"
            ) from error
        for name, value in zip(names, found, strict=True):
            dst = getattr(o, name)
            if dst.shape[1:] != value.shape:
                raise ProgramError(
                    "CB0576",
                    f"a node on the host gave a tensor of shape {value.shape} where {dst.shape[1:]} was expected",
                    help="shapes that depend on data are not supported; export the model with fixed ones",
                )
            dst[0] = value

    return execute


ISA = InstructionSet(
    "host",
    7,
    1,
    "The host processor, for whatever no engine has instructions for: ONNX nodes in onnxruntime.",
    make_unit=_make_unit,
    make_cost_unit=Roofline.of,
    sources=SOURCES,
)
ISA.define(
    "feed",
    MOST_RESULTS + 1,
    [reads(name, optional=True) for name in FEEDS],
    "Take inputs of the next run, which come before its own.",
    _feed,
    charged(FEEDS, _nothing),
    counts=counted(FEEDS, _nothing),
    barrier=True,
)
for _results in range(1, MOST_RESULTS + 1):
    _fields = [
        reads("model", "uint8: a serialised ONNX model"),
        *(reads(f"in{i}", f"input i{i} of the model", optional=True) for i in range(TENSORS - _results)),
        *(writes(f"out{i}", f"output o{i} of the model") for i in range(_results)),
    ]
    _tensors = [field.name for field in _fields[1:]]
    ISA.define(
        f"run{_results}",
        _results,
        _fields,
        f"Run a model with {_results} output{'s' if _results > 1 else ''}; its last inputs, up to "
        f"{TENSORS - _results}, are operands.",
        _run(_results),
        charged(_tensors, _nothing),
        counts=counted(_tensors, _nothing),
        barrier=True,
    )
