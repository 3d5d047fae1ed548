"""Sums over a block's rows: the loss of each anchor, and the triplets of each row."""

from __future__ import annotations

import numpy as np

from miner.census.column_sums import ColumnSums
from miner.census.walk.ranked_block import RankedBlock
from miner.triplets.types import Float64

__all__ = ["add_up"]

_COARSE = 0.01
"""If the margin is more than this share of the distances, square roots in float32 are exact enough:
each is off by 6e-8, with varying sign, and an anchor has many of them."""
_LARGE = 1e18
"""The square of a larger distance may overflow float32."""


def add_up(block: RankedBlock, margin: float, sums: ColumnSums | None = None) -> Float64:
    """Return the loss of each anchor of a block; add the triplets of its rows to `sums`.

    The loss is the sum of ``m + d(a,p) - d(a,n)`` over the hard and semi-hard triplets. The
    distance of a row counts once for each pair that the row is hard or semi-hard for, and the
    distance of a pair once for each of these rows. The distance of the nearest row is subtracted
    from both, so that the sums do not cancel.

    Parameters
    ----------
    block : RankedBlock
    margin : float
    sums : ColumnSums, optional
        The triplets of each row are added to it.

    Returns
    -------
    ndarray of shape (b,), float64
    """
    bases, totals = np.zeros((2, len(block.anchors)))
    d_ap, space = block.thresholds.d_ap, block.space
    most = float(np.abs(d_ap).max(initial=0.0))
    coarse = margin > _COARSE * most and margin + most < _LARGE
    key_space = (block.offset, float(space.slope), space.root, coarse)
    pairs = (block.starts, block.hard, block.non_easy)
    none = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint32)
    found, seen = none if sums is None else (sums.found, sums.seen)
    runs = [(0, len(bases))] if sums is None else sums.runs(block.anchors)
    for run in runs:
        own = (block.entries, block.firsts, block.bits, *pairs, run, key_space, block.measured)
        block.loops.add_up(*own, found, seen, bases, totals)
        if sums is not None:
            sums.flush_run(int(block.anchors[run[0]]))
    lost = block.non_easy * (d_ap - bases[block.pairs.lines] + margin)
    losses: Float64 = np.add.reduceat(lost, block.starts[:-1]) - totals
    return losses
