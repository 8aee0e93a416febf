"""Programs that are damaged, or made wrong on purpose: one clear error, never a crash, and nothing unpacked."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import crossbank as package
from crossbank import ProgramError
from crossbank.runtime.tensors import FileRange
from tests import hostile
from tests.command_line import crossbank
from tests.test_bad_input import refused

SMALL = Path(__file__).parent / "data" / "zoo" / "ts17_kv_gpt2" / "model.onnx"


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small decoder, compiled to a file."""
    path = tmp_path_factory.mktemp("hostile") / "small.cbk"
    package.compile(SMALL, "hermes", context=16, max_batch=2, quiet=True).save(path)
    return path


@pytest.fixture(scope="session")
def parts(small: Path) -> hostile.Members:
    return hostile.members(small)


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a folder of its own to be in."""
    monkeypatch.chdir(tmp_path)


def usable(path: Path) -> None:
    """Do with a program what people do."""
    program = package.load(path)
    json.dumps(program.summary())
    assert list(program.commands(program.functions[0])) is not None
    program.cost(3, 2)
    program.session(noise=False).generate([1, 2, 3], 2)


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"hello", b"PK\x03\x04" + bytes(64)])
def test_files_that_are_no_programs(content: bytes) -> None:
    Path("a.bin").write_bytes(content)
    for command in ("cost", "inspect", "dis"):
        refused(crossbank(command, "a.bin"), "CB0502", "a.bin")
    refused(crossbank("cost", "absent.bin"), "CB0504", "absent.bin")
    refused(crossbank("cost", "."), "CB0502")


def test_every_truncation_is_refused(small: Path) -> None:
    content = small.read_bytes()
    for size in np.linspace(0, len(content) - 1, 60).astype(int):
        Path("a.bin").write_bytes(content[:size])
        with pytest.raises(ProgramError, match="CB0502"):
            package.load("a.bin")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_byte_flipped(small: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(small.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    try:
        usable(path)
    except ProgramError as error:
        assert error.code in ("CB0502", "CB0503", "CB0506", "CB0402"), error


def test_every_damaged_weight_is_noticed(tmp_path: Path) -> None:
    """Bytes of weights, in the program and in the model's file, one at a time."""
    model = tmp_path / "model.onnx"
    model.write_bytes(SMALL.read_bytes())
    path = tmp_path / "a.cbk"
    package.compile(model, "hermes", context=16, max_batch=2, quiet=True).save(path)
    rng = np.random.default_rng(0)
    tensors = package.load(path).tensors
    ranges = [entry.data for entry in map(tensors.entry, tensors) if isinstance(entry.data, FileRange)]
    places = [found.offset + int(rng.integers(found.length)) for found in ranges if found.path == path.resolve()]
    assert places
    content = path.read_bytes()
    for place in places:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(ProgramError, match=r"CB0502.*does not match its hash"):
            usable(path)
    path.write_bytes(content)
    usable(path)
    whole = model.read_bytes()
    for place in rng.integers(len(whole) // 2, len(whole), 5):
        model.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ProgramError, match="CB0506"):
            usable(path)


STRANGE: list[Any] = [
    0, 1, -1, 3, 1 << 40, 1 << 63, 1 << 70, -(1 << 63), 0.5, 1e300, "", "x", "0", "1//0", "batch_size*batch_size",
    "9" * 400, "(" * 400, "../x", "main", None, True, [], {}, [1], ["x"], {"a": 1},
]  # fmt: skip


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_of_the_manifest_changed(parts: hostile.Members, tmp_path: Path, data: st.DataObject) -> None:
    manifest = json.loads(parts[hostile.MANIFEST])
    top = data.draw(st.sampled_from(sorted(manifest)))
    inner = [path for path in hostile.places(manifest) if path[0] == top]
    place, strange = data.draw(st.sampled_from(inner)), data.draw(st.sampled_from(STRANGE))
    changed = hostile.with_manifest(parts, lambda found: hostile.put(found, place, strange))
    try:
        usable(hostile.write(tmp_path / "a.bin", changed))
    except ProgramError as error:
        assert str(error).startswith(f"error[{error.code}]: ")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_record_changed(parts: hostile.Members, tmp_path: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(name for name in parts if "stream" in name)))

    def change(records: np.ndarray) -> None:
        record = records[data.draw(st.integers(0, len(records) - 1))]
        if data.draw(st.booleans()):
            record["opcode"] = data.draw(st.integers(0, 65535))
        else:
            slot = data.draw(st.integers(0, records["args"].shape[1] - 1))
            record["args"][slot] = data.draw(st.integers(-40, 40) | st.integers(-(1 << 63), (1 << 63) - 1))

    try:
        usable(hostile.write(tmp_path / "a.bin", hostile.with_array(parts, name, change)))
    except ProgramError as error:
        assert str(error).startswith(f"error[{error.code}]: ")


