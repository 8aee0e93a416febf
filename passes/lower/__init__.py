"""The passes of phase lower, in order."""

from crossbank.passes.lower.lower_to_instructions import LowerToInstructionsPass

PASSES = (LowerToInstructionsPass,)
