"""Settings of all tests: no time limits on examples, for machines are busy; the same examples in every run.

Options: more targets for the conformance suite, and a switch that rewrites golden texts. Counts that tests note with
`record_property("what passed", (some, all))` are summed and printed at the end.
"""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import settings

from crossbank.backends.system import target_names
from tests import zoo

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
    parser.addoption("--zoo", metavar="DIR", help="check the recorded models in this folder instead of those known")
    parser.addoption("--update-golden", action="store_true", help="write golden texts anew instead of comparing")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run of the conformance suite per target: those asked for, else all that come with the package.

    And one run of the checks of recorded models for each model.
    """
    if metafunc.module.__name__.startswith("tests.conformance") and "target" in metafunc.fixturenames:
        targets = metafunc.config.getoption("--target") or target_names()
        metafunc.parametrize("target", targets, scope="session")
    if metafunc.module.__name__ == "tests.test_zoo" and "folder" in metafunc.fixturenames:
        metafunc.parametrize("folder", zoo.asked(metafunc.config.getoption("--zoo")))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the sums of noted counts."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if getattr(report, "when", "") == "call" and isinstance(value, list | tuple):
                    sums[name] = [a + b for a, b in zip(sums[name], value, strict=True)]
    for name, (some, total) in sums.items():
        terminalreporter.write_line(f"{name}: {some} of {total}")
