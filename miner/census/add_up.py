"""What a block's anchors find, row by row: the loss, and the triplets of each row."""

from __future__ import annotations

import numpy as np

from miner.census.column_sums import ColumnSums
from miner.census.walk.ranked_block import RankedBlock
from miner.triplets.types import Float64

__all__ = ["add_up"]

_COARSE = 0.01
"""Roots in float32 are enough for a margin that is such a share of the distances: each is off by
6e-8, now up and now down, and a line has many."""
_LARGE = 1e18
"""The square of a larger distance may be beyond float32."""


def add_up(block: RankedBlock, margin: float, sums: ColumnSums | None = None) -> Float64:
    """Add up a block's rows; return the loss of each of its anchors.

    The loss is the sum of ``m + d(a,p) - d(a,n)`` over the hard and semi-hard triplets. A row's
    distance counts once for each pair that it is within reach of, and a pair's once for each of its
    rows; both less the distance of the nearest row, so that they do not cancel.

    Parameters
    ----------
    block : RankedBlock
    margin : float
    sums : ColumnSums, optional
        Takes the triplets by row and label.

    Returns
    -------
    ndarray of shape (b,), float64
    """
    bases, totals = np.zeros((2, len(block.anchors)))
    d_ap, space = block.borders.d_ap, block.space
    most = float(np.abs(d_ap).max(initial=0.0))
    coarse = margin > _COARSE * most and margin + most < _LARGE
    key_space = (block.offset, float(space.slope), space.root, coarse)
    pairs = (block.starts, block.hard, block.within)
    none = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint32)
    found, seen = none if sums is None else (sums.found, sums.seen)
    runs = [(0, len(bases))] if sums is None else sums.runs(block.anchors)
    for run in runs:
        own = (block.entries, block.firsts, block.bits, *pairs, run, key_space, block.settled)
        block.loops.add_up(*own, found, seen, bases, totals)
        if sums is not None:
            sums.book(int(block.anchors[run[0]]))
    lost = block.within * (d_ap - bases[block.pairs.lines] + margin)
    losses: Float64 = np.add.reduceat(lost, block.starts[:-1]) - totals
    return losses
