"""Loops over lines of keys and of entries (`miner.census.walk.ranked_block`), in NumPy.

The reference, and what a small job takes. `miner.census.kernels.lines` holds the same functions,
compiled, with the same results.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.kernels import choose_loops
from miner.triplets.types import Float64, Rows

__all__ = ["add_rows", "between", "fold", "list_entries", "load_line_loops", "sum_losses"]


def load_line_loops(kernel: str) -> Any:
    """Return the module that has these functions: compiled where a kernel's name asks for it."""
    return choose_loops(kernel, "lines") or sys.modules[__name__]


def list_entries(
    keys: NDArray[Any], tops: NDArray[Any], start: int, bits: int, out: Float64
) -> Rows:
    """List the rows of a tile whose keys are not above the top of their anchor.

    Parameters
    ----------
    keys : ndarray of shape (b, t), float32 or float64
        Not a number where a row does not count.
    tops : ndarray of shape (b,), of the same type
    start : int
        The first row of the tile.
    bits : int
        Of the rows' numbers.
    out : ndarray of float64
        Is filled, anchor after anchor, with entries in the order of their rows. There is room for
        one more.

    Returns
    -------
    ndarray of shape (b,), int64
        How many entries each anchor has.
    """
    counts = np.empty(len(keys), dtype=np.int64)
    mask, end = np.int64(-1 << bits), 0
    for line in range(len(keys)):
        own = keys[line]
        found = np.flatnonzero(own <= tops[line])
        part = out[end : end + len(found)]
        part[:] = own[found]
        entries = part.view(np.int64)
        entries &= mask
        found += start
        entries |= found
        counts[line] = len(found)
        end += len(found)
    return counts


def between(
    entries: Float64, firsts: Rows, starts: Rows, order: Rows, low: Float64, high: Float64
) -> tuple[Rows, Rows]:
    """Return how many entries of its line lie below each threshold, and below or inside it.

    Parameters
    ----------
    entries : ndarray of float64
        Those of line i are ``entries[firsts[i]:firsts[i + 1]]``, ascending.
    firsts, starts : ndarray of shape (b + 1,), int64
        Where the entries and where the thresholds of each line begin.
    order : ndarray of shape (thresholds,), int64
        The thresholds of each line, ascending where they are many.
    low, high : ndarray of shape (thresholds,), float64
        Both ends of each threshold.
    """
    under, over = np.empty((2, len(low)), dtype=np.int64)
    for line in range(len(firsts) - 1):
        mine = order[starts[line] : starts[line + 1]]
        own = entries[firsts[line] : firsts[line + 1]]
        below = own.searchsorted(low[mine])
        upto, most = below.copy(), high[mine]
        inside = np.flatnonzero(below < len(own))
        inside = inside[own[below[inside]] <= most[inside]]
        upto[inside] = own.searchsorted(most[inside], side="right")
        under[mine], over[mine] = below, upto
    return under, over


def _steps(counts: Rows, size: int) -> Rows:
    """Return, for each rank below `size`, how many of the (ascending) counts are above it."""
    ends = np.minimum(counts, size)
    return np.repeat(np.arange(len(ends), -1, -1), np.diff(ends, prepend=0, append=size))


def add_rows(
    entries: Float64, firsts: Rows, bits: int, starts: Rows, hard: Rows, within: Rows,
    lines: tuple[int, int], found: Rows, seen: NDArray[np.uint32],
) -> None:  # fmt: skip
    """Add up of how many pairs the rows of some lines are hard, and hard or semi-hard, negatives.

    Parameters
    ----------
    entries, firsts, bits
        As above.
    starts : ndarray of shape (b + 1,), int64
        Where the pairs of each line begin.
    hard, within : ndarray of shape (pairs,), int64
        Their counts, ascending within each line.
    lines : tuple of int
        The first line, and the one after the last.
    found : ndarray of shape (rows,), int64
        Is added to: hard in the low 32 bits; hard or semi-hard above.
    seen : ndarray of shape (rows,), uint32
        Is added to: the lines in which a row is a hard negative.
    """
    for line in range(*lines):
        pairs = slice(starts[line], starts[line + 1])
        near, deep = int(hard[pairs][-1]), int(within[pairs][-1])
        own = entries[firsts[line] : firsts[line] + deep]
        rows = own.view(np.int64) & np.int64((1 << bits) - 1)
        found[rows[:near]] += _steps(hard[pairs], near)
        found[rows] += _steps(within[pairs], deep) << 32
        seen[rows[:near]] += 1


def fold(found: Rows, labels: Rows, totals: Rows, by_label: Rows) -> None:
    """Add up what was found by row and by label of the row, and empty it.

    Parameters
    ----------
    found : ndarray of shape (rows,), int64
        As of `add_rows`.
    labels : ndarray of shape (rows,), int64
        Below 0 for none; empty where there are no labels.
    totals : ndarray of shape (2, rows), int64
    by_label : ndarray of shape (2, labels), int64
        Are added to: hard; hard or semi-hard.
    """
    for which, counts in enumerate((found & 0xFFFFFFFF, found >> 32)):
        totals[which] += counts
        if len(labels):
            mine = np.flatnonzero((counts > 0) & (labels >= 0))
            sums = np.bincount(labels[mine], counts[mine], by_label.shape[1])  # below 2^53: exact
            by_label[which] += sums.astype(np.int64)
    found[:] = 0


def sum_losses(
    entries: Float64, firsts: Rows, starts: Rows, within: Rows, offset: Float64, slope: float,
    root: bool, places: Rows, measured: Float64,
) -> tuple[Float64, Float64]:  # fmt: skip
    """Return the distance of each line's nearest row, and the sum of the distances of all pairs.

    Parameters
    ----------
    entries, firsts, starts, within
        As above.
    offset, slope, root
        What turns a key into a distance; see `miner.census.walk.key_space.KeySpace`.
    places, measured : ndarray of int64 and of float64
        Places in `entries`, ascending, whose distances are known.

    Returns
    -------
    bases, sums : ndarray of shape (b,), float64
        A row is counted once for each pair that it is hard or semi-hard for, less the base.
    """
    bases, sums = np.zeros((2, len(firsts) - 1))
    known = np.searchsorted(places, firsts)
    for line in range(len(bases)):
        pairs, first = slice(starts[line], starts[line + 1]), firsts[line]
        deep = int(within[pairs][-1])
        distances = offset[line] + slope * entries[first : first + deep]
        if root:
            distances = np.sqrt(np.maximum(distances, 0.0))
        own = slice(known[line], known[line + 1])
        mine = places[own] - first
        bases[line] = distances[0] if deep else 0.0
        distances[mine[mine < deep]] = measured[own][mine < deep]
        sums[line] = _steps(within[pairs], deep) @ (distances - bases[line])
    return bases, sums
