"""Compiled loops over a block of keys: each line's keys counted by cells of a grid.

The range of a line's keys, up to where no negative is hard or semi-hard, is cut into equal cells.
The cell of a number never falls as the number grows, so the keys of all cells before a threshold's
lie below it; only keys in a cell that a threshold, give or take the tolerance, reaches into are
compared one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from miner.census.kernels.jit import compiled

__all__ = ["CHUNK", "cells_of", "count_lines", "sort_both"]

CHUNK = 1024
_NARROW = 10.0
"""Cells are at least so many times wider than the slack of a key."""
_SMALL = 1e-300
_INSERTED = 24
_SAMPLED = 16
_HUGE = np.finfo(np.float64).max
"""Rows that do not count have an infinite key."""


@compiled
def cells_of(keys: Any, low: Any, scale: Any, last: Any, out: Any) -> None:  # pragma: no cover
    """Fill the cells of some keys; beyond the last cell stands the last."""
    for column in range(keys.size):
        x = (keys[column] - low) * scale
        x = x if x > 0.0 else 0.0
        x = x if x < last else last
        out[column] = np.int32(x)


@compiled
def sort_both(keys: Any, others: Any) -> None:  # pragma: no cover  (compiled)
    """Sort keys, and others with them: by Shell's method, by insertion when they are few."""
    gap = 1 if keys.size < _INSERTED else keys.size * 4 // 9
    while gap > 0:
        for place in range(gap, keys.size):
            key, other = keys[place], others[place]
            hole = place
            while hole >= gap and keys[hole - gap] > key:
                keys[hole], others[hole] = keys[hole - gap], others[hole - gap]
                hole -= gap
            keys[hole], others[hole] = key, other
        gap = gap * 4 // 9 if gap > 2 else gap - 1


@compiled
def _range(keys: Any, top: Any, step: Any) -> Any:  # pragma: no cover  (compiled)
    """Return the least and the greatest of some keys up to the top."""
    low, high = np.inf, -np.inf
    for column in range(0, keys.size, step):
        key = keys[column]
        if key <= top:
            low, high = min(low, key), max(high, key)
    return low, high


@compiled
def _lay(low: Any, high: Any, slack: Any, most: Any, grid: Any) -> Any:  # pragma: no cover
    """Lay a line's grid; return its cells. Zero width in `grid` means that ranks are not found."""
    cells = most
    while cells > 2 and (high - low) <= _NARROW * slack * cells:
        cells //= 2
    grid[0], grid[1], grid[2] = low, 0.0, 0.0
    if high - low > _SMALL:
        grid[1] = (cells - 1) / (high - low)
        grid[2] = 1.0 if high - low > _NARROW * slack * cells else 0.0
    return cells


@compiled
def _mark(edges: Any, slack: Any, grid: Any, cells: Any, mixed: Any) -> None:  # pragma: no cover
    """Mark the cells that a threshold, give or take the slack, reaches into."""
    reach, span = np.empty(2), np.empty(2, np.int32)
    mixed[:cells] = 0
    for edge in edges:
        reach[0], reach[1] = edge - slack, edge + slack
        cells_of(reach, grid[0], grid[1], cells - 1.0, span)
        for cell in range(span[0], span[1] + 1):
            mixed[cell] = 1


@compiled
def _tally(
    keys: Any, top: Any, grid: Any, cells: Any, mixed: Any, held: Any, look: Any
) -> Any:  # pragma: no cover  (compiled)
    """Count the keys of each cell; list those in marked cells. Returns how many these are."""
    found = np.empty(CHUNK, np.int32)
    held[: cells + 1] = 0
    looked = 0
    for start in range(0, keys.size, CHUNK):
        part = keys[start : start + CHUNK]
        cells_of(part, grid[0], grid[1], cells - 1.0, found)
        for column in range(part.size):
            cell = found[column]
            inside = part[column] <= top
            held[cell + 1] += inside
            look[looked] = start + column
            looked += inside & (mixed[cell] > 0)
    for cell in range(cells):
        held[cell + 1] += held[cell]
    return looked


