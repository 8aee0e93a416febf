"""Nodes held against their operators, before anything reads them: known ones, with the operands that they want."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import onnx
from onnx import AttributeProto, checker
from onnx.defs import onnx_opset_version

from crossbank.compiler.frontend.errors import ATTRIBUTE, TOO_LARGE, TRUNCATED, UNKNOWN_OPS, FrontendError
from crossbank.dialects.onnx import schema_of

MAX_OPERANDS = 10_000
"""Inputs and outputs of a node."""
NO_SCHEMA = frozenset({"SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization"})
"""Operators that onnxruntime's tools write into the ai.onnx domain although ONNX has no such operator."""
AGAIN = "export the model again"


def domain_of(node: onnx.NodeProto) -> str:
    """The domain of a node's operator; "" is that of ONNX."""
    return _domain(node.domain)


def opsets_of(model: onnx.ModelProto) -> dict[str, int]:
    """The versions of the operators of each domain, by domain."""
    return {_domain(entry.domain): entry.version for entry in model.opset_import}


def check_nodes(model: onnx.ModelProto, path: Path, undecided: Mapping[str, str]) -> None:
    """FrontendError for operators that nobody knows, all at once, or for the first node that its operator forbids.

    `undecided` says of branches' outputs why their condition is not known.
    """
    opsets = opsets_of(model)
    if missing := {domain_of(node) for node in model.graph.node} - opsets.keys():
        name = min(missing) or "ai.onnx"
        message = f"the file states no opset version for {name}, whose operators it uses"
        raise FrontendError(TRUNCATED, message, str(path), AGAIN)
    _check_known(model.graph, path, opsets, undecided)
    _check_operands(model, path, opsets)


def _check_known(graph: onnx.GraphProto, path: Path, opsets: Mapping[str, int], undecided: Mapping[str, str]) -> None:
    unknown: Counter[str] = Counter()
    first: dict[str, str] = {}
    for node in graph.node:
        reason = _unsupported(node, opsets, undecided)
        if reason:
            unknown[reason] += 1
            first.setdefault(reason, node.name or (node.output[0] if node.output else ""))
    if not unknown:
        return
    lines = [f"{reason}: {count} nodes, first {first[reason]}" for reason, count in unknown.items()]
    message = f"{sum(unknown.values())} nodes can't be compiled\n   |  " + "\n   |  ".join(lines)
    help = "export with standard operators (opset 17 or later), inlined"
    if all(reason.startswith("If ") for reason in unknown):
        help = "export prefill and decode as one graph with an empty past, or as two files"
    raise FrontendError(UNKNOWN_OPS, message, str(path), help)


def _unsupported(node: onnx.NodeProto, opsets: Mapping[str, int], undecided: Mapping[str, str]) -> str:
    """Why nobody knows a node's operator; "" for a known one."""
    domain = domain_of(node)
    if any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute):
        why = undecided.get(node.output[0], "") if node.output else ""
        return f"{node.op_type} (control flow with subgraphs{f': {why}' if why else ''})"
    if domain == "":
        version = opsets.get("", 1)
        if schema_of(node.op_type, version) is None and node.op_type not in NO_SCHEMA:
            return f"{node.op_type} (unknown at opset {version})"
        return ""
    if (domain, node.op_type) not in _contributed():
        return f"{domain}:{node.op_type} (unknown operator)"
    return ""


def _check_operands(model: onnx.ModelProto, path: Path, opsets: Mapping[str, int]) -> None:
    """Every node of ai.onnx has inputs, outputs and attributes as its operator's schema wants them."""
    context: Any = checker.C.CheckerContext()
    context.ir_version = min(max(model.ir_version, 3), onnx.IR_VERSION)
    newest = onnx_opset_version()
    context.opset_imports = {domain: max(min(version, newest), 0) for domain, version in opsets.items()}
    for node in model.graph.node:
        where = f"{path}: {node.name} ({node.op_type})"
        if len(node.input) + len(node.output) > MAX_OPERANDS:
            message = f"a node of {len(node.input)} inputs and {len(node.output)} outputs"
            raise FrontendError(TOO_LARGE, message, where, AGAIN)
        if domain_of(node) == "" and node.op_type not in NO_SCHEMA:
            try:
                checker.check_node(node, context)
            except checker.ValidationError as error:
                text = str(error).strip().splitlines()[0][:300]
                raise FrontendError(ATTRIBUTE, text, where, AGAIN) from error


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


@cache
def _contributed() -> frozenset[tuple[str, str]]:
    """Domain and name of all operators that onnxruntime can run beyond ai.onnx."""
    state: Any = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    return frozenset((schema.domain, schema.name) for schema in state.get_all_operator_schema())
