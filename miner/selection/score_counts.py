"""Count the negatives whose score reaches a bound, for all pairs of a block at once.

A score filter compares the score of a negative with a bound, which may depend on the score of the
pair's positive (`miner.selection.strategies.base.ScoreBound`). Scores never grow with the distance,
so the bound corresponds to a threshold in key space. Keys and rounding have a known error, so the
threshold is an interval. A key outside of the interval decides by itself. For keys inside, the
distances of the positive and of the negatives are measured by the float64 definition and their
scores are compared. The counts therefore follow the definition exactly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from miner.census.walk.count_below import ascending, count_below
from miner.census.walk.ranked_block import RankedBlock
from miner.selection.strategies.base import ScoreBound
from miner.triplets.distance import UNIT_ROUNDOFF, score
from miner.triplets.types import Float64, Rows

__all__ = ["count_scores_at_least"]


def count_scores_at_least(block: RankedBlock, bound: ScoreBound, *, normalized: bool) -> Rows:
    """Count, per pair, the listed negatives of the anchor whose score is at least a bound.

    Parameters
    ----------
    block : RankedBlock
    bound : ScoreBound
    normalized : bool
        Whether the vectors have unit length, which the definition of the score depends on.

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
        """Return whether the scores of rows reach the bounds of their thresholds."""
        least = bound.least(score(block.space.metric, normalized, d_ap[threshold]))
        return np.asarray(score(block.space.metric, normalized, d_an) >= least)

    counts = count_below(block, lines, under, over, holds).counts
    return counts if bound.by_pair else counts[block.pairs.lines]


def _thresholds(block: RankedBlock, bound: ScoreBound, normalized: bool) -> tuple[Float64, Float64]:
    """Return two keys per threshold: all rows below the first count, none above the second."""
    space, metric = block.space, block.space.metric
    each = block.pairs.lines if bound.by_pair else np.arange(len(block.anchors))
    offset, wide = block.offset[each], block.tolerance[each]
    wide = wide + 32 * UNIT_ROUNDOFF * (np.abs(offset) + (metric == "cosine" or normalized))
    if bound.by_pair:
        hard = block.thresholds.hard
        # A distance has the error of its key; scores and bounds never fall as it decreases.
        wide += 32 * UNIT_ROUNDOFF * space.slope * np.abs(hard)
        near, far = (space.distance(hard + way * wide, offset) for way in (-1.0, 1.0))
        most, least = (bound.least(score(metric, normalized, d)) for d in (near, far))
    else:
        most = least = bound.least(np.zeros(len(each)))
    # No row is listed below the nearest or above the farthest key, so the keys can be clipped.
    nearest, reach = _ends(block)
    nearest, reach = nearest[each], reach[each]
    room = 2 * wide + 64 * UNIT_ROUNDOFF * (np.abs(nearest) + np.abs(reach))
    keys = (space.key_at(scores, normalized, offset) for scores in (most, least))
    low, high = (np.clip(key, nearest - room, reach + room) for key in keys)
    wide += 32 * UNIT_ROUNDOFF * np.maximum(np.abs(low), np.abs(high))
    return low - wide, high + wide


def _ends(block: RankedBlock) -> tuple[Float64, Float64]:
    """Return the keys of the nearest and of the farthest listed row of each anchor."""
    ends = np.zeros((2, len(block.anchors)))
    some = np.flatnonzero(block.sizes)
    ends[0, some] = block.entries[block.firsts[some]]
    ends[1, some] = block.entries[block.firsts[some + 1] - 1]
    return ends[0], ends[1]
