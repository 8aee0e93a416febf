"""A program read back is the program that was saved, byte for byte; so are its tensors, wherever they lie."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crossbank.runtime.expr import Expr, ceildiv, minimum
from crossbank.runtime.isa import Kind
from crossbank.runtime.program import SPACE_SHIFT, Code, Constant, Layout, Port, ProgramError, Space, State, Table
from crossbank.runtime.program_file import load_program, save_program
from crossbank.runtime.registry import extra_sets
from crossbank.runtime.tensors import FileRange, TensorEntry, TensorStore, element_bits
from tests.runtime.toy import CONST, IO, MEMORY, TOY, Builder, Way, at

NAMES = st.text(min_size=1, max_size=12)
"""Any text: ONNX names hold slashes, spaces and worse."""
N = Expr.symbol("n")
EXPRS = st.sampled_from([Expr.of(0), Expr.of(7), N, N * 4 + 1, ceildiv(N, 3), minimum(N, N * N - 2), -N])
INTS = st.integers(-(1 << 63), (1 << 63) - 1)
DTYPES = ["float32", "float16", "float64", "bool", "int8", "int64", "uint16"]
ARRAYS: st.SearchStrategy[np.ndarray[Any, Any]] = st.sampled_from(DTYPES).flatmap(
    lambda name: hnp.arrays(np.dtype(name), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(1 << 53), 1 << 53), NAMES, st.floats(allow_nan=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)


@st.composite
def programs(draw: st.DrawFn) -> tuple[Code, TensorStore]:
    """A program whose tables hold anything; it need not be runnable."""
    store, constants, address = TensorStore(), dict[str, Constant](), CONST << SPACE_SHIFT
    for name, array in draw(st.dictionaries(NAMES, ARRAYS, max_size=3)).items():
        store.add(name, array)
        constants[name] = Constant(name, array.dtype.name, array.shape, address)
        address += constants[name].size_bytes
    toy = Builder({"n": (1, draw(st.integers(1, 1 << 40)))})
    amount, factor, way = draw(EXPRS), draw(st.floats()), draw(st.sampled_from(Way))
    records = [
        toy.op("toy.increase", dst=at(MEMORY, N * 4, ["n", 2]), amount=amount, factor=factor),
        toy.op("toy.unary", dst=at(MEMORY, 0, [3], dtype="bfloat16"), src=at(IO, 64, [3]), way=way),
    ]
    block = draw(NAMES.filter(lambda name: name != "main"))
    toy.pools.named(Kind.BLOCK, block)
    toy.block("main", {"e0": records, "e1": []})
    toy.block(block, {"e1": records[:1]}, ["p"])
    toy.function("main", "main", [Port(draw(NAMES), "int64", (N, Expr.of(2)), IO << SPACE_SHIFT)])
    table, values = draw(NAMES), draw(hnp.arrays(np.int64, (draw(st.integers(0, 4)), 1), elements=INTS))
    code = toy.code(
        tables={table: Table(table, ("p",), values)},
        constants=constants,
        spaces={name: Space(name, i, "memory", i, draw(st.none() | INTS)) for i, name in enumerate(("io", "mem"))},
        capacity={"n": draw(EXPRS)},
        layouts=[*toy.pools.layouts, Layout("float32", (draw(EXPRS),), (draw(EXPRS),))],
        nodes=draw(st.lists(NAMES, max_size=3)),
        states=(State(draw(NAMES), draw(st.none() | NAMES), draw(st.none() | NAMES), 2, draw(EXPRS)),),
        limits={"context": draw(st.integers(0, 1 << 40))},
        context_of={"past": draw(NAMES)},
        summary=draw(st.dictionaries(NAMES, JSON, max_size=3)),
        system=draw(st.dictionaries(NAMES.filter(lambda n: n not in ("group", "assumed")), JSON, max_size=3)),
    )
    return code, store


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal: arrays by type, shape and bytes."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if hasattr(one, "__dataclass_fields__"):
        return type(one) is type(other) and all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


@settings(max_examples=60)
@given(programs())
def test_loading_inverts_saving(given_program: tuple[Code, TensorStore]) -> None:
    code, store = given_program
    with tempfile.TemporaryDirectory() as folder, extra_sets(TOY):
        first, second = Path(folder) / "first.cbk", Path(folder) / "second.cbk"
        save_program(first, code, store)
        loaded, tensors = load_program(first)
        for entry in fields(code):
            assert same(getattr(loaded, entry.name), getattr(code, entry.name)), entry.name
        for name in code.constants:
            assert same(np.asarray(tensors.load(name)), store.load(name)), name
        save_program(second, loaded, tensors)
        assert first.read_bytes() == second.read_bytes()


def constants(**dtypes: str) -> Code:
    """A program of constants [4] and nothing else."""
    toy = Builder()
    toy.block("main", {})
    place = CONST << SPACE_SHIFT
    return toy.code(constants={n: Constant(n, d, (4,), place + 64 * i) for i, (n, d) in enumerate(dtypes.items())})


def test_extended_number_formats_keep_their_bits(tmp_path: Path) -> None:
    names = ("bfloat16", "float8_e4m3fn", "int4", "uint4")
    store, values = TensorStore(), {}
    for i, name in enumerate(names):
        values[f"t{i}"] = np.array([1, 0, 2, 3]).astype(getattr(ml_dtypes, name))
        store.add(f"t{i}", values[f"t{i}"])
    with extra_sets(TOY):
        save_program(tmp_path / "p.cbk", constants(**{f"t{i}": name for i, name in enumerate(names)}), store)
        _, tensors = load_program(tmp_path / "p.cbk")
    for name, value in values.items():
        assert same(np.asarray(tensors.load(name)), value)


def test_weights_in_files_are_referred_to_from_the_program(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    data = np.arange(8, dtype=np.float32)
    (tmp_path / "model" / "weights.bin").write_bytes(data.tobytes())
    store = TensorStore()
    store.declare("w", TensorEntry("float32", (4,), FileRange(tmp_path / "model" / "weights.bin", 16, 16)))
    with extra_sets(TOY):
        save_program(tmp_path / "model" / "p.cbk", constants(w="float32"), store)
        assert (tmp_path / "model" / "p.cbk").stat().st_size < 6000
        shutil.move(tmp_path / "model", tmp_path / "moved")
        _, tensors = load_program(tmp_path / "moved" / "p.cbk")
        assert tensors.load("w").tolist() == [4, 5, 6, 7]
        (tmp_path / "moved" / "weights.bin").unlink()
        with pytest.raises(ProgramError):
            _, tensors = load_program(tmp_path / "moved" / "p.cbk")
            tensors.load("w")


def test_packed_weights_in_files_stay_packed(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes([0x21, 0xF8]))
    store = TensorStore()
    store.declare("w", TensorEntry("int4", (4,), FileRange(tmp_path / "weights.bin", 0, 2)))
    with extra_sets(TOY):
        save_program(tmp_path / "p.cbk", constants(w="int4"), store)
        _, tensors = load_program(tmp_path / "p.cbk")
    assert tensors.load("w").astype(int).tolist() == [1, 2, -8, -1]


def test_weights_without_values_stay_without(tmp_path: Path) -> None:
    store = TensorStore()
    store.declare("w", TensorEntry("float32", (4,), None))
    with extra_sets(TOY):
        save_program(tmp_path / "p.cbk", constants(w="float32"), store)
        _, tensors = load_program(tmp_path / "p.cbk")
    assert tensors.entry("w") == TensorEntry("float32", (4,), None)
    with pytest.raises(ProgramError) as caught:
        tensors.load("w")
    assert caught.value.code == "CB0401"


def test_what_can_not_be_saved_leaves_no_file(tmp_path: Path) -> None:
    with extra_sets(TOY), pytest.raises(KeyError):
        save_program(tmp_path / "p.cbk", constants(w="float32"), TensorStore())
    assert list(tmp_path.iterdir()) == []
    with extra_sets(TOY), pytest.raises(ProgramError) as caught:
        save_program(tmp_path / "absent" / "p.cbk", constants(), TensorStore())
    assert caught.value.code == "CB0501"


# ------------------------------------------------------------- tensor store


@given(st.lists(st.tuples(NAMES, ARRAYS), max_size=6))
def test_a_store_keeps_every_tensor_under_a_name_of_its_own(tensors: list[tuple[str, np.ndarray[Any, Any]]]) -> None:
    store = TensorStore()
    kept = [(store.add(name, array), array) for name, array in tensors]
    assert len({name for name, _ in kept}) == len(kept) == len(list(store))
    for name, array in kept:
        assert name in store and store.load(name) is array
        assert store.entry(name).size_bytes == array.nbytes


@pytest.mark.parametrize("name", ["int4", "uint4", "int2", "uint2"])
@given(data=st.data())
def test_packed_elements_are_unpacked_low_bits_first(name: str, data: st.DataObject) -> None:
    bits = element_bits(name)
    low = -(1 << (bits - 1)) if name.startswith("int") else 0
    values = data.draw(st.lists(st.integers(low, low + (1 << bits) - 1), min_size=1, max_size=9))
    number = sum((value & ((1 << bits) - 1)) << (bits * i) for i, value in enumerate(values))
    length = -(-len(values) * bits // 8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.bin"
        path.write_bytes(b"\xff\xff" + number.to_bytes(length, "little"))
        store = TensorStore()
        store.declare("w", TensorEntry(name, (len(values),), FileRange(path, 2, length)))
        assert store.load("w").astype(int).tolist() == values
