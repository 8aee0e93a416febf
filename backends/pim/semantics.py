"""What the instructions of GDDR6-AiM do: global buffers, accumulators, and banks of bf16 values.

Where the device rounds to bf16 (to nearest, ties to even): what is written to a bank, to the global buffer or as a
bias; what is read out of an accumulator (RD_MAC); an activation function's input and result (AF); products of EWMUL.
A product of two bf16 values is exact in float32; the adder tree and the accumulators keep float32 until they are read.
A session with `ideal=True` rounds nowhere.

A unit stands for all devices of a system, of which one works at a time; rows are counted over all of them. The trips of
a parallel loop each have global buffers and accumulators of their own; banks are common.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossbank.backends.arithmetic import dequantized, erf, positions
from crossbank.backends.pim.banks import Banks, Floats, bf16
from crossbank.backends.pim.layout import Device
from crossbank.runtime.program import ProgramError

Integers = NDArray[np.int64]


class Function(IntEnum):
    """What AF applies."""

    RELU = 0
    SIGMOID = 1
    TANH = 2
    GELU = 3


@dataclass(frozen=True)
class Held:
    """What the global buffers of some channels hold: (lanes, segments, values); equally many channels per segment."""

    first: int
    channels: int
    data: Floats

    @property
    def end(self) -> int:
        return self.first + self.channels

    def part(self, first: int, end: int) -> Held:
        """The contents of some of the channels."""
        first, end = max(first, self.first), min(end, self.end)
        if (first, end) == (self.first, self.end) or self.data.shape[1] == 1:
            return Held(first, end - first, self.data)
        each = self.channels // self.data.shape[1]
        segments = np.arange(first - self.first, end - self.first) // each
        if not (first - self.first) % each and not (end - self.first) % each:
            segments = segments[::each]
        return Held(first, end - first, self.data[:, segments])


class Unit:
    """All devices: banks, and the global buffers and accumulators of each lane."""

    def __init__(self, config: Mapping[str, Any], machine: Any) -> None:
        self.device = Device.of(config)
        self.banks = Banks(self.device)
        self.ideal = bool(machine.ideal)
        self.enter_lanes(1)

    def enter_lanes(self, lanes: int) -> None:
        """Each trip of a parallel loop finds its registers undefined."""
        self.lanes = lanes
        self.buffer: list[Held] = []
        self.latches: dict[int, Floats] = {}
        self.defined = np.zeros((self.device.latches, self.device.channels), bool)
        self.results: Held | None = None

    def leave_lanes(self) -> None:
        """Nothing of a trip outlives it."""
        self.enter_lanes(1)

    def rounded(self, values: NDArray[Any]) -> Floats:
        """A copy in float32, of bf16 values unless the session is ideal."""
        return np.array(values, np.float32) if self.ideal else bf16(values)

    def banks_of(self, o: Any) -> slice:
        """The banks of the channels that an instruction drives."""
        first, count = _single(o.first_channel, "first_channel"), _single(o.channels, "channels")
        if first + count > self.device.channels:
            raise ProgramError("CB0571", f"channels {first} to {first + count - 1}, there are {self.device.channels}")
        return slice(first * self.device.banks, (first + count) * self.device.banks)

    def latch(self, o: Any) -> tuple[Floats, slice]:
        """A defined accumulator (lanes, banks of all channels), and the banks meant."""
        banks, number = self.banks_of(o), _single(o.latch, "latch")
        defined = number < self.device.latches and self.defined[number, self.channels_of(banks)].all()
        if not defined:
            raise ProgramError(
                "CB0572", f"accumulator {number} is undefined", help="a wr_bias of these channels must come first"
            )
        return self.latches[number], banks

    def channels_of(self, banks: slice) -> slice:
        """The channels of some banks."""
        return slice(banks.start // self.device.banks, banks.stop // self.device.banks)

    def define(self, o: Any) -> tuple[Floats, slice]:
        """An accumulator to overwrite."""
        banks, number = self.banks_of(o), _single(o.latch, "latch")
        if number >= self.device.latches:
            raise ProgramError("CB0571", f"accumulator {number}, there are {self.device.latches}")
        if number not in self.latches:
            self.latches[number] = np.empty((self.lanes, self.device.width), np.float32)
        self.defined[number, self.channels_of(banks)] = True
        return self.latches[number], banks

    def operand(self, banks: slice, columns: slice) -> Iterator[Held]:
        """The columns of global buffers behind some banks, channels of equal contents together."""
        channels, covered = self.channels_of(banks), 0
        for held in self.buffer:
            if held.first < channels.stop and channels.start < held.end:
                found = held.part(channels.start, channels.stop)
                if columns.stop > found.data.shape[2]:
                    break
                covered += found.channels
                yield Held(found.first, found.channels, found.data[:, :, columns])
        if covered < channels.stop - channels.start:
            raise ProgramError(
                "CB0573", f"the global buffer of some channels does not hold {columns.stop} values",
                help="a wr_gb of these channels and columns must come first",
            )  # fmt: skip


def _single(value: Any, what: str) -> int:
    """A number that all lanes agree on."""
    if isinstance(value, int):
        return value
    values = np.asarray(value)
    if values.min() != values.max():
        raise ProgramError("CB0553", f"{what} differs between trips of a parallel loop")
    return int(values.flat[0])


def _by_row(rows: Any) -> Iterator[tuple[int, Any]]:
    """Each row, and the lanes that work on it."""
    if isinstance(rows, int):
        yield rows, slice(None)
        return
    values = np.asarray(rows)
    if values.min() == values.max():
        yield int(values.flat[0]), slice(None)
        return
    found, lanes = np.unique(values, return_inverse=True)
    for i, row in enumerate(found.tolist()):
        yield row, np.flatnonzero(lanes == i)


def _pieces(unit: Unit, src: NDArray[Any]) -> Floats:
    """A source (lanes, …, pieces, elements) with each piece from a column of its own: (lanes, segments, values)."""
    elements = src.shape[-1]
    pieces = src.shape[-2] if src.ndim > 2 else 1
    segments = math.prod(src.shape[1:-2])
    padded = -(-elements // unit.device.lanes) * unit.device.lanes
    if pieces * padded > unit.device.row_elements:
        raise ProgramError("CB0571", f"{pieces * padded} values, a row holds {unit.device.row_elements}")
    values = unit.rounded(src).reshape(len(src), segments, pieces, elements)
    if padded > elements:
        values = np.pad(values, ((0, 0), (0, 0), (0, 0), (0, padded - elements)))
    return values.reshape(len(src), segments, pieces * padded)


def wr_gb(unit: Unit, o: Any) -> None:
    """A source into global buffers."""
    values, channels = _pieces(unit, o.src), unit.channels_of(unit.banks_of(o))
    count = channels.stop - channels.start
    if count % values.shape[1]:
        raise ProgramError("CB0571", f"{values.shape[1]} segments do not divide over {count} channels")
    kept: list[Held] = []
    for held in unit.buffer:
        if held.first < channels.start:
            kept.append(held.part(held.first, channels.start))
        if held.end > channels.stop:
            kept.append(held.part(channels.stop, held.end))
    unit.buffer = [held for held in kept if held.channels > 0] + [Held(channels.start, count, values)]


def wr_bias(unit: Unit, o: Any) -> None:
    """A bias, or zero, into an accumulator of every bank."""
    latch, banks = unit.define(o)
    latch[:, banks] = 0.0
    if o.src is not None:
        values = unit.rounded(o.src).reshape(len(o.src), -1)
        if values.shape[1] > banks.stop - banks.start:
            raise ProgramError("CB0571", f"{values.shape[1]} biases for {banks.stop - banks.start} banks")
        latch[:, banks.start : banks.start + values.shape[1]] = values


def _columns(unit: Unit, first: int, count: int) -> slice:
    if first + count > unit.device.row_elements // unit.device.lanes:
        raise ProgramError("CB0571", f"columns {first} to {first + count - 1} of {unit.device.row_elements // 16}")
    return slice(first * unit.device.lanes, (first + count) * unit.device.lanes)


def mac_abk(unit: Unit, o: Any) -> None:
    """Columns of a row times columns of the global buffer, added to an accumulator of every bank."""
    latch, banks = unit.latch(o)
    count = _single(o.columns, "columns")
    inside = _columns(unit, _single(o.column, "column"), count)
    for held in list(unit.operand(banks, _columns(unit, _single(o.buffer_column, "buffer_column"), count))):
        driven = slice(held.first * unit.device.banks, held.end * unit.device.banks)
        for row, lanes in _by_row(o.row):
            cells = unit.banks.read(row)[driven, inside]
            latch[lanes, driven] += _multiply(held.data if len(held.data) == 1 else held.data[lanes], cells)


def _multiply(x: Floats, cells: Floats) -> Floats:
    """x (lanes, segments, k) times cells (banks, k), banks in equal segments: (lanes or 1, banks)."""
    lanes, segments, k = x.shape
    if segments == 1:
        return x[:, 0] @ cells.T if lanes > 1 else (cells @ x[0, 0])[None]
    parts = cells.reshape(segments, -1, k)
    return np.matmul(x.swapaxes(0, 1), parts.swapaxes(1, 2)).swapaxes(0, 1).reshape(lanes, -1)


def rd_mac(unit: Unit, o: Any) -> None:
    """An accumulator of every bank, to memory."""
    latch, banks = unit.latch(o)
    _read_out(unit, o, latch[:, banks])


def _read_out(unit: Unit, o: Any, values: Floats) -> None:
    rows, elements, each = _rows(o.dst.shape, values.shape[1])
    values = values.reshape(len(values), rows, each)[:, :, :elements]
    o.dst[...] = (values if unit.ideal else bf16(values)).reshape(len(values), *o.dst.shape[1:])


def _rows(shape: Sequence[int], banks: int) -> tuple[int, int, int]:
    """The rows of a tensor (lanes, …, elements), their elements, and the banks of each: equal groups of channels."""
    rows = math.prod(shape[1:-1])
    each = banks // max(rows, 1)
    if rows * each != banks or shape[-1] > each:
        raise ProgramError("CB0571", f"{rows} rows of {shape[-1]} results do not fit {banks} banks")
    return rows, shape[-1], each


def af(unit: Unit, o: Any) -> None:
    """An activation function of an accumulator, into the result register of every bank."""
    latch, banks = unit.latch(o)
    x = unit.rounded(latch[:, banks])
    match o.function:
        case Function.RELU:
            y = np.maximum(x, 0)
        case Function.SIGMOID:
            y = 1 / (1 + np.exp(-x))
        case Function.TANH:
            y = np.tanh(x)
        case _:
            y = 0.5 * x * (1 + erf(x * np.float32(math.sqrt(0.5))))
    channels = unit.channels_of(banks)
    unit.results = Held(channels.start, channels.stop - channels.start, unit.rounded(y)[:, None])


def rd_af(unit: Unit, o: Any) -> None:
    """The result registers, to memory."""
    channels = unit.channels_of(unit.banks_of(o))
    held = unit.results
    if held is None or (held.first, held.end) != (channels.start, channels.stop):
        raise ProgramError(
            "CB0572", "the activation function's result is undefined", help="an af of these channels must come first"
        )
    _read_out(unit, o, held.data[:, 0])


def ewmul(unit: Unit, o: Any) -> None:
    """In each bank group: columns of the first bank times those of the second, into the third."""
    banks, columns = unit.banks_of(o), _columns(unit, o.column, _single(o.columns, "columns"))
    for row, _ in _by_row(o.row):
        cells = unit.banks.read(row)[banks].reshape(-1, 4, unit.device.row_elements)
        cells[:, 2, columns] = unit.rounded(cells[:, 0, columns] * cells[:, 1, columns])


def _places(o: Any, *names: str) -> list[Integers]:
    """Operands as int64 (lanes,)."""
    return [np.broadcast_to(np.asarray(getattr(o, name), np.int64), (o.lanes,)) for name in names]


def wr_sbk(unit: Unit, o: Any) -> None:
    """A source into columns of one bank."""
    values = _pieces(unit, o.src)[:, 0]
    channel, bank, column = _places(o, "channel", "bank", "column")
    place, start = channel * unit.device.banks + bank, column * unit.device.lanes
    _check_room(unit, place, start, values.shape[1])
    inside = start[:, None] + positions(values.shape[1])
    values = np.broadcast_to(values, inside.shape)
    for row, lanes in _by_row(o.row):
        unit.banks.open(row)[place[lanes][:, None], inside[lanes]] = values[lanes]


def rd_sbk(unit: Unit, o: Any) -> None:
    """Columns of one bank, to memory: each row of `dst` from a column of its own."""
    elements = o.dst.shape[-1]
    pieces = math.prod(o.dst.shape[1:-1])
    padded = -(-elements // unit.device.lanes) * unit.device.lanes
    channel, bank, column = _places(o, "channel", "bank", "column")
    place, start = channel * unit.device.banks + bank, column * unit.device.lanes
    _check_room(unit, place, start, pieces * padded)
    inside = start[:, None] + positions(pieces * padded)
    values = np.empty(inside.shape, np.float32)
    for row, lanes in _by_row(o.row):
        values[lanes] = unit.banks.read(row)[place[lanes][:, None], inside[lanes]]
    o.dst[...] = values.reshape(o.lanes, pieces, padded)[:, :, :elements].reshape(o.dst.shape)


def _check_room(unit: Unit, place: Integers, start: Integers, values: int) -> None:
    if int(place.max(initial=0)) >= unit.device.width or int(start.max(initial=0)) + values > unit.device.row_elements:
        raise ProgramError(
            "CB0571",
            f"bank {place.max()} of {unit.device.width}, values up to {int(start.max()) + values} "
            f"of {unit.device.row_elements}",
        )


def _elements(unit: Unit, o: Any, shape: Sequence[int]) -> tuple[Integers, Integers]:
    """The bank (lanes, rows, elements) and the place in its row (lanes, 1, 1) of one element in each of some banks."""
    channels = _single(o.channels, "channels")
    rows, elements, each = _rows(shape, channels * unit.device.banks)
    first, element = _places(o, "first_channel", "element")
    _check_room(unit, (first + channels) * unit.device.banks - 1, element, 1)
    inside = positions(rows)[:, None] * each + positions(elements)
    return first[:, None, None] * unit.device.banks + inside, element[:, None, None]


def wr_abk(unit: Unit, o: Any) -> None:
    """One element into every bank of some channels."""
    place, inside = _elements(unit, o, o.src.shape)
    values = unit.rounded(o.src).reshape(len(o.src), *place.shape[1:])
    values = np.broadcast_to(values, place.shape)
    for row, lanes in _by_row(o.row):
        unit.banks.open(row)[place[lanes], inside[lanes]] = values[lanes]


def rd_abk(unit: Unit, o: Any) -> None:
    """One element of every bank of some channels, to memory."""
    place, inside = _elements(unit, o, o.dst.shape)
    values = np.empty(place.shape, np.float32)
    for row, lanes in _by_row(o.row):
        values[lanes] = unit.banks.read(row)[place[lanes], inside[lanes]]
    o.dst[...] = values.reshape(o.dst.shape)


def copy_bkgb(unit: Unit, o: Any) -> None:
    """Columns of one bank of each channel into the global buffer of the channel, from its first column on."""
    banks, columns = unit.banks_of(o), _columns(unit, _single(o.column, "column"), _single(o.columns, "columns"))
    channels = unit.channels_of(banks)
    cells = unit.banks.read(_single(o.row, "row"))[banks][_single(o.bank, "bank") :: unit.device.banks, columns]
    outside = [h for h in unit.buffer if h.end <= channels.start or channels.stop <= h.first]
    unit.buffer = [*outside, Held(channels.start, channels.stop - channels.start, cells[None].copy())]


def copy_gbbk(unit: Unit, o: Any) -> None:
    """Columns of the global buffer of each channel into one bank of the channel."""
    banks, columns = unit.banks_of(o), _columns(unit, _single(o.column, "column"), _single(o.columns, "columns"))
    for held in list(unit.operand(banks, slice(0, columns.stop - columns.start))):
        if len(held.data) > 1 and o.lanes > 1:
            raise ProgramError("CB0553", "the trips of a parallel loop write one and the same row")
        channels = np.repeat(held.data[0], held.channels // held.data.shape[1], axis=0)
        driven = slice(held.first * unit.device.banks + _single(o.bank, "bank"), held.end * unit.device.banks)
        unit.banks.open(_single(o.row, "row"))[driven, columns][:: unit.device.banks] = channels


def load(unit: Unit, o: Any) -> None:
    """A matrix into banks, see `layout.GemvLayout`."""
    weights = dequantized(o.weights, o.scales, o.zeros)[0]
    matrix = np.asarray(weights if o.transposed else weights.T)
    outputs, inputs = matrix.shape
    per_wave, elements = _single(o.channels, "channels") * unit.device.banks, unit.device.row_elements
    waves, k_rows = -(-outputs // per_wave), -(-inputs // elements)
    if (waves, k_rows) != (o.waves, o.k_rows):
        raise ProgramError(
            "CB0574", f"a {inputs}x{outputs} matrix takes {waves}x{k_rows} rows, the instruction says "
            f"{o.waves}x{o.k_rows}",
        )  # fmt: skip
    if -(-outputs // (waves * unit.device.banks)) * unit.device.banks != per_wave:
        raise ProgramError("CB0574", f"{outputs} outputs in {waves} waves do not take {o.channels} channels each")
    for wave in range(waves):
        part = unit.rounded(matrix[wave * per_wave : (wave + 1) * per_wave])
        for k in range(k_rows):
            values = part[:, k * elements : (k + 1) * elements]
            unit.banks.open(o.row + wave * k_rows + k)[: len(values), : values.shape[1]] = values


def move(unit: Unit, o: Any) -> None:
    """Memory is common to all devices here: the transfer takes time only."""


def sync(unit: Unit, o: Any) -> None:
    """Everything is done in order here: waiting takes time only."""
