"""What passes know beside the IR: the system, the families, the tensor store; set by the driver, never by a pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from xdsl.context import Context

from crossbank.runtime.tensors import TensorStore

if TYPE_CHECKING:
    from crossbank.backends.interface import Backend
    from crossbank.backends.system import System


@dataclass
class CompileOptions:
    """What the user asked for: capacity limits, number of groups (None: as many as needed), calibration ids."""

    context: int | None = None
    max_batch: int = 8
    groups: int | None = None
    calibration: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])


class CompileContext(Context):
    """xDSL's context with the target and the tensors; `notes` collects what phases report for the summary."""

    def __init__(self, system: System | None = None, backends: Mapping[str, Backend] | None = None) -> None:
        super().__init__()
        self._system = system
        self.backends: Mapping[str, Backend] = backends or {}
        self.tensors = TensorStore()
        self.options = CompileOptions()
        self.notes: dict[str, Any] = {}
        self.tables: dict[str, NDArray[Any]] = {}
        """Placement and other tables that the IR names by the hash of their content; see `place.side_tables`."""
        self.model_name = ""

    @property
    def system(self) -> System:
        """The target's system; a pass that asks without one is a driver's mistake."""
        if self._system is None:
            raise ValueError("this pass needs a target: give -t TARGET")
        return self._system

    def backend(self, kind: str) -> Backend:
        """The family of an engine kind."""
        return self.backends[kind]
