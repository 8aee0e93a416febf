"""A `Lowering` for tests of families: keeps what they emit and runs it on plain numpy memory."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import Block, Operation, SSAValue

from crossbank.backends.host.lower import BACKEND as HOST
from crossbank.backends.matrix.lower import BACKEND as MATRIX
from crossbank.backends.simd.lower import BACKEND as SIMD
from crossbank.backends.system import load_system
from crossbank.dialects.imc import ViewAttr
from crossbank.dialects.onnx import DimsValueOp
from crossbank.dialects.shape import dtype_of, shape_of, tensor
from crossbank.runtime.expr import Expr, product
from crossbank.runtime.isa import Instruction, Kind
from crossbank.runtime.numerics import dtype_of as numpy_dtype

BACKENDS = {"simd": SIMD, "matrix": MATRIX, "host": HOST}
MARGIN = 4096


@dataclass
class Emitted:
    engine: str
    instruction: Instruction
    operands: Mapping[str, Any]


@dataclass
class Repeated:
    counter: str
    trips: Expr
    body: list[Emitted]


class Recorder:
    """Values are numpy arrays; dimensions have the values of `dims`; `caches` maps symbols to (keys, values)."""

    def __init__(self, caches: Mapping[str, tuple[NDArray[Any], NDArray[Any]]] | None = None, **dims: int) -> None:
        self.system = load_system("ideal")
        self.block, self.calls, self.dims = "main", 1, dims
        self.items: list[Any] = []
        self._body = self.items
        self._loops = 0
        self._buffers: dict[str, NDArray[np.uint8]] = {}
        self._views: dict[SSAValue, ViewAttr] = {}
        self._units = {kind: backend.isa.make_unit({}, None) for kind, backend in BACKENDS.items()}
        self._caches = dict(caches or {})

    def argument(self, array: NDArray[Any], shape: Sequence[int | str | Expr] | None = None) -> SSAValue:
        """A value that holds an array, of a type with symbolic dimensions where `shape` gives them."""
        value = Block(arg_types=[tensor(array.dtype.name, shape or array.shape)]).args[0]
        view = self._fresh(array.dtype.name, shape_of(value))
        self.read(view)[...] = array
        self._views[value] = view
        return value

    def strided(self, array: NDArray[Any], pad: int = 3) -> SSAValue:
        """A value whose array lies with gaps in every axis and its axes reversed in memory."""
        value = Block(arg_types=[tensor(array.dtype.name, array.shape)]).args[0]
        room = self._fresh(array.dtype.name, [n + pad for n in reversed(array.shape)])
        strides = tuple(reversed(room.stride_exprs))
        view = ViewAttr.of(room.buffer.data, array.dtype.name, array.shape, strides)
        self.read(view)[...] = array
        self._views[value] = view
        return value

    def _fresh(self, dtype: str, shape: Sequence[int | Expr]) -> ViewAttr:
        name = f"b{len(self._buffers)}"
        size = self._number(product(shape)) * numpy_dtype(dtype).itemsize
        self._buffers[name] = np.full(max(size, 0) + MARGIN, 0xAB, np.uint8)
        return ViewAttr.of(name, dtype, shape, offset=64)

    def _number(self, expr: Expr) -> int:
        return int(expr.evaluate(self.dims))

    def read(self, view: ViewAttr) -> NDArray[Any]:
        """The memory of a view."""
        dtype = numpy_dtype(view.dtype.data)
        shape = tuple(map(self._number, view.shape_exprs))
        strides = tuple(self._number(s) * dtype.itemsize for s in view.stride_exprs)
        return np.ndarray(shape, dtype, self._buffers[view.buffer.data], self._number(view.offset_expr), strides)

    def view(self, value: SSAValue) -> ViewAttr:
        if value not in self._views:
            owner = value.owner
            assert isinstance(owner, DimsValueOp) or (isinstance(owner, Operation) and owner.name == "onnx.Constant")
            SIMD.lower(owner, self.system.engines["simd"], self)
        return self._views[value]

    def bind(self, value: SSAValue, view: ViewAttr) -> None:
        assert view.shape_exprs == shape_of(value) and view.dtype.data == dtype_of(value)
        self._views[value] = view

    def result(self, value: SSAValue) -> ViewAttr:
        if value not in self._views:
            self._views[value] = self._fresh(dtype_of(value), shape_of(value))
        return self._views[value]

    def scratch(self, dtype: str, shape: Sequence[int | Expr], space: str = "mem") -> ViewAttr:
        return self._fresh(dtype, shape)

    def constant(self, name: str, per_call: Sequence[NDArray[Any]]) -> ViewAttr:
        view = self._fresh(per_call[0].dtype.name, per_call[0].shape)
        self.read(view)[...] = per_call[0]
        return view

    def cache(self, symbol: str) -> tuple[ViewAttr, ViewAttr]:
        views = []
        for array in self._caches[symbol]:
            name = f"{symbol}{len(self._buffers)}"
            self._buffers[name] = array.reshape(-1).view(np.uint8)
            views.append(ViewAttr.of(name, array.dtype.name, array.shape))
        return views[0], views[1]

    def cache_extent(self, symbol: str) -> tuple[Expr, Expr, Expr]:
        return Expr.symbol("batch"), Expr.symbol("past"), Expr.symbol("seq")

    def emit(self, engine: str, instruction: str, **operands: Any) -> None:
        self._body.append(Emitted(engine, BACKENDS[engine].isa.instructions[instruction], operands))

    @contextmanager
    def loop(self, trips: int | Expr, parallel: bool = False) -> Generator[Expr]:
        self._loops += 1
        item = Repeated(f"i{self._loops}", Expr.of(trips), [])
        outer, self._body = self._body, item.body
        yield Expr.symbol(item.counter)
        self._body = outer
        self._body.append(item)

    def lower(self, op: Operation, engine: str = "simd") -> list[NDArray[Any]]:
        """Lower one operation, run everything emitted so far, and give its results."""
        spec = self.system.engines[engine]
        legality = BACKENDS[engine].accepts(op, spec)
        assert legality.legal, legality.reason
        BACKENDS[engine].lower(op, spec, self)
        with np.errstate(all="ignore"):
            for item in self.items:
                self._run(item)
        return [np.array(self.read(self._views[value])) for value in op.results]

    @property
    def mnemonics(self) -> list[str]:
        """What was emitted outside loops."""
        return [item.instruction.mnemonic for item in self.items if isinstance(item, Emitted)]

    def _run(self, item: Any) -> None:
        if isinstance(item, Repeated):
            for trip in range(self._number(item.trips)):
                self.dims[item.counter] = trip
                for inner in item.body:
                    self._run(inner)
            return
        fields: dict[str, Any] = {}
        for field in item.instruction.fields:
            operand = item.operands.get(field.name)
            if operand is None:
                assert field.optional, f"{item.instruction.mnemonic} needs {field.name}"
            elif field.kind is Kind.ADDRESS:
                operand = self.read(operand)[None]
            elif field.kind is Kind.COUNT:
                operand = self._number(Expr.of(operand))
                assert operand >= field.low
            elif field.members is not None:
                operand = field.members[str(operand).upper()]
            fields[field.name] = operand
        assert not set(item.operands) - set(fields), f"{item.instruction.mnemonic}: {set(item.operands) - set(fields)}"
        item.instruction.execute(self._units[item.engine], SimpleNamespace(**fields))
