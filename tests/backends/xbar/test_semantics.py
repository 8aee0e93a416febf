"""Read noise of a session: from a stream for each matrix, so that neither order nor number at once matters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import crossbank
from crossbank.backends.system import load_system
from crossbank.backends.xbar.array import ArrayGroup, MvmMode
from crossbank.backends.xbar.physics import HermesPcm, Purpose, stream
from crossbank.backends.xbar.semantics import Unit
from crossbank.runtime.session import Session
from tests import zoo

MODEL = zoo.HERE / "ts17_kv_gpt2" / "model.onnx"


class Machine:
    """A session's settings."""

    seed, time_s, ideal, noise = 3, 100.0, False, True


@pytest.fixture(scope="module")
def program() -> crossbank.Program:
    return crossbank.compile(MODEL, "hermes", context=32, max_batch=2, quiet=True)


@pytest.mark.parametrize("chunk", [1, 3])
def test_noise_does_not_depend_on_how_many_vectors_come_at_once(program: crossbank.Program, chunk: int) -> None:
    _, feeds, _ = next(zoo.cases(MODEL.parent))
    whole = Session(program.code, program.tensors, seed=1).run(None, feeds)
    parts = Session(program.code, program.tensors, seed=1, lane_chunk=chunk).run(None, feeds)
    quiet = Session(program.code, program.tensors, seed=1, noise=False).run(None, feeds)
    for a, b, c in zip(whole, parts, quiet, strict=True):
        assert zoo.error(b, a) < 1e-5 < zoo.error(c, a)


def test_noise_of_a_matrix_does_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 300)).astype(np.float32)
    unit: Any = Unit(load_system("hermes").engines["analog"].config, Machine())
    other: Any = Unit(load_system("hermes").engines["analog"].config, Machine())
    groups: dict[int, ArrayGroup] = {}
    for array in (0, 7):
        weights = rng.standard_normal((300, 200)).astype(np.float32)
        group = ArrayGroup(
            weights, rows=256, columns=256, technology=HermesPcm(), converters=unit.converters,
        )  # fmt: skip
        group.program(unit.machine.seed, array)
        group.at(100.0)
        groups[array] = group
    found = {array: groups[array].mvm(x, MvmMode.NOISY, unit.noise(array)) for array in (0, 7)}
    turned = {array: groups[array].mvm(x, MvmMode.NOISY, other.noise(array)) for array in (7, 0)}
    for array in (0, 7):
        np.testing.assert_array_equal(found[array], turned[array])
    again = groups[0].mvm(x, MvmMode.NOISY, unit.noise(0))
    assert zoo.error(again, found[0]) > 1e-4, "each MVM draws noise of its own"


def test_vectors_draw_one_after_another() -> None:
    group = ArrayGroup(
        np.random.default_rng(1).standard_normal((300, 20)).astype(np.float32), rows=256, columns=256,
        technology=HermesPcm(), converters=Unit(load_system("hermes").engines["analog"].config, Machine()).converters,
    )  # fmt: skip
    group.program(0, 0)
    group.at(50.0)
    x = np.random.default_rng(2).standard_normal((6, 300)).astype(np.float32)
    one, many = (stream(0, 0, (0, 0), Purpose.MVM) for _ in range(2))
    together = group.mvm(x, MvmMode.NOISY, one)
    apart = np.concatenate([group.mvm(part, MvmMode.NOISY, many) for part in (x[:1], x[1:4], x[4:])])
    np.testing.assert_allclose(apart, together, rtol=1e-5, atol=1e-5)
