"""What the conformance suite compiles and compares with, once per target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

import crossbank
from crossbank import Program
from crossbank.backends.system import System, load_system
from samples.export.llama_shape import SHAPES, llama_graph

SAMPLE = Path(__file__).parents[2] / "samples" / "tiny_llama" / "tiny_llama.onnx"
CONTEXT, MAX_BATCH = 64, 4


@pytest.fixture(scope="session")
def system(target: str) -> System:
    return load_system(target)


@pytest.fixture(scope="session")
def program(target: str) -> Program:
    """The sample, compiled for the target."""
    return crossbank.compile(SAMPLE, target, context=CONTEXT, max_batch=MAX_BATCH, quiet=True)


@pytest.fixture(scope="session")
def reference() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(SAMPLE, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of Llama-2-70B without weights, too large for one chip or device of most targets."""
    path = tmp_path_factory.mktemp("large") / "large.onnx"
    onnx.save(llama_graph(replace(SHAPES["llama-2-70b"], layers=16), TensorProto.FLOAT, "absent.data"), path)
    return path


def feeds(ids: NDArray[np.int64], past: list[NDArray[Any]] | None = None) -> dict[str, NDArray[Any]]:
    """The sample's inputs for `ids` (batch, tokens) after `past`, the presents of the call before."""
    batch, tokens = ids.shape
    past = past or [np.zeros((batch, 2, 0, 40), np.float32)] * 12
    before = past[0].shape[2]
    return {
        "input_ids": ids,
        "attention_mask": np.ones((batch, before + tokens), np.int64),
        "position_ids": np.tile(np.arange(before, before + tokens), (batch, 1)),
        **{f"past_key_values.{i // 2}.{('key', 'value')[i % 2]}": array for i, array in enumerate(past)},
    }


def prompt(batch: int, tokens: int, seed: int = 0) -> NDArray[np.int64]:
    """Random bytes (batch, tokens)."""
    return np.random.default_rng(seed).integers(0, 256, (batch, tokens))
