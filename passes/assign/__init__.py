"""The passes of phase assign, in order."""

from crossbank.passes.assign.assign_engines import AssignEnginesPass

PASSES = (AssignEnginesPass,)
