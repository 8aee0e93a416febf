"""A split that a person has changed in the IR is what is placed, emitted and run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import crossbank as package
from tests import zoo
from tests.command_line import crossbank

MODEL = zoo.HERE / "ts17_kv_gpt2" / "model.onnx"
ARGUMENTS = ("compile", MODEL, "-t", "aim", "--context", 32)


@pytest.fixture
def split(tmp_path: Path) -> Path:
    path = tmp_path / "split.mlir"
    assert crossbank(*ARGUMENTS, "--stop-after", "split", "-o", path).code == 0
    return path


def test_matrices_on_one_channel_are_driven_there(split: Path, tmp_path: Path) -> None:
    text, changed = re.subn(r"columns = \{channel = \d+", "columns = {channel = 1", split.read_text())
    assert changed > 4
    split.write_text(text)
    assert crossbank(*ARGUMENTS, "--from", "tile", "--ir", split, "-o", tmp_path / "one.cbk").code == 0
    program = package.load(tmp_path / "one.cbk")
    driven = {
        command.operands["channels"]
        for name in program.functions
        for command in program.commands(name)
        if command.name == "pim.load"
    }
    assert driven == {"1"}
    _, feeds, expected = next(zoo.cases(MODEL.parent))
    found = program.session(ideal=True).run(None, feeds)
    for port, value in zip(program.session().get_outputs(), found, strict=True):
        np.testing.assert_allclose(value, expected[port.name], rtol=1e-3, atol=1e-4)
    wide = package.compile(MODEL, "aim", context=32, quiet=True)
    assert program.cost(prompt=4, generate=2).tpot_s > wide.cost(prompt=4, generate=2).tpot_s


def test_a_split_over_more_channels_than_there_are_is_refused(split: Path, tmp_path: Path) -> None:
    split.write_text(re.sub(r"columns = \{channel = \d+", "columns = {channel = 40", split.read_text()))
    done = crossbank(*ARGUMENTS, "--from", "tile", "--ir", split, "-o", tmp_path / "many.cbk")
    assert done.code == 1
    assert "error[CB0314]" in done.err
    assert "640 banks" in done.err and "32 channels of 16 banks" in done.err
    assert not (tmp_path / "many.cbk").exists()
