"""Functions of a model, and of operators that ONNX defines by others, inlined; endless and huge ones refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import checker, shape_inference

from crossbank.compiler.frontend import rules as _rules
from crossbank.compiler.frontend.errors import ATTRIBUTE, CYCLE, TOO_LARGE, FrontendError
from crossbank.compiler.frontend.step import RULES
from crossbank.compiler.frontend.wire import MAX_NODES
from crossbank.dialects.onnx import schema_of

assert _rules.__all__
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
    except (checker.ValidationError, shape_inference.InferenceError, RuntimeError, ValueError) as error:
        text = str(error).strip().splitlines()[0][:300]
        help = "export the model without functions"
        raise FrontendError(ATTRIBUTE, f"its functions can't be inlined: {text}", str(path), help) from error


def spelt_out(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model with operators that have no rule of their own as the functions that their ONNX schemas state."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    version = versions.get("", versions.get("ai.onnx", 1))
    named = {node.op_type for node in model.graph.node if node.domain in ("", "ai.onnx")} - RULES.keys()
    schemas = {name: schema_of(name, version) for name in sorted(named)}
    found = [name for name, schema in schemas.items() if _has_body(schema)]
    if not found:
        return model
    from onnx.inliner import inline_selected_functions

    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    for node in whole.graph.node:
        if node.op_type in found and node.domain in ("", "ai.onnx"):
            _give_defaults(node, schemas[node.op_type])
    try:
        return inline_selected_functions(whole, [("", name) for name in found], inline_schema_functions=True)
    except (checker.ValidationError, shape_inference.InferenceError, RuntimeError, ValueError) as error:
        text = str(error).strip().splitlines()[0][:300]
        help = "export with other operators"
        raise FrontendError(ATTRIBUTE, f"{found[0]} can't be spelt out: {text}", str(path), help) from error


def _give_defaults(node: onnx.NodeProto, schema: Any) -> None:
    """Write out the attributes that a node leaves to its schema: a body refers to them by name."""
    given = {attribute.name for attribute in node.attribute}
    for name, attribute in schema.attributes.items():
        if name not in given and attribute.default_value.type:
            node.attribute.append(attribute.default_value)


def _has_body(schema: Any) -> bool:
    return schema is not None and (schema.has_function or schema.has_context_dependent_function)


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
