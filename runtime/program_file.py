"""The `.cbk` file: a stored zip of a manifest, record arrays, constants tables and weights; no pickle anywhere.

Weights that the model keeps in files of their own are referred to (path relative to the program, offset, length);
all others are embedded as one safetensors member, aligned so that it can be memory-mapped where it lies.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import struct
import zipfile
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from crossbank.runtime.expr import Expr, ExprError
from crossbank.runtime.isa import RECORD
from crossbank.runtime.manifest import (
    BlockForm,
    ConstantForm,
    EngineForm,
    FileForm,
    FunctionForm,
    LayoutForm,
    Manifest,
    PortForm,
    SpaceForm,
    StateForm,
    ValueForm,
)
from crossbank.runtime.output_file import check_output, output_file
from crossbank.runtime.program import (
    FORMAT_VERSION,
    Block,
    Code,
    Constant,
    Engine,
    Function,
    Layout,
    NamedTensor,
    Port,
    ProgramError,
    Space,
    State,
    Table,
)
from crossbank.runtime.registry import instruction_set, set_names
from crossbank.runtime.tensors import FileRange, TensorEntry, TensorStore, stored, stored_bytes

MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
ALIGNMENT = 64
MAX_MANIFEST_BYTES = 256 << 20
SAMPLES, SAMPLE_BYTES = 16, 64 << 10
WHOLE_BYTES = 1 << 28
"""How much of a weights file its fingerprint covers."""
_SAFETENSORS = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip


def _texts(exprs: tuple[Expr, ...]) -> list[str]:
    return [str(e) for e in exprs]


def _exprs(texts: list[str]) -> tuple[Expr, ...]:
    return tuple(Expr.of(text) for text in texts)


def _layout_form(layout: Layout) -> LayoutForm:
    return LayoutForm(layout.dtype, _texts(layout.shape), _texts(layout.strides))


def _layout(form: LayoutForm) -> Layout:
    return Layout(form.dtype, _exprs(form.shape), _exprs(form.strides))


def _value_form(value: NamedTensor) -> ValueForm:
    return ValueForm(value.operation, list(value.names), str(value.address), _layout_form(value.layout))


def _value(form: ValueForm) -> NamedTensor:
    return NamedTensor(form.operation, tuple(form.names), Expr.of(form.address), _layout(form.layout))


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _members(code: Code) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for i, block in enumerate(code.blocks.values()):
        files[f"blocks/{i}/nodes.npy"] = _npy(block.nodes)
        for j, records in enumerate(block.streams.values()):
            files[f"blocks/{i}/stream{j}.npy"] = _npy(records)
    for i, table in enumerate(code.tables.values()):
        files[f"tables/{i}.npy"] = _npy(table.values)
    return files


def _is_embedded(data: object) -> bool:
    """Whether a tensor goes into the file: one in memory, or one that another program holds (with its hash)."""
    return isinstance(data, np.ndarray) or (isinstance(data, FileRange) and data.digest is not None)


def _constants(code: Code, tensors: TensorStore, folder: Path) -> dict[str, ConstantForm]:
    found: dict[str, ConstantForm] = {}
    for name, constant in code.constants.items():
        data = tensors.entry(name).data
        entry = ConstantForm(constant.dtype, list(constant.shape), constant.address, present=data is not None)
        if isinstance(data, FileRange) and not _is_embedded(data):
            entry.file = os.path.relpath(data.path.resolve(), folder)
            entry.offset, entry.length = data.offset, data.length
        elif data is not None:
            entry.digest = hashlib.sha256(stored(tensors.load(name)).data).hexdigest()
        found[name] = entry
    return found


def _fingerprint(path: Path) -> FileForm:
    """Size of a weights file, and SHA-256 of it, or of samples where it is large."""
    size = path.stat().st_size
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        if size <= WHOLE_BYTES:
            return FileForm(size, hashlib.file_digest(file, "sha256").hexdigest())
        for i in range(SAMPLES):
            file.seek(max(size - SAMPLE_BYTES, 0) * i // (SAMPLES - 1))
            hashed.update(file.read(SAMPLE_BYTES))
    return FileForm(size, hashed.hexdigest())


def _write_weights(archive: zipfile.ZipFile, code: Code, tensors: TensorStore) -> None:
    """Stream the tensors that are in memory into a safetensors member whose data starts on an aligned file offset."""
    embedded = [name for name in code.constants if _is_embedded(tensors.entry(name).data)]
    header: dict[str, Any] = {}
    position = 0
    for name in embedded:
        constant = code.constants[name]
        start = -(-position // ALIGNMENT) * ALIGNMENT
        if start > position:
            header[f"__padding_{position}"] = {
                "dtype": "U8",
                "shape": [start - position],
                "data_offsets": [position, start],
            }
        size = stored_bytes(constant.dtype, constant.shape)
        position = start + size
        header[name] = {
            "dtype": _SAFETENSORS.get(constant.dtype, "U8"),
            "shape": list(constant.shape) if size == constant.size_bytes else [size],
            "data_offsets": [start, position],
        }
    with archive.open(zipfile.ZipInfo(WEIGHTS), "w", force_zip64=True) as member:
        assert archive.fp is not None
        text = json.dumps(header).encode()
        text += b" " * (-(archive.fp.tell() + 8 + len(text)) % ALIGNMENT)
        member.write(struct.pack("<Q", len(text)) + text)
        position = 0
        for name in embedded:
            start = header[name]["data_offsets"][0]
            member.write(b"\0" * (start - position))
            data = stored(tensors.load(name))
            if data.size:
                member.write(data.data)
            position = start + data.size


def save_program(path: str | Path, code: Code, tensors: TensorStore) -> None:
    """Write a `.cbk`; the file appears whole or not at all."""
    target = Path(path)
    data = (tensors.entry(name).data for name in code.constants)
    kept = {part.path for part in data if isinstance(part, FileRange) and not _is_embedded(part)}
    check_output(target, sorted(kept))
    folder = Path(os.path.realpath(target)).parent
    files = _members(code)
    constants = _constants(code, tensors, folder)
    manifest = Manifest(
        format=FORMAT_VERSION,
        instruction_sets={n: instruction_set(n).version for n in ("core", *(e.isa for e in code.engines.values()))},
        target=code.target,
        system=dict(code.system),
        engines={e.name: EngineForm(e.kind, e.isa, dict(e.config)) for e in code.engines.values()},
        spaces={s.name: SpaceForm(s.number, s.kind, s.used_bytes, s.capacity_bytes) for s in code.spaces.values()},
        registers=dict(code.registers),
        dimensions=list(code.dimensions),
        capacity={name: str(e) for name, e in code.capacity.items()},
        expressions=_texts(tuple(code.expressions)),
        layouts=[_layout_form(x) for x in code.layouts],
        functions={
            f.name: FunctionForm(
                f.block,
                [PortForm(p.name, p.dtype, _texts(p.shape), p.address) for p in f.inputs],
                [PortForm(p.name, p.dtype, _texts(p.shape), p.address) for p in f.outputs],
            )
            for f in code.functions.values()
        },
        blocks={
            b.name: BlockForm(list(b.parameters), list(b.streams), [_value_form(v) for v in b.values])
            for b in code.blocks.values()
        },
        tables={t.name: list(t.columns) for t in code.tables.values()},
        tokens=code.tokens,
        nodes=code.nodes,
        constants=constants,
        states=[StateForm(s.name, s.input, s.output, s.axis, str(s.past)) for s in code.states],
        limits=dict(code.limits),
        context_of=dict(code.context_of),
        summary=dict(code.summary),
        hashes={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        files={name: _fingerprint(folder / name) for name in sorted({c.file for c in constants.values() if c.file})},
    )
    with output_file(target) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        _write_weights(archive, code, tensors)
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
        archive.writestr(zipfile.ZipInfo(MANIFEST), msgspec.json.encode(manifest))


def _damaged(path: Path, why: str) -> ProgramError:
    return ProgramError("CB0502", f"not a usable program: {why}", str(path), "compile the model again")


def load_program(path: str | Path) -> tuple[Code, TensorStore]:
    """Read a `.cbk`; ProgramError CB0502 for a damaged or hostile one, CB0503 for another version of the format."""
    where = Path(path)
    try:
        with zipfile.ZipFile(where) as archive:
            return _read(where, archive)
    except FileNotFoundError as error:
        raise ProgramError(
            "CB0504", f"there is no program {where}", help="compile one: crossbank compile MODEL -o FILE"
        ) from error
    except ProgramError:
        raise
    except (
        zipfile.BadZipFile, OSError, ValueError, KeyError, IndexError, TypeError, EOFError, OverflowError, MemoryError,
        NotImplementedError, RecursionError, struct.error, msgspec.MsgspecError, ExprError,
    ) as error:  # fmt: skip
        raise _damaged(where, f"{type(error).__name__}: {error}") from error


def _member(archive: zipfile.ZipFile, name: str, limit: int = 1 << 31) -> bytes:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > limit:
        raise ValueError(f"member {name} is compressed or larger than {limit} bytes")
    return archive.read(info)


def _check_group(system: dict[str, Any]) -> None:
    """What is costed per chip or device: how many there are, and plain numbers."""
    group: object = system.get("group", {})
    assumed: object = system.get("assumed", [])
    if not isinstance(group, dict) or not isinstance(assumed, list):
        raise ValueError("the system has no table of its group, or no list of assumptions")
    values = cast("dict[str, object]", group)
    count = values.get("count", 1)
    if not isinstance(count, int) or not 0 < count < 1 << 31:
        raise ValueError(f"the system has {count!r} groups")
    for name in ("area_mm2", "static_power_w"):
        value = values.get(name, 0)
        if not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ValueError(f"the system's {name} is {value!r}")


def _check_names(manifest: Manifest) -> None:
    """The model's inputs and outputs in its order: texts, and among them those of the entry points."""
    functions = [
        manifest.functions[name] for name in ("main", "import_cache", "export_cache") if name in manifest.functions
    ]
    for key, names in (
        ("input_names", {port.name for found in functions for port in found.inputs}),
        ("output_names", {port.name for found in functions for port in found.outputs}),
    ):
        listed = manifest.summary.get(key)
        if listed is None:
            continue
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in cast("list[object]", listed)):
            raise ValueError(f"the summary's {key} are no texts")
        if missing := names - set(cast("list[str]", listed)):
            raise ValueError(f"the summary's {key} lack {min(missing)}")


