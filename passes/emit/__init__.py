"""Phase emit: no passes, but the function `emit` of `emit_streams`, and what is checked of a model there."""

from crossbank.passes.emit.check_ports import check_shapes
from crossbank.passes.emit.emit_streams import emit

PASSES = ()

__all__ = ["PASSES", "check_shapes", "emit"]
