"""Running a program as onnxruntime runs a model: arrays by name in, arrays out, and greedy generation on the device."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossbank.runtime.binding import Feeds, as_arrays, bind, check_bound, check_device, check_limits, unknown_name
from crossbank.runtime.capture import Capture, Value
from crossbank.runtime.executor import Executor, Listener
from crossbank.runtime.generation import Decoding
from crossbank.runtime.machine import LINE, Machine
from crossbank.runtime.numerics import dtype_of
from crossbank.runtime.program import Code, Function, Port, ProgramError
from crossbank.runtime.tensors import TensorStore

Array = NDArray[Any]
_TYPES = {"float32": "float", "float64": "double", "float8_e4m3fn": "float8e4m3fn", "float8_e5m2": "float8e5m2"}


@dataclass(frozen=True)
class Argument:
    """An input or output as onnxruntime describes it: names for dimensions in `shape`, a `type` like tensor(int64)."""

    name: str
    shape: list[int | str]
    type: str


class Session:
    """A program on a device, with the shape of `onnxruntime.InferenceSession`.

    `seed` draws the device's noise, `time_s` counts seconds from the end of programming; `noise=False` keeps converters
    and number formats, `ideal=True` switches them off too. `lane_chunk` caps the trips of a loop that run at once.
    ProgramError CB0611 for a seed or a time that no device has.
    """

    def __init__(
        self,
        code: Code,
        tensors: TensorStore,
        seed: int = 0,
        time_s: float = 0.0,
        noise: bool = True,
        ideal: bool = False,
        listeners: Sequence[Listener] = (),
        lane_chunk: int | None = None,
    ) -> None:
        check_device(seed, time_s)
        self.code = code
        self.machine = Machine(code, tensors, seed, time_s, noise, ideal)
        self.executor = Executor(self.machine, listeners, lane_chunk)
        self._ready = False
        self.steps = 0
        """How often main has run."""
        self._main = code.functions["main"]
        self._imports = code.functions.get("import_cache", Function("import_cache", ""))
        self._exports = code.functions.get("export_cache", Function("export_cache", ""))
        self._inputs = _ordered(self._main.inputs, self._imports.inputs, code.summary.get("input_names"))
        self._outputs = _ordered(self._main.outputs, self._exports.outputs, code.summary.get("output_names"))

    @property
    def inputs(self) -> list[Argument]:
        """The inputs of the ONNX file, in its order."""
        return [_argument(port) for port in self._inputs]

    @property
    def outputs(self) -> list[Argument]:
        """The outputs of the ONNX file, in its order."""
        return [_argument(port) for port in self._outputs]

    def get_inputs(self) -> list[Argument]:
        """`inputs`, under onnxruntime's name."""
        return self.inputs

    def get_outputs(self) -> list[Argument]:
        """`outputs`, under onnxruntime's name."""
        return self.outputs

    def run(self, output_names: Sequence[str] | None, feeds: Mapping[str, Any]) -> list[Array]:
        """Compute the named outputs (all for None or none, as onnxruntime) from feeds by input name.

        ProgramError CB0601 shape, CB0602 unknown input, CB0603 missing input, CB0604 dtype, CB0605 context, CB0606
        batch, CB0607 unknown output, CB0608 dimension, CB0613 a branch that was not taken.
        """
        arrays = as_arrays(feeds)
        names = [port.name for port in self._outputs] if not output_names else list(output_names)
        self._check_names(arrays, names)
        dimensions = bind(self.code, self._inputs, arrays)
        check_bound(self.code, arrays, dimensions)
        if self._imports.block and any(_size(state.past, dimensions) for state in self.code.states):
            self._feed(self._imports, arrays, dimensions)
            self._start(self._imports.name, dimensions)
        self.step(arrays, dimensions)
        found = self._results(self._main, names, dimensions)
        if any(port.name in names for port in self._exports.outputs):
            self._start(self._exports.name, dimensions)
            found |= self._results(self._exports, names, dimensions)
        return [found[name] for name in names]

    def values(
        self, feeds: Mapping[str, Any], names: Collection[str] | None = None
    ) -> tuple[dict[str, Array], list[Value]]:
        """All outputs by name, and the tensors of the ONNX file that are computed on the way: all, or those of `names`.

        Only what an operation leaves in memory is there, in the order of execution: what is fused into another
        operation isn't. Errors as `run`.
        """
        capture = Capture(self.code, names)
        listeners = self.executor.listeners
        self.executor.listeners = listeners if names is not None and not names else [*listeners, capture]
        try:
            outputs = self.run(None, feeds)
        finally:
            self.executor.listeners = listeners
        return dict(zip((port.name for port in self._outputs), outputs, strict=True)), capture.values()

    def step(self, feeds: Feeds, dimensions: Mapping[str, int]) -> None:
        """Run main once on the device's own caches; read what it gives with `result`."""
        self._feed(self._main, feeds, dimensions)
        self.steps += 1
        self._start("main", dimensions)

    def result(self, name: str, dimensions: Mapping[str, int]) -> Array:
        """An output of main where it lies in the device's memory, until the next step."""
        port = next(port for port in self._main.outputs if port.name == name)
        return self._view(port, dimensions)

    def stream(
        self, prompt_ids: ArrayLike, max_new_tokens: int, eos: int | Collection[int] | None = None
    ) -> Iterator[NDArray[np.int64]]:
        """Greedy decoding, one (batch,) array of token ids at a time; see `generate`."""
        return Decoding(self).tokens(prompt_ids, max_new_tokens, eos)

    def generate(
        self, prompt_ids: ArrayLike, max_new_tokens: int, eos: int | Collection[int] | None = None
    ) -> NDArray[np.int64]:
        """The tokens that greedy decoding adds to a prompt (tokens,) or (batch, tokens), the cache kept on the device.

        Returns (new,) or (batch, new), without the prompt; rows that reached `eos` are filled up with it. ProgramError
        CB0605 context, CB0606 batch, CB0609 an input that generation can't fill, CB0610 an unusable prompt, CB0612 a
        session that ran something else in between.
        """
        tokens = list(self.stream(prompt_ids, max_new_tokens, eos))
        single = np.ndim(prompt_ids) == 1
        rows = np.stack(tokens, axis=-1) if tokens else np.zeros((len(np.atleast_2d(prompt_ids)), 0), np.int64)
        return rows[0] if single else rows

    def bind(self, feeds: Feeds, known: Mapping[str, int]) -> dict[str, int]:
        """Dimension registers of a step of main whose caches are on the device."""
        return bind(self.code, self._main.inputs, feeds, known)

    def check_limits(self, dimensions: Mapping[str, int]) -> None:
        """Hold dimensions against what the program was compiled for."""
        check_limits(self.code, dimensions)

    @property
    def main(self) -> Function:
        """The function of a step."""
        return self._main

    def _check_names(self, feeds: Feeds, outputs: Sequence[str]) -> None:
        inputs = [port.name for port in self._inputs]
        for name in feeds:
            if name not in inputs:
                raise unknown_name("CB0602", "input", name, inputs)
        missing = [name for name in inputs if name not in feeds]
        if missing:
            raise ProgramError(
                "CB0603", f"input {', '.join(missing)} is missing", help=f"feed all of {', '.join(inputs)}"
            )
        known = [port.name for port in self._outputs]
        for name in outputs:
            if name not in known:
                raise unknown_name("CB0607", "output", name, known)

    def _start(self, function: str, dimensions: Mapping[str, int]) -> None:
        if not self._ready:
            self._ready = True
            if "setup" in self.code.functions:
                self.executor.run("setup", {})
        self.executor.run(function, dimensions)

    def _feed(self, function: Function, feeds: Feeds, dimensions: Mapping[str, int]) -> None:
        for port in function.inputs:
            self._view(port, dimensions)[...] = feeds[port.name]

    def _results(self, function: Function, names: Sequence[str], dimensions: Mapping[str, int]) -> dict[str, Array]:
        views = {p.name: self._view(p, dimensions) for p in function.outputs if p.name in names}
        return _copied_together(views) if function is self._exports else {n: v.copy() for n, v in views.items()}

    def _view(self, port: Port, dimensions: Mapping[str, int]) -> Array:
        dtype = dtype_of(port.dtype)
        dims = tuple(_size(dim, dimensions) for dim in port.shape)
        strides = tuple(math.prod(dims[i + 1 :]) * dtype.itemsize for i in range(len(dims)))
        return self.machine.view(port.address, dtype, dims, strides)[0, ...]


