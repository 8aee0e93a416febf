"""The instruction set of GDDR6-AiM: its commands, and what the host does at set-up and between devices.

Channels are driven from `first_channel` on. A row is the same DRAM row in all banks, counted over all devices; a column
is 256 bits, 16 bf16 values. Operands in memory are float tensors; see `semantics` for where values are rounded.
"""

from __future__ import annotations

from typing import Any

from crossbank.backends.pim import commands, semantics
from crossbank.backends.pim.semantics import Function
from crossbank.backends.simd.kinds import Flag
from crossbank.runtime.isa import Field, InstructionSet, count, enum, reads, writes
from crossbank.runtime.program import ProgramError

ISA = InstructionSet(
    "pim",
    4,
    1,
    "DRAM whose banks multiply: GDDR6-AiM's commands, driven from one stream for all channels and devices.",
    make_unit=semantics.Unit,
    make_cost_unit=commands.Costs.of,
    sources=commands.SOURCES,
    finish=commands.finish,
)


def _where(name: str, doc: str, bits: int = 32) -> Field:
    return count(name, doc, bits=bits, timed=False)


_CHANNELS = [_where("first_channel", "the first channel driven"), count("channels", "channels driven", low=1)]
_ROW = _where("row", "DRAM row, counted over all devices")
_LATCH = _where("latch", "accumulator of each bank")
_COLUMN = _where("column", "the first column of the row")
_COLUMNS = count("columns", "256-bit columns", low=1)
_BANK = _where("bank", "bank of the channel")
_ELEMENT = _where("element", "place in the row")
_CHANNEL = _where("channel", "channel of the bank")


def _check(o: Any, config: Any) -> None:
    """Numbers within the device's organisation."""
    organisation = config["organisation"]
    limits = {"columns": "columns", "column": "columns", "buffer_column": "columns", "latch": "latches"}
    limits |= {"bank": "banks", "channel": "channels"}
    extents = {"column": "columns", "buffer_column": "columns", "first_channel": "channels"}
    for name, key in (*limits.items(), ("first_channel", "channels")):
        if (value := getattr(o, name, None)) is None:
            continue
        size = getattr(o, extents[name], 1) if name in extents else 1
        end = _most(value) + (_most(size) if name in extents else name != "columns")
        if end > int(organisation[key]):
            raise ProgramError(
                "CB0571", f"{name} reaches {end}, the device has {int(organisation[key])} {key}",
                help="compile the model again",
            )  # fmt: skip


def _most(value: Any) -> int:
    return int(value) if isinstance(value, int) else int(value.max())


def _define(mnemonic: str, code: int, fields: list[Field], doc: str) -> None:
    execute, time = getattr(semantics, mnemonic), commands.command(getattr(commands, mnemonic))
    tensors = [field.name for field in fields if field.access is not None]
    counts = getattr(commands, f"{mnemonic}_counts", None) or (commands.moves(tensors) if tensors else None)
    ISA.define(mnemonic, code, fields, doc, execute, time, check=_check, counts=counts, barrier=True)


_define(
    "wr_gb", 1, [reads("src", "[…, pieces, elements]"), *_CHANNELS],
    "WR_GB: write the global buffers from column 0 on, each piece from a column of its own; the leading dimensions of "
    "src are segments, one for each of as many equal groups of channels.",
)  # fmt: skip
_define(
    "wr_bias", 2, [reads("src", "[N] for the first banks; without: 0", optional=True), _LATCH, *_CHANNELS],
    "WR_BIAS: set an accumulator of every bank.",
)  # fmt: skip
_define(
    "mac_abk", 3,
    [
        _ROW, _COLUMN, _COLUMNS, _where("buffer_column", "the first column of the global buffer"), _LATCH, *_CHANNELS,
        count("macs", "products of the model among them; the others multiply padding", bits=63),
    ],
    "MAC_ABK: in every bank, multiply columns of the row with columns of the global buffer and add them to an "
    "accumulator.",
)  # fmt: skip
_define(
    "rd_mac", 4, [writes("dst", "[…, results]: each row from equally many channels, the first of their banks"),
                  _LATCH, *_CHANNELS],
    "RD_MAC: read an accumulator of every bank; it keeps its value.",
)  # fmt: skip
_define(
    "af", 5, [enum("function", Function), _LATCH, *_CHANNELS],
    "AF: apply an activation function to an accumulator of every bank, into its result register.",
)  # fmt: skip
_define("rd_af", 6, [writes("dst", "as rd_mac"), *_CHANNELS], "RD_AF: read the result register of every bank.")
_define(
    "ewmul", 7, [_ROW, _COLUMN, _COLUMNS, *_CHANNELS],
    "EWMUL: in each bank group, multiply columns of its first and second bank into its third.",
)  # fmt: skip
_define(
    "wr_sbk", 8, [reads("src", "[…, elements], each row from a column of its own"), _CHANNEL, _BANK, _ROW, _COLUMN],
    "WR_SBK: write columns of one bank (one command per column).",
)  # fmt: skip
_define(
    "wr_abk", 9,
    [reads("src", "[…, values]: each row to equally many channels"), _ROW, _ELEMENT, *_CHANNELS],
    "WR_ABK: write one element of every bank (one command per channel); the rows close.",
)  # fmt: skip
_define(
    "copy_bkgb", 10, [_BANK, _ROW, _COLUMN, _COLUMNS, *_CHANNELS],
    "COPY_BKGB: copy columns of one bank of each channel to the channel's global buffer, from its column 0 on.",
)  # fmt: skip
_define(
    "copy_gbbk", 11, [_BANK, _ROW, _COLUMN, _COLUMNS, *_CHANNELS],
    "COPY_GBBK: copy columns of each channel's global buffer, from its column 0 on, to one bank of the channel.",
)  # fmt: skip
_define(
    "rd_sbk", 12, [writes("dst", "[…, elements], each row from a column of its own"), _CHANNEL, _BANK, _ROW, _COLUMN],
    "RD_SBK: read columns of one bank (one command per column).",
)  # fmt: skip
_define(
    "rd_abk", 13, [writes("dst", "[…, values], as wr_abk"), _ROW, _ELEMENT, *_CHANNELS],
    "Read one element of every bank: an RD_SBK for each bank, channels side by side.",
)  # fmt: skip
_define(
    "load", 14,
    [
        reads("weights", "[K, N], or [N, K] if transposed"), _ROW, count("waves", "parts of N", low=1),
        count("k_rows", "parts of K", low=1), count("channels", "channels of a wave", low=1),
        enum("transposed", Flag), reads("scales", "of quantised weights, each for a block of them", optional=True),
        reads("zeros", "of quantised weights, as scales", optional=True),
    ],
    "Write a matrix through the host, an output per bank and K along the row: part j of K of wave w in row "
    "`row` + w * `k_rows` + j; quantised weights are written as (weights - zeros) * scales.",
)  # fmt: skip
_define(
    "move", 15, [count("bytes", "size", bits=63), count("hops", "links to pass, one after another")],
    "Carry activations from device to device.",
)  # fmt: skip
_define("sync", 16, [], "SYNC: wait until all channels have drained.")
