"""Compiled loops that fill the tables in which keys are looked up.

For their arguments see `miner.census.kernels.count_lookup`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from miner.census.kernels.jit import compiled

__all__ = ["MIXED", "build", "cell_of"]

MIXED, _WITHIN = np.uint32(1 << 31), np.uint32(1 << 16)
_GUARD = 0.02
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
def _add_up(under: Any, counts: Any) -> None:  # pragma: no cover  (compiled)
    """Fill for each cell how many thresholds lie above it, hard and within side by side."""
    half = under.size // 2
    counts[:] = 0
    for cell in under[:half]:
        counts[cell] += np.uint32(1)
    for cell in under[half:]:
        counts[cell] += _WITHIN
    above = np.uint32(0)
    for cell in range(counts.size - 1, -1, -1):
        here = counts[cell]
        counts[cell] = above
        above += here


@compiled
def _sum_up(
    under: Any, d_ap: Any, margin: Any, counts: Any, sums: Any
) -> None:  # pragma: no cover  (compiled)
    """Fill the sum of d(a,p) + m over the k highest thresholds, for each k at a cell's border."""
    ordered = np.empty(d_ap.size)
    for place in range(d_ap.size):
        cell = under[place]
        ordered[(counts[cell] >> np.uint32(16)) & np.uint32(0x7FFF)] = d_ap[place] + margin
        counts[cell] += _WITHIN
    for cell in under:
        counts[cell] -= _WITHIN
    total = 0.0
    sums[0] = 0
    for place in range(d_ap.size):
        total += ordered[place]
        sums[place + 1] = total


@compiled
def _mix(under: Any, over: Any, counts: Any, base: Any, begin: Any) -> Any:  # pragma: no cover
    """Number the mixed cells; fill where the thresholds of each will begin."""
    number = 0
    for place in range(under.size):
        for cell in range(under[place], over[place] + 1):
            if counts[cell] < MIXED:
                base[number], begin[number] = counts[cell], 0
                counts[cell] = MIXED | np.uint32(number)
                number += 1
            begin[np.int64(counts[cell] ^ MIXED)] += 1
    end = 0
    for mixed in range(number):
        size = begin[mixed]
        begin[mixed] = end
        end += size
    begin[number] = end
    return number


@compiled
def _enter(
    under: Any, over: Any, values: Any, which: Any, first: Any, counts: Any, begin: Any,
    edges: Any, owners: Any,
) -> None:  # fmt: skip  # pragma: no cover  (compiled)
    """Enter thresholds with the mixed cells that they reach into; moves where those begin."""
    for place in range(under.size):
        for cell in range(under[place], over[place] + 1):
            mixed = np.int64(counts[cell] ^ MIXED)
            entry = begin[mixed]
            edges[entry], owners[entry] = values[place], 2 * (first + place) + which
            begin[mixed] = entry + 1


@compiled
def _fill(
    hard: Any, within: Any, d_ap: Any, error: Any, margin: Any, grid: Any, first: Any,
    counts: Any, sums: Any, base: Any, begin: Any, edges: Any, owners: Any,
) -> None:  # fmt: skip  # pragma: no cover  (compiled)
    """Fill one anchor's tables."""
    half = hard.size
    under, over = np.empty(2 * half, np.int32), np.empty(2 * half, np.int32)
    _spread(hard, error, grid, under[:half], over[:half])
    _spread(within, error, grid, under[half:], over[half:])
    _add_up(under, counts)
    _sum_up(under[half:], d_ap, margin, counts, sums)
    number = _mix(under, over, counts, base, begin)
    _enter(under[:half], over[:half], hard, np.int64(0), first, counts, begin, edges, owners)
    _enter(under[half:], over[half:], within, np.int64(1), first, counts, begin, edges, owners)
    for mixed in range(number - 1, 0, -1):
        begin[mixed] = begin[mixed - 1]
    begin[0] = 0


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
    grid, counts, sums, base, begin, edges, owners = tables
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
            hard[mine], within[mine], d_ap[mine], wide[line], margin, grid[line], mine.start,
            counts[at, :cells], sums[at], base[at], begin[at], edges[at], owners[at],
        )  # fmt: skip
