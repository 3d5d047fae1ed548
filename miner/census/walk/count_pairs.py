"""The counts of a block's pairs: how many negatives are hard, and how many hard or semi-hard."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from miner.census.walk.ranked_block import RankedBlock
from miner.census.walk.settle import ascending, settle
from miner.triplets.hardness import is_hard, is_within
from miner.triplets.types import Float64, Rows

__all__ = ["count_pairs"]


def count_pairs(block: RankedBlock, margin: float, unclear: Float64) -> None:
    """Fill the counts of a block.

    Parameters
    ----------
    block : RankedBlock
        Rows whose place among the thresholds is unsure are put in the order of their distances.
    margin : float
    unclear : ndarray of shape (b,), float64
        So are the rows whose keys are below this.
    """
    pairs, borders = block.pairs, block.borders
    count, (low, high) = len(pairs.positives), _intervals(block)
    pair = np.unique(np.flatnonzero(high > low) % max(1, count))
    if len(pair):
        borders.d_ap[pair] = pairs.measured(block.vectors, block.space, pair)

    def holds(d_an: Float64, threshold: Rows) -> NDArray[np.bool_]:
        """Whether rows are hard, or hard or semi-hard, as their threshold asks."""
        d_ap = borders.d_ap[threshold % count]
        return np.where(threshold < count, is_hard(d_ap, d_an), is_within(d_ap, d_an, margin))

    lines = np.arange(len(pairs.anchors))
    upto, _ = block.between(np.arange(len(lines) + 1), lines, unclear, np.zeros(len(lines)))
    settled = settle(
        block,
        np.concatenate([pairs.lines, pairs.lines, lines]),
        np.concatenate([low, np.zeros_like(upto)]),
        np.concatenate([high, upto]),
        holds,
    )
    block.hard, block.within = settled.counts[:count], settled.counts[count : 2 * count]
    # A margin that rounding swallows (d + m == d) leaves the ties hard all the same.
    np.maximum(block.within, block.hard, out=block.within)
    block.settled = settled.places, settled.distances


def _intervals(block: RankedBlock) -> tuple[Rows, Rows]:
    """Return between which ranks each threshold lies: first where hard ends, then semi-hard."""
    starts, borders = block.starts, block.borders
    order = ascending(starts, borders.hard)
    found = [
        block.between(starts, order, edges, block.tolerance)
        for edges in (borders.hard, borders.within)  # both are in one order
    ]
    low, high = zip(*found, strict=True)
    return np.concatenate(low), np.concatenate(high)
