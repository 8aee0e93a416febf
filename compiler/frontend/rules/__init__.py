"""Shape and value rules of ONNX operators; importing this fills the tables in `compiler.frontend.step`."""

from crossbank.compiler.frontend.rules import contraction, contributed, elementwise, movement, reduction, shapes

__all__ = ["contraction", "contributed", "elementwise", "movement", "reduction", "shapes"]
