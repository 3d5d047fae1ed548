"""NumPy loops over the keys and the sorted entries of each anchor; one anchor is one "line".

These are the reference, and what small jobs use. `miner.census.kernels.lines` has the same
functions, compiled, with the same results. Entries are described in
`miner.census.walk.ranked_block`.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.kernels import choose_loops
from miner.triplets.types import Float64, Rows

__all__ = [
    "MIN_ORDERED",
    "add_up",
    "between",
    "fold",
    "list_entries",
    "load_line_loops",
    "nearest_max_keys",
    "place_thresholds",
    "sort_lines",
    "take_keys",
]


MIN_ORDERED = 32
"""Lines with at least this many thresholds have them in ascending order."""


def load_line_loops(kernel: str) -> Any:
    """Return the module that implements these functions for a kernel: compiled, or this one."""
    return choose_loops(kernel, "lines") or sys.modules[__name__]


def list_entries(
    products: NDArray[Any], bias: NDArray[Any], max_keys: NDArray[Any], start: int, bits: int,
    out: Float64,
) -> Rows:  # fmt: skip
    """List the rows of a tile whose keys are at most the `max_keys` of their anchor.

    Parameters
    ----------
    products : ndarray of shape (b, t), float32 or float64
        NaN where a row is not a negative.
    bias : ndarray of shape (t,), of the same type
        The term that each row adds to its keys: a key is the bias minus the product.
    max_keys : ndarray of shape (b,), of the same type
        The highest key to list, per anchor.
    start : int
        The first row of the tile.
    bits : int
        The number of low bits of an entry that hold the row number.
    out : ndarray of float64
        Receives the entries, anchor after anchor, each in the order of the rows. It must have room
        for one more.

    Returns
    -------
    ndarray of shape (b,), int64
        The number of entries of each anchor.
    """
    counts = np.empty(len(products), dtype=np.int64)
    mask, end = np.int64(-1 << bits), 0
    for line in range(len(products)):
        own = bias - products[line]
        found = np.flatnonzero(own <= max_keys[line])
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
    """Sort the numbers of each line in place.

    Parameters
    ----------
    numbers : ndarray of float64
        Line i is ``numbers[firsts[i]:firsts[i + 1]]``.
    firsts : ndarray of shape (b + 1,), int64
    """
    for first, stop in zip(firsts[:-1].tolist(), firsts[1:].tolist(), strict=True):
        numbers[first:stop].sort()


def take_keys(products: NDArray[Any], bias: NDArray[Any], lines: Rows, rows: Rows) -> Float64:
    """Return the keys of some rows, and set their products to NaN.

    Parameters
    ----------
    products, bias
        As in `list_entries`.
    lines, rows : ndarray of shape (k,), int64
    """
    keys: Float64 = bias[rows] - products[lines, rows]
    products[lines, rows] = np.nan
    return keys


def nearest_max_keys(products: NDArray[Any], bias: NDArray[Any], wanted: Rows) -> NDArray[Any]:
    """Return, per anchor, a key that at least `wanted` keys do not exceed.

    Parameters
    ----------
    products, bias
        As in `list_entries`.
    wanted : ndarray of shape (b,), int64

    Returns
    -------
    ndarray of shape (b,), of the type of the products
        Minus infinity where `wanted` is 0 or less, infinity where the anchor has fewer rows.
    """
    max_keys = np.full(len(wanted), -np.inf, dtype=products.dtype)
    for line in np.flatnonzero(wanted > 0).tolist():
        own, last = bias - products[line], int(wanted[line]) - 1
        top = np.partition(own, last)[last] if last < len(own) else np.nan
        max_keys[line] = np.inf if np.isnan(top) else top  # NaN sorts last
    return max_keys


def place_thresholds(
    keys: Float64, starts: Rows, offset: Float64, key_error: Float64, slope: float, root: bool,
    margin: float, steep: float, unit: float,
) -> tuple[Float64, Float64, Float64, bool]:  # fmt: skip
    """Return the distances and thresholds of pairs, tolerances, and whether keys were exact enough.

    The error of a distance is the error of its key divided by the distance, so for a root metric
    the error of ``key(d + m)`` is ``key_error (d + m) / d``. If that is more than `steep` times the
    error of the key, the last result is False and the distances must be measured.

    Parameters
    ----------
    keys : ndarray of shape (pairs,), float64
    starts, offset, key_error, slope, root
        As in `miner.census.walk.pair_thresholds.Pairs` and `miner.census.walk.key_space.KeySpace`.
    margin, steep, unit : float
        `unit` is the unit roundoff of float64.
    """
    lines = np.repeat(np.arange(len(offset)), np.diff(starts))
    shift, error = offset[lines], key_error[lines]
    d_ap, growth, clear = shift + slope * keys, np.ones(len(keys)), True
    if root:
        clear = bool((d_ap >= 128 * error).all())
        d_ap = np.sqrt(np.maximum(d_ap, 0.0))
        with np.errstate(over="ignore"):  # overflows for a distance of zero
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
    """Return the number of a line's entries below each threshold, and below or inside it.

    Parameters
    ----------
    entries : ndarray of float64
        Line i is ``entries[firsts[i]:firsts[i + 1]]``, ascending.
    firsts, starts : ndarray of shape (b + 1,), int64
        Where the entries and where the thresholds of each line begin.
    order : ndarray of shape (thresholds,), int64
        The thresholds of each line, ascending if there are at least `MIN_ORDERED`.
    edges : ndarray of shape (thresholds,), float64
    wide : ndarray of shape (b,), float64
        The half-width of the thresholds of each line.
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
    """Return, for each rank below `size`, how many of the counts are greater than it."""
    ends = np.minimum(np.sort(counts), size)
    return np.repeat(np.arange(len(ends), -1, -1), np.diff(ends, prepend=0, append=size))


