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
def _fill(
    keys: Any, thresholds: Any, starts: Any, tolerance: Any, offset: Any, slope: Any, root: Any,
    counts: Any, sums: Any, near: Any,
) -> None:  # pragma: no cover  (compiled)
    for row in range(keys.shape[0]):
        first = starts[row]
        size = starts[row + 1] - first
        mine = thresholds[first : first + size]
        slack = tolerance[row]
        low = mine[0] - slack
        high = mine[size - 1] + slack
        bins = _LEAST_BINS
        while bins < 4 * size and bins < _MOST_BINS:
            bins *= 2
        scale = (bins - 1) / (high - low) if high > low else 0.0
        begin = np.zeros(bins + 1, np.int32)
        for place in range(size):
            begin[int((mine[place] - low) * scale) + 1] += 1
        for cell in range(bins):
            begin[cell + 1] += begin[cell]
        histogram = np.zeros(size + 1, np.int64)
        totals = np.zeros(size + 1, np.float64)
        unsure = False
        for column in range(keys.shape[1]):
            key = keys[row, column]
            if not key <= high:
                continue
            place = 0
            if key >= low:
                place = begin[int((key - low) * scale)]
                while place < size and mine[place] <= key:
                    place += 1
                if place < size and mine[place] - key <= slack:
                    unsure = True
                if place > 0 and key - mine[place - 1] <= slack:
                    unsure = True
            histogram[place] += 1
            distance = offset[row] + slope * key
            if root:
                distance = np.sqrt(distance) if distance > 0.0 else 0.0
            totals[place] += distance
        near[row] = unsure
        count = 0
        total = 0.0
        for place in range(size):
            count += histogram[place]
            total += totals[place]
            counts[first + place] = count
            sums[first + place] = total


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
    _fill(
        keys, thresholds, starts, tolerance, offset, float(slope), bool(root), counts, sums, near
    )
    return Below(counts, sums, near)
