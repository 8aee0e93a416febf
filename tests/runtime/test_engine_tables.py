"""Tables of engines: what is unknown, missing or out of bounds is refused where the file is read, by every family."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crossbank.backends.system import system_text, target_names
from crossbank.compiler.driver import make_context
from crossbank.runtime.program import ProgramError

SLIPS = [
    ("hermes", r"^rows = ", "rowz = ", "unknown key 'rowz' in [engine.organisation]", "did you mean 'rows'?"),
    ("hermes", r"^lanes = ", "lanez = ", "unknown key 'lanez' in [engine.timing]", "did you mean 'lanes'?"),
    ("hermes", r"^\[engine\.energy\]", "[engine.energies]", "unknown section 'energies' of an engine", "'energy'"),
    ("hermes", r"^model = ", "modle = ", "unknown key 'modle' in [engine.technology]", "did you mean 'model'?"),
    ("hermes", r"^rows = { value = 256", "rows = { value = -128", "rows is -128", "from 1 to"),
    ("hermes", r"^rows = { value = 256", "rows = { value = 1.5", "rows is 1.5", "whole number"),
    ("hermes", r"^output_bits = { value = 8", "output_bits = { value = 99", "output_bits is 99", "from 2 to 24"),
    ("hermes", r"^phases = { value = 4", "phases = { value = 2", "phases is 2", "1 or 4"),
    ("hermes", r"^accumulate_ps = .*$", "", "[engine.timing] lacks accumulate_ps", "unit and source"),
    ("hermes", r"^lanes = { value = 512", "lanes = { value = -512", "lanes is -512", "at least 0"),
    ("aim", r"^channels = ", "chanels = ", "unknown key 'chanels'", "did you mean 'channels'?"),
    ("aim", r"^channels = { value = 32", "channels = { value = 0", "channels is 0", "at least 1"),
    ("aim", r"^working_rows = ", "rows_working = ", "unknown key 'rows_working' in [engine.placement]", "working_rows"),
]


@pytest.mark.parametrize(("target", "good", "bad", "message", "help"), SLIPS, ids=[slip[3] for slip in SLIPS])
def test_a_slip_is_no_free_engine(tmp_path: Path, target: str, good: str, bad: str, message: str, help: str) -> None:
    text, count = re.subn(good, bad, system_text(target), count=1, flags=re.MULTILINE)
    assert count == 1
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ProgramError) as caught:
        make_context(file)
    assert caught.value.code == "CB0202"
    assert message in caught.value.message
    assert help in caught.value.help
    assert str(file) in caught.value.where


@pytest.mark.parametrize("target", target_names())
def test_targets_of_the_package_are_taken(target: str) -> None:
    assert make_context(target).system is not None


def test_columns_that_share_converters_take_turns(tmp_path: Path) -> None:
    """64 ADCs for 256 columns: four turns of 521032 ps (4 phases); programming 2 rows at once: half the pulses."""
    from crossbank.backends.xbar.timing import ArrayTiming

    text = system_text("hermes").replace("adcs = { value = 256", "adcs = { value = 64")
    text = text.replace("cells_written_at_once = { value = 256", "cells_written_at_once = { value = 512")
    (tmp_path / "mine.toml").write_text(text)
    shared, own = (
        ArrayTiming.of(make_context(target).system.engines["analog"].config)
        for target in (tmp_path / "mine.toml", "hermes")
    )
    assert (own.mvm_ps, shared.mvm_ps) == (521032, 4 * 521032)
    assert own.program_ps == 256 * 30 * 500_000
    assert shared.program_ps == 128 * 30 * 500_000
