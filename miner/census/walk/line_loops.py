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

__all__ = [
    "MANY",
    "add_up",
    "between",
    "fold",
    "list_entries",
    "load_line_loops",
    "nearest_tops",
    "place_borders",
    "sort_lines",
    "take_keys",
]


MANY = 32
"""Thresholds of a line from which on they come in ascending order."""


def load_line_loops(kernel: str) -> Any:
    """Return the module that has these functions: compiled where a kernel's name asks for it."""
    return choose_loops(kernel, "lines") or sys.modules[__name__]


def list_entries(
    products: NDArray[Any], bias: NDArray[Any], tops: NDArray[Any], start: int, bits: int,
    out: Float64,
) -> Rows:  # fmt: skip
    """List the rows of a tile whose keys are not above the top of their anchor.

    Parameters
    ----------
    products : ndarray of shape (b, t), float32 or float64
        Not a number where a row does not count.
    bias : ndarray of shape (t,), of the same type
        What rows add to their keys.
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
    counts = np.empty(len(products), dtype=np.int64)
    mask, end = np.int64(-1 << bits), 0
    for line in range(len(products)):
        own = bias - products[line]
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


def sort_lines(numbers: Float64, firsts: Rows) -> None:
    """Sort the numbers of each line.

    Parameters
    ----------
    numbers : ndarray of float64
        Those of line i are ``numbers[firsts[i]:firsts[i + 1]]``.
    firsts : ndarray of shape (b + 1,), int64
    """
    for first, stop in zip(firsts[:-1].tolist(), firsts[1:].tolist(), strict=True):
        numbers[first:stop].sort()


def take_keys(products: NDArray[Any], bias: NDArray[Any], lines: Rows, rows: Rows) -> Float64:
    """Return the keys of some rows, whose products are not a number from then on.

    Parameters
    ----------
    products, bias
        As above.
    lines, rows : ndarray of shape (k,), int64
    """
    keys: Float64 = bias[rows] - products[lines, rows]
    products[lines, rows] = np.nan
    return keys


def nearest_tops(products: NDArray[Any], bias: NDArray[Any], wanted: Rows) -> NDArray[Any]:
    """Return keys up to which so many rows lie at least, minus infinity where none is wanted.

    Parameters
    ----------
    products, bias
        As above.
    wanted : ndarray of shape (b,), int64

    Returns
    -------
    ndarray of shape (b,), of the type of the products
        Infinite where there are fewer.
    """
    tops = np.full(len(wanted), -np.inf, dtype=products.dtype)
    for line in np.flatnonzero(wanted > 0).tolist():
        own, last = bias - products[line], int(wanted[line]) - 1
        top = np.partition(own, last)[last] if last < len(own) else np.nan
        tops[line] = np.inf if np.isnan(top) else top  # what is not a number comes last
    return tops


def place_borders(
    keys: Float64, starts: Rows, offset: Float64, slack: Float64, slope: float, root: bool,
    margin: float, steep: float, unit: float,
) -> tuple[Float64, Float64, Float64, bool]:  # fmt: skip
    """Return distances, keys where semi-hard ends, tolerances, and whether all is clear.

    The error of a distance is that of its key over the distance, so for a root metric the error of
    ``key(d + m)`` is ``slack (d + m) / d``. Where it is more than `steep` times the slack, the
    distance must be measured.

    Parameters
    ----------
    keys : ndarray of shape (pairs,), float64
    starts, offset, slack, slope, root
        As above.
    margin, steep, unit : float
    """
    lines = np.repeat(np.arange(len(offset)), np.diff(starts))
    shift, error = offset[lines], slack[lines]
    d_ap, growth, clear = shift + slope * keys, np.ones(len(keys)), True
    if root:
        clear = bool((d_ap >= 128 * error).all())
        d_ap = np.sqrt(np.maximum(d_ap, 0.0))
        with np.errstate(over="ignore"):  # of a distance of zero
            growth = (d_ap + margin) / np.maximum(d_ap, 1e-300)
        clear &= bool((growth <= steep).all())
        growth = np.minimum(growth, steep)
    border = d_ap + margin
    value = border * border if root else border
    size = value if root else np.abs(d_ap) + margin
    unsure = 2.5 * growth * error + 16 * unit * (size + np.abs(shift))
    return d_ap, (value - shift) / slope, np.maximum.reduceat(unsure, starts[:-1]), clear


def between(
    entries: Float64, firsts: Rows, starts: Rows, order: Rows, edges: Float64, wide: Float64
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
    edges : ndarray of shape (thresholds,), float64
    wide : ndarray of shape (b,), float64
        How far a threshold reaches to both sides.
    """
    under, over = np.empty((2, len(edges)), dtype=np.int64)
    for line in range(len(firsts) - 1):
        mine = order[starts[line] : starts[line + 1]]
        own, error = entries[firsts[line] : firsts[line + 1]], wide[line]
        below, most = own.searchsorted(edges[mine] - error), edges[mine] + error
        upto = below.copy()
        inside = np.flatnonzero(below < len(own))
        inside = inside[own[below[inside]] <= most[inside]]
        upto[inside] = own.searchsorted(most[inside], side="right")
        under[mine], over[mine] = below, upto
    return under, over


