"""Nodes that move data or make it from shapes, on the vector unit against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xdsl.dialects.builtin import ArrayAttr, StringAttr

from crossbank.dialects import onnx
from crossbank.dialects.shape import tensor
from tests.backends.oracle import check, constant, node
from tests.backends.recorder import Recorder


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _ints(*values: int) -> np.ndarray:
    return np.asarray(values, np.int64)


@pytest.mark.parametrize("layout", ["contiguous", "strided"])
def test_reshape_copies_only_what_lies_apart(layout: str) -> None:
    mnemonics = check("Reshape", [_normal(2, 3, 4), _ints(6, 4)], known=[1], layout=layout)
    assert mnemonics == ([] if layout == "contiguous" else ["copy"])


def test_reshape_of_a_transposed_view_splits_without_a_copy() -> None:
    to, x = Recorder(), _normal(2, 3, 8)
    first = node("Transpose", [to.argument(x)], [x.transpose(0, 2, 1)], perm=[0, 2, 1])
    to.lower(first)
    y = x.transpose(0, 2, 1).reshape(2, 4, 2, 3)
    found = to.lower(node("Reshape", [first.results[0], constant([2, 4, 2, 3])], [y]))
    np.testing.assert_array_equal(found[0], y)
    assert to.mnemonics == []


def test_views() -> None:
    x = _normal(2, 1, 3, 4)
    assert check("Transpose", [x], perm=[3, 1, 0, 2]) == []
    assert check("Transpose", [x]) == []
    assert check("Squeeze", [x, _ints(1)], known=[1]) == []
    assert check("Unsqueeze", [x, _ints(0, -1)], known=[1]) == []
    assert check("Flatten", [x], axis=2) == []
    assert check("Expand", [x, _ints(5, 2, 7, 3, 4)], known=[1]) == []
    assert check("Identity", [x]) == []
    assert check("Split", [x, _ints(1, 3)], known=[1], outputs=2, axis=-1) == []


INT_MAX = 2**63 - 1


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ([1], [3], [1], [1]),
        ([-2], [INT_MAX], [-1], [1]),
        ([0, 1], [2, -1], [0, 2], [1, 2]),
        ([-1], [-INT_MAX], [1], [-1]),
        ([10], [0], [2], [-2]),
        ([9], [12], [1], [1]),
    ],
)
@pytest.mark.parametrize("layout", ["contiguous", "strided"])
def test_slice(starts: list[int], ends: list[int], axes: list[int], steps: list[int], layout: str) -> None:
    inputs = [_normal(3, 4, 5), *map(np.asarray, (starts, ends, axes, steps))]
    check("Slice", inputs, known=[1, 2, 3, 4], layout=layout)


def test_concat() -> None:
    x = _normal(2, 3, 4)
    assert check("Concat", [x, _normal(2, 0, 4), _normal(2, 1, 4)], axis=1) == ["copy", "copy"]
    assert check("Concat", [x], axis=-1) == []
    check("Concat", [np.ones((2, 2), np.bool_), np.zeros((2, 1), np.bool_)], axis=-1)


def test_tile_and_pad() -> None:
    check("Tile", [_normal(2, 3), _ints(2, 3)], known=[1])
    check("Pad", [_normal(2, 3), _ints(1, 0, 0, 2), np.asarray(1.5, np.float32)], known=[1])
    check("Pad", [_normal(2, 3), _ints(1, 2), None, _ints(1)], known=[1, 3])


def test_made_from_shapes() -> None:
    check("Shape", [_normal(2, 3, 4)], start=1)
    check("Size", [_normal(2, 3, 4)])
    check("ConstantOfShape", [_ints(2, 3)], known=[0])
    check("Range", [np.asarray(n, np.int64) for n in (2, 11, 3)], known=[0, 1, 2])
    check("Range", [np.asarray(n, np.int64) for n in (2, 11, 3)])
    check("Range", [np.asarray(n, np.float32) for n in (0, 2, 0.25)])


def _dims_value(*texts: str) -> Any:
    op = onnx.DimsValueOp.create(
        properties={"value": ArrayAttr([StringAttr(text) for text in texts])},
        result_types=[tensor("int64", [len(texts)])],
    )
    return op.results[0]


def test_symbolic_shapes() -> None:
    to = Recorder(batch=2, past=3, seq=4)
    x = _normal(2, 7, 6)
    value = to.argument(x, ["batch", "past + seq", 6])
    sliced = node(
        "Slice",
        [value, _dims_value("past"), _dims_value("past + seq"), constant([1])],
        [x],
        shapes=[["batch", "seq", 6]],
    )
    np.testing.assert_array_equal(to.lower(sliced)[0], x[:, 3:])
    shaped = node("Reshape", [sliced.results[0], _dims_value("batch*seq", "2", "3")], [x], shapes=[["batch*seq", 2, 3]])
    np.testing.assert_array_equal(to.lower(shaped)[0], x[:, 3:].reshape(8, 2, 3))
    last = node("Slice", [value, constant([-2]), constant([2**62]), constant([1])], [x], shapes=[["batch", 2, 6]])
    np.testing.assert_array_equal(to.lower(last)[0], x[:, -2:])


def test_dimensions_as_data() -> None:
    to = Recorder(batch=2, past=3)
    numbers = _dims_value(*["batch", "past - 5", "batch*past", "-1"] * 4)
    y = np.asarray([2, -2, 6, -1] * 4)
    np.testing.assert_array_equal(to.lower(node("Neg", [numbers], [y]))[0], -y)
    assert to.mnemonics == ["value", "value", "unary"]
    start = onnx.DimsValueOp.create(
        properties={"value": ArrayAttr([StringAttr("past")])}, result_types=[tensor("int64", [])]
    )
    ranged = node("Range", [start.results[0], _dims_value("past + batch"), constant(1)], [y], shapes=[["batch"]])
    np.testing.assert_array_equal(to.lower(ranged)[0], [3, 4])


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_reshape_of_any_view(data: st.DataObject) -> None:
    dims = data.draw(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=4))
    order = data.draw(st.permutations(range(len(dims))))
    x = _normal(*dims).transpose(order)
    flat = [factor for dim in x.shape for factor in ([2, 2] if dim == 4 and data.draw(st.booleans()) else [dim])]
    shape: list[int] = []
    for dim in flat:
        if shape and data.draw(st.booleans()):
            shape[-1] *= dim
        else:
            shape.append(dim)
    to = Recorder()
    first = node("Transpose", [to.argument(_normal(*dims))], [x], perm=list(order))
    to.lower(first)
    found = to.lower(node("Reshape", [first.results[0], constant(shape)], [x.reshape(shape)]))
    np.testing.assert_array_equal(found[0], x.reshape(shape))
