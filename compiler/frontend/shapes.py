"""Infer dtype, symbolic shape and, for small tensors, the elements of every value; fold what is constant."""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from crossbank.compiler.frontend import rules as _rules
from crossbank.compiler.frontend.algebra import Equations
from crossbank.compiler.frontend.element_types import dtypes_of, type_mismatch
from crossbank.compiler.frontend.errors import DIMENSION, DTYPE, SHAPE, FrontendError
from crossbank.compiler.frontend.evaluate import infer_with_onnx, run_with_onnx
from crossbank.compiler.frontend.graph import (
    ABSENT,
    DATA_DEPENDENT,
    MAX_DIM,
    MAX_ELEMENTS,
    Graph,
    Info,
    Node,
    Port,
    as_array,
)
from crossbank.compiler.frontend.rules.contracts import check_contract
from crossbank.compiler.frontend.rules.elementwise import BROADCAST, COMPARE, SAME
from crossbank.compiler.frontend.rules.reduction import REDUCE
from crossbank.compiler.frontend.step import MAX_KNOWN, RULES, VALUES, Step, count
from crossbank.runtime.expr import FUNCTIONS, Expr, sanitise

FOLD_BYTES = 16 << 20
"""Constant sub-graphs whose result is larger stay in the graph."""
FOLDED_BYTES = 128 << 20
"""Constant sub-graphs whose results, beyond small ones, come to more together stay in the graph."""
SMALL_BYTES = 1 << 12
FOLD_PRODUCTS = 1 << 28
"""Constant matrix products of more multiplications stay in the graph."""
FOLD_INPUTS = 1 << 16
"""Other constant operators whose cost may grow faster than their inputs stay in the graph for more elements."""
MAX_ROUNDS = 10
T = TypeVar("T")
_NEVER_FOLDED = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout"}
)
_KEPT_ON_WEIGHTS = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "com.microsoft:QuantizeLinear", "com.microsoft:DequantizeLinear"}
)
"""Not folded for large tensors: the compiler wants the quantised weights."""

_CHEAP = frozenset(
    {
        *SAME, *BROADCAST, *COMPARE, *REDUCE, "Cast", "CastLike", "Where", "IsNaN", "IsInf", "Pad", "GatherElements",
        "GatherND", "ArgMax", "ArgMin", "OneHot", "EyeLike", "QuantizeLinear", "DequantizeLinear",
    }
)  # fmt: skip
"""Operators whose cost grows with the elements that they read and write."""

assert _rules.__all__


@dataclass(frozen=True)
class Shapes:
    """What inference found: every value's type, the assumed equations, and lengths that must stay within a limit."""

    infos: dict[str, Info]
    equations: Equations
    limits: dict[str, int]
    """By expression, the smallest length that a static table or mask gives it: "past + seq" -> 1024."""


