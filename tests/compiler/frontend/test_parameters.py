"""Weights that a file only names: from a safetensors file beside it, or shapes alone."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from safetensors.numpy import save_file

import crossbank
from crossbank.compiler.frontend.errors import FrontendError
from crossbank.compiler.frontend.load import load
from crossbank.runtime.program import ProgramError

SAMPLE = Path(__file__).parents[3] / "samples" / "tiny_llama" / "tiny_llama.onnx"
FEEDS = {
    "input_ids": np.array([[1, 7, 3]]),
    "attention_mask": np.ones((1, 3), np.int64),
    "position_ids": np.arange(3)[None],
}


def parted(folder: Path, inputs: bool) -> tuple[Path, dict[str, NDArray[np.float32]]]:
    """The sample with its weights taken out: as inputs of the graph, or not defined at all."""
    model = onnx.load(SAMPLE)
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if np.prod(t.dims) > 64}
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in weights]
    types = {t.name: t.data_type for t in model.graph.initializer}
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    if inputs:
        model.graph.input.extend(
            onnx.helper.make_tensor_value_info(name, types[name], array.shape) for name, array in weights.items()
        )
    path = folder / "parted.onnx"
    onnx.save(model, path)
    return path, {name: np.array(array) for name, array in weights.items()}


def feeds(session: onnxruntime.InferenceSession) -> dict[str, NDArray[np.generic]]:
    empty = {i.name: np.zeros((1, i.shape[1], 0, i.shape[3]), np.float32) for i in session.get_inputs()[3:]}
    return {**FEEDS, **empty}


@pytest.mark.parametrize("inputs", [True, False], ids=["inputs", "undefined"])
@pytest.mark.parametrize("name", ["parted.safetensors", "model.safetensors"])
def test_safetensors_beside_a_model(tmp_path: Path, inputs: bool, name: str) -> None:
    path, weights = parted(tmp_path, inputs)
    save_file(weights, tmp_path / name)
    reference = onnxruntime.InferenceSession(SAMPLE, providers=["CPUExecutionProvider"])
    expected = reference.run(None, feeds(reference))
    program = crossbank.compile(path, "aim", context=16, quiet=True)
    program.save(tmp_path / "a.cbk")
    found = crossbank.load(tmp_path / "a.cbk").session(ideal=True).run(None, feeds(reference))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    assert program.summary()["engines"]["pim"]["weight_bytes"] > 1_000_000


def test_safetensors_in_several_files(tmp_path: Path) -> None:
    path, weights = parted(tmp_path, inputs=True)
    names = sorted(weights)
    for i, part in enumerate((names[::2], names[1::2])):
        save_file({name: weights[name] for name in part}, tmp_path / f"part{i}.safetensors")
    where = {name: f"part{i % 2}.safetensors" for i, name in enumerate(names)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    store = load(path).store
    for name, array in weights.items():
        np.testing.assert_array_equal(store.load(name), array)


def test_shapes_of_inputs_compile_and_cost_but_do_not_run(tmp_path: Path) -> None:
    path, _ = parted(tmp_path, inputs=True)
    whole = crossbank.compile(SAMPLE, "hermes", context=16, quiet=True)
    program = crossbank.compile(path, "hermes", context=16, weights="shape-only", quiet=True)
    for key in ("macs", "weight_bytes"):
        assert program.summary()["engines"]["xbar"][key] == whole.summary()["engines"]["xbar"][key]
    assert program.cost(prompt=4, generate=4).energy_j == pytest.approx(whole.cost(prompt=4, generate=4).energy_j)
    with pytest.raises(ProgramError, match="CB0401"):
        program.session().generate([1, 2], 2)


def test_without_being_asked_inputs_stay_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, weights = parted(tmp_path, inputs=True)
    crossbank.compile(path, context=16)
    assert weights.keys() <= {port.name for port in load(path).inputs}
    shown = capsys.readouterr().err
    assert f"{len(weights)} inputs of fixed size look like weights" in shown
    assert "--weights shape-only" in shown


def test_a_file_that_disagrees_with_the_model_is_refused(tmp_path: Path) -> None:
    path, weights = parted(tmp_path, inputs=True)
    name = next(name for name, array in weights.items() if array.ndim == 2)
    rows, columns = weights[name].shape
    save_file({**weights, name: weights[name].T.astype(ml_dtypes.bfloat16)}, tmp_path / "model.safetensors")
    with pytest.raises(FrontendError) as caught:
        load(path)
    assert f"declares float[{rows}x{columns}], the file beside it has bfloat16[{columns}x{rows}]" in str(caught.value)
    assert name in caught.value.where


def header(entries: object) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 8 + b"{}",
        struct.pack("<Q", 10) + b"not json..",
        header([1]),
        header({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}),
        header({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 1 << 70]}}),
        header({"w": {"dtype": "Q7", "shape": [4], "data_offsets": [0, 16]}}),
        header({"w": {"dtype": "F32", "shape": "ab", "data_offsets": [0]}}),
        header({"w": None}),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path, _ = parted(tmp_path, inputs=False)
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(FrontendError, match="CB01"):
        load(path)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"weight_map": {"w": "../out.safetensors"}}', '{"weight_map": {"w": "no"}}']
)
def test_damaged_indices_are_refused(tmp_path: Path, text: str) -> None:
    path, _ = parted(tmp_path, inputs=False)
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(FrontendError, match="CB0105"):
        load(path)
