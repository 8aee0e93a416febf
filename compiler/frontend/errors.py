"""Diagnostics of the frontend: codes CB0101 to CB0199, all of what a user's file can have wrong."""

from __future__ import annotations

from crossbank.runtime.program import ProgramError


class FrontendError(ProgramError):
    """A model file that can't be imported: `where` is the file, or the file and the node."""


NOT_ONNX = "CB0101"
TRUNCATED = "CB0102"
MISSING_DATA = "CB0103"
UNSAFE_PATH = "CB0104"
DATA_RANGE = "CB0105"
DATA_SIZE = "CB0106"
DUPLICATE = "CB0107"
CYCLE = "CB0108"
UNKNOWN_OPS = "CB0109"
TOO_LARGE = "CB0110"
UNDEFINED = "CB0111"
DTYPE = "CB0112"
SHAPE = "CB0113"
ATTRIBUTE = "CB0114"
DIMENSION = "CB0115"
