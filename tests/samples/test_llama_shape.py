"""Graphs of large Llamas without weights: well formed, of the right size, the same function as the tiny Llama."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from samples.export import llama_shape
from samples.export.llama_shape import SHAPES, LlamaShape

TINY = Path(llama_shape.__file__).parents[1] / "tiny_llama" / "tiny_llama.onnx"
TINY_SHAPE = LlamaShape(layers=6, hidden=160, heads=4, kv_heads=2, ffn=432, vocab=256)
CACHE = [f"{index}.{kind}" for index in range(TINY_SHAPE.layers) for kind in ("key", "value")]
LAYER_WEIGHTS = [
    *(f"self_attn.{kind}_proj.weight" for kind in "qkvo"),
    *(f"mlp.{kind}_proj.weight" for kind in ("gate", "up", "down")),
]


def tiny_weights() -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The weights of the tiny Llama; the exporter renames those of the linears, but keeps their order."""
    graph = onnx.load(TINY).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    yield from ((name, array) for name, array in arrays.items() if name.startswith("model."))
    linears = [node.input[1] for node in graph.node if node.op_type == "MatMul" and node.input[1] in arrays]
    layers = (f"model.layers.{index}.{name}" for index in range(TINY_SHAPE.layers) for name in LAYER_WEIGHTS)
    yield from ((name, arrays[linear]) for name, linear in zip((*layers, "lm_head.weight"), linears, strict=True))


def filled(dtype: int) -> onnxruntime.InferenceSession:
    """A graph of the tiny Llama's shape with the tiny Llama's weights put in."""
    model = llama_shape.llama_graph(TINY_SHAPE, dtype)
    weights = dict(tiny_weights())
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            array = weights.pop(tensor.name)
            assert array.shape == tuple(tensor.dims)
            tensor.CopyFrom(numpy_helper.from_array(array.astype(numpy_dtype(dtype)), tensor.name))
    assert not weights
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def numpy_dtype(dtype: int) -> np.dtype:
    return onnx.helper.tensor_dtype_to_np_dtype(dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(TensorProto.FLOAT, 1e-4), (TensorProto.FLOAT16, 0.2)])
@pytest.mark.parametrize("past", [0, 3])
def test_same_function_as_tiny_llama(dtype: int, tolerance: float, past: int) -> None:
    random = np.random.default_rng(0)
    feeds = {
        "input_ids": random.integers(0, 256, (2, 9)),
        "attention_mask": np.ones((2, past + 9), np.int64),
        "position_ids": np.tile(np.arange(past, past + 9), (2, 1)),
        **{f"past_key_values.{name}": random.standard_normal((2, 2, past, 40), np.float32) for name in CACHE},
    }
    reference = onnxruntime.InferenceSession(TINY, providers=["CPUExecutionProvider"])
    ours = filled(dtype)
    assert [node.name for node in ours.get_outputs()] == [node.name for node in reference.get_outputs()]
    assert [(node.name, node.shape) for node in ours.get_inputs()] == [
        (node.name, node.shape) for node in reference.get_inputs()
    ]
    expected = reference.run(None, feeds)
    cast = {name: x.astype(numpy_dtype(dtype)) if x.dtype == np.float32 else x for name, x in feeds.items()}
    for actual, wanted in zip(ours.run(None, cast), expected, strict=True):
        np.testing.assert_allclose(actual.astype(np.float32), wanted, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
    ("name", "count"),
    [("llama-2-7b", 6_738_415_616), ("llama-2-70b", 68_976_648_192), ("llama-3-8b", 8_030_261_248)],
)
def test_parameters_of_the_published_models(name: str, count: int) -> None:
    assert llama_shape.parameters(llama_shape.llama_graph(SHAPES[name])) == count


def test_70b_is_written_in_seconds_and_infers(tmp_path: Path) -> None:
    started = time.monotonic()
    path = tmp_path / "llama-2-70b.onnx"
    onnx.save(llama_shape.llama_graph(SHAPES["llama-2-70b"], data_file="llama-2-70b.onnx.data"), path)
    assert time.monotonic() - started < 5
    assert path.stat().st_size < 2_000_000
    assert not (tmp_path / "llama-2-70b.onnx.data").exists()

    model = onnx.load(path, load_external_data=False)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.value_info
    assert len(inferred) == len(model.graph.node) - len(model.graph.output)


def test_weights_lie_one_after_the_other() -> None:
    offset = 0
    for tensor in llama_shape.llama_graph(SHAPES["llama-2-7b"], TensorProto.FLOAT16).graph.initializer:
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}
        assert int(place["offset"]) == offset
        offset += int(place["length"])
    assert offset == 2 * 6_738_415_616
