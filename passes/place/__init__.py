"""The passes of phase place, in order."""

from crossbank.passes.place.place_weights import PlaceWeightsPass

PASSES = (PlaceWeightsPass,)
