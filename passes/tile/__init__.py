"""The passes of phase tile, in order."""

from crossbank.passes.tile.tile_caches import TileCachesPass
from crossbank.passes.tile.tile_weights import TileWeightsPass

PASSES = (TileWeightsPass, TileCachesPass)