@compiled
def _sorted_by_cell(mine: Any, grid: Any, cells: Any, first: Any) -> Any:  # pragma: no cover
    """Return the thresholds' ascending order and their cells; fill where each cell's begin."""
    places, order = np.empty(mine.size, np.int32), np.empty(mine.size, np.int64)
    cells_of(mine, grid[0], grid[1], cells - 1.0, places)
    first[: cells + 2] = 0
    for cell in places:
        first[cell + 2] += 1
    for cell in range(cells):
        first[cell + 2] += first[cell + 1]
    for place in range(mine.size):
        at = first[places[place] + 1]
        order[at] = place
        first[places[place] + 1] = at + 1
    ranked = mine[order]
    for cell in range(cells):
        if first[cell + 1] - first[cell] > 1:
            part = slice(first[cell], first[cell + 1])
            sort_both(ranked[part], order[part])
    return order, places


@compiled
def _compare(
    keys: Any, look: Any, padded: Any, slack: Any, grid: Any, cells: Any, first: Any, below: Any
) -> Any:  # pragma: no cover  (compiled)
    """Count, per (sorted) threshold, the keys of its own cell that lie just below it.

    `padded` holds the thresholds between two infinities. Returns whether some key is within the
    slack of a threshold. Without branches that depend on a key: they would be taken at random.
    """
    low, scale, last = grid[0], grid[1], cells - 1.0
    below[:] = 0
    near = False
    for column in look:
        key = keys[column]
        x = (key - low) * scale
        x = x if x > 0.0 else 0.0
        x = x if x < last else last
        cell = np.int32(x)
        begin, end = first[cell], first[cell + 1]
        place = begin
        for edge in range(begin, end):
            place += padded[edge + 1] <= key
        near |= (padded[place + 1] - key <= slack) | (key - padded[place] <= slack)
        below[place] += place < end
    return near


@compiled
def count_lines(
    keys: Any, thresholds: Any, starts: Any, tolerance: Any, slack: Any, grids: Any, sizes: Any,
    held: Any, counts: Any, near: Any,
) -> None:  # fmt: skip  # pragma: no cover  (compiled)
    """Count the keys of each line below each of its thresholds, by way of a grid.

    Parameters
    ----------
    keys : ndarray of shape (lines, rows), float64
    thresholds, starts, tolerance
        As for `miner.census.reference_kernel.count_below`.
    slack : ndarray of shape (lines,), float64
        Keys that are further apart are in the order of their distances.
    grids : ndarray of shape (lines, 4), float64
        Is filled: where the first cell begins, cells per unit, whether ranks can be found by it,
        and up to where keys are in it.
    sizes : ndarray of shape (lines,), int64
        Is filled: the number of cells.
    held : ndarray of shape (lines, most + 1), int32
        Is filled: keys in all cells before each.
    counts, near
        Are filled; see `miner.census.reference_kernel.Below`.
    """
    most, rows = held.shape[1] - 1, keys.shape[1]
    mixed, look = np.empty(most, np.uint8), np.empty(rows + 1, np.int32)
    first = np.empty(most + 2, np.int32)
    for line in range(keys.shape[0]):
        begin, end = starts[line], starts[line + 1]
        mine, grid = thresholds[begin:end], grids[line]
        grid[3] = min(mine.max() + tolerance[line], _HUGE)
        low, high = _range(
            keys[line], grid[3], np.int64(_SAMPLED)
        )  # keys beyond are in the outer cells
        if not low < high:
            low, high = _range(keys[line], grid[3], np.int64(1))
        cells = sizes[line] = _lay(low, high, slack[line], most, grid)
        _mark(mine, tolerance[line], grid, cells, mixed)
        looked = _tally(keys[line], grid[3], grid, cells, mixed, held[line], look)
        order, places = _sorted_by_cell(mine, grid, cells, first)
        below, padded = np.empty(order.size + 1, np.int64), np.empty(order.size + 2)
        padded[0], padded[order.size + 1] = -np.inf, np.inf
        padded[1:-1] = mine[order]
        near[line] = _compare(
            keys[line], look[:looked], padded, tolerance[line], grid, cells, first, below
        )
        total, cell = 0, -1
        for place in range(order.size):
            own = places[order[place]]
            total = below[place] + (total if own == cell else held[line, own])
            cell = own
            counts[begin + order[place]] = total
