"""Instruction sets are found by name, and never two under one number."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crossbank.runtime import core_isa
from crossbank.runtime.isa import InstructionSet, count
from crossbank.runtime.program import Engine, ProgramError
from crossbank.runtime.registry import extra_sets, instruction_set, set_names, sets_of
from tests.runtime.toy import TOY, Builder


def toy_set(name: str, number: int) -> InstructionSet:
    return InstructionSet(name, number, 1, "For tests.", lambda config, machine: None, lambda config: None)


def test_sets_are_found_by_name() -> None:
    assert instruction_set("core") is core_isa.ISA
    assert {"core", "simd", "matrix", "pim", "xbar", "host"} <= set(set_names())


def test_an_unknown_set_is_named_with_a_suggestion() -> None:
    with pytest.raises(ProgramError, match="no instruction set 'matrx' is installed") as caught:
        instruction_set("matrx")
    assert caught.value.code == "CB0524" and "did you mean 'matrix'" in caught.value.help


def test_extra_sets_last_as_long_as_their_context() -> None:
    with extra_sets(TOY):
        assert instruction_set("toy") is TOY and "toy" in set_names()
        with extra_sets(toy_set("other", 250)):
            assert {"toy", "other"} <= set(set_names())
        assert "other" not in set_names()
    assert "toy" not in set_names()


def test_two_sets_of_one_number_can_not_meet_in_a_program() -> None:
    builder = Builder()
    with extra_sets(TOY, toy_set("rival", TOY.number)):
        builder.block("main", {})
        code = builder.code()
        assert set(sets_of(code)) == {1, TOY.number}
        engines = {**code.engines, "e2": Engine("e2", "simd", "rival", {})}
        with pytest.raises(ProgramError, match="share number 200"):
            sets_of(replace(code, engines=engines))


def test_declarations_that_do_not_fit_a_record_are_refused() -> None:
    isa = toy_set("narrow", 251)

    def nothing(*_: object) -> None:
        return None

    isa.define("one", 1, [count("n")], "One.", nothing, nothing)
    for mnemonic, code, fields in (("one", 2, 1), ("two", 1, 1), ("two", 0, 1), ("two", 256, 1), ("two", 2, 17)):
        with pytest.raises(ValueError, match=r"narrow\."):
            isa.define(mnemonic, code, [count(f"n{i}") for i in range(fields)], "Two.", nothing, nothing)
    assert isa.opcode(isa.instructions["one"]) == 251 << 8 | 1
