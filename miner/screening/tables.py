"""Compiled loops that fill the tables in which keys are looked up.

For their arguments see `miner.screening.loops`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from miner.screening.compiling import compiled

__all__ = ["MIXED", "build", "cell_of"]

MIXED = np.uint32(1 << 31)
_GUARD = 0.01
"""In cells: more than float32 can be off in computing the cell of a key, 3 x 2^-24 x cells."""
_F0, _F1 = np.float32(0.0), np.float32(1.0)  # they widen to float64 without loss


@compiled
def cell_of(value: Any, low: Any, scale: Any, last: Any) -> Any:  # pragma: no cover  (compiled)
    """Return the cell of a key, as `_look_up` does."""
    x = (value - low) * scale + _F1
    x = x if x > _F0 else _F0
    x = x if x < last else last
    return np.int32(x)


@compiled
def _lay(
    pairs: Any, line: Any, wide: Any, unit: Any, most: Any, grid: Any
) -> Any:  # pragma: no cover  (compiled)
    """Lay an anchor's grid; return its number of cells, 0 when errors are wider than cells."""
    starts, hard, within, _ = pairs
    low, high = np.inf, -np.inf
    for place in range(starts[line], starts[line + 1]):
        low = min(low, hard[place])
        high = max(high, within[place], hard[place])
    wide[line] += 4 * unit * max(abs(low), abs(high))  # thresholds, rounded to the keys' type
    low, high = low - 2 * wide[line], high + 2 * wide[line]
    cells = most
    while cells > 8 and wide[line] * (cells - 3) > high - low:
        cells //= 2
    if cells < min(most, 64):
        cells = 0
    grid[line, 0], grid[line, 3] = low, high
    grid[line, 1], grid[line, 2] = (cells - 3) / (high - low), max(cells - 1, 0)
    return cells


@compiled
def _spread(
    edges: Any, error: Any, grid: Any, under: Any, over: Any
) -> None:  # pragma: no cover  (compiled)
    """Fill the lowest and the highest cell that each threshold reaches into."""
    low, scale, last = np.float64(grid[0]), np.float64(grid[1]), np.float64(grid[2])
    reach = error * scale + _GUARD
    for place in range(edges.size):
        middle = (edges[place] - low) * scale + 1.0
        under[place] = np.int32(min(max(middle - reach, 0.0), last))
        over[place] = np.int32(min(max(middle + reach, 0.0), last))


@compiled
def _chain(
    under: Any, over: Any, owner: Any, entry: Any, heads: Any, links: Any, owners: Any
) -> Any:  # pragma: no cover  (compiled)
    """Put thresholds into the chains of their cells; return the next free entry."""
    for place in range(under.size):
        for cell in range(under[place], over[place] + 1):
            links[entry], owners[entry] = heads[cell], owner + 2 * place
            heads[cell] = entry
            entry += 1
    return entry


@compiled
def _add_up(counts: Any, sums: Any, heads: Any) -> None:  # pragma: no cover  (compiled)
    """Turn what lies in each cell into what lies above it; mark mixed cells.

    Two halves at once: one addition then need not wait for another.
    """
    half = counts.size // 2
    above_low, total_low = np.uint32(0), 0.0
    for cell in range(half, counts.size):
        above_low += counts[cell]
        total_low += sums[cell]
    above, total = np.uint32(0), 0.0
    for step in range(half):
        high, low = counts.size - 1 - step, half - 1 - step
        here, there = counts[high], sums[high]
        counts[high] = above | MIXED if heads[high] >= 0 else above
        sums[high] = total
        above += here
        total += there
        here, there = counts[low], sums[low]
        counts[low] = above_low | MIXED if heads[low] >= 0 else above_low
        sums[low] = total_low
        above_low += here
        total_low += there


@compiled
def _fill(
    hard: Any, within: Any, d_ap: Any, error: Any, margin: Any, grid: Any, owner: Any,
    counts: Any, sums: Any, heads: Any, links: Any, owners: Any,
) -> None:  # fmt: skip  # pragma: no cover  (compiled)
    """Fill one anchor's tables."""
    counts[:], sums[:], heads[:] = 0, 0, -1
    under, over = np.empty(hard.size, np.int32), np.empty(hard.size, np.int32)
    _spread(hard, error, grid, under, over)
    for cell in under:
        counts[cell] += np.uint32(1)
    entry = _chain(under, over, owner, 0, heads, links, owners)
    _spread(within, error, grid, under, over)
    for place in range(under.size):
        counts[under[place]] += np.uint32(1 << 16)
        sums[under[place]] += np.float32(d_ap[place] + margin)
    _chain(under, over, owner + 1, entry, heads, links, owners)
    _add_up(counts, sums, heads)


@compiled
def build(
    pairs: Any, able: Any, wide: Any, margin: Any, unit: Any, tables: Any, first: Any
) -> None:  # pragma: no cover  (compiled)
    """Fill the tables of anchors `first` to ``first + len(counts) - 1``.

    Parameters
    ----------
    able : ndarray of shape (b,), bool
        False for anchors that are left out.
    wide : ndarray of shape (b,), float64
        What rounding the thresholds costs is added.
    unit : float
        Of the type of the keys.
    """
    grid, counts, sums, head, link, owner = tables
    starts, hard, within, d_ap = pairs
    for at in range(counts.shape[0]):
        line = first + at
        grid[line] = 0
        cells = _lay(pairs, line, wide, unit, counts.shape[1], grid) if able[line] else 0
        if not cells:
            grid[line] = 0
            continue
        mine = slice(starts[line], starts[line + 1])
        _fill(
            hard[mine], within[mine], d_ap[mine], wide[line], margin, grid[line], 2 * mine.start,
            counts[at, :cells], sums[at, :cells], head[at, :cells], link[at], owner[at],
        )  # fmt: skip
