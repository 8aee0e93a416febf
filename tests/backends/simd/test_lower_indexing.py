"""Nodes that pick and place by index, on the vector unit against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from crossbank.runtime.program import ProgramError
from tests.backends.oracle import check


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("layout", ["contiguous", "strided"])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_gather(axis: int, dtype: type, layout: str) -> None:
    x, indices = _normal(4, 3, 5), np.asarray([[0, -1], [2, 1], [-3, 0]], dtype)
    check("Gather", [x, indices], axis=axis, layout=layout)
    check("Gather", [x > 0, indices], axis=axis, layout=layout)


def test_gather_of_one_place_is_a_view() -> None:
    assert check("Gather", [_normal(4, 3), np.asarray(-1)], known=[1]) == []
    assert check("Gather", [_normal(4, 3), np.asarray([1])], known=[1], axis=1) == []


def test_gather_outside_is_an_error() -> None:
    from tests.backends.oracle import node
    from tests.backends.recorder import Recorder

    to = Recorder()
    inputs = [to.argument(_normal(4, 3)), to.argument(np.asarray([1, 4]))]
    with pytest.raises(ProgramError, match="outside an axis of 4") as error:
        to.lower(node("Gather", inputs, [_normal(2, 3)]))
    assert error.value.code == "CB0570"


@pytest.mark.parametrize("batch", [0, 1])
def test_gather_nd(batch: int) -> None:
    data, indices = _normal(2, 3, 4), np.asarray([[[0, 1], [-1, 2]], [[1, 0], [1, 1]]])
    check("GatherND", [data, indices], batch_dims=batch)
    check("GatherND", [data > 0, np.asarray([[[[0, 1, 2], [1, 2, 3]]]])])


@pytest.mark.parametrize("axis", [0, 1])
def test_gather_elements(axis: int) -> None:
    check("GatherElements", [_normal(3, 4), np.asarray([[0, -1], [2, 1]])], axis=axis)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "min", "max"])
def test_scatters(reduction: str) -> None:
    data, indices = _normal(4, 3), np.asarray([[1], [3], [0]])
    check("ScatterND", [data, indices, _normal(3, 3) * 2], reduction=reduction)
    check("ScatterElements", [data, np.asarray([[0, 2], [1, -1]]), _normal(2, 2) * 2], axis=1, reduction=reduction)
    check("ScatterElements", [data, np.asarray([[0, 2, 3]]), _normal(1, 3) * 2], axis=0, reduction=reduction)


def test_scatter_adds_to_one_place_repeatedly() -> None:
    check("ScatterND", [np.zeros((3, 2), np.float32), np.asarray([[1], [1]]), _normal(2, 2)], reduction="add")


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [-1, 0, 2])
def test_triangles(upper: int, k: int) -> None:
    check("Trilu", [_normal(2, 4, 5), np.asarray(k)], known=[1], upper=upper)
    check("Trilu", [_normal(4, 4)], upper=upper)


@pytest.mark.parametrize("axis", [-1, 0])
def test_one_hot(axis: int) -> None:
    inputs = [np.asarray([[0, -1], [2, 7]]), np.asarray(5), np.asarray([2.0, 3.0], np.float32)]
    check("OneHot", inputs, known=[1], axis=axis)
