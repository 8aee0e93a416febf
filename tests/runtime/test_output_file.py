"""Output files: whole or not at all, inputs stay, links are followed, devices and pipes are written into."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from crossbank.runtime.output_file import check_output, output_file
from crossbank.runtime.program import ProgramError


def test_the_file_appears_whole_with_the_usual_rights(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    before = os.umask(0o027)
    try:
        with output_file(path) as file:
            file.write(b"new")
            assert path.read_bytes() == b"old"
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_older_file_and_nothing_else(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    with pytest.raises(failure), output_file(path) as file:
        file.write(b"half")
        raise failure
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    with output_file(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_pipe_is_written_into_and_stays_one(tmp_path: Path) -> None:
    pipe, found = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    with output_file(pipe) as file:
        file.write(b"head")
        file.seek(0)
        file.write(b"H")
    reader.join()
    assert found == [b"Head"]
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_what_can_not_be_written_is_a_diagnostic(tmp_path: Path) -> None:
    for name in ("absent/out", "n" * 300):
        with pytest.raises(ProgramError, match="CB0501"):
            check_output(tmp_path / name)
        with pytest.raises(ProgramError, match="CB0501"), output_file(tmp_path / name):
            pass
    with pytest.raises(ProgramError, match="is a folder"):
        check_output(tmp_path)


def test_an_input_is_no_output_whatever_it_is_called(tmp_path: Path) -> None:
    given = tmp_path / "in"
    given.write_bytes(b"precious")
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "hard").hardlink_to(given)
    for name in ("in", "link", "hard"):
        with pytest.raises(ProgramError, match="would replace") as caught:
            check_output(tmp_path / name, [tmp_path / "absent", given])
        assert caught.value.code == "CB0501"
    check_output(tmp_path / "other", [given])
    assert given.read_bytes() == b"precious"
