"""No cost is below the roofline of the device: its published peak, for all of its units at work all the time."""

from __future__ import annotations

import pytest

import crossbank
from crossbank.runtime.expr import Expr
from tests.conformance.conftest import SAMPLE

PEAKS = {
    # 32 channels x 16 banks x 16 products each nCCD of 2 cycles of 0.5 ns (public simulator); no figure of energy
    "aim": ("pim", 32 * 16 * 16 / 1e-9, None),
    # Le Gallo et al., Nature Electronics 2023, 4-phase reads: 16.1 TOPS a chip and 2.48 TOPS/W, two operations a MAC
    "hermes": ("xbar", 16.1e12 / 2, 2.48e12 / 2),
}
CALIBRATED = 1.02
"""The peaks of `hermes` are reproduced within 2 %."""


@pytest.mark.parametrize("target", PEAKS)
@pytest.mark.parametrize(("batch", "prompt"), [(1, 1), (1, 100), (4, 50)])
def test_costs_stay_above_the_roofline(target: str, batch: int, prompt: int) -> None:
    kind, macs_per_s, macs_per_j = PEAKS[target]
    program = crossbank.compile(SAMPLE, target, context=128, max_batch=4, quiet=True)
    summary, roles = program.summary(), program.code.context_of
    steps = [(prompt, 0), *((1, prompt + i) for i in range(3))]
    values = [{roles["batch"]: batch, roles["sequence"]: new, roles["past"]: past} for new, past in steps]
    expression = Expr.of(summary["engines"][kind]["macs_expression"])
    macs = [int(expression.evaluate(value)) for value in values]
    # every parameter of the 43 matrices but the embedding is used once a token and sequence
    assert macs[1] >= batch * summary["engines"][kind]["weight_bytes"] // 4
    cost = program.cost(prompt, 4, batch)
    peak = macs_per_s * summary["groups"] * CALIBRATED
    assert cost.ttft_s >= macs[0] / peak
    assert 3 * cost.tpot_s >= sum(macs[1:]) / peak
    if macs_per_j is not None:
        assert cost.energy_j >= sum(macs) / (macs_per_j * CALIBRATED)
