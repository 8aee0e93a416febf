"""What passes know beside the IR: the system, the families, the tensor store; set by the driver, never by a pass."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from xdsl.context import Context

from crossbank.runtime.numerics import dtype_of
from crossbank.runtime.program import ProgramError
from crossbank.runtime.tensors import TensorEntry, TensorStore

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
    """xDSL's context with the target and the tensors.

    `notes` collects what phases report for the summary and for later phases: plain values, ready for JSON.
    """

    def __init__(self, system: System | None = None, backends: Mapping[str, Backend] | None = None) -> None:
        super().__init__()
        self._system = system
        self.backends: Mapping[str, Backend] = backends or {}
        self.tensors = TensorStore()
        self.options = CompileOptions()
        self.notes: dict[str, Any] = {}
        self.tables: dict[str, NDArray[Any]] = {}
        """Placements and constants that the IR names by the hash of their content."""
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

    def keep_table(self, array: NDArray[Any]) -> str:
        """Keep an array; returns its name, 16 hex digits of SHA-256 over form and bytes.

        The tensor store has it too, as `table.<name>`.
        """
        data = np.ascontiguousarray(array)
        name = hashlib.sha256(f"{data.dtype.name}{array.shape}".encode() + data.tobytes()).hexdigest()[:16]
        self.tables[name] = data.reshape(array.shape)
        self.tensors.declare(f"table.{name}", TensorEntry(data.dtype.name, tuple(array.shape), self.tables[name]))
        return name

    def retype(self, name: str, dtype: str, shape: tuple[int, ...]) -> str:
        """The name of a tensor's bytes with another type and shape, in the tensor store; noted as `retyped`."""
        new = f"{name}.{dtype}.{'x'.join(map(str, shape))}"
        if new not in self.tensors:
            self.tensors.retype(name, new, dtype, shape)
            self.notes.setdefault("retyped", {})[new] = [name, dtype, list(shape)]
        return new

    def part(self, name: str, index: int) -> str:
        """The name of a row of a tensor, in the tensor store; noted as `parts`."""
        new = f"{name}.{index}"
        if new not in self.tensors:
            self.tensors.part(name, new, index)
            self.notes.setdefault("parts", {})[new] = [name, index]
        return new

    def save_tables(self, folder: Path) -> None:
        """Write every table to `folder`/tables/<name>.npy, and the notes to notes.json beside them.

        What numpy has no type for (bfloat16 …) is written as bytes to <name>.<type>.npy.
        """
        (folder / "tables").mkdir(parents=True, exist_ok=True)
        (folder / "tables" / "notes.json").write_text(json.dumps(self.notes, default=str), encoding="utf-8")
        for name, array in self.tables.items():
            extended = array.dtype.kind == "V"
            path = folder / "tables" / (f"{name}.{array.dtype.name}.npy" if extended else f"{name}.npy")
            if not path.exists():
                np.save(path, array[..., None].view(np.uint8) if extended else array, allow_pickle=False)

    def _take_notes(self, noted: dict[str, Any]) -> None:
        self.notes.update(noted)
        for name, dtype, shape in self.notes.get("retyped", {}).values():
            if name in self.tensors:
                self.retype(name, dtype, tuple(shape))
        for name, index in self.notes.get("parts", {}).values():
            if name in self.tensors:
                self.part(name, index)

    def load_tables(self, folder: Path) -> None:
        """Read what was saved to `folder`; ProgramError CB0810 for a table whose content is not what its name says."""
        notes = folder / "tables" / "notes.json"
        try:
            if notes.exists():
                self._take_notes(json.loads(notes.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise ProgramError("CB0810", f"not notes: {error}", str(notes), "write the dump again") from error
        for path in sorted((folder / "tables").glob("*.npy")):
            name, *extended = path.stem.split(".")
            try:
                array: NDArray[Any] = np.load(path, allow_pickle=False)
                if extended:
                    array = array.view(dtype_of(extended[0]))[..., 0]
                found = self.keep_table(array)
            except (OSError, ValueError, TypeError, EOFError, KeyError, AttributeError, BadZipFile) as error:
                raise ProgramError("CB0810", f"not a table: {error}", str(path), "write the dump again") from error
            if found != name:
                raise ProgramError("CB0810", "the table has been changed", str(path), "write the dump again")
