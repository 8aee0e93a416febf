"""The passes of phase split, in order."""

from crossbank.passes.split.split_caches import SplitCachesPass
from crossbank.passes.split.split_weights import SplitWeightsPass

PASSES = (SplitWeightsPass, SplitCachesPass)
