"""Sums of products on the vector unit against onnxruntime: Einsum, Conv, integer products."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.oracle import check


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("ij,jk", [(2, 3), (3, 4)]),
        ("bhid,bhjd->bhij", [(2, 3, 4, 5), (2, 3, 6, 5)]),
        ("bsd,dhk->bhsk", [(2, 3, 4), (4, 5, 6)]),
        ("bhsk,hkd->bsd", [(2, 5, 3, 6), (5, 6, 4)]),
        ("...ij,...jk->...ik", [(2, 1, 3, 4), (1, 5, 4, 6)]),
        ("i,i", [(4,), (4,)]),
        ("i,j->ij", [(3,), (4,)]),
        ("i,j->ji", [(3,), (4,)]),
        ("ij->ji", [(2, 3)]),
        ("ij->i", [(2, 3)]),
        ("ij->", [(2, 3)]),
        ("ii->i", [(3, 3)]),
        ("ii", [(3, 3)]),
        ("...ii->...i", [(2, 3, 3)]),
        ("ij,ij->ij", [(2, 3), (2, 3)]),
        ("ij,ij->", [(2, 3), (2, 3)]),
        ("ij,j->", [(2, 3), (3,)]),
        ("ab,bc,cd->ad", [(2, 3), (3, 4), (4, 5)]),
        ("abc,cd,def->abef", [(2, 3, 4), (4, 5), (5, 6, 2)]),
        ("bi,bj,bk->bijk", [(2, 3), (2, 4), (2, 5)]),
        ("aib,bja->ij", [(2, 3, 4), (4, 5, 2)]),
    ],
)
@pytest.mark.parametrize("layout", ["contiguous", "strided"])
def test_einsum(equation: str, shapes: list[tuple[int, ...]], layout: str) -> None:
    check("Einsum", [normal(*s, seed=i) for i, s in enumerate(shapes)], equation=equation, layout=layout)


def test_einsum_of_integers() -> None:
    a, b = (np.random.default_rng(i).integers(-9, 9, (3, 3)).astype(np.int64) for i in (0, 1))
    check("Einsum", [a, b], equation="ij,jk->ik")


@pytest.mark.parametrize(
    ("x", "w", "attributes"),
    [
        ((1, 2, 7, 6), (3, 2, 3, 2), {}),
        ((2, 2, 7, 6), (3, 2, 3, 3), {"pads": [1, 1, 1, 1]}),
        ((2, 2, 7, 6), (3, 2, 3, 3), {"pads": [0, 1, 2, 1], "strides": [2, 1]}),
        ((1, 2, 9, 9), (3, 2, 3, 3), {"dilations": [2, 3]}),
        ((2, 4, 7), (6, 2, 3), {"group": 2}),
        ((2, 4, 8), (4, 1, 4), {"group": 4, "pads": [3, 0]}),
        ((1, 3, 5), (4, 3, 1), {}),
        ((1, 2, 7, 6), (3, 2, 3, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ((1, 2, 7, 6), (3, 2, 3, 2), {"auto_pad": "SAME_LOWER"}),
        ((1, 2, 4, 5, 6), (3, 2, 2, 2, 2), {}),
    ],
)
@pytest.mark.parametrize("biased", [False, True])
def test_conv(x: tuple[int, ...], w: tuple[int, ...], attributes: dict[str, object], biased: bool) -> None:
    bias = [normal(w[0], seed=2)] if biased else []
    check("Conv", [normal(*x), normal(*w, seed=1), *bias], rtol=1e-4, atol=1e-5, **attributes)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("a_shape", [(3, 4), (2, 3, 4)])
def test_quantised_matmul(dtype: type, a_shape: tuple[int, ...]) -> None:
    r, info = np.random.default_rng(0), np.iinfo(dtype)
    a, b = (r.integers(info.min, info.max, shape).astype(dtype) for shape in (a_shape, (*a_shape[:-2], 4, 5)))
    scales = [np.float32(0.02), np.float32(0.03), np.float32(0.09)]
    zeros = [np.asarray(z, dtype) for z in (7, 3, 11)]
    check("QLinearMatMul", [a, scales[0], zeros[0], b, scales[1], zeros[1], scales[2], zeros[2]])


@pytest.mark.parametrize(("a", "b"), [((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,))])
def test_integer_matmul(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    """Numbers of 7 bits: onnxruntime's sums of two products saturate at 16 bits on some processors."""
    r = np.random.default_rng(0)
    left, right = r.integers(0, 255, a).astype(np.uint8), r.integers(-64, 64, b).astype(np.int8)
    check("MatMulInteger", [left, right, np.asarray(100, np.uint8), np.asarray(-3, np.int8)])
