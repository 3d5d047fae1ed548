"""Compiled loops over a block of keys: each line's keys counted by cells of a grid.

The range of a line's keys, up to where no negative is hard or semi-hard, is cut into equal cells.
The cell of a number never falls as the number grows, so the keys of all cells before a threshold's
lie below it; only keys in a cell that a threshold, give or take the tolerance, reaches into are
compared one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from miner.screening.compiling import compiled

__all__ = ["CHUNK", "cells_of", "count_lines"]

CHUNK = 1024
_NARROW = 10.0
"""Cells are at least so many times wider than the slack of a key."""
_SMALL = 1e-300
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
def _range(keys: Any, top: Any) -> Any:  # pragma: no cover  (compiled)
    """Return the least key, and the greatest up to the top, of those that are finite."""
    lows, highs = np.full(8, np.inf), np.full(8, -np.inf)
    whole = keys.size - keys.size % 8
    for start in range(0, whole, 8):
        for lane in range(8):
            key = keys[start + lane]
            lows[lane] = key if key < lows[lane] else lows[lane]
            key = key if key <= top else -np.inf
            highs[lane] = key if key > highs[lane] else highs[lane]
    for column in range(whole, keys.size):
        key = keys[column]
        lows[0] = min(lows[0], key)
        highs[0] = max(highs[0], key if key <= top else -np.inf)
    return lows.min(), highs.max()


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
def _compare(
    keys: Any, look: Any, edges: Any, slack: Any, grid: Any, cells: Any, below: Any
) -> Any:  # pragma: no cover  (compiled)
    """Count, per (sorted) threshold, the keys of its own cell that are below it.

    Returns whether some key is within the slack of a threshold.
    """
    places, one = np.empty(edges.size, np.int32), np.empty(1, np.int32)
    cells_of(edges, grid[0], grid[1], cells - 1.0, places)
    first = np.searchsorted(places, np.arange(cells + 1))
    below[:] = 0
    near = False
    for column in look:
        key = keys[column]
        cells_of(keys[column : column + 1], grid[0], grid[1], cells - 1.0, one)
        place, end = first[one[0]], first[one[0] + 1]
        place += np.searchsorted(edges[place:end], key, side="right")
        near |= place < edges.size and edges[place] - key <= slack
        near |= place > 0 and key - edges[place - 1] <= slack
        if place < end:
            below[place] += 1
    for place in range(1, edges.size):
        if places[place] == places[place - 1]:
            below[place] += below[place - 1]
    return near, places


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
        As for `miner.counting.count_below`.
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
        Are filled; see `miner.counting.Below`.
    """
    most, rows = held.shape[1] - 1, keys.shape[1]
    mixed, look = np.empty(most, np.uint8), np.empty(rows + 1, np.int32)
    for line in range(keys.shape[0]):
        begin, end = starts[line], starts[line + 1]
        order = np.argsort(thresholds[begin:end])
        edges = thresholds[begin:end][order]
        top = min(edges[-1] + tolerance[line], _HUGE)
        low, high = _range(keys[line], top)
        grid = grids[line]
        cells = sizes[line] = _lay(low, high, slack[line], most, grid)
        grid[3] = top
        _mark(edges, tolerance[line], grid, cells, mixed)
        looked = _tally(keys[line], top, grid, cells, mixed, held[line], look)
        below = np.empty(edges.size, np.int64)
        near[line], places = _compare(
            keys[line], look[:looked], edges, tolerance[line], grid, cells, below
        )
        for place in range(edges.size):
            counts[begin + order[place]] = below[place] + held[line, places[place]]
