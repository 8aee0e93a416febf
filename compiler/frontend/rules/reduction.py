"""Reductions, norms, arg-reductions and top-k."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossbank.compiler.frontend.graph import Info, as_array
from crossbank.compiler.frontend.rules.elementwise import np_name
from crossbank.compiler.frontend.step import Outputs, Step, rule, value
from crossbank.runtime.expr import ONE, Expr

REDUCE = [
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceSumSquare",
]


def _axes(step: Step, rank: int) -> set[int]:
    given = step.ints("axes", 1)
    if not given:
        return set() if step.attribute("noop_with_empty_axes", 0) else set(range(rank))
    return {step.axis(axis, rank) for axis in given}


def _without(shape: tuple[Expr, ...], axes: set[int], keep: bool) -> tuple[Expr, ...]:
    if keep:
        return tuple(ONE if i in axes else dim for i, dim in enumerate(shape))
    return tuple(dim for i, dim in enumerate(shape) if i not in axes)


@rule(*REDUCE)
def reduce(step: Step) -> Outputs:
    shape = step.shape(0)
    return [Info(step.dtype(0), _without(shape, _axes(step, len(shape)), bool(step.attribute("keepdims", 1))))]


@value("ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin")
def reduce_value(step: Step, arrays: list[NDArray[Any]]) -> NDArray[Any] | None:
    data = arrays[0]
    symbolic = data.dtype == object
    if symbolic and step.node.op_type in ("ReduceMax", "ReduceMin"):
        return None
    functions = {"ReduceSum": np.sum, "ReduceProd": np.prod, "ReduceMax": np.max, "ReduceMin": np.min}
    axes = tuple(sorted(_axes(step, data.ndim)))
    if not data.size and step.node.op_type in ("ReduceMax", "ReduceMin"):
        return None
    out = functions[step.node.op_type](data, axis=axes, keepdims=bool(step.attribute("keepdims", 1)))
    return as_array(out) if symbolic else np.asarray(out, dtype=data.dtype)


@rule("ArgMax", "ArgMin")
def arg_reduce(step: Step) -> Outputs:
    shape = step.shape(0)
    axis = step.axis(step.attribute("axis", 0), len(shape))
    return [Info("int64", _without(shape, {axis}, bool(step.attribute("keepdims", 1))))]


@rule("TopK")
def top_k(step: Step) -> Outputs:
    shape = list(step.shape(0))
    axis = step.axis(step.attribute("axis", -1), len(shape))
    k = [Expr.of(step.attribute("k"))] if "k" in step.node.attributes else step.exprs(1)
    if k and k[0].is_constant and shape[axis].is_constant and not 0 <= k[0].constant <= shape[axis].constant:
        step.refuse(f"the first {k[0]} of {shape[axis]}")
    shape[axis] = k[0] if k else step.world.fresh(step.node)
    return [Info(step.dtype(0), tuple(shape)), Info("int64", tuple(shape))]


@rule("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def norm(step: Step) -> Outputs:
    shape = step.shape(0)
    axis = step.axis(step.attribute("axis", -1), len(shape))
    for i in (1, 2):
        if step.has(i):
            given = step.shape(i)
            if len(given) > len(shape):
                step.refuse(f"input {i} has {len(given)} dimensions, the input {len(shape)}")
            for a, b in zip(given, shape[len(shape) - len(given) :], strict=True):
                if a != ONE:
                    step.expect(a, b, f"input {i} and the input")
    statistics = Info("float32", tuple(ONE if i >= axis else dim for i, dim in enumerate(shape)))
    scale = step.dtype(1) if step.node.op_type != "LayerNormalization" else step.dtype(0)
    return [Info(scale, shape), statistics, statistics]


@rule("BatchNormalization")
def batch_norm(step: Step) -> Outputs:
    return [Info(step.dtype(0), step.shape(0))] + [Info(step.dtype(i), step.shape(i)) for i in (3, 4)]


@rule("Multinomial")
def multinomial(step: Step) -> Outputs:
    size = Expr.of(step.attribute("sample_size", 1))
    return [Info(np_name(step.attribute("dtype", 6)), (step.shape(0)[0], size))]