def test_compressed_members_are_refused(parts: hostile.Members) -> None:
    for name in parts:
        with zipfile.ZipFile("a.bin", "w") as archive:
            for member, content in parts.items():
                kind = zipfile.ZIP_DEFLATED if member == name else zipfile.ZIP_STORED
                archive.writestr(zipfile.ZipInfo(member), content, kind)
        with pytest.raises(ProgramError, match="CB0502"):
            package.load("a.bin")


def test_a_bomb_is_not_unpacked() -> None:
    with zipfile.ZipFile("a.bin", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("manifest.json"), bytes(64 << 20), zipfile.ZIP_DEFLATED)
    assert Path("a.bin").stat().st_size < 1 << 20
    refused(crossbank("inspect", "a.bin"), "CB0502", "compressed")


def test_missing_members_are_refused(parts: hostile.Members) -> None:
    for name in parts:
        remaining = {member: content for member, content in parts.items() if member != name}
        with zipfile.ZipFile("a.bin", "w") as archive:
            for member, content in remaining.items():
                archive.writestr(zipfile.ZipInfo(member), content)
        with pytest.raises(ProgramError, match="CB0502"):
            package.load("a.bin")


def test_arrays_that_claim_too_much(parts: hostile.Members) -> None:
    name = next(name for name in parts if name.endswith("stream0.npy"))
    header = re.sub(rb"\((\d+),\)", lambda m: b"(%d,)" % (1 << 40) + b" " * (len(m[0]) - 16), parts[name])
    with pytest.raises(ProgramError, match="CB0502"):
        package.load(hostile.write(Path("a.bin"), {**parts, name: header}))


def test_versions_and_sets_of_others(parts: hostile.Members) -> None:
    for place, value, code in (
        (("format",), 99, "CB0503"),
        (("instruction_sets", "simd"), 99, "CB0503"),
        (("instruction_sets",), {"core": 1, "quantum": 1}, "CB0505"),
    ):
        changed = hostile.with_manifest(parts, lambda m, p=place, v=value: hostile.put(m, p, v))
        path = hostile.write(Path("a.bin"), changed)
        refused(crossbank("inspect", path), code)


def test_other_peoples_files_are_no_weights(parts: hostile.Members, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(1 << 20))

    def steal(manifest: Any) -> None:
        for constant in manifest["constants"].values():
            if constant["file"]:
                constant["file"], constant["offset"] = str(secret), 0

    with pytest.raises(ProgramError, match="CB0502"):
        package.load(hostile.write(Path("a.bin"), hostile.with_manifest(parts, steal)))


@pytest.mark.parametrize("key", ["input_names", "output_names"])
@pytest.mark.parametrize("names", [[[]], [[[]]], "x", 7, [], ["logits"], {"a": 1}])
def test_names_that_are_none(parts: hostile.Members, key: str, names: object) -> None:
    changed = hostile.with_manifest(parts, lambda found: hostile.put(found, ("summary", key), names))
    with pytest.raises(ProgramError, match="CB0502"):
        package.load(hostile.write(Path("a.bin"), changed))


@pytest.mark.parametrize("number", ["x", [[]], 10**30, -1, None, True])
def test_numbers_of_an_engine_that_are_none(parts: hostile.Members, number: object) -> None:
    place = ("engines", "simd", "config", "energy", "startup_pj")
    changed = hostile.with_manifest(parts, lambda found: hostile.put(found, place, number))
    with pytest.raises(ProgramError, match=r"CB0202.*startup_pj"):
        package.load(hostile.write(Path("a.bin"), changed)).cost(3, 2)
