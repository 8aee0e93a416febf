"""Settings of all tests: no time limits on examples, for machines are busy; the same examples in every run.

Options: more targets for the conformance suite, and a switch that rewrites golden texts.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

from crossbank.backends.system import target_names

settings.register_profile("house", deadline=None, derandomize=True)
settings.register_profile("long", deadline=None, max_examples=1000)
settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--target",
        action="append",
        default=[],
        metavar="NAME_OR_TOML",
        help="run the conformance suite on this target only; may be given more than once",
    )
    parser.addoption("--update-golden", action="store_true", help="write golden texts anew instead of comparing")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run of the conformance suite per target: those asked for, else all that come with the package."""
    if metafunc.module.__name__.startswith("tests.conformance") and "target" in metafunc.fixturenames:
        targets = metafunc.config.getoption("--target") or target_names()
        metafunc.parametrize("target", targets, scope="session")
