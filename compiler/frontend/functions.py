"""A model's own functions, inlined; those that call each other without end, or come to too many nodes, refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import checker

from crossbank.compiler.frontend.errors import ATTRIBUTE, CYCLE, TOO_LARGE, FrontendError
from crossbank.compiler.frontend.wire import MAX_NODES

MAX_DEPTH = 100
"""Functions within functions."""
Key = tuple[str, str, str]


def inlined(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model without functions; FrontendError for one whose inlining has no end or no sensible size."""
    if not model.functions:
        return model
    from onnx.inliner import inline_local_functions

    sizes = _sizes(model, path)
    total = sum(sizes.get((node.domain, node.op_type, node.overload), 1) for node in model.graph.node)
    if total > MAX_NODES:
        raise FrontendError(
            TOO_LARGE, f"its functions come to {total} nodes, at most {MAX_NODES} are taken", str(path),
            "export the model without functions",
        )  # fmt: skip
    try:
        return inline_local_functions(model)
    except (checker.ValidationError, RuntimeError, ValueError) as error:
        text = str(error).strip().splitlines()[0][:300]
        help = "export the model without functions"
        raise FrontendError(ATTRIBUTE, f"its functions can't be inlined: {text}", str(path), help) from error


def _sizes(model: onnx.ModelProto, path: Path) -> Mapping[Key, int]:
    """The nodes that each function comes to, those it calls first."""
    functions = {(f.domain, f.name, f.overload): f for f in model.functions}
    sizes: dict[Key, int] = {}
    for start in functions:
        stack: list[Key] = [start]
        while stack:
            key = stack[-1]
            called = [(node.domain, node.op_type, node.overload) for node in functions[key].node]
            missing = next((other for other in called if other in functions and other not in sizes), None)
            if missing is None:
                sizes[key] = sum(sizes.get(other, 1) for other in called)
                stack.pop()
            elif missing in stack or len(stack) >= MAX_DEPTH:
                raise FrontendError(
                    CYCLE, f"function {missing[1]} calls itself, or others {MAX_DEPTH} deep", str(path),
                    "export the model without functions",
                )  # fmt: skip
            else:
                stack.append(missing)
    return sizes
