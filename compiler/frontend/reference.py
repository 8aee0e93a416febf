"""ONNX's own reference implementation, asked for values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

IR_VERSION = 10
UNABLE = (NotImplementedError, RuntimeError, TypeError, ValueError, IndexError)
"""What it raises for operators that it lacks, and for inputs that an operator doesn't take."""


def reference_values(
    graph: onnx.GraphProto, opsets: Sequence[onnx.OperatorSetIdProto], feeds: Mapping[str, NDArray[Any]]
) -> list[Any] | None:
    """The outputs of a graph, in order; None where the reference implementation can't compute them."""
    from onnx.reference import ReferenceEvaluator

    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    try:
        with np.errstate(all="ignore"):
            values: Any = ReferenceEvaluator(model).run(None, dict(feeds))  # pyright: ignore[reportUnknownMemberType]
    except UNABLE:
        return None
    return list(values)
