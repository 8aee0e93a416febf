"""What can be said: a file per dialect, and `load_dialects` for all of them."""

from xdsl.context import Context


def load_dialects(ctx: Context) -> None:
    """Load the dialects of this package; those of instruction sets come from `instructions.dialect_of`."""
    from crossbank.dialects.imc import IMC
    from crossbank.dialects.llm import LLM
    from crossbank.dialects.onnx import ONNX

    for dialect in (ONNX, LLM, IMC):
        ctx.load_dialect(dialect)
