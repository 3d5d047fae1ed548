"""The counting kernel as a compiled loop: one pass over a row's keys, without sorting them.

The range of the row's thresholds is cut into equal bins, some eight a threshold. Since the bin of a
number never falls as the number grows, a key in a bin without thresholds needs no comparison: it is
below the thresholds of all later bins and of no earlier one. Only keys in a bin that a threshold,
give or take the tolerance, lies in are compared one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.kernels.jit import compiled
from miner.census.reference_kernel import Below
from miner.triplets.types import Float64

__all__ = ["count_below"]

_LEAST_BINS = 64
_MOST_BINS = 65536
_SMALL = 24
_NARROW = 1e-300
_SPARSE = 8
"""When fewer than one key in so many is below the top, a branch on it is foreseen."""


@compiled
def _grid(mine: Any, slack: Any) -> Any:  # pragma: no cover  (compiled)
    """Lay bins over the thresholds; the first and the last bin hold none.

    Returns the value where bin 1 begins, bins per unit, and the number of bins.
    """
    bins = _LEAST_BINS
    while bins < 8 * mine.size and bins < _MOST_BINS:
        bins *= 2
    low, high = mine.min() - slack, mine.max() + slack
    scale = (bins - 3) / (high - low) if high - low > _NARROW else 0.0
    return low, scale, bins


@compiled
def _cell(value: Any, low: Any, scale: Any) -> Any:  # pragma: no cover  (compiled)
    """Return the bin of a value up to the top: never less for a greater one."""
    return int(max((value - low) * scale + 1.0, 0.0))


@compiled
def _insert(order: Any, mine: Any, begin: Any, end: Any) -> None:  # pragma: no cover  (compiled)
    """Sort a few places by their thresholds, by insertion."""
    for place in range(begin + 1, end):
        moved = order[place]
        hole = place
        while hole > begin and mine[order[hole - 1]] > mine[moved]:
            order[hole] = order[hole - 1]
            hole -= 1
        order[hole] = moved


@compiled
def _sorted_cells(cells: Any, mine: Any, bins: Any) -> Any:  # pragma: no cover  (compiled)
    """Return the thresholds' ascending order, and where each bin's thresholds begin in it."""
    first = np.zeros(bins + 1, np.int32)
    for cell in cells:
        first[cell + 1] += 1
    for cell in range(bins):
        first[cell + 1] += first[cell]
    order = np.empty(mine.size, np.int64)
    free = first.copy()
    for place in range(mine.size):
        order[free[cells[place]]] = place
        free[cells[place]] += 1
    for cell in range(bins):
        begin, end = first[cell], first[cell + 1]
        if end - begin > _SMALL:
            part = order[begin:end]
            part[:] = part[np.argsort(mine[part])]
        elif end - begin > 1:
            _insert(order, mine, begin, end)
    return order, first


@compiled
def _count_row(
    keys: Any, mine: Any, slack: Any, offset: Any, slope: Any, root: Any, counts: Any, sums: Any
) -> Any:  # pragma: no cover  (compiled)
    """Fill one row's counts and sums; return whether some key is near a threshold."""
    low, scale, bins = _grid(mine, slack)
    top = mine.max() + slack
    cells = np.empty(mine.size, np.int32)
    mixed = np.zeros(bins + 1, np.int32)  # how many thresholds reach into a bin
    for place in range(mine.size):
        cells[place] = _cell(mine[place], low, scale)
        mixed[_cell(mine[place] - slack, low, scale)] += 1
        mixed[_cell(mine[place] + slack, low, scale) + 1] -= 1
    mixed = np.cumsum(mixed)
    order, first = _sorted_cells(cells, mine, bins)
    held = np.zeros(mine.size + 1, np.int64)
    totals = np.zeros(mine.size + 1, np.float64)
    look = np.empty(keys.size + 1, np.int32)
    survivors = 0
    for column in range(keys.size):
        survivors += keys[column] <= top
    looked = 0
    if _SPARSE * survivors < keys.size:
        for column in range(keys.size):
            if keys[column] <= top:
                look[looked] = column
                looked += 1
    else:
        for column in range(keys.size):  # without branches: they would be taken at random
            key = min(keys[column], top)
            cell = _cell(key, low, scale)
            inside = keys[column] <= top
            plain = inside & (mixed[cell] == 0)
            distance = offset + slope * key
            place = first[cell]
            held[place] += plain
            totals[place] += (np.sqrt(max(distance, 0.0)) if root else distance) * plain
            look[looked] = column
            looked += inside & (mixed[cell] > 0)
    ranked = mine[order]
    near = False
    for column in look[:looked]:
        key = keys[column]
        cell = _cell(key, low, scale)
        place, end = first[cell], first[cell + 1]
        place += np.searchsorted(ranked[place:end], key, side="right")
        near |= place < mine.size and ranked[place] - key <= slack
        near |= place > 0 and key - ranked[place - 1] <= slack
        distance = offset + slope * key
        held[place] += 1
        totals[place] += np.sqrt(max(distance, 0.0)) if root else distance
    count, total = 0, 0.0
    for place in range(mine.size):
        count += held[place]
        total += totals[place]
        counts[order[place]] = count
        sums[order[place]] = total
    return near


@compiled
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
    """Count the keys below each threshold; see `miner.census.reference_kernel.count_below`."""
    counts = np.empty(len(thresholds), dtype=np.int64)
    sums = np.empty(len(thresholds))
    near = np.zeros(len(keys), dtype=np.bool_)
    _fill(keys, thresholds, starts, tolerance, offset, float(slope), bool(root), counts, sums, near)
    return Below(counts, sums, near)
