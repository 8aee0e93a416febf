"""The memory of a device as it runs: spaces as byte arenas, and tensor views of them with a leading lane axis.

Spaces of kind "io" and "memory" are anonymous maps whose pages are committed when first touched; "const" is the
tensors of the store, where they lie; "private" has one copy per lane of a parallel loop.
"""

from __future__ import annotations

import mmap
import sys
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from crossbank.runtime.expr import Expr
from crossbank.runtime.numerics import dtype_of
from crossbank.runtime.program import OFFSET_MASK, SPACE_SHIFT, Code, Layout, ProgramError, Space
from crossbank.runtime.tensors import TensorStore

Array = NDArray[Any]
Bytes = NDArray[np.uint8]
LINE = 64
"""The private bytes of a lane are rounded up to this many."""
_NORESERVE = 0x4000 if sys.platform == "linux" else 0


@dataclass
class Lanes:
    """The trips of a parallel loop that run at once: `count` of them from trip `start`; `counter` is their register.

    `private` holds the private spaces by number, (lanes, bytes) each. Outside parallel loops there is one lane.
    """

    count: int = 1
    start: int = 0
    counter: str = ""
    private: dict[int, Bytes] = field(default_factory=dict[int, Bytes])


class Shape:
    """A layout's shape and byte strides, kept while the registers that they use stay the same."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.dtype = dtype_of(layout.dtype)
        if len(layout.shape) != len(layout.strides):
            raise ProgramError(
                "CB0551", f"a layout has {len(layout.shape)} dimensions but {len(layout.strides)} strides"
            )
        parts = (*layout.shape, *layout.strides)
        symbols = sorted(frozenset[str]().union(*(part.symbols for part in parts)))
        self.symbols = frozenset(symbols)
        self._key: Callable[[Mapping[str, Any]], Any] = itemgetter(*symbols) if symbols else _nothing
        self._last: Any = self
        self.dims: tuple[int, ...] = ()
        self.strides: tuple[int, ...] = ()
        self.lane_dims: tuple[int, ...] = ()
        """(1, *dims); another object whenever the shape or strides change."""
        self.lane_strides: tuple[int, ...] = ()

    def update(self, registers: Mapping[str, Any]) -> None:
        """Bring `dims` and `strides` (bytes) up to date."""
        key = self._key(registers)
        if key == self._last:
            return
        self.dims = tuple(_whole(e, registers) for e in self.layout.shape)
        self.strides = tuple(_whole(e, registers) * self.dtype.itemsize for e in self.layout.strides)
        self.lane_dims, self.lane_strides = (1, *self.dims), (0, *self.strides)
        if min(self.lane_dims) < 0:
            raise ProgramError("CB0551", f"a tensor has dimensions {list(self.dims)}")
        self._last = key


def _nothing(registers: Mapping[str, Any]) -> None:
    return None


def _whole(expression: Expr, registers: Mapping[str, Any]) -> int:
    return int(expression.compiled(registers))


class Machine:
    """Memory of one device and the settings of its run; engines keep their own state in their units.

    `noise=False` keeps converters and number formats, `ideal=True` switches all non-idealities of the device off.
    """

    def __init__(
        self,
        code: Code,
        tensors: TensorStore,
        seed: int = 0,
        time_s: float = 0.0,
        noise: bool = True,
        ideal: bool = False,
    ) -> None:
        self.code, self.tensors = code, tensors
        self.seed, self.time_s, self.noise, self.ideal = seed, time_s, noise and not ideal, ideal
        self.spaces = {space.number: space for space in code.spaces.values()}
        self._arenas: dict[int, Bytes] = {}
        self._constants = sorted(code.constants.values(), key=lambda constant: constant.address)
        self._starts = [constant.address for constant in self._constants]
        self._values: dict[int, Bytes] = {}
        self.serial = Lanes()
        """The one lane outside parallel loops."""
        self._idle: list[dict[int, Bytes]] = []
        self._shapes: dict[Layout, Shape] = {}

    @property
    def private_bytes(self) -> int:
        """How much private memory one lane takes."""
        return sum(_padded(space) for space in self.spaces.values() if space.kind == "private")

    def private(self, lanes: int) -> dict[int, Bytes]:
        """Private memory (lanes, bytes) by space; its contents are undefined."""
        while self._idle:
            arenas = self._idle.pop()
            if min(map(len, arenas.values())) >= lanes:
                return {number: arena[:lanes] for number, arena in arenas.items()}
        return {
            number: np.empty((lanes, _padded(space)), np.uint8)
            for number, space in self.spaces.items()
            if space.kind == "private"
        }

    def release(self, lanes: Lanes) -> None:
        """Take back the private memory of lanes that have ended, for the next ones."""
        if lanes.private:
            whole = {n: arena if arena.base is None else arena.base for n, arena in lanes.private.items()}
            self._idle.append(cast("dict[int, Bytes]", whole))
            lanes.private = {}

    def shape(self, layout: Layout) -> Shape:
        """The form of a layout, one for all operands that have it."""
        found = self._shapes.get(layout)
        if found is None:
            found = self._shapes[layout] = Shape(layout)
        return found

    def arena(self, number: int) -> Bytes | None:
        """The bytes of an "io" or "memory" space, once it has been touched."""
        return self._arenas.get(number)

    def space(self, address: int) -> Space:
        """The space of an address; ProgramError CB0551 where there is none."""
        space = self.spaces.get(address >> SPACE_SHIFT)
        if space is None:
            raise ProgramError("CB0551", f"address {address:#x} is in none of the program's memory spaces")
        return space

    def view(self, address: int, dtype: np.dtype[Any], dims: tuple[int, ...], strides: tuple[int, ...]) -> Array:
        """One tensor: (1, *dims) at `address`, `strides` in bytes; ProgramError CB0551 where it leaves its space."""
        return self.lane_view(self.serial, address, 0, dtype, dims, strides)

    def lane_view(
        self,
        lanes: Lanes,
        address: int,
        step: int,
        dtype: np.dtype[Any],
        dims: tuple[int, ...],
        strides: tuple[int, ...],
    ) -> Array:
        """A tensor per lane, lane i at `address + i * step`: (lanes, *dims), or (1, *dims) where all lanes share it."""
        space = self.space(address)
        offset = address & OFFSET_MASK
        if space.kind == "private":
            if not lanes.private:
                lanes.private = self.private(lanes.count)
            buffer = lanes.private[space.number]
            self._check_private(space, offset, step, lanes.count, dtype, dims, strides)
            return np.ndarray((lanes.count, *dims), dtype, buffer, offset, (buffer.shape[1] + step, *strides))
        count = lanes.count if step else 1
        if 0 in dims:
            return np.empty((count, *dims), dtype)
        buffer = self._arenas.get(space.number)
        if buffer is None:
            if space.kind == "const":
                buffer, offset = self._constant(address)
            else:
                buffer = self._arenas[space.number] = _map(space)
        try:
            return np.ndarray((count, *dims), dtype, buffer, offset, (step, *strides))
        except (ValueError, TypeError):
            raise _outside(space, address, dtype, (count, *dims), (step, *strides), len(buffer)) from None

    def gather_index(self, addresses: NDArray[np.int64]) -> tuple[int, int, NDArray[np.int64]]:
        """Lane addresses (lanes,) as `base + unit * index`: what reads and writes of any addresses go through."""
        base = int(addresses.min())
        distance = addresses - base
        unit = int(np.gcd.reduce(distance)) or 1
        return base, unit, distance // unit

    def gather(
        self,
        lanes: Lanes,
        addresses: NDArray[np.int64],
        dtype: np.dtype[Any],
        dims: tuple[int, ...],
        strides: tuple[int, ...],
    ) -> Array:
        """A copy (lanes, *dims) of tensors at any addresses (lanes,)."""
        if self.space(int(addresses[0])).kind in ("private", "const"):
            return np.concatenate([self._one(lanes, i, int(a), dtype, dims, strides) for i, a in enumerate(addresses)])
        base, unit, index = self.gather_index(addresses)
        spread = Lanes(int(index.max()) + 1)
        return self.lane_view(spread, base, unit, dtype, dims, strides)[index]

    def scatter(
        self,
        lanes: Lanes,
        addresses: NDArray[np.int64],
        dtype: np.dtype[Any],
        dims: tuple[int, ...],
        strides: tuple[int, ...],
        values: Array,
    ) -> None:
        """Write tensors (lanes, *dims) to any addresses (lanes,)."""
        if self.space(int(addresses[0])).kind == "private":
            for i, address in enumerate(addresses):
                self._one(lanes, i, int(address), dtype, dims, strides)[...] = values[i]
            return
        base, unit, index = self.gather_index(addresses)
        spread = Lanes(int(index.max()) + 1)
        self.lane_view(spread, base, unit, dtype, dims, strides)[index] = values

    def _one(
        self, lanes: Lanes, lane: int, address: int, dtype: np.dtype[Any], dims: tuple[int, ...], strides: Any
    ) -> Array:
        if self.space(address).kind == "private" and not lanes.private:
            lanes.private = self.private(lanes.count)
        single = Lanes(private={n: arena[lane : lane + 1] for n, arena in lanes.private.items()})
        return self.lane_view(single, address, 0, dtype, dims, strides)

    def _check_private(
        self,
        space: Space,
        offset: int,
        step: int,
        lanes: int,
        dtype: np.dtype[Any],
        dims: tuple[int, ...],
        strides: tuple[int, ...],
    ) -> None:
        if 0 in dims:
            return
        low, high = extent(dims, strides, dtype.itemsize)
        first, last = sorted((offset, offset + step * (lanes - 1)))
        if first + low < 0 or last + high > space.used_bytes:
            raise _outside(space, offset, dtype, (lanes, *dims), (step, *strides), space.used_bytes)

    def _constant(self, address: int) -> tuple[Bytes, int]:
        """The bytes of the constant that holds an address, and the offset in it."""
        number = bisect_right(self._starts, address) - 1
        constant = self._constants[number] if number >= 0 else None
        if constant is None or address >= constant.address + max(constant.size_bytes, 1):
            raise ProgramError("CB0551", f"address {address & OFFSET_MASK} of the const space holds no constant")
        values = self._values.get(number)
        if values is None:
            loaded = np.require(self.tensors.load(constant.name), requirements=["C", "A"])
            if loaded.nbytes != constant.size_bytes:
                raise ProgramError(
                    "CB0556",
                    f"constant {constant.name} has {loaded.nbytes} bytes, the program expects {constant.size_bytes}",
                    help="the weights are not those that the program was compiled from: compile again",
                )
            values = self._values[number] = loaded.reshape(-1).view(np.uint8)
            values.flags.writeable = False
        return values, address - constant.address


def _padded(space: Space) -> int:
    return -(-max(space.used_bytes, 1) // LINE) * LINE


def _map(space: Space) -> Bytes:
    size = max(space.used_bytes, 1)
    try:
        if hasattr(mmap, "MAP_ANONYMOUS"):
            mapped = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE)
        else:
            mapped = mmap.mmap(-1, size)
    except (OSError, OverflowError, ValueError) as error:
        raise ProgramError(
            "CB0550",
            f"this computer can't provide the {size} bytes of memory space {space.name}: {error}",
            help="compile with a smaller --context or --max-batch, or run where there is more memory",
        ) from error
    return np.frombuffer(mapped, np.uint8)


def extent(dims: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> tuple[int, int]:
    """What a tensor takes up, `strides` in bytes: lowest and highest + 1 byte relative to the address."""
    reach = [(dim - 1) * stride for dim, stride in zip(dims, strides, strict=True)]
    return sum(min(r, 0) for r in reach), sum(max(r, 0) for r in reach) + itemsize


def _outside(
    space: Space, address: int, dtype: np.dtype[Any], dims: tuple[int, ...], strides: tuple[int, ...], size: int
) -> ProgramError:
    low, high = extent(dims, strides, dtype.itemsize)
    offset = address & OFFSET_MASK
    room = f"the constant there has {size} bytes" if space.kind == "const" else f"which has {size}"
    return ProgramError(
        "CB0551",
        f"{dtype.name}{list(dims[1:])} at {offset} in {dims[0]} lanes reaches bytes {offset + low} to {offset + high} "
        f"of space {space.name}, {room}",
    )
