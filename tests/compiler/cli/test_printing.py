"""JSON on stdout is JSON: what it has no word for is null."""

from __future__ import annotations

import json
import math

import pytest

from crossbank.compiler.cli.printing import put_json


def test_numbers_that_json_lacks_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    put_json({"a": [math.nan, 1.5, (math.inf, -math.inf)], "b": {"c": math.nan}, "d": "nan"})

    def refuse(word: str) -> None:
        raise AssertionError(word)

    text = capsys.readouterr().out
    assert json.loads(text, parse_constant=refuse) == {"a": [None, 1.5, [None, None]], "b": {"c": None}, "d": "nan"}