def _array(
    archive: zipfile.ZipFile, name: str, hashes: dict[str, str], dtype: np.dtype[Any], rank: int
) -> NDArray[Any]:
    data = _member(archive, name)
    if hashlib.sha256(data).hexdigest() != hashes.get(name):
        raise ValueError(f"member {name} does not match its hash")
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.dtype != dtype or array.ndim != rank:
        raise ValueError(f"member {name} is {array.dtype} of rank {array.ndim}, not {dtype} of rank {rank}")
    return array


def _read(path: Path, archive: zipfile.ZipFile) -> tuple[Code, TensorStore]:
    raw = _member(archive, MANIFEST, MAX_MANIFEST_BYTES)
    version = msgspec.json.decode(raw, type=dict[str, Any]).get("format")
    if version != FORMAT_VERSION:
        raise ProgramError(
            "CB0503",
            f"program format {version}, this version reads {FORMAT_VERSION}",
            str(path),
            "compile the model again",
        )
    m = msgspec.json.decode(raw, type=Manifest)
    for name, number in m.instruction_sets.items():
        if name not in set_names():
            raise ProgramError(
                "CB0505", f"instruction set {name!r} is not installed", str(path), "install the plug-in that brings it"
            )
        installed = instruction_set(name).version
        if installed != number:
            raise ProgramError(
                "CB0503",
                f"instruction set {name} version {number}, installed is {installed}",
                str(path),
                "compile the model again",
            )
    _check_group(m.system)
    _check_names(m)
    blocks: dict[str, Block] = {}
    for i, (name, block) in enumerate(m.blocks.items()):
        streams = {
            stream: _array(archive, f"blocks/{i}/stream{j}.npy", m.hashes, RECORD, 1)
            for j, stream in enumerate(block.streams)
        }
        nodes = _array(archive, f"blocks/{i}/nodes.npy", m.hashes, np.dtype(np.int32), 2)
        blocks[name] = Block(name, tuple(block.parameters), streams, nodes, tuple(map(_value, block.values)))
    tables = {
        name: Table(name, tuple(columns), _array(archive, f"tables/{i}.npy", m.hashes, np.dtype(np.int64), 2))
        for i, (name, columns) in enumerate(m.tables.items())
    }
    code = Code(
        target=m.target,
        system=m.system,
        engines={name: Engine(name, e.kind, e.isa, e.config) for name, e in m.engines.items()},
        spaces={name: Space(name, s.number, s.kind, s.used_bytes, s.capacity_bytes) for name, s in m.spaces.items()},
        registers=m.registers,
        dimensions=tuple(m.dimensions),
        capacity={name: Expr.of(text) for name, text in m.capacity.items()},
        expressions=[Expr.of(text) for text in m.expressions],
        layouts=[_layout(x) for x in m.layouts],
        functions={
            name: Function(
                name,
                f.block,
                tuple(Port(p.name, p.dtype, _exprs(p.shape), p.address) for p in f.inputs),
                tuple(Port(p.name, p.dtype, _exprs(p.shape), p.address) for p in f.outputs),
            )
            for name, f in m.functions.items()
        },
        blocks=blocks,
        tables=tables,
        tokens=m.tokens,
        nodes=m.nodes,
        constants={name: Constant(name, c.dtype, tuple(c.shape), c.address) for name, c in m.constants.items()},
        states=tuple(State(s.name, s.input, s.output, s.axis, Expr.of(s.past)) for s in m.states),
        limits=m.limits,
        context_of=m.context_of,
        summary=m.summary,
    )
    return code, _tensors(path, archive, m)