def _steps(counts: Rows, size: int) -> Rows:
    """Return, for each rank below `size`, how many of the counts are above it."""
    ends = np.minimum(np.sort(counts), size)
    return np.repeat(np.arange(len(ends), -1, -1), np.diff(ends, prepend=0, append=size))


def add_up(
    entries: Float64, firsts: Rows, bits: int, starts: Rows, hard: Rows, within: Rows,
    lines: tuple[int, int], key_space: tuple[Float64, float, bool, bool],
    known: tuple[Rows, Float64], found: Rows, seen: NDArray[np.uint32], bases: Float64,
    sums: Float64,
) -> None:  # fmt: skip
    """Add up of how many pairs the rows of some lines are negatives, and their distances.

    Parameters
    ----------
    entries, firsts, bits, starts
        As above.
    hard, within : ndarray of shape (pairs,), int64
        How many of a line's entries are hard, and hard or semi-hard, for each pair.
    lines : tuple of int
        The first line, and the one after the last.
    key_space : (offset, slope, root, coarse)
        What turns a key into a distance (`miner.census.walk.key_space.KeySpace`); whether roots in
        float32 are enough.
    known : (places, distances)
        Places in `entries`, ascending, whose distances are known.
    found : ndarray of shape (rows,), int64
        Is added to: hard in the low 32 bits; hard or semi-hard above. Empty where nobody asks.
    seen : ndarray of shape (rows,), uint32
        Is added to: the lines in which a row is a hard negative.
    bases, sums : ndarray of shape (b,), float64
        Are filled: the distance of the nearest row, and the sum of the distances less it, in which
        a row is counted once for each pair that it is hard or semi-hard for.
    """
    offset, slope, root, _ = key_space
    places, measured = known
    for line in range(*lines):
        pairs, first = slice(starts[line], starts[line + 1]), firsts[line]
        near, deep = int(hard[pairs].max()), int(within[pairs].max())
        if not deep:
            continue
        own, steps = entries[first : first + deep], _steps(within[pairs], deep)
        distances = offset[line] + slope * own
        if root:
            distances = np.sqrt(np.maximum(distances, 0.0))
        mine = slice(*np.searchsorted(places, (first, first + deep)))
        distances[places[mine] - first] = measured[mine]
        bases[line] = distances[0]
        sums[line] = steps @ (distances - bases[line])
        if len(found):
            rows = own.view(np.int64) & np.int64((1 << bits) - 1)
            found[rows[:near]] += _steps(hard[pairs], near)
            found[rows] += steps << 32
            seen[rows[:near]] += 1


def fold(found: Rows, labels: Rows, totals: Rows, by_label: Rows) -> None:
    """Add up what was found by row and by label of the row, and empty it.

    Parameters
    ----------
    found : ndarray of shape (rows,), int64
        As of `add_up`.
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
