"""Compiled loops that count the triplets below each edge of a histogram of d(a,n) - d(a,p).

Edges are multiples of a width, and so the distances of an anchor are cut into cells, `_FINE` to a
width: a negative in a cell below ``cell of p + k _FINE`` lies below edge k of the positive p, one
in a cell above it does not. How many negatives lie below each cell is known at once; compared one
by one are only those in the very cell, that is in cells of one remainder. So a triplet is looked at
once in `_FINE`. Distances come from float64 keys, with a bound on their error: a triplet that is
nearer to an edge than the bound is left to be measured.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from miner.census.kernels.jit import compiled
from miner.triplets.distance import UNIT_ROUNDOFF

__all__ = ["UNSURE", "count_gaps"]

_FINE = 128
_MOST_CELLS = 1 << 16
_FEW = 8
"""So many positives are compared with all negatives."""
_LEFT = -1
UNSURE = 256
"""An anchor with more triplets that have to be measured is left to the reference."""


@compiled
def _measures(
    keys: Any, offset: Any, slope: Any, root: Any, wide: Any, distances: Any, errors: Any
) -> Any:  # pragma: no cover  (compiled)
    """Fill the distances of keys, and how far each may be from the true one; return both maxima."""
    error = slope * wide
    most, worst = 0.0, 0.0
    for place in range(keys.size):
        value = offset + slope * keys[place]
        distance, mine = value, error
        if root:
            distance = np.sqrt(max(value, 0.0))
            mine = np.sqrt(error)
            if distance * mine > error:
                mine = error / distance
        distances[place], errors[place] = distance, mine
        most, worst = max(most, abs(distance)), max(worst, mine)
    return most, worst


@compiled
def _sort_by_remainder(
    cells: Any, distances: Any, errors: Any, rows: Any, begin: Any, sorted_: Any
) -> None:  # pragma: no cover  (compiled)
    """Put negatives with one remainder side by side; fill where each remainder begins."""
    by_cell, by_distance, by_error, by_row = sorted_
    begin[:] = 0
    for cell in cells:
        begin[cell % _FINE + 1] += 1
    for remainder in range(_FINE):
        begin[remainder + 1] += begin[remainder]
    free = begin.copy()
    for place in range(cells.size):
        at = free[cells[place] % _FINE]
        by_cell[at], by_distance[at] = cells[place], distances[place]
        by_error[at], by_row[at] = errors[place], rows[place]
        free[cells[place] % _FINE] = at + 1


@compiled
def _note(
    unsure: Any, found: Any, pair: Any, row: Any, edge: Any
) -> Any:  # pragma: no cover  (compiled)
    """Note a triplet to measure; return how many there are."""
    if found < UNSURE:
        unsure[found, 0], unsure[found, 1], unsure[found, 2] = pair, row, edge
    return found + 1


@compiled
def _compare(
    cell: Any, d_ap: Any, error: Any, width: Any, half: Any, begin: Any, sorted_: Any, below: Any,
    pair: Any, unsure: Any, found: Any,
) -> Any:  # fmt: skip  # pragma: no cover  (compiled)
    """Compare a positive with the negatives in the cells of its edges."""
    by_cell, by_distance, by_error, by_row = sorted_
    remainder = cell % _FINE
    for place in range(begin[remainder], begin[remainder + 1]):
        edge = (by_cell[place] - cell) // _FINE
        if -half <= edge <= half:
            beyond = by_distance[place] - d_ap - edge * width
            if abs(beyond) <= error + by_error[place]:
                found = _note(unsure, found, pair, by_row[place], edge)
            else:
                below[edge + half] += beyond < 0
    return found


@compiled
def _go_through(
    d_ap: Any, error: Any, width: Any, half: Any, sorted_: Any, below: Any, first: Any, pair: Any,
    unsure: Any, found: Any,
) -> Any:  # fmt: skip  # pragma: no cover  (compiled)
    """Look at all negatives of a positive.

    `first` takes the first edge that each is below, from 1 on; at 0 what lies far below all.
    """
    _, by_distance, by_error, by_row = sorted_
    share = 1.0 / width
    for place in range(by_distance.size):
        gap = by_distance[place] - d_ap
        nearest = np.int64(min(max(gap * share + half, -1.0), 2.0 * half + 1.0) + 1.5)
        beyond = gap - (nearest - 1 - half) * width
        if abs(beyond) <= error + by_error[place] and 1 <= nearest <= 2 * half + 1:
            found = _note(unsure, found, pair, by_row[place], nearest - 1 - half)
            first[nearest + 1] += 1
        else:
            first[nearest + (beyond >= 0)] += 1
    return found


@compiled
def _count_few(
    rows: Any, negatives: Any, positives: Any, width: Any, half: Any, below: Any, unsure: Any
) -> Any:  # pragma: no cover  (compiled)
    """Do the same for few positives, without cells."""
    first, found = np.zeros(2 * half + 4, np.int64), 0
    sorted_ = (rows, negatives[0], negatives[1], rows)
    for pair in range(positives[0].size):
        found = _go_through(
            positives[0][pair], positives[1][pair], width, half, sorted_, below, first, pair,
            unsure, found,
        )  # fmt: skip
    below[:] = np.cumsum(first)[1 : 2 * half + 2]
    return found if found <= UNSURE else _LEFT


@compiled
def _count_line(
    keys: Any, rows: Any, near: Any, space: Any, wide: Any, width: Any, half: Any, below: Any,
    unsure: Any,
) -> Any:  # fmt: skip  # pragma: no cover  (compiled)
    """Fill what lies below each edge of one anchor; return how many triplets are unsure."""
    offset, slope, root = space
    d_an, e_an, d_ap, e_ap = (
        np.empty(keys.size), np.empty(keys.size), np.empty(near.size), np.empty(near.size),
    )  # fmt: skip
    most_n, worst_n = _measures(keys, offset, slope, root, wide, d_an, e_an)
    most_p, worst_p = _measures(near, offset, slope, root, wide, d_ap, e_ap)
    rounding = 16 * UNIT_ROUNDOFF * (most_n + most_p + (half + 1) * width)
    e_ap += rounding
    fine, worst = width / _FINE, worst_n + worst_p + rounding
    if near.size <= _FEW and 8 * worst < width:
        return _count_few(rows, (d_an, e_an), (d_ap, e_ap), width, half, below, unsure)
    low = d_ap.min() - half * width - fine
    cells = (d_ap.max() + half * width - low) / fine + 3
    if not (cells < _MOST_CELLS and 8 * worst < fine):
        return _LEFT
    last = np.int64(cells)
    cell_of = np.empty(keys.size, np.int64)
    under = np.zeros(last + 2, np.int64)
    for place in range(keys.size):
        cell_of[place] = np.int64(min(max((d_an[place] - low) / fine, 0.0), np.float64(last)))
        under[cell_of[place] + 1] += 1
    for at in range(last + 1):
        under[at + 1] += under[at]
    begin = np.empty(_FINE + 1, np.int64)
    sorted_ = (
        np.empty(keys.size, np.int64), np.empty(keys.size), np.empty(keys.size),
        np.empty(keys.size, np.int64),
    )  # fmt: skip
    _sort_by_remainder(cell_of, d_an, e_an, rows, begin, sorted_)
    first = np.zeros(2 * half + 4, np.int64)
    edge_of, found = worst / fine + 1e-6, 0
    for pair in range(near.size):
        height = (d_ap[pair] - low) / fine
        cell = np.int64(height)
        if edge_of < height - cell < 1.0 - edge_of:
            start = cell - half * _FINE
            for edge in range(2 * half + 1):
                below[edge] += under[start + edge * _FINE]
            found = _compare(
                cell, d_ap[pair], e_ap[pair], width, half, begin, sorted_, below, pair, unsure,
                found,
            )  # fmt: skip
        else:  # so near to the border of its cell that cells say nothing
            found = _go_through(
                d_ap[pair], e_ap[pair], width, half, sorted_, below, first, pair, unsure, found
            )
    below += np.cumsum(first)[1 : 2 * half + 2]
    return found if found <= UNSURE else _LEFT


@compiled
def count_gaps(
    keys: Any, near: Any, starts: Any, offset: Any, slope: Any, root: Any, wide: Any, width: Any,
    half: Any, below: Any, unsure: Any, found: Any,
) -> None:  # fmt: skip  # pragma: no cover  (compiled)
    """Count the triplets of some anchors below each edge.

    Parameters
    ----------
    keys : ndarray of shape (b, rows), float64
        Infinite where a row is not a negative.
    near : ndarray of shape (pairs,), float64
        The keys of the positives; those of anchor i are ``near[starts[i]:starts[i + 1]]``.
    starts : ndarray of shape (b + 1,), int64
    offset : ndarray of shape (b,), float64
    slope, root : float, bool
        See `miner.census.key_space.KeySpace`.
    wide : ndarray of shape (b,), float64
        How far a key may be from the true one.
    width, half : float, int
        The edges are ``k width`` for k from ``-half`` to ``half``.
    below : ndarray of shape (b, 2 half + 1), int64
        Is filled, with the sure triplets.
    unsure : ndarray of shape (b, UNSURE, 3), int64
        Is filled: the pair, counted from 0 in each anchor, the row, and k, of triplets to measure.
    found : ndarray of shape (b,), int64
        Is filled: how many these are; -1 where the anchor is left to the reference.
    """
    for line in range(keys.shape[0]):
        below[line] = 0
        rows = np.flatnonzero(keys[line] < np.inf)
        mine = slice(starts[line], starts[line + 1])
        found[line] = _count_line(
            keys[line][rows], rows, near[mine], (offset[line], slope, root), wide[line], width,
            half, below[line], unsure[line],
        )  # fmt: skip