def _check_files(path: Path, manifest: Manifest) -> None:
    """Hold weights files that are there against what they were: a program must not compute with other weights."""
    for constant in manifest.constants.values():
        if constant.file is not None and constant.file not in manifest.files:
            raise ValueError(f"nothing says what weights file {constant.file} was")
    for name, expected in manifest.files.items():
        file = path.resolve().parent / name
        if not file.is_file():
            continue
        size = file.stat().st_size
        if size != expected.size_bytes:
            why = f"it has {size} bytes, it had {expected.size_bytes}"
        elif _fingerprint(file) != expected:
            why = "other bytes of the same number"
        else:
            continue
        raise ProgramError(
            "CB0506", f"the weights file {name} has changed since the program was compiled: {why}", str(path),
            "compile the model again, or put the file back",
        )  # fmt: skip


def _tensors(path: Path, archive: zipfile.ZipFile, manifest: Manifest) -> TensorStore:
    info = archive.getinfo(WEIGHTS)
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(info.header_offset)
        local = file.read(30)
        name_bytes, extra_bytes = struct.unpack("<HH", local[26:30])
        start = info.header_offset + 30 + name_bytes + extra_bytes
        file.seek(start)
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(size, MAX_MANIFEST_BYTES):
            raise ValueError(f"the weights' header claims {length} bytes of a file of {size}")
        header = msgspec.json.decode(file.read(length), type=dict[str, dict[str, Any]])
    data_start = start + 8 + length
    _check_files(path, manifest)
    store = TensorStore()
    for name, constant in manifest.constants.items():
        shape = tuple(constant.shape)
        expected = stored_bytes(constant.dtype, shape)
        place: FileRange | None = None
        if constant.file is not None:
            place = FileRange((path.resolve().parent / constant.file), constant.offset, constant.length)
        elif constant.present:
            begin, end = (int(x) for x in header[name]["data_offsets"])
            if begin < 0 or data_start + end > size:
                raise ValueError(f"weight {name} lies outside the file")
            if constant.digest is None:
                raise ValueError(f"nothing says what weight {name} was")
            place = FileRange(path.resolve(), data_start + begin, end - begin, constant.digest)
        if place is not None and place.offset < 0:
            raise ValueError(f"weight {name} lies at byte {place.offset}")
        if place is not None and place.length != expected:
            raise ValueError(f"weight {name} has {place.length} bytes, its shape needs {expected}")
        if place is not None and place.path.is_file() and place.path.stat().st_size < place.offset + place.length:
            raise ValueError(f"weight {name} lies outside {place.path.name}")
        store.declare(name, TensorEntry(constant.dtype, shape, place))
    return store
