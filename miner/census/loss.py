"""The hinge loss of a block's triplets, summed from what is counted."""

from __future__ import annotations

import numpy as np

from miner.census.walk.ranked_block import RankedBlock
from miner.triplets.types import Float64

__all__ = ["sum_losses"]


def sum_losses(block: RankedBlock, margin: float) -> Float64:
    """Return the sum of ``m + d(a,p) - d(a,n)`` over each anchor's hard and semi-hard triplets.

    A row's distance counts once for each pair that it is within reach of, and a pair's once for
    each of its rows; both less the distance of the nearest row, so that they do not cancel.

    Returns
    -------
    ndarray of shape (b,), float64
    """
    space, within = block.space, block.ascending_counts[1]
    bases, sums = block.loops.sum_losses(
        block.entries, block.firsts, block.starts, within, block.offset, space.slope, space.root,
        *block.settled,
    )  # fmt: skip
    pairs = block.within * (block.borders.d_ap - bases[block.pairs.lines] + margin)
    losses: Float64 = np.add.reduceat(pairs, block.starts[:-1]) - sums
    return losses
