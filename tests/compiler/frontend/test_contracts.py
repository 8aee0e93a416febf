"""Fused operators with inputs of other dimensions than they take: refused with the word for what disagrees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from crossbank.compiler.driver import make_context
from crossbank.compiler.frontend.convert import import_model
from crossbank.compiler.frontend.errors import FrontendError

FLOAT, INT32 = TensorProto.FLOAT, TensorProto.INT32
MICROSOFT = "com.microsoft"


def refusal(
    folder: Path, op_type: str, inputs: Sequence[tuple[int, Sequence[int | str]] | None], domain: str, **attributes: Any
) -> str:
    names = [f"x{i}" if given else "" for i, given in enumerate(inputs)]
    ports = [helper.make_tensor_value_info(f"x{i}", *given) for i, given in enumerate(inputs) if given]
    node = helper.make_node(op_type, names, ["y"], "node", domain=domain, **attributes)
    graph = helper.make_graph([node], "one", ports, [onnx.ValueInfoProto(name="y")])
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid(MICROSOFT, 1)]
    path = folder / "one.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    try:
        import_model(path, make_context("ideal"))
    except FrontendError as error:
        return str(error)
    return ""


def query(**other: Any) -> list[Any]:
    """Inputs of a GroupQueryAttention of 4 heads over 2, some of them others."""
    made: dict[str, Any] = {
        "query": (FLOAT, ["b", "s", 64]), "key": (FLOAT, ["b", "s", 32]), "value": (FLOAT, ["b", "s", 32]),
        "past_key": (FLOAT, ["b", 2, "p", 16]), "past_value": (FLOAT, ["b", 2, "p", 16]), "seqlens": (INT32, ["b"]),
        "total": (INT32, []),
    }  # fmt: skip
    return list({**made, **other}.values())


@pytest.mark.parametrize(
    ("other", "text"),
    [
        ({}, ""),
        ({"query": (FLOAT, ["b", "s", 4, 16])}, "input 0 has 4 dimensions where B S W are wanted"),
        ({"past_key": (FLOAT, ["b", 3, "p", 16])}, "input 3, kv_num_heads: 3 and 2 differ"),
        ({"past_value": (FLOAT, [7, 2, 5, 8])}, "differ"),
        ({"seqlens": (INT32, [3, 2])}, "input 5"),
        ({"seqlens": (FLOAT, ["b"])}, "input 5 holds float32, GroupQueryAttention of opset 1 takes int32"),
    ],
)
def test_group_query_attention(other: dict[str, Any], text: str, tmp_path: Path) -> None:
    found = refusal(tmp_path, "GroupQueryAttention", query(**other), MICROSOFT, num_heads=4, kv_num_heads=2)
    assert (text in found) if text else not found


@pytest.mark.parametrize(
    ("op_type", "domain", "inputs", "attributes", "text"),
    [
        ("SkipLayerNormalization", MICROSOFT, [["b", 4, 8], ["b", 4, 8], [8], [8]], {}, ""),
        ("SkipLayerNormalization", MICROSOFT, [["b", 4, 8], [1, 4, 8], [8], [8]], {}, ""),
        ("SkipLayerNormalization", MICROSOFT, [["b", 4, 8], ["b", 4, 8], [8], [9]], {}, "input 3, H: 9 and 8 differ"),
        ("BiasGelu", MICROSOFT, [[2, 3, 4, 8], [8]], {}, ""),
        ("BiasGelu", MICROSOFT, [[2, 3, 4, 8], [7]], {}, "input 1, H: 7 and 8 differ"),
        ("RotaryEmbedding", "", [["b", 2, "s", 16], [50, 8], [50, 7]], {}, "input 2, R: 7 and 8 differ"),
        ("RotaryEmbedding", "", [["b", 2, "s", 16], ["b", "s", 7], ["b", "s", 7]], {}, "14 and 16 differ"),
        ("Attention", "", [[2, 4, 5, 8], [2, 3, 6, 8], [2, 3, 6, 8]], {}, "4 query heads over 3 key/value heads"),
        ("Attention", "", [[2, 4, 5, 8], [2, 2, 6, 8], [2, 2, 6, 8], [3, 6]], {}, "3 and 5 don't broadcast"),
    ],
)
def test_others(
    op_type: str, domain: str, inputs: list[list[Any]], attributes: dict[str, Any], text: str, tmp_path: Path
) -> None:
    found = refusal(tmp_path, op_type, [(FLOAT, shape) for shape in inputs], domain, **attributes)
    assert (text in found) if text else not found