def add_up(
    entries: Float64, firsts: Rows, bits: int, starts: Rows, hard: Rows, non_easy: Rows,
    lines: tuple[int, int], key_space: tuple[Float64, float, bool, bool],
    known: tuple[Rows, Float64], found: Rows, seen: NDArray[np.uint32], bases: Float64,
    sums: Float64,
) -> None:  # fmt: skip
    """Accumulate, for some lines, the counts of each row and the sum of the distances.

    Parameters
    ----------
    entries, firsts, bits, starts
        As in `list_entries` and `between`.
    hard, non_easy : ndarray of shape (pairs,), int64
        For each pair, how many of its line's entries are hard, and hard or semi-hard.
    lines : tuple of int
        The first line, and the one after the last.
    key_space : (offset, slope, root, coarse)
        See `miner.census.walk.key_space.KeySpace`. If `coarse`, square roots in float32 are exact
        enough.
    known : (places, distances)
        Positions in `entries`, ascending, and the measured distances there.
    found : ndarray of shape (rows,), int64
        Updated with the number of pairs that each row is hard for (low 32 bits), and hard or
        semi-hard for (high bits). Empty if these are not counted.
    seen : ndarray of shape (rows,), uint32
        Updated with the number of lines in which each row is a hard negative.
    bases, sums : ndarray of shape (b,), float64
        Filled with the distance of the nearest row, and with the sum of the distances minus this
        base. A row is summed once for each pair that it is hard or semi-hard for.
    """
    offset, slope, root, _ = key_space
    places, measured = known
    for line in range(*lines):
        pairs, first = slice(starts[line], starts[line + 1]), firsts[line]
        near, deep = int(hard[pairs].max()), int(non_easy[pairs].max())
        if not deep:
            continue
        own, steps = entries[first : first + deep], _steps(non_easy[pairs], deep)
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
    """Add the counts of `found` to the totals by row and by label of the row, and clear them.

    Parameters
    ----------
    found : ndarray of shape (rows,), int64
        As in `add_up`.
    labels : ndarray of shape (rows,), int64
        The label of each row, below 0 for none. Empty if there are no labels.
    totals : ndarray of shape (2, rows), int64
    by_label : ndarray of shape (2, labels), int64
        Updated: the hard triplets, and the hard or semi-hard ones.
    """
    for which, counts in enumerate((found & 0xFFFFFFFF, found >> 32)):
        totals[which] += counts
        if len(labels):
            mine = np.flatnonzero((counts > 0) & (labels >= 0))
            sums = np.bincount(labels[mine], counts[mine], by_label.shape[1])  # below 2^53: exact
            by_label[which] += sums.astype(np.int64)
    found[:] = 0
