"""The passes of phase place, in order."""

from crossbank.passes.place.place_weights import PlaceWeightsPass
from crossbank.passes.place.reduce_partial_sums import ReducePartialSumsPass

PASSES = (PlaceWeightsPass, ReducePartialSumsPass)
