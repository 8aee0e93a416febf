"""Hostile model files: each ends in a diagnostic or a program that verifies; none crashes, hangs or eats memory.

Cases run in processes of their own with a limit on memory (see `fuzz_worker`); one that doesn't answer is ended. The
long run mutates the models of `../shared/zoo`, or of `--zoo DIR`, beside those kept here.
"""

from __future__ import annotations

import re
import select
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from types import TracebackType

import pytest

from tests import hostile_data, hostile_graphs, hostile_sizes
from tests.hostile_models import BUILDERS, LONG
from tests.zoo import HERE, SHARED

assert hostile_data and hostile_graphs and hostile_sizes

ROOT = Path(__file__).parents[1]
HANG_S = 10.0
"""A case may take this much processor time."""
PATIENCE_S = 120.0
"""What is waited for an answer: machines are busy."""
SEED = 1
SHARDS = 4
SHORT_CASES, LONG_CASES = 100, 20_000
CODE = re.compile(r"CB0\d{3}")


class Worker:
    """A process that compiles files, and makes cases of the models in some folders; a context manager."""

    def __init__(self, folder: Path, *zoos: Path) -> None:
        self.folder, self.zoos = folder, zoos
        self.process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.fuzz_worker", str(self.folder), str(SEED), *map(str, self.zoos)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()

    def complaint(self, case: int | Path) -> str | None:
        """What is wrong with how a case ended; None if nothing is."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{case}\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], PATIENCE_S)[0]:
            self.__exit__(None, None, None)
            self.process = self._start()
            return "no answer"
        answer = self.process.stdout.readline()
        if not answer:
            status = self.process.wait()
            self.process = self._start()
            return f"the process ended with status {status}"
        seconds, _, verdict = answer.strip().partition(" ")
        if float(seconds) > HANG_S:
            return f"took {seconds} s"
        return None if verdict == "compiled" or CODE.fullmatch(verdict) else verdict


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Generator[Worker]:
    with Worker(tmp_path_factory.mktemp("fuzz"), HERE) as started:
        yield started


@pytest.mark.parametrize("name", sorted(BUILDERS.keys() - LONG))
def test_made_by_hand(name: str, worker: Worker, tmp_path: Path) -> None:
    assert worker.complaint(BUILDERS[name](tmp_path)) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LONG))
def test_large_ones(name: str, worker: Worker, tmp_path: Path) -> None:
    assert worker.complaint(BUILDERS[name](tmp_path)) is None


def test_mutations(worker: Worker) -> None:
    complaints = {number: text for number in range(SHORT_CASES) if (text := worker.complaint(number)) is not None}
    assert not complaints


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_many_mutations(
    shard: int, request: pytest.FixtureRequest, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    numbers = range(shard, LONG_CASES, SHARDS)
    given = Path(request.config.getoption("--zoo") or SHARED)
    with Worker(tmp_path, HERE, *([given] if given.is_dir() else [])) as worker:
        complaints = {number: text for number in numbers if (text := worker.complaint(number)) is not None}
    record_property("hostile models refused or compiled", (len(numbers) - len(complaints), len(numbers)))
    assert not complaints
