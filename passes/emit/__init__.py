"""Phase emit: no passes, but the function `emit` of `emit_streams`."""

from crossbank.passes.emit.emit_streams import emit

PASSES = ()

__all__ = ["PASSES", "emit"]
