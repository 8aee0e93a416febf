"""How errors of ours reach a person: a bundle with IR, traceback and versions, and a command that replays it."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import traceback
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

OUR_BUG = 70


class InternalError(Exception):
    """A pass failed: a bug of ours, raised from the error itself; `ir` is the module as the pass left it."""

    def __init__(self, where: str, ir: str) -> None:
        super().__init__(f"in {where}")
        self.where, self.ir = where, ir


def versions() -> dict[str, str]:
    """Versions of what takes part in a compilation."""
    found = {"python": platform.python_version()}
    for name in ("crossbank", "xdsl", "onnx", "onnx-ir", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def write_bundle(error: BaseException) -> Path:
    """Write what is needed to look into an internal error to a new folder; gives the folder."""
    folder = Path(tempfile.mkdtemp(prefix="crossbank-crash-"))
    (folder / "traceback.txt").write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    facts = {"argv": sys.argv, "folder": os.getcwd(), "versions": versions()}
    if isinstance(error, InternalError):
        facts["where"] = error.where
        (folder / "module.mlir").write_text(error.ir, encoding="utf-8")
    (folder / "command.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")
    return folder
