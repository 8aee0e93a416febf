"""The instruction set of a host processor: a piece of an ONNX graph, run by onnxruntime.

The piece travels in the program as the bytes of an ONNX model with inputs i0, i1 … and outputs o0, o1 …; an instruction
has room for seven tensors beside it, so there is one for each number of results.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossbank.backends.roofline import SOURCES, Roofline, Work, charged
from crossbank.runtime.isa import InstructionSet, reads, writes
from crossbank.runtime.program import ProgramError

TENSORS = 7
"""Tensors of one instruction beside the model."""
MOST_RESULTS = 4


class Unit:
    """The onnxruntime sessions of a host, by the bytes of their models."""

    def __init__(self) -> None:
        self._sessions: dict[bytes, Any] = {}

    def session(self, model: bytes) -> Any:
        """The session of a model; ProgramError CB0571 where onnxruntime refuses it."""
        if model not in self._sessions:
            import onnxruntime

            options: Any = onnxruntime.SessionOptions()  # pyright: ignore[reportUnknownMemberType]
            options.log_severity_level = 3
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


def _run(results: int) -> Any:
    sources = [f"in{i}" for i in range(TENSORS - results)]
    names = [f"out{i}" for i in range(results)]

    def execute(unit: Unit, o: Any) -> None:
        feeds: dict[str, NDArray[Any]] = {}
        for i, name in enumerate(sources):
            tensor = getattr(o, name)
            if tensor is not None:
                feeds[f"i{i}"] = np.ascontiguousarray(tensor[0]).reshape(tensor.shape[1:])
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
                    "CB0572",
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
for _results in range(1, MOST_RESULTS + 1):
    _fields = [
        reads("model", "uint8: a serialised ONNX model"),
        *(reads(f"in{i}", f"input i{i} of the model", optional=True) for i in range(TENSORS - _results)),
        *(writes(f"out{i}", f"output o{i} of the model") for i in range(_results)),
    ]
    ISA.define(
        f"run{_results}",
        _results,
        _fields,
        f"Run a model with {_results} output{'s' if _results > 1 else ''} and at most {TENSORS - _results} inputs.",
        _run(_results),
        charged([field.name for field in _fields[1:]], lambda o: Work()),
    )
