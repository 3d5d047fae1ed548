"""Negatives counted by score, for all pairs of a block at once.

A filter keeps the negatives of a pair on one side of a bound, which may hang on the score of the
pair's positive (`miner.selection.strategies.base.Bound`). Scores never grow with the distance, so
the bound is one more threshold in key space. Where it lies is known up to the error of keys and of
rounding: it is an interval. Keys outside of it are sure; where there are some inside, the positive
and they are measured by the float64 definition and their scores compared. So the counts are those
of the definition.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from miner.census.walk.count_below import ascending, count_below
from miner.census.walk.ranked_block import RankedBlock
from miner.selection.strategies.base import Bound
from miner.triplets.distance import UNIT_ROUNDOFF, score
from miner.triplets.types import Float64, Rows

__all__ = ["count_scoring"]


def count_scoring(block: RankedBlock, bound: Bound, *, normalized: bool) -> Rows:
    """Count, per pair, the negatives within the anchor's reach whose score is not below a bound.

    Parameters
    ----------
    block : RankedBlock
    bound : Bound
    normalized : bool
        Whether the vectors have unit length: what a score is depends on it.

    Returns
    -------
    ndarray of shape (pairs,), int64
    """
    low, high = _thresholds(block, bound, normalized)
    lines = block.pairs.lines if bound.by_pair else np.arange(len(block.anchors))
    starts = block.starts if bound.by_pair else np.arange(len(block.anchors) + 1)
    order, exactly = ascending(starts, low, block.loops), np.zeros(len(block.anchors))
    under, _ = block.between(starts, order, low, exactly)
    _, over = block.between(starts, order, high, exactly)
    d_ap = np.zeros(len(lines))
    unsure = np.flatnonzero(over > under)
    if bound.by_pair and len(unsure):
        d_ap[unsure] = block.pairs.measured(block.vectors, block.space, unsure)

    def holds(d_an: Float64, threshold: Rows) -> NDArray[np.bool_]:
        """Whether the scores of rows are not below that which their threshold asks."""
        least = bound.least(score(block.space.metric, normalized, d_ap[threshold]))
        return np.asarray(score(block.space.metric, normalized, d_an) >= least)

    counts = count_below(block, lines, under, over, holds).counts
    return counts if bound.by_pair else counts[block.pairs.lines]


def _thresholds(block: RankedBlock, bound: Bound, normalized: bool) -> tuple[Float64, Float64]:
    """Return the keys below which all count, and above which none does."""
    space, metric = block.space, block.space.metric
    each = block.pairs.lines if bound.by_pair else np.arange(len(block.anchors))
    offset, wide = block.offset[each], block.tolerance[each]
    wide = wide + 32 * UNIT_ROUNDOFF * (np.abs(offset) + (metric == "cosine" or normalized))
    if bound.by_pair:
        hard = block.thresholds.hard
        # A distance is as unsure as its key; scores and bounds only ever rise as it falls.
        wide += 32 * UNIT_ROUNDOFF * space.slope * np.abs(hard)
        near, far = (space.distance(hard + way * wide, offset) for way in (-1.0, 1.0))
        most, least = (bound.least(score(metric, normalized, d)) for d in (near, far))
    else:
        most = least = bound.least(np.zeros(len(each)))
    # Beyond the rows that are listed nothing counts; below the nearest there is nothing to count.
    nearest, reach = _ends(block)
    nearest, reach = nearest[each], reach[each]
    room = 2 * wide + 64 * UNIT_ROUNDOFF * (np.abs(nearest) + np.abs(reach))
    keys = (space.key_at(scores, normalized, offset) for scores in (most, least))
    low, high = (np.clip(key, nearest - room, reach + room) for key in keys)
    wide += 32 * UNIT_ROUNDOFF * np.maximum(np.abs(low), np.abs(high))
    return low - wide, high + wide


def _ends(block: RankedBlock) -> tuple[Float64, Float64]:
    """Return the keys of the nearest and of the farthest row that are listed of each anchor."""
    ends = np.zeros((2, len(block.anchors)))
    some = np.flatnonzero(block.sizes)
    ends[0, some] = block.entries[block.firsts[some]]
    ends[1, some] = block.entries[block.firsts[some + 1] - 1]
    return ends[0], ends[1]
