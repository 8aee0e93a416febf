"""The reference page lists every instruction with its operands."""

from __future__ import annotations

from crossbank.runtime.assembly.reference import reference_page
from crossbank.runtime.registry import instruction_set, set_names
from tests.runtime.toy import TOY


def test_one_instruction() -> None:
    page = reference_page([TOY])
    assert "## toy\n\nFor tests. Set 200, version 1.\n" in page
    assert (
        "### toy.unary\n\n"
        "`0xc801` dst = way(src).\n\n"
        "| operand | slots | kind | bits | meaning |\n"
        "|---|---|---|---|---|\n"
        "| `dst` | 0, 1 | tensor | 63 | writes |\n"
        "| `src` | 2, 3 | tensor | 63 | reads |\n"
        "| `way` | 4 | choice | 8 | `copy` 0, `negate` 1, `square` 2 |\n"
    ) in page
    assert "| `b` | 4, 5 | optional tensor | 63 | reads; 0 where absent |" in page


def test_all_installed_sets_are_there_in_order() -> None:
    page = reference_page()
    places = []
    for isa in sorted(map(instruction_set, set_names()), key=lambda isa: isa.number):
        for code in sorted(isa.by_code):
            places.append(page.index(f"### {isa.name}.{isa.by_code[code].mnemonic}\n"))
    assert places == sorted(places)
