"""Files that a program or a command writes: they appear whole or not at all, and an older one stays till then."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from crossbank.runtime.program import ProgramError


@contextmanager
def output_file(path: Path) -> Generator[BinaryIO]:
    """What is written inside is the file `path`, once all is written; ProgramError CB0501 where it can't be made.

    A link is followed. What is no regular file (a device, a pipe) is written into, not replaced.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():
            with tempfile.TemporaryFile() as whole:
                yield whole
                whole.seek(0)
                with target.open("wb") as file:
                    shutil.copyfileobj(whole, file)
            return
        temporary = target.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with temporary.open("xb") as file:
                yield file
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ProgramError(
            "CB0501", f"can't write {path.name}: {error.strerror or error}", str(path), "give another -o"
        ) from error


def check_output(path: Path, inputs: Iterable[Path] = ()) -> None:
    """Refuse, before any work is done, an output whose folder is missing, that is a folder, or that is an input.

    ProgramError CB0501.
    """
    place = Path(os.path.realpath(path))
    if not place.parent.is_dir():
        raise ProgramError(
            "CB0501", f"there is no folder {place.parent} to write {path.name} into", help="make it, or give another -o"
        )
    try:
        if place.is_dir():
            raise ProgramError("CB0501", f"{path} is a folder", help=f"name a file in it: -o {path / 'program.cbk'}")
        taken = next((other for other in inputs if _same(place, other)), None)
    except OSError as error:
        raise ProgramError(
            "CB0501", f"can't write {path.name}: {error.strerror}", str(path), "give another -o"
        ) from error
    if taken is not None:
        raise ProgramError("CB0501", f"{path} would replace {taken}, which is read", help="give another -o")


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.samefile(other)
