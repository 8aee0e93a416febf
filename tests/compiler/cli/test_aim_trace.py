"""`crossbank cost --aim-trace` prints the cycles of a public simulator, and names the line that it can't read."""

import json
from pathlib import Path

import pytest

from tests.command_line import crossbank

DATA = Path(__file__).parents[2] / "data" / "aim"
TRACE = DATA / "gemv_4096x4096_ch32_reuse-gb.trace"


def test_cycles_are_the_simulators() -> None:
    result = crossbank("cost", "--aim-trace", TRACE, "--no-refresh", "--json")
    report = json.loads(result.out)
    assert result.code == 0
    assert report["cycles"] == 8124
    assert report["time_ns"] == 4062.0
    assert sum(report["energy_by_component_pj"].values()) == pytest.approx(report["energy_pj"])
    assert report["by_command"]["MAC_ABK"] == 32


def test_refresh_takes_time() -> None:
    result = crossbank("cost", "--aim-trace", TRACE)
    assert result.code == 0
    assert int(result.out.split(" cycles, ")[0]) > 8124


def test_a_malformed_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.trace"
    path.write_text("AiM MAC_ABK 64 0x1\nAiM EOC\n")
    result = crossbank("cost", "--aim-trace", path, "--json")
    assert result.code == 1
    assert result.out == ""
    assert "bad.trace:1" in result.err
    assert "MAC_ABK takes 3 operands, not 2" in result.err