@dataclass
class Inference:
    """One model's inference; see `infer`."""

    graph: Graph
    infos: dict[str, Info] = field(default_factory=dict[str, Info])
    equations: Equations = field(default_factory=Equations)
    limits: dict[Expr, int] = field(default_factory=dict[Expr, int])
    makers: dict[str, Node] = field(default_factory=dict[str, Node])
    """By result, the Casts and Ranges."""
    drawn: int = 0
    folded_bytes: int = 0

    # ------------------------------------------------------- the rules' world

    def equal(self, a: Expr, b: Expr, node: Node) -> bool:
        return self.equations.unify(a, b)

    def within(self, value: Expr, limit: Expr, node: Node) -> None:
        value, limit = self.resolve(value), self.resolve(limit)
        if limit.is_constant:
            self.limits[value] = min(self.limits.get(value, limit.constant), limit.constant)

    def fresh(self, node: Node) -> Expr:
        name = f"{DATA_DEPENDENT}{sanitise(node.outputs[0])}_{self.drawn}"
        self.drawn += 1
        self.equations.declare([name])
        return Expr.symbol(name)

    def resolve(self, value: Expr) -> Expr:
        return self.equations.resolve(value)

    def integers(self, name: str) -> NDArray[Any] | None:
        info = self.infos.get(self.uncast(name))
        return info.data if info is not None and info.dtype.startswith(("int", "uint")) else None

    def progression(self, name: str) -> tuple[Expr, Expr] | None:
        node = self.makers.get(self.uncast(name))
        if node is None or node.key != "Range":
            return None
        first, by = self.integers(node.inputs[0]), self.integers(node.inputs[2])
        return None if first is None or by is None else (Expr.of(first.reshape(-1)[0]), Expr.of(by.reshape(-1)[0]))

    def uncast(self, name: str) -> str:
        while (node := self.makers.get(name)) is not None and node.key == "Cast":
            name = node.inputs[0]
        return name

    def refuse(self, node: Node, message: str) -> NoReturn:
        types = ", ".join(describe(self.infos[name]) for name in node.inputs if name in self.infos)
        raise FrontendError(
            SHAPE, message, self.graph.where(node), f"check the node's inputs ({types}) and export the model again"
        )

    # ------------------------------------------------------------------ rounds

    def start(self) -> None:
        """Infos of graph inputs and static tensors."""
        self.infos, self.drawn, self.limits = {}, 0, {}
        for port in self.graph.inputs:
            if not port.dtype or port.dims is None:
                raise FrontendError(
                    DIMENSION,
                    "the input has no type or shape",
                    f"{self.graph.file}: {port.name}",
                    "export it with both",
                )
            shape = tuple(dim_expr(port, axis) for axis in range(len(port.dims)))
            self.equations.declare(symbol for dim in shape for symbol in sorted(dim.symbols))
            self.infos[port.name] = Info(port.dtype, tuple(self.resolve(dim) for dim in shape))
        for name in self.graph.store:
            self.infos[name] = self.static(name)

    def static(self, name: str) -> Info:
        entry = self.graph.store.entry(name)
        small = entry.data is not None and math.prod(entry.shape) <= MAX_KNOWN
        return Info(
            entry.dtype, tuple(Expr.of(dim) for dim in entry.shape), self.graph.store.load(name) if small else None
        )

    def round(self) -> list[Node]:
        """Infer all nodes once; returns those whose results aren't constant."""
        self.start()
        return [node for node in self.graph.nodes if not self.node(node)]

    def node(self, node: Node) -> bool:
        """Infer one node; True if its results are now static tensors."""
        step = Step(node, [self.infos[name] if name != ABSENT else None for name in node.inputs], self)
        if wrong := type_mismatch(node.op_type, node.version, dtypes_of(step.inputs), node.domain):
            self.refuse(node, wrong)
        infos = self.tried(step, self.shapes, step)
        if node.key in ("Cast", "Range"):
            self.makers[node.outputs[0]] = node
        for info in infos:
            self.sane(node, info)
        if len(infos) < len(node.outputs):
            self.refuse(node, f"{len(node.outputs)} outputs of an operator that has {len(infos)}")
        values = [info.data for info in infos]
        if all(v is None for v in values):
            values = self.tried(step, self.values, step, infos)
        folded = bool(values)
        for name, info, data in zip(node.outputs, infos, values or [None] * len(infos), strict=False):
            if name == ABSENT:
                continue
            if data is not None:
                data = self.checked(node, info, data)
                info = Info(info.dtype, info.shape, data if data.size <= MAX_KNOWN else None)
                if data.dtype != object and name not in self.graph.store:
                    self.graph.store.add(name, data)
                    self.folded_bytes += data.nbytes if data.nbytes > SMALL_BYTES else 0
            folded = folded and data is not None and data.dtype != object
            self.infos[name] = info
        return folded

    def tried(self, step: Step, function: Callable[..., T], *arguments: Any) -> T:
        """What a rule says; rules take it that a node fits its operator, so what fails in one is the node's fault."""
        try:
            return function(*arguments)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            self.refuse(step.node, f"it doesn't fit its operator: {type(error).__name__}: {str(error)[:300]}")

    def sane(self, node: Node, info: Info) -> None:
        """Refuse a result with a negative dimension, or with more elements than anything can hold."""
        if any(dim.is_constant and dim.constant < 0 for dim in info.shape):
            self.refuse(node, f"its result would have shape {describe(info)}")
        if (count(info.shape) or 0) > MAX_ELEMENTS or any(d.is_constant and d.constant > MAX_DIM for d in info.shape):
            self.refuse(node, f"its result {describe(info)} would have more than {MAX_ELEMENTS} elements")

    def checked(self, node: Node, info: Info, data: NDArray[Any]) -> NDArray[Any]:
        if data.dtype == object:
            data = as_array(data)
        if data.dtype != object:
            data = np.asarray(data).astype(_dtype(info.dtype), copy=False)
        if count(info.shape) is not None and tuple(data.shape) != tuple(d.constant for d in info.shape):
            self.refuse(node, f"computed shape {data.shape}, inferred {tuple(map(str, info.shape))}")
        return data

    def shapes(self, step: Step) -> list[Info]:
        check_contract(step)
        known = RULES.get(step.node.key)
        if known is not None:
            return known(step)
        if step.node.domain == "":
            return infer_with_onnx(step)
        found = [self.graph.declared.get(name) for name in step.node.outputs]
        if any(port is None or port.dims is None or not port.dtype for port in found):
            self.refuse(step.node, f"no shape rule for {step.node.key}, and the file notes no shape of its results")
        return [self.noted(port) for port in found if port is not None]

    def noted(self, port: Port) -> Info:
        shape = tuple(self.resolve(dim_expr(port, axis)) for axis in range(len(port.dims or ())))
        return Info(port.dtype, shape)

    def values(self, step: Step, infos: list[Info]) -> list[NDArray[Any] | None]:
        """The outputs' elements, where all inputs' are known; else nothing."""
        node = step.node
        if node.key in _NEVER_FOLDED or not infos:
            return []
        arrays: list[NDArray[Any]] = []
        for name, info in zip(node.inputs, step.inputs, strict=True):
            if info is None:
                arrays.append(np.zeros(0))
            elif info.data is not None:
                arrays.append(info.data)
            elif name in self.graph.store and self.foldable(node, name, infos):
                arrays.append(self.graph.store.load(name))
            else:
                return []
        known = VALUES.get(node.key)
        if any(array.dtype == object for array in arrays):
            if known is None or any((count(info.shape) or MAX_KNOWN) > MAX_KNOWN for info in infos):
                return []
        elif any(_size_bytes(info) > FOLD_BYTES for info in infos) or self.heavy(node, arrays, infos):
            return []
        found = known(step, arrays) if known is not None else None
        if found is None:
            if any(array.dtype == object for array in arrays):
                return []
            found = run_with_onnx(step, arrays)
        if found is None:
            return []
        return list(found) if isinstance(found, list) else [found]

    def heavy(self, node: Node, arrays: Sequence[NDArray[Any]], infos: Sequence[Info]) -> bool:
        """Whether folding a node would take much time, or memory on top of what others took."""
        size_bytes = sum(_size_bytes(info) for info in infos)
        if self.folded_bytes + size_bytes > FOLDED_BYTES and size_bytes > SMALL_BYTES:
            return True
        if node.key in ("MatMul", "Gemm"):
            return (count(infos[0].shape) or 0) * max(arrays[0].shape, default=1) > FOLD_PRODUCTS
        return node.key not in VALUES and node.key not in _CHEAP and sum(array.size for array in arrays) > FOLD_INPUTS

    def foldable(self, node: Node, name: str, infos: list[Info]) -> bool:
        entry = self.graph.store.entry(name)
        if entry.data is None or node.key in _KEPT_ON_WEIGHTS or entry.size_bytes > FOLD_BYTES:
            return False
        return all(_size_bytes(info) <= FOLD_BYTES for info in infos)