def _copied_together(views: Mapping[str, Array]) -> dict[str, Array]:
    """Copies in one piece of memory: the system hands out a large piece three times as fast as many small ones."""
    starts = np.cumsum([0, *(-(-view.nbytes // LINE) * LINE for view in views.values())])
    memory = np.empty(int(starts[-1]), np.uint8)
    copies = {
        name: np.ndarray(view.shape, view.dtype, memory, int(start))
        for (name, view), start in zip(views.items(), starts[:-1], strict=True)
    }
    for name, copy in copies.items():
        copy[...] = views[name]
    return copies


def _size(dim: Any, dimensions: Mapping[str, int]) -> int:
    return int(dim.evaluate(dimensions))


def _ordered(main: Sequence[Port], cache: Sequence[Port], names: Sequence[str] | None) -> list[Port]:
    taken = {port.name for port in main}
    ports = [*main, *(port for port in cache if port.name not in taken)]
    order = {name: i for i, name in enumerate(names or ())}
    return sorted(ports, key=lambda port: order.get(port.name, len(order)))


def _argument(port: Port) -> Argument:
    shape = [dim.constant if dim.is_constant else str(dim) for dim in port.shape]
    return Argument(port.name, shape, f"tensor({_TYPES.get(port.dtype, port.dtype)})")
