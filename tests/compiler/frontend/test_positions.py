"""The context that a model declares: tables by position limit it, others don't."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto

from crossbank.compiler.driver import DEFAULT_CONTEXT, compile_to_module
from crossbank.runtime.program import ProgramError
from tests import zoo
from tests.compiler.frontend.models import FLOAT, model, node

INT = TensorProto.INT64
IDS: dict[str, Any] = {"input_ids": (INT, ["batch", "seq"])}
MASK: dict[str, Any] = {"attention_mask": (INT, ["batch", "past + seq"])}
FED: dict[str, Any] = {"position_ids": (INT, ["batch", "seq"])}
CACHE: dict[str, Any] = {"past_key_values.0.key": (FLOAT, ["batch", 2, "past", 4])}
CONFIG_CONTEXT = 128
"""`max_position_embeddings` of all zoo models (OPT's table has 2 rows more)."""
COMPUTED = ("llama", "mistral", "qwen2", "phi3", "mixtral")
"""Their rotary angles are computed, except where an exporter makes tables of them."""
TABLES = ("genai", "std")


def table(rows: int) -> np.ndarray:
    return np.ones((rows, 8), np.float32)


def context(path: Path, nodes: list[NodeProto], inputs: dict[str, Any], statics: dict[str, Any]) -> int | None:
    """The context chosen for a decoder with a vocabulary of 50 and these nodes, which make `extra`; it has a cache."""
    whole = [
        node("Gather", ["words", "input_ids"], ["embedded"]),
        *nodes,
        node("Unsqueeze", ["embedded", "one"], ["heads"]),
        node("Slice", ["heads", "zero", "four", "three"], ["new"]),
        node("Expand", ["new", "wide"], ["keys"]),
        node("Concat", ["past_key_values.0.key", "keys"], ["present"], axis=2),
    ]
    constants = {"zero": [0], "one": [1], "three": [3], "four": [4], "wide": [1, 2, 1, 1]}
    given = {"words": table(50), **{name: np.array(value) for name, value in constants.items()}, **statics}
    proto = model(whole, {**IDS, **inputs, **CACHE}, ["embedded", "extra", "present"], given)
    (path / "model.onnx").write_bytes(proto.SerializeToString())
    _, job = compile_to_module(path / "model.onnx", stop_after="assign", max_batch=1, quiet=True)
    return job.ctx.options.context


def test_nothing_is_limited_by_the_vocabulary_or_token_types(tmp_path: Path) -> None:
    nodes = [node("Gather", ["types", "token_type_ids"], ["extra"])]
    inputs = {"token_type_ids": (INT, ["batch", "seq"])}
    assert context(tmp_path, nodes, inputs, {"types": table(2)}) == DEFAULT_CONTEXT


def test_positions_that_are_fed(tmp_path: Path) -> None:
    nodes = [
        node("Cast", ["position_ids"], ["narrow"], to=TensorProto.INT32),
        node("Gather", ["places", "narrow"], ["extra"]),
    ]
    assert context(tmp_path, nodes, FED, {"places": table(96)}) == 96


def test_positions_counted_in_the_mask(tmp_path: Path) -> None:
    nodes = [
        node("CumSum", ["attention_mask", "axis"], ["count"]),
        node("Sub", ["count", "by"], ["positions"]),
        node("Equal", ["attention_mask", "none"], ["padding"]),
        node("Where", ["padding", "by", "positions"], ["filled"]),
        node("Gather", ["places", "filled"], ["extra"]),
    ]
    statics = {"axis": np.array(-1), "by": np.array(1), "none": np.array(0), "places": table(77)}
    assert context(tmp_path, nodes, MASK, statics) == 77


def test_rows_before_the_first_position_do_not_count(tmp_path: Path) -> None:
    """OPT: (cumsum(mask) * mask - 1) + 2, behind the past."""
    nodes = [
        node("CumSum", ["attention_mask", "axis"], ["count"]),
        node("Mul", ["count", "attention_mask"], ["masked"]),
        node("Sub", ["masked", "by"], ["positions"]),
        node("Shape", ["past_key_values.0.key"], ["past"], start=2, end=3),
        node("Slice", ["positions", "past", "far", "one"], ["new_positions"]),
        node("Add", ["new_positions", "offset"], ["rows"]),
        node("Gather", ["places", "rows"], ["extra"]),
    ]
    statics = {
        "axis": np.array(1), "by": np.array(1), "offset": np.array(2), "far": np.array([2**62]), "places": table(130),
    }  # fmt: skip
    assert context(tmp_path, nodes, MASK, statics) == 128


@pytest.mark.parametrize("start", ["past", "nothing"])
def test_a_range_of_positions(tmp_path: Path, start: str) -> None:
    nodes = [
        node("Shape", ["past_key_values.0.key"], ["past1"], start=2, end=3),
        node("Squeeze", ["past1"], ["past"]),
        node("Shape", ["input_ids"], ["new1"], start=1, end=2),
        node("Squeeze", ["new1"], ["count"]),
        node("Add", ["past", "count"], ["total"]),
        node("Range", [start, "total", "by"], ["positions"]),
        node("Gather", ["places", "positions"], ["extra"]),
    ]
    statics = {"by": np.array(1), "nothing": np.array(0), "places": table(61)}
    assert context(tmp_path, nodes, {}, statics) == 61


def test_distances_that_are_clipped_limit_nothing(tmp_path: Path) -> None:
    nodes = [node("Clip", ["position_ids", "", "most"], ["near"]), node("Gather", ["biases", "near"], ["extra"])]
    assert context(tmp_path, nodes, FED, {"most": np.array(31), "biases": table(32)}) == DEFAULT_CONTEXT


def test_the_smallest_of_several_tables(tmp_path: Path) -> None:
    """Cosines are cut to the length and gathered, an embedding is gathered: 90 and 100 rows."""
    nodes = [
        node("Shape", ["attention_mask"], ["length"], start=1, end=2),
        node("Slice", ["cosines", "zero", "length", "zero"], ["cut"]),
        node("Gather", ["cut", "position_ids"], ["cosine"]),
        node("Gather", ["places", "position_ids"], ["place"]),
        node("Add", ["cosine", "place"], ["extra"]),
    ]
    assert context(tmp_path, nodes, {**FED, **MASK}, {"cosines": table(90), "places": table(100)}) == 90


def test_rotary_tables(tmp_path: Path) -> None:
    """com.microsoft.RotaryEmbedding: 4 heads of 2, cosines and sines of one angle per position."""
    nodes = [
        node("RotaryEmbedding", ["embedded", "position_ids", "cosines", "sines"], ["extra"], domain="com.microsoft",
             num_heads=4, rotary_embedding_dim=0)
    ]  # fmt: skip
    halves = {"cosines": np.ones((48, 1), np.float32), "sines": np.zeros((48, 1), np.float32)}
    assert context(tmp_path, nodes, FED, halves) == 48


def test_a_longer_context_than_declared_is_refused_with_both_numbers(tmp_path: Path) -> None:
    nodes = [node("Gather", ["places", "position_ids"], ["extra"])]
    assert context(tmp_path, nodes, FED, {"places": table(96)}) == 96
    compile_to_module(tmp_path / "model.onnx", stop_after="assign", context=96, quiet=True)
    with pytest.raises(ProgramError, match=r"CB0805.*97 exceeds 96") as caught:
        compile_to_module(tmp_path / "model.onnx", stop_after="assign", context=97, quiet=True)
    assert "--context 96" in (caught.value.help or "")


def declares(name: str) -> bool:
    return name.startswith(TABLES) or not name.endswith(COMPUTED)


@pytest.mark.parametrize("folder", zoo.parameters("", where=lambda name: "static" not in name))
def test_exported_models(folder: Path) -> None:
    _, job = compile_to_module(folder / "model.onnx", stop_after="assign", max_batch=1, quiet=True)
    wanted = CONFIG_CONTEXT if declares(folder.name) else DEFAULT_CONTEXT
    assert job.ctx.options.context == wanted
