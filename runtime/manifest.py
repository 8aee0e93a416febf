"""The form of `manifest.json`: plain values, checked as they are read."""

from __future__ import annotations

from typing import Any

import msgspec


class LayoutForm(msgspec.Struct, forbid_unknown_fields=True):
    """A tensor's element type, shape and strides, as texts of expressions."""

    dtype: str
    shape: list[str]
    strides: list[str]


class PortForm(msgspec.Struct, forbid_unknown_fields=True):
    """An input or output of an entry point."""

    name: str
    dtype: str
    shape: list[str]
    address: int


class FunctionForm(msgspec.Struct, forbid_unknown_fields=True):
    """An entry point."""

    block: str
    inputs: list[PortForm]
    outputs: list[PortForm]


class ValueForm(msgspec.Struct, forbid_unknown_fields=True):
    """A tensor of the ONNX file that an operation of a block leaves in memory, by its name in each call."""

    operation: int
    names: list[str]
    address: str
    layout: LayoutForm


class BlockForm(msgspec.Struct, forbid_unknown_fields=True):
    """A block: the registers that its calls set, and its streams by engine."""

    parameters: list[str]
    streams: list[str]
    values: list[ValueForm]


class SpaceForm(msgspec.Struct, forbid_unknown_fields=True):
    """A memory space."""

    number: int
    kind: str
    used_bytes: int
    capacity_bytes: int | None


class EngineForm(msgspec.Struct, forbid_unknown_fields=True):
    """An engine with its table of the system file."""

    kind: str
    isa: str
    config: dict[str, Any]


class ConstantForm(msgspec.Struct, forbid_unknown_fields=True):
    """A static tensor: in the program itself, in a file of the model, or absent."""

    dtype: str
    shape: list[int]
    address: int
    file: str | None = None
    offset: int = 0
    length: int = 0
    present: bool = True
    digest: str | None = None
    """SHA-256 of the bytes of a tensor in this file."""


class StateForm(msgspec.Struct, forbid_unknown_fields=True):
    """A cache that stays on the device between steps."""

    name: str
    input: str | None
    output: str | None
    axis: int
    past: str


class FileForm(msgspec.Struct, forbid_unknown_fields=True):
    """A file of the model that weights lie in, as it was."""

    size_bytes: int
    fingerprint: str


class Manifest(msgspec.Struct, forbid_unknown_fields=True):
    """Everything of a program but arrays."""

    format: int
    instruction_sets: dict[str, int]
    target: str
    system: dict[str, Any]
    engines: dict[str, EngineForm]
    spaces: dict[str, SpaceForm]
    registers: dict[str, tuple[int, int]]
    dimensions: list[str]
    capacity: dict[str, str]
    expressions: list[str]
    layouts: list[LayoutForm]
    functions: dict[str, FunctionForm]
    blocks: dict[str, BlockForm]
    tables: dict[str, list[str]]
    tokens: int
    nodes: list[str]
    constants: dict[str, ConstantForm]
    states: list[StateForm]
    limits: dict[str, int]
    context_of: dict[str, str]
    summary: dict[str, Any]
    hashes: dict[str, str]
    files: dict[str, FileForm]
