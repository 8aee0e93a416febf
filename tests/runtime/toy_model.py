"""A toy language model as a handwritten program: the next token is the sum of the visible ones, plus the position.

logits[b, t, v] is 1 where v = (sum of visible tokens up to t + position_ids[b, t]) % VOCABULARY, else 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from crossbank.runtime.expr import Expr
from crossbank.runtime.isa import InstructionSet, reads, writes
from crossbank.runtime.program import SPACE_SHIFT, Code, Engine, State
from crossbank.runtime.registry import extra_sets
from tests.runtime.toy import IO, MEMORY, Builder, at, port

VOCABULARY, CONTEXT, BATCH = 11, 16, 2
MODEL = InstructionSet(
    "model", 201, 1, "A language model for tests.", lambda config, machine: None, lambda config: None
)


def _score(unit: None, o: Any) -> None:
    new = o.dst.shape[2]
    past = o.history.shape[2] - new
    for t in range(new):
        total = (o.history * o.mask)[0, :, : past + t + 1].sum(axis=1) + o.positions[0, :, t]
        o.dst[0, :, t] = np.eye(VOCABULARY)[total % VOCABULARY]


def _score_time(clock: Any, o: Any, unit: None) -> None:
    """A picosecond, a picojoule and a MAC per new token and token that it sees."""
    work = o.dst.shape[0] * o.dst.shape[1] * o.history.shape[1]
    clock.set(clock.engine, clock.plus(clock.ready(clock.engine), work, "score"))
    clock.spend("score", 1e-12 * np.asarray(work))
    clock.count("macs", work)


def _copy(unit: None, o: Any) -> None:
    o.dst[...] = o.src


MODEL.define(
    "score",
    1,
    [writes("dst"), reads("history"), reads("mask"), reads("positions")],
    "Logits.",
    _score,
    _score_time,
)
MODEL.define("copy", 2, [writes("dst"), reads("src")], "dst = src.", _copy, lambda clock, operands, unit: None)


def reference(ids: list[int], count: int) -> list[int]:
    """The tokens that follow, by the definition above."""
    history = list(ids)
    for _ in range(count):
        history.append((sum(history) + len(history) - 1) % VOCABULARY)
    return history[len(ids) :]


def program(cache: str = "device") -> Code:
    """The model with its cache on the device, fed back ("fed"), or without one ("none")."""
    b = Builder({"batch": (1, BATCH), "sequence": (0, CONTEXT), "past": (0, CONTEXT)})
    for name, isa in (("copy", MODEL), ("score", MODEL)):
        assert name in isa.instructions
    total = "sequence" if cache == "none" else "past + sequence"
    ids, mask, positions = (["batch", d] for d in ("sequence", total, "sequence"))
    i64: dict[str, Any] = {"dtype": "int64"}
    ports = [port("input_ids", ids, 0, **i64), port("attention_mask", mask, 1024, **i64)]
    ports.append(port("position_ids", positions, 2048, **i64))
    logits = port("logits", ["batch", "sequence", VOCABULARY], 4096)
    past, present = (
        port(f"{name}.0.key", ["batch", 1, dim], offset, **i64)
        for name, dim, offset in (("past_key_values", "past", 8192), ("present", total, 9216))
    )
    with extra_sets(MODEL):
        held = at(MEMORY, 0, ["batch", total], [CONTEXT, 1], **i64)
        new = at(MEMORY, 0 if cache == "none" else "past*8", ids, [CONTEXT, 1], **i64)
        old = at(MEMORY, 0, ["batch", "past"], [CONTEXT, 1], **i64)
        given, given_back = at(IO, 8192, ["batch", "past"], **i64), at(IO, 9216, ["batch", total], **i64)
        take, give = b.op("model.copy", dst=old, src=given), b.op("model.copy", dst=given_back, src=held)
        main = [
            b.op("model.copy", dst=new, src=at(IO, 0, ids, **i64)),
            b.op(
                "model.score",
                dst=at(IO, 4096, ["batch", "sequence", VOCABULARY]),
                history=held,
                mask=at(IO, 1024, mask, **i64),
                positions=at(IO, 2048, positions, **i64),
            ),
        ]
        if cache == "fed":
            main = [take, *main, give]
            b.function("main", "main", [*ports, past], [logits, present])
        else:
            b.function("main", "main", ports, [logits])
        b.block("main", {"e0": main})
        if cache == "device":
            for name, record in (("import_cache", take), ("export_cache", give)):
                b.pools.blocks.append(name)
                b.block(name, {"e0": [record]})
            b.function("import_cache", "import_cache", [past])
            b.function("export_cache", "export_cache", (), [present])
    state = State("key", past.name, present.name, 2, Expr.of("past"))
    roles = {"batch": "batch", "sequence": "sequence", "past": "past"}
    if cache == "none":
        del roles["past"]
    return b.code(
        engines={"e0": Engine("e0", "simd", "model", {})},
        states=(state,) if cache == "device" else (),
        limits={"context": CONTEXT, "max_batch": BATCH},
        context_of=roles,
        dimensions=tuple(roles.values()),
    )


SPACE = IO << SPACE_SHIFT