def _size_bytes(info: Info) -> int:
    size = count(info.shape)
    return FOLD_BYTES + 1 if size is None else size * _dtype(info.dtype).itemsize


def _dtype(name: str) -> np.dtype[Any]:
    from crossbank.runtime.numerics import dtype_of

    return dtype_of(name)


def describe(info: Info) -> str:
    """Dtype and shape for people: "float32 [batch, 4]"."""
    return f"{info.dtype} [{', '.join(map(str, info.shape))}]"


def dim_expr(port: Port, axis: int) -> Expr:
    """A declared dimension as an expression of register names; unnamed ones are named after tensor and axis."""
    dim = (port.dims or ())[axis]
    if isinstance(dim, int):
        return Expr.of(dim)
    if dim is None or not dim.strip() or dim == "?":
        return Expr.symbol(f"{sanitise(port.name)}_dim{axis}")
    try:
        found = Expr.of(dim)
    except (ValueError, RecursionError):
        return Expr.symbol(_register(dim))
    if found.is_constant and not 0 <= found.constant <= MAX_DIM:
        return Expr.symbol(_register(dim))
    return found.substitute({name: Expr.symbol(_register(name)) for name in found.symbols})


def _register(name: str) -> str:
    cleaned = sanitise(name)
    cleaned = re.sub("__+", "_", cleaned) if cleaned != name else cleaned
    return f"{cleaned}_" if keyword.iskeyword(cleaned) or cleaned in FUNCTIONS else cleaned


def infer(graph: Graph, assume: Mapping[str, Expr] | None = None) -> Shapes:
    """Infer everything, repeating until no new equation between dimensions appears; folds constants in the graph.

    `assume` replaces dimensions from the start. Nodes whose results are constant leave `graph.nodes`; their
    values are static tensors of `graph.store`. Raises FrontendError where shapes disagree.
    """
    inference = Inference(graph)
    inference.equations.solved.update(assume or {})
    for _ in range(MAX_ROUNDS):
        before = dict(inference.equations.solved)
        graph.nodes = inference.round()
        if inference.equations.solved == before:
            break
    limits = {str(expr): limit for expr, limit in inference.limits.items()}
    for name, info in inference.infos.items():
        if not info.dtype:
            raise FrontendError(DTYPE, "the type isn't known", f"{graph.file}: {name}", "export the model again")
    return Shapes(inference.infos, inference.equations, limits)
