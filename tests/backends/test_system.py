"""System files are read strictly: what is unknown, missing or without origin is refused with a way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossbank.backends.system import load_system, read_system, target_names
from crossbank.runtime.program import ProgramError

SYSTEM = """
name = "toy"
title = "A toy"
[[engine]]
name = "unit"
kind = "simd"
[engine.timing]
clock_hz = { value = 1000, unit = "Hz", source = "data sheet" }
lanes = { value = 4, unit = "lanes", assumed = "as good as any" }
[[memory]]
name = "sram"
holds = "working"
capacity_bytes = { value = 64, unit = "B", calibrated = "from a measurement" }
[group]
name = "chip"
area_mm2 = { value = 2.5, unit = "mm2", assumed = "a guess" }
"""


def test_plain_values_and_their_origins_are_kept_apart() -> None:
    system = read_system(SYSTEM, "toy.toml")
    engine = system.engines["unit"]
    assert engine.config == {"timing": {"clock_hz": 1000, "lanes": 4}}
    assert (engine.number("timing", "clock_hz"), engine.integer("timing", "lanes")) == (1000.0, 4)
    assert system.memories["sram"]["capacity_bytes"] == 64 and system.group["area_mm2"] == 2.5
    found = {path: (q.basis, q.unit, q.origin) for path, q in system.quantities.items()}
    assert found == {
        "unit.timing.clock_hz": ("source", "Hz", "data sheet"),
        "unit.timing.lanes": ("assumed", "lanes", "as good as any"),
        "memory.sram.capacity_bytes": ("calibrated", "B", "from a measurement"),
        "group.area_mm2": ("assumed", "mm2", "a guess"),
    }
    assert system.as_config()["assumed"] == ["group.area_mm2", "unit.timing.lanes"]


def test_parts_are_found_by_what_they_do() -> None:
    system = read_system(SYSTEM, "toy.toml")
    memory, engine = system.memory_for("working"), system.engine("simd")
    assert memory is not None and memory["name"] == "sram" and system.memory_for("weights") is None
    assert engine is system.engines["unit"] and system.engine("pim") is None


def test_a_number_that_a_family_needs_is_named() -> None:
    with pytest.raises(ProgramError, match=r"engine unit lacks timing\.latency_ns") as caught:
        read_system(SYSTEM, "toy.toml").engines["unit"].number("timing", "latency_ns")
    assert caught.value.code == "CB0202"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "toy"\n', "", "'name' is missing"),
        ("[[engine]]", "[[motor]]", "unknown key 'motor'"),
        ("[[memory]]", "[[memery]]", "did you mean 'memory'"),
        ('kind = "simd"', 'kind = "smid"', "did you mean 'simd'"),
        ("capacity_bytes", "capacity", "did you mean 'capacity_bytes'"),
        ('name = "toy"', "name = toy", "not TOML"),
        ("[[memory]]", '[[engine]]\nname = "unit"\nkind = "simd"\n[[memory]]', "two of [[engine]] are called 'unit'"),
        (', assumed = "a guess"', "", "needs a unit and exactly one of source, assumed, calibrated"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(old: str, new: str, message: str) -> None:
    assert old in SYSTEM
    with pytest.raises(ProgramError) as caught:
        read_system(SYSTEM.replace(old, new, 1), "toy.toml")
    assert caught.value.code == "CB0201" and caught.value.where == "toy.toml" and caught.value.help
    assert message in str(caught.value)


def test_targets_are_found_by_name_or_path(tmp_path: Path) -> None:
    assert {"ideal", "hermes", "aim"} <= set(target_names())
    assert load_system("ideal").name == "ideal"
    (tmp_path / "mine.toml").write_text(SYSTEM)
    assert load_system(tmp_path / "mine.toml").name == "toy"
    for target, message in (("herms", "did you mean 'hermes'"), (tmp_path / "absent.toml", "can't read system file")):
        with pytest.raises(ProgramError) as caught:
            load_system(target)
        assert caught.value.code == "CB0203" and message in str(caught.value)


@pytest.mark.parametrize("number", ["-1", "nan", "inf"])
def test_numbers_that_no_chip_has_are_refused(number: str) -> None:
    with pytest.raises(ProgramError, match=rf"group\.area_mm2 is {number}"):
        read_system(SYSTEM.replace("value = 2.5", f"value = {number}"), "toy.toml")
