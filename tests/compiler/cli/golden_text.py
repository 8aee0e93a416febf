"""Golden texts: what a command prints, compared with a file; `pytest --update-golden` writes the files anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "golden"


def check(name: str, text: str, request: pytest.FixtureRequest) -> None:
    """Hold a text against `golden/<name>.txt`; times are left out."""
    path = FOLDER / f"{name}.txt"
    steady = re.sub(r"in \d+\.\d s$", "in … s", text, flags=re.MULTILINE)
    if request.config.getoption("--update-golden"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(steady, encoding="utf-8")
    assert path.is_file(), f"{path} is missing: pytest --update-golden writes it"
    assert steady == path.read_text(encoding="utf-8")
