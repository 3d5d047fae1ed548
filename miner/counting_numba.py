"""The counting kernel as a compiled loop: each key finds its place among the sorted thresholds.

A table over equal bins between the first and the last threshold says where to begin; since the bin
of a number never falls as the number grows, the thresholds of lower bins are all below the key, and
only those of its own bin are compared. A row costs one pass over its keys, without a sort.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from miner.counting import Below, Float64

__all__ = ["count_below"]

_LEAST_BINS = 64
_MOST_BINS = 65536


def _compiled(function: Any) -> Any:
    """Compile without the GIL; cache on disk where there is a place for it."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba finds no folder that it can write to
        return numba.njit(nogil=True)(function)


@_compiled
def _bins(mine: Any, low: Any, scale: Any, bins: Any) -> Any:  # pragma: no cover  (compiled)
    """Return for each bin how many thresholds lie in the bins before it."""
    before = np.zeros(bins + 1, np.int32)
    for place in range(mine.size):
        before[int((mine[place] - low) * scale) + 1] += 1
    for cell in range(bins):
        before[cell + 1] += before[cell]
    return before


@_compiled
def _count_row(
    keys: Any, mine: Any, slack: Any, offset: Any, slope: Any, root: Any, counts: Any, sums: Any
) -> Any:  # pragma: no cover  (compiled)
    """Fill one row's counts and sums; return whether some key is near a threshold."""
    size = mine.size
    low, high = mine[0] - slack, mine[size - 1] + slack
    bins = _LEAST_BINS
    while bins < 4 * size and bins < _MOST_BINS:
        bins *= 2
    scale = (bins - 1) / (high - low) if high > low else 0.0
    before = _bins(mine, low, scale, bins)
    histogram = np.zeros(size + 1, np.int64)
    totals = np.zeros(size + 1, np.float64)
    near = False
    for key in keys:
        if not key <= high:
            continue
        place = 0
        if key >= low:
            place = before[int((key - low) * scale)]
            while place < size and mine[place] <= key:
                place += 1
            near |= place < size and mine[place] - key <= slack
            near |= place > 0 and key - mine[place - 1] <= slack
        histogram[place] += 1
        distance = offset + slope * key
        totals[place] += np.sqrt(max(distance, 0.0)) if root else distance
    counts[:] = np.cumsum(histogram)[:size]
    sums[:] = np.cumsum(totals)[:size]
    return near


@_compiled
def _fill(
    keys: Any,
    thresholds: Any,
    starts: Any,
    tolerance: Any,
    offset: Any,
    slope: Any,
    root: Any,
    counts: Any,
    sums: Any,
    near: Any,
) -> None:  # pragma: no cover  (compiled)
    """Do all rows."""
    for row in range(keys.shape[0]):
        part = slice(starts[row], starts[row + 1])
        near[row] = _count_row(
            keys[row],
            thresholds[part],
            tolerance[row],
            offset[row],
            slope,
            root,
            counts[part],
            sums[part],
        )


def count_below(
    keys: Float64,
    thresholds: Float64,
    starts: NDArray[np.int64],
    tolerance: Float64,
    offset: Float64,
    slope: float,
    root: bool,
) -> Below:
    """Count the keys below each threshold; see `miner.counting.count_below`."""
    counts = np.empty(len(thresholds), dtype=np.int64)
    sums = np.empty(len(thresholds))
    near = np.zeros(len(keys), dtype=np.bool_)
    _fill(keys, thresholds, starts, tolerance, offset, float(slope), bool(root), counts, sums, near)
    return Below(counts, sums, near)
