"""The tensor store: every static tensor of a model by name, read from where it lies and only when asked for."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossbank.runtime.numerics import dtype_of
from crossbank.runtime.program import ProgramError


@dataclass(frozen=True)
class FileRange:
    """Bytes of a file: `length` bytes from `offset` of `path`, whose SHA-256 is `digest` where it is known."""

    path: Path
    offset: int
    length: int
    digest: str | None = None


@dataclass(frozen=True)
class TensorEntry:
    """One tensor: its values in memory, or where they lie; neither for a shape-only model.

    Sub-byte types (int4, uint4, int2, uint2) lie packed in a file as ONNX packs them, low bits first; they are
    unpacked, one element a byte, when loaded.
    """

    dtype: str
    shape: tuple[int, ...]
    data: NDArray[Any] | FileRange | None

    @property
    def size_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * dtype_of(self.dtype).itemsize


class TensorStore:
    """Tensors by name. Values in files are memory-mapped, never copied."""

    def __init__(self) -> None:
        self._entries: dict[str, TensorEntry] = {}
        self._checked: set[str] = set()

    def add(self, name: str, data: NDArray[Any]) -> str:
        """Keep an array under a name (made unique if taken); returns the name used."""
        unique, i = name, 1
        while unique in self._entries:
            unique, i = f"{name}.{i}", i + 1
        self._entries[unique] = TensorEntry(data.dtype.name, tuple(data.shape), data)
        return unique

    def declare(self, name: str, entry: TensorEntry) -> None:
        """Note a tensor that lies in a file, or has no values."""
        self._entries[name] = entry

    def retype(self, name: str, new: str, dtype: str, shape: tuple[int, ...]) -> None:
        """Note the bytes of a tensor under another name, with another type and shape that fill as many bytes."""
        entry = self._entries[name]
        if stored_bytes(dtype, shape) != stored_bytes(entry.dtype, entry.shape):
            raise ValueError(f"{name} has not the bytes of {shape} {dtype}")
        data = entry.data
        if isinstance(data, np.ndarray):
            data = retyped(data, dtype, shape)
        self._entries[new] = TensorEntry(dtype, shape, data)

    def part(self, name: str, new: str, index: int) -> None:
        """Note row `index` of a tensor under another name; ValueError if it does not fill whole bytes."""
        entry = self._entries[name]
        shape, data = entry.shape[1:], entry.data
        size = math.prod(shape) * element_bits(entry.dtype)
        if size % 8:
            raise ValueError(f"rows of {name} have {size} bits")
        if isinstance(data, FileRange):
            data = FileRange(data.path, data.offset + index * (size // 8), size // 8)
        elif data is not None:
            data = data[index]
        self._entries[new] = TensorEntry(entry.dtype, shape, data)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def entry(self, name: str) -> TensorEntry:
        """Form and place of a tensor; KeyError for an unknown name."""
        return self._entries[name]

    def load(self, name: str) -> NDArray[Any]:
        """The values of a tensor, read-only where mapped.

        ProgramError CB0401 if the model is shape-only, CB0502 if its bytes are not those that were written.
        """
        entry = self._entries[name]
        if entry.data is None:
            raise ProgramError(
                "CB0401",
                f"the values of {name} are absent: the program was compiled from shapes only",
                help="compile again where the model's external data files are present",
            )
        if isinstance(entry.data, FileRange):
            found = _mapped(entry.data.path)[entry.data.offset :][: entry.data.length]
            if entry.data.digest is not None and name not in self._checked:
                if hashlib.sha256(found.data).hexdigest() != entry.data.digest:
                    raise ProgramError(
                        "CB0502", f"not a usable program: weight {name} does not match its hash",
                        str(entry.data.path), "compile the model again",
                    )  # fmt: skip
                self._checked.add(name)
            return _values(found, entry)
        return entry.data


def element_bits(dtype: str) -> int:
    """Bits of an element where tensors lie packed, as in ONNX files."""
    return {"int4": 4, "uint4": 4, "float4_e2m1fn": 4, "int2": 2, "uint2": 2}.get(dtype, dtype_of(dtype).itemsize * 8)


def stored_bytes(dtype: str, shape: Sequence[int]) -> int:
    """The bytes of a tensor in a file, where elements of less than a byte lie packed."""
    return -(-math.prod(shape) * element_bits(dtype) // 8)


def stored(array: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes (stored_bytes,) of an array as a file holds them; `load` reads them back."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    bits = element_bits(array.dtype.name)
    if bits >= 8:
        return flat
    fields = np.zeros((stored_bytes(array.dtype.name, array.shape), 8 // bits), np.uint8)
    fields.reshape(-1)[: flat.size] = flat & np.uint8((1 << bits) - 1)
    return np.bitwise_or.reduce(fields << np.arange(0, 8, bits, dtype=np.uint8), axis=1)


def retyped(array: NDArray[Any], dtype: str, shape: Sequence[int]) -> NDArray[Any]:
    """The bytes of an array as a file holds them, with another type and shape; ValueError if these fill others."""
    if stored_bytes(dtype, shape) != stored_bytes(array.dtype.name, array.shape):
        raise ValueError(f"{array.dtype.name} {array.shape} has not the bytes of {dtype} {tuple(shape)}")
    return _values(stored(array), TensorEntry(dtype, tuple(shape), None))


def _values(packed: NDArray[np.uint8], entry: TensorEntry) -> NDArray[Any]:
    """The array that stored bytes stand for."""
    bits = element_bits(entry.dtype)
    if bits < 8:
        return _unpack(packed, entry, bits)
    return packed.view(dtype_of(entry.dtype)).reshape(entry.shape)


def _unpack(packed: NDArray[np.uint8], entry: TensorEntry, bits: int) -> NDArray[Any]:
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    fields = (packed[:, None] >> shifts & np.uint8((1 << bits) - 1)).reshape(-1)[: math.prod(entry.shape)]
    if entry.dtype.startswith("int"):
        sign = np.uint8(1 << (bits - 1))
        fields = (fields ^ sign).view(np.int8) - sign.view(np.int8)
        return fields.astype(dtype_of(entry.dtype)).reshape(entry.shape)
    if entry.dtype.startswith("float"):
        return fields.view(dtype_of(entry.dtype)).reshape(entry.shape)
    return fields.astype(dtype_of(entry.dtype)).reshape(entry.shape)


@lru_cache(maxsize=64)
def _map(path: Path, state: tuple[int, ...]) -> NDArray[np.uint8]:
    """The file's bytes; `state` tells its present content from an earlier one."""
    return np.memmap(path, dtype=np.uint8, mode="r")


def _mapped(path: Path) -> NDArray[np.uint8]:
    try:
        stat = path.stat()
        return _map(path, (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    except (OSError, ValueError) as error:
        raise ProgramError(
            "CB0402", f"can't map weights file {path}: {error}", help="restore the file or compile again"
        ) from error
