"""The cells of DRAM banks as they run: bf16 values in float32 arrays, for rows that have been written."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from crossbank.backends.pim.layout import Device
from crossbank.runtime.program import ProgramError

Floats = NDArray[np.float32]
BLOCK_ROWS = 16
"""Rows that are allocated together; the system commits pages as they are touched."""


def bf16(values: NDArray[Any]) -> Floats:
    """float32 values rounded to the nearest bfloat16, ties to even."""
    return values.astype(ml_dtypes.bfloat16).astype(np.float32)


class Banks:
    """Rows by their number over all devices, each (channels * banks, row elements)."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._blocks: dict[int, Floats] = {}
        self._written: set[int] = set()

    def open(self, row: int) -> Floats:
        """A row's cells to write."""
        number, inside = divmod(row, BLOCK_ROWS)
        block = self._blocks.get(number)
        if block is None:
            block = np.zeros((BLOCK_ROWS, self.device.width, self.device.row_elements), np.float32)
            self._blocks[number] = block
        self._written.add(row)
        return block[inside]

    def read(self, row: int) -> Floats:
        """A row's cells; ProgramError CB0575 where nothing has been written."""
        if row not in self._written:
            raise ProgramError("CB0575", f"row {row} holds nothing", help="compile the model again")
        return self._blocks[row // BLOCK_ROWS][row % BLOCK_ROWS]
