"""Converter ranges from sample tokens: an exact run of the program shows each group of arrays its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossbank.backends.xbar.array import ArrayGroup
from crossbank.backends.xbar.converters import Ranges
from crossbank.runtime.records import Tensor

SAMPLES = 512
"""Input vectors kept per group, spread evenly over the run."""


class _Collector:
    """Notes which tensor each group holds, and keeps samples of what enters it."""

    def __init__(self, addresses: dict[int, str]) -> None:
        self.addresses = addresses
        self.tensors: dict[int, str] = {}
        self.samples: dict[int, list[NDArray[np.float32]]] = {}

    def before(self, event: Any) -> None:
        """Look at the operands of what programs or drives a group."""
        if event.decoded.name == "xbar.program":
            weights = event.decoded.operands["weights"]
            assert isinstance(weights, Tensor)
            self.tensors[int(event.operands.array)] = self.addresses[int(weights.address.evaluate(event.registers))]
        elif event.decoded.name == "xbar.mvm":
            x = np.asarray(event.operands.x, np.float32)
            self.samples.setdefault(int(event.operands.array), []).append(x[:: max(1, len(x) // 64)].copy())

    def after(self, event: Any) -> None:
        """Outputs don't matter here."""


def calibrate(program: Any, ids: NDArray[np.int64]) -> dict[str, Ranges]:
    """The ranges with the least error for each weight tensor, from an exact run over ids (windows, tokens)."""
    from crossbank.runtime.session import Session

    collector = _Collector({constant.address: name for name, constant in program.code.constants.items()})
    session = Session(program.code, program.tensors, ideal=True, listeners=[collector])
    for window in ids:
        session.generate(window, 1)
    found: dict[str, Ranges] = {}
    for unit in session.executor.units.values():
        groups: dict[int, ArrayGroup] = getattr(unit, "groups", {})
        for array, group in groups.items():
            if array in collector.samples:
                samples = np.concatenate(collector.samples[array])
                found[collector.tensors[array]] = group.calibrate(samples[:: max(1, len(samples) // SAMPLES)])
    return found
