"""What a model is said to be built of, against the configurations that the models of the zoo were made with."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossbank.compiler.driver import compile_to_module
from tests.zoo import parameters

MASKS = {"gpt2": ", causal by positions", "mistral": ", causal by positions, sliding window 6", "bert": ""}
GQA = "grouped-query, 4 heads on 2 of 16"
ATTENTION = {
    "gpt2": "multi-head, 4 heads of 16",
    "opt": "multi-head, 4 heads of 16",
    "bert": "multi-head, 4 heads of 16",
}
MLP = {"gpt2": "plain, gelu_tanh", "opt": "plain, relu", "bert": "plain, gelu"}
LAYER_NORMS = ("gpt2", "opt", "bert")
USUAL = frozenset({"ts17_kv_gpt2", "dynamo18_kv_llama", "optimum_kv_llama"})


@pytest.mark.parametrize(
    "folder", parameters("dynamo18_kv", "dynamo23_kv", "optimum_kv", "ts17_", usual=USUAL, where=lambda _: True)
)
def test_architecture(folder: Path) -> None:
    family = folder.name.rpartition("_")[2]
    cached = "_kv" in folder.name
    found = compile_to_module(folder / "model.onnx", stop_after="raise", quiet=True)[1].ctx.notes["architecture"]
    assert found["layers"] == 2
    ((attention, count),) = found["attention"].items()
    kind = "boolean" if "23" in folder.name else "additive"
    assert (attention, count) == (
        f"{ATTENTION.get(family, GQA)}, {kind} mask{MASKS.get(family, ', causal by positions')}", 2,
    )  # fmt: skip
    assert found["norms"] == {"layer norm" if family in LAYER_NORMS else "RMS norm": 5}
    assert found["mlp"] == {MLP.get(family, "gated, silu"): 2}
    assert found["rotary"] == ({} if family in LAYER_NORMS else {"half, 16 of 16 features": 4})
    number = "float16" if "float16" in folder.name else "float32"
    heads = 4 if family in LAYER_NORMS else 2
    assert found["cache"] == ({f"{heads} heads of 16, {number}": 2} if cached else {})
    assert set(found["linears"]) == {number}
    assert found["repeated"] in ({"layer0": 2}, {})
