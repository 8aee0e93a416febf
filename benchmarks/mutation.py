"""One instruction changed at random: the verifier refuses it, or the outputs or the cost change."""

from __future__ import annotations

import copy
import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

import crossbank
from benchmarks.bars import SAMPLE, Options, Row, at_least
from benchmarks.feeding import Array, next_past, step_feeds
from crossbank.runtime.compiled import Program
from crossbank.runtime.isa import EXPRESSIBLE, NO_LAYOUT, Kind
from crossbank.runtime.program import Code, ProgramError
from crossbank.runtime.records import Decoder
from crossbank.runtime.registry import sets_of

CHANGES = 200
SHARE = 0.95
BATCH, PROMPT, STEPS = 2, 5, 2
CONTEXT = 64


@dataclass(frozen=True)
class Change:
    """What is changed: the value of one field of one record, and what kind of field it is."""

    block: str
    engine: str
    index: int
    kind: str
    slot: int
    """Operand slot, or -1 for the opcode."""
    before: int
    after: int

    def applied(self, code: Code) -> Code:
        """The program with the change."""
        changed = copy.copy(code)
        block = copy.copy(code.blocks[self.block])
        stream = block.streams[self.engine].copy()
        if self.slot < 0:
            stream["opcode"][self.index] = self.after
        else:
            stream["args"][self.index, self.slot] = self.after
        block.streams = {**block.streams, self.engine: stream}
        changed.blocks = {**code.blocks, self.block: block}
        return changed


def changes(code: Code, count: int, seed: int) -> list[Change]:
    """Different changes, drawn evenly over records and then over the fields of a record."""
    rng, decoder = random.Random(seed), Decoder(code)
    places = [
        (block.name, engine, index)
        for block in code.blocks.values()
        for engine, stream in block.streams.items()
        for index in range(len(stream))
    ]
    found: dict[Change, None] = {}
    while len(found) < count:
        change = _drawn(code, decoder, *rng.choice(places), rng)
        if change is not None:
            found[change] = None
    return list(found)


def _drawn(code: Code, decoder: Decoder, block: str, engine: str, index: int, rng: random.Random) -> Change | None:
    record = code.blocks[block].streams[engine][index]
    decoded = decoder.decode(record)
    slots = [(-1, "opcode", int(record["opcode"]))] + [
        (slot, entry.kind.value, int(record["args"][slot])) for slot, (_, entry) in enumerate(decoded.instruction.slots)
    ]
    slot, kind, before = rng.choice(slots)
    if kind == "opcode":
        choices = [before & ~0xFF | low for low in sets_of(code)[before >> 8].by_code]
    else:
        entry = decoded.instruction.slots[slot][1]
        choices = _others(code, entry.kind, before, rng)
        if entry.kind is Kind.ENUM and entry.members is not None:
            choices = [int(member) for member in entry.members]
    choices = [value for value in choices if value != before]
    return Change(block, engine, index, kind, slot, before, rng.choice(choices)) if choices else None


def _others(code: Code, kind: Kind, value: int, rng: random.Random) -> list[int]:
    """Other values that an operand of a kind could have; the neighbours of a number, another expression."""
    if kind is Kind.FLOAT:
        return [int(np.float64(x).view(np.int64)) for x in (0.5, 1.0, -1.0, rng.random())]
    if kind is Kind.LAYOUT:
        return [] if value == NO_LAYOUT else list(range(len(code.layouts)))
    if kind in EXPRESSIBLE and value < 0:
        return [-(i + 1) for i in range(len(code.expressions))]
    if kind is Kind.ADDRESS:
        return [value + step for step in (-256, -64, -8, -4, 4, 8, 64, 256) if value + step >= 0]
    if kind is Kind.COUNT:
        return [value + step for step in (-1, 1, 2, 7) if value + step >= 0]
    sizes = {Kind.REGISTER: code.registers, Kind.BLOCK: code.blocks, Kind.TABLE: code.tables}
    return list(range(code.tokens)) if kind is Kind.TOKEN else list(range(len(sizes.get(kind, ()))))


def behaviour(program: Program, seed: int = 0) -> tuple[str, str]:
    """Hashes of all outputs of a prompt and some decode steps, and of the cost with its breakdown."""
    session = program.session(seed=seed)
    digest, past = hashlib.sha256(), dict[str, Array]()
    names = [o.name for o in session.outputs]
    rng = np.random.default_rng(1)
    for step in range(STEPS + 1):
        ids = rng.integers(0, 256, (BATCH, 1 if step else PROMPT))
        found = dict(zip(names, session.run(names, step_feeds(session.inputs, ids, past)), strict=True))
        for value in found.values():
            digest.update(value.tobytes())
        past = {name: value[::-1] for name, value in next_past(found).items()}  # not what the device holds already
    cost = program.cost(prompt=PROMPT, generate=STEPS + 1, batch=BATCH).to_dict()
    return digest.hexdigest(), hashlib.sha256(json.dumps(cost, sort_keys=True).encode()).hexdigest()


def outcome(program: Program, change: Change, expected: tuple[str, str]) -> str:
    """What becomes of it: "refused" by the verifier, "stopped" or "crashes" in a run, "output" or "cost" where that
    differs, or "survives"."""
    changed = Program(change.applied(program.code), program.tensors)
    try:
        changed.verify()
    except ProgramError:
        return "refused"
    try:
        found = behaviour(changed)
    except ProgramError:
        return "stopped"
    except Exception:
        return "crashes"
    return "survives" if found == expected else "output" if found[0] != expected[0] else "cost"


def run(options: Options) -> Iterator[Row]:
    """A row per target, with what happened to how many."""
    for target in options.targets:
        program = crossbank.compile(SAMPLE, target, context=CONTEXT, max_batch=BATCH, quiet=True)
        expected, counts = behaviour(program), dict[str, int]()
        for change in changes(program.code, CHANGES, seed=7):
            result = outcome(program, change, expected)
            counts[result] = counts.get(result, 0) + 1
            if result in ("survives", "crashes"):
                decoded = Decoder(program.code).decode(
                    program.code.blocks[change.block].streams[change.engine][change.index]
                )
                yield Row(f"{target}: {result}", "", f"{decoded.name} {change}", None)
        missed = counts.get("survives", 0) + counts.get("crashes", 0)
        row = at_least(f"{target}, {CHANGES} changes noticed", 1 - missed / CHANGES, SHARE)
        parts = ", ".join(f"{n} {what}" for what, n in sorted(counts.items()))
        yield Row(row.name, row.bar, f"{row.measured} ({parts})", row.ok)
