"""A cost's parts add up to its totals, static power and idle time included, and what is assumed is told apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from crossbank.runtime.cost import Cost, generation_cost
from crossbank.runtime.program import Engine, ProgramError
from crossbank.runtime.registry import extra_sets
from tests.runtime.toy_model import BATCH, CONTEXT, MODEL, program

GROUP = {"name": "chip", "count": 3, "static_power_w": 2.0, "area_mm2": 5.0}
PROMPT, GENERATE = 3, 4


def cost(assumed: tuple[str, ...] = (), group: dict[str, Any] | None = None, **changes: int) -> Cost:
    code = program("device")
    engines = {**code.engines, "idle": Engine("idle", "simd", "model", {})}
    system = {"group": GROUP if group is None else group, "assumed": list(assumed)}
    with extra_sets(MODEL):
        asked = {"prompt": PROMPT, "generate": GENERATE, "batch": 1} | changes
        return generation_cost(replace(code, engines=engines, system=system), **asked)


@pytest.mark.parametrize("view", ["phase", "engine", "component", "node"])
@pytest.mark.parametrize("group", [GROUP, {}])
def test_each_view_adds_up_to_the_total(view: str, group: dict[str, Any]) -> None:
    found = cost(group=group)
    parts = found.breakdown[view].values()
    assert sum(part["energy_j"] for part in parts) == pytest.approx(found.energy_j)
    assert sum(part["time_s"] for part in parts) == pytest.approx(found.time_s)
    assert found.time_s == pytest.approx(found.ttft_s + found.tpot_s * (GENERATE - 1))


def test_static_power_and_area_count_every_chip() -> None:
    found, without = cost(), cost(group={})
    assert found.breakdown["engine"]["static"]["energy_j"] == pytest.approx(3 * 2.0 * found.time_s)
    assert found.energy_j == pytest.approx(without.energy_j + 3 * 2.0 * found.time_s)
    assert (found.area_mm2, without.area_mm2) == (15.0, None)
    assert found.groups == {"name": "chip", "count": 3}


def test_busy_and_idle_make_up_the_time() -> None:
    found = cost()
    for engine, part in found.breakdown["busy"].items():
        assert part["busy_s"] + part["idle_s"] == pytest.approx(found.time_s)
        others = sum(share["time_s"] for name, share in found.breakdown["engine"].items() if name != engine)
        assert part["idle_s"] == pytest.approx(others)
        assert part["work_s"] >= part["busy_s"] * (1 - 1e-9)


def test_what_rests_on_assumptions_is_told_apart() -> None:
    nothing, engine = cost(), cost(("e0.timing.score_ps",))
    static, other, area = cost(("group.static_power_w",)), cost(("e1.timing.score_ps",)), cost(("group.area_mm2",))
    assert nothing.assumed["time_share"] == nothing.assumed["energy_share"] == other.assumed["energy_j"] == 0
    assert engine.assumed["time_share"] == pytest.approx(1)
    assert engine.assumed["energy_j"] == pytest.approx(engine.breakdown["engine"]["e0"]["energy_j"])
    assert static.assumed["time_s"] == 0
    assert static.assumed["energy_j"] == pytest.approx(static.breakdown["engine"]["static"]["energy_j"])
    assert area.assumed["area"] and not nothing.assumed["area"]


def test_rates_follow_from_time() -> None:
    found = cost(batch=2)
    assert found.tokens_per_s == pytest.approx(2 * GENERATE / found.time_s)
    assert found.energy_per_token_j == pytest.approx(found.energy_j / (2 * GENERATE))
    assert cost(generate=1).tpot_s == 0


def test_without_new_tokens_there_are_no_rates() -> None:
    found = cost(generate=0)
    assert (found.tokens_per_s, found.energy_per_token_j) == (None, None)
    assert found.energy_j > 0


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"prompt": 0}, "CB0704", "prompt 0"),
        ({"generate": -1}, "CB0704", "generate -1"),
        ({"batch": 0}, "CB0704", "batch 0"),
        ({"prompt": CONTEXT, "generate": 2}, "CB0705", f"exceed the context of {CONTEXT}"),
        ({"batch": BATCH + 1}, "CB0706", f"batch {BATCH + 1} exceeds {BATCH}"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, int], code: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message) as caught:
        cost(**changes)
    assert caught.value.code == code


def test_dimensions_that_no_prompt_determines_are_named() -> None:
    code = replace(program("device"), context_of={"batch": "batch", "sequence": "sequence"})
    with extra_sets(MODEL), pytest.raises(ProgramError, match="does not say how large past is"):
        generation_cost(code, prompt=3)
