"""Attention and TensorScatter of ai.onnx on the vector unit against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.backends.oracle import check

B, H, G, S, T, D = 2, 4, 2, 3, 5, 8


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def qkv(tokens: int = T) -> list[np.ndarray]:
    return [normal(B, H, S, D), normal(B, G, tokens, D, seed=1), normal(B, G, tokens, D, seed=2)]


@pytest.mark.parametrize("attributes", [{}, {"scale": 0.3}, {"softcap": 2.0}, {"is_causal": 1}])
@pytest.mark.parametrize("mask", [None, "float", "bool", "heads"])
def test_attention(attributes: dict[str, Any], mask: str | None) -> None:
    masks = {
        None: None,
        "float": normal(S, T, seed=3),
        "bool": normal(B, 1, S, T, seed=3) > -0.5,
        "heads": normal(B, H, S, T, seed=3),
    }
    given = masks[mask]
    if given is not None and given.dtype == bool:
        given[..., 0] = True
    check("Attention", [*qkv(), given], opset=24, rtol=1e-4, atol=1e-5, **attributes)


def test_three_dimensions() -> None:
    q, k, v = (x.swapaxes(1, 2).reshape(B, x.shape[2], -1) for x in qkv())
    check("Attention", [q, k, v], opset=24, q_num_heads=H, kv_num_heads=G, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [0, 1])
def test_past_and_present(causal: int) -> None:
    past = [normal(B, G, 4, D, seed=4), normal(B, G, 4, D, seed=5)]
    inputs = [*qkv(S), None, *past]
    check("Attention", inputs, opset=24, outputs=3, is_causal=causal, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_scores_as_a_result(mode: int) -> None:
    past = [normal(B, G, 4, D, seed=4), normal(B, G, 4, D, seed=5)]
    inputs = [*qkv(S), normal(S, S + 4, seed=3), *past]
    check("Attention", inputs, opset=24, outputs=4, qk_matmul_output_mode=mode, softcap=3.0, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["linear", "circular"])
@pytest.mark.parametrize("starts", [[0, 2], [4, 1], None])
def test_tensor_scatter(mode: str, starts: list[int] | None) -> None:
    if starts == [4, 1] and mode == "linear":
        starts = [3, 1]
    index = None if starts is None else np.array(starts, np.int64)
    inputs = [normal(B, G, 6, D), normal(B, G, 3, D, seed=1), *([index] if index is not None else [])]
    check("TensorScatter", inputs, opset=24, mode=mode)
