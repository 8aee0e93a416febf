"""`onnx.backend.base.Backend` of ONNX: a model compiled through all phases, and run from its instruction streams."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from onnx.backend.base import Backend, BackendRep

from crossbank.compiler.driver import compile
from crossbank.compiler.frontend.specialise import deciding_inputs, shapeless_inputs, specialised
from crossbank.runtime.program import ProgramError
from crossbank.runtime.session import Session

Array = NDArray[Any]
_KEPT = 16
"""Programs that one model keeps for different values of the inputs that decide shapes."""
TOLERANCES = ("rtol", "atol")


class CrossbankRep(BackendRep):
    """A compiled model.

    Inputs whose values decide shapes (the second of Reshape, `starts` of Slice …) are part of the program: one is
    compiled for each set of their values.
    """

    def __init__(self, model: onnx.ModelProto, options: Mapping[str, Any]) -> None:
        self.model, self.options = model, dict(options)
        constant = {tensor.name for tensor in model.graph.initializer}
        self.inputs = [port.name for port in model.graph.input if port.name not in constant]
        self._deciding, self._shapeless = deciding_inputs(model), shapeless_inputs(model)
        self._folder = TemporaryDirectory(prefix="crossbank-")
        self._numbers = itertools.count()
        self._sessions: dict[Any, Session] = {}
        if not self._deciding and not self._shapeless:
            self._sessions[()] = self._compiled(model)

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Array, ...]:
        """The outputs in order, for inputs by position or by name."""
        arrays = _arrays(inputs, self.inputs)
        values = {name: arrays.pop(name) for name in self._deciding if name in arrays}
        shaped = {name: arrays[name] for name in self._shapeless if name in arrays}
        key = (
            *((name, v.dtype.name, v.shape, v.tobytes()) for name, v in values.items()),
            *((name, v.dtype.name, v.shape) for name, v in shaped.items()),
        )
        if key not in self._sessions:
            if len(self._sessions) >= _KEPT:
                self._sessions.pop(next(iter(self._sessions)))
            self._sessions[key] = self._compiled(specialised(self.model, values, shaped))
        return tuple(self._sessions[key].run(None, arrays))

    def _compiled(self, model: onnx.ModelProto) -> Session:
        path = Path(self._folder.name) / f"{next(self._numbers)}.onnx"
        path.write_bytes(model.SerializeToString())
        return compile(path, quiet=True, **self.options).session()


class CrossbankBackend(Backend):
    """The backend; `prepare` takes options of `crossbank.compile`, `target` among them."""

    @classmethod
    def prepare(
        cls, model: onnx.ModelProto, device: str = "CPU", allow_host: bool = False, **kwargs: Any
    ) -> CrossbankRep:
        """Compile a model, for the exact target unless `target` names another.

        `allow_host` lets onnxruntime run what the target's engines have no instructions for. `rtol` and `atol`, which
        ONNX's test runner passes on, concern who compares. ProgramError says what stands in the way.
        """
        options = {name: value for name, value in kwargs.items() if name not in TOLERANCES}
        return CrossbankRep(model, {"target": "ideal", "host": allow_host, **options})

    @classmethod
    def run_model(cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Array, ...]:
        """Compile a model and run it once."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[Any, Sequence[int]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Array, ...]:
        """Compile a model of one node for inputs of these shapes and run it once.

        `opset_version` says which opset's operator it is: the newest if it isn't given.
        """
        version = int(kwargs.pop("opset_version", onnx.defs.onnx_opset_version()))
        arrays = _arrays(inputs, _names_of(node, inputs))
        ports = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for name, a in arrays.items()
        ]
        graph = helper.make_graph([node], "node", ports, [onnx.ValueInfoProto(name=n) for n in node.output if n])
        opsets = [helper.make_opsetid("", version)]
        if node.domain:
            opsets.append(helper.make_opsetid(node.domain, 1))
        return cls.run_model(helper.make_model(graph, opset_imports=opsets), arrays, device, **kwargs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Programs run on the processor only."""
        return device.split(":")[0] == "CPU"


def _names_of(node: onnx.NodeProto, inputs: Any) -> list[str]:
    """The node's inputs by name, as many as there are arrays: a name that occurs twice may be fed once or twice."""
    names = [name for name in node.input if name]
    once = list(dict.fromkeys(names))
    given = len(once) if isinstance(inputs, Mapping) else len(_listed(inputs))
    if given not in (len(names), len(once)):
        raise ProgramError(
            "CB0603", f"{given} inputs for {len(names)} of {node.op_type}", node.name, "feed one array for each input"
        )
    return names if given == len(names) else once


def _arrays(inputs: Any, names: Sequence[str]) -> dict[str, Array]:
    """Inputs by name, given so, by position, or as one array."""
    if isinstance(inputs, Mapping):
        return {str(name): np.asarray(value) for name, value in cast("Mapping[Any, Any]", inputs).items()}
    return dict(zip(names, _listed(inputs), strict=False))


def _listed(inputs: Any) -> list[Array]:
    values = cast("Sequence[Any]", [inputs] if isinstance(inputs, np.ndarray) else inputs)
    return [np.asarray(value) for value in values]


prepare = CrossbankBackend.prepare
run_model = CrossbankBackend.run_model
run_node = CrossbankBackend.run_node
supports_device = CrossbankBackend.supports_device
