"""The passes of phase assign, in order."""

from crossbank.passes.assign.assign_engines import AssignEnginesPass
from crossbank.passes.assign.check_dimensions import CheckDimensionsPass

PASSES = (CheckDimensionsPass, AssignEnginesPass)
