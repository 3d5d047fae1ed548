"""Compiled loops over the listed rows of anchors, whose keys are near the true ones.

For a rank r, the true key at r and the key at place r differ by no more than one key does: so the
row at r is among those with keys within twice the error of the key at place r, all rows before
these come before it, and all after these come after it. Such a *window* is put in order by
distance.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from miner.census.kernels.jit import compiled

__all__ = ["between", "find_windows", "sort_lines"]


@compiled
def sort_lines(starts: Any, keys: Any, rows: Any) -> None:  # pragma: no cover  (compiled)
    """Sort each anchor's keys, and their rows with them."""
    for line in range(starts.size - 1):
        mine = slice(starts[line], starts[line + 1])
        order = np.argsort(keys[mine])
        keys[mine], rows[mine] = keys[mine][order], rows[mine][order]


@compiled
def _before(keys: Any, value: Any, equal: Any) -> Any:  # pragma: no cover  (compiled)
    """Count the (sorted) keys below a value, or those equal to it too."""
    low, high = 0, keys.size
    while low < high:
        middle = (low + high) // 2
        key = np.float64(keys[middle])
        if key < value or (equal and key == value):
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def between(
    starts: Any, keys: Any, pairs: Any, borders: Any, error: Any, low: Any, high: Any
) -> None:  # pragma: no cover  (compiled)
    """Fill how many keys lie surely below each pair's border, and how many may.

    The borders of anchor i are ``pairs[i]:pairs[i + 1]``; `error` is how far a key may be from one
    and still be on the other side of it.
    """
    for line in range(starts.size - 1):
        own = keys[starts[line] : starts[line + 1]]
        for pair in range(pairs[line], pairs[line + 1]):
            low[pair] = _before(own, borders[pair] - error[line], False)
            high[pair] = _before(own, borders[pair] + error[line], True)


@compiled
def _close(run: Any, runs: Any) -> Any:  # pragma: no cover  (compiled)
    """Number a window of more than one row; return how many numbers are given."""
    runs += run.size > 1
    run[:] = runs if run.size > 1 else 0
    return runs


@compiled
def find_windows(
    starts: Any, keys: Any, rows: Any, error: Any, lines: Any, firsts: Any, ranks: Any,
    found: Any, number: Any, run: Any, place: Any,
) -> Any:  # fmt: skip  # pragma: no cover  (compiled)
    """Find the rows at some ranks of some lines, each once and with its window.

    Parameters
    ----------
    starts : ndarray of shape (anchors + 1,), int64
    keys, rows : ndarray of float32 and int32
        Those of anchor i are ``starts[i]:starts[i + 1]``, sorted by key.
    error : ndarray of shape (anchors,), float64
    lines, firsts, ranks
        The ranks of ``lines[i]`` are ``ranks[firsts[i]:firsts[i + 1]]``, in any order.
    found, number, run, place
        Are filled; see `miner.selection.rank_grid.Found`.

    Returns
    -------
    int
        How many rows were found.
    """
    size, runs = 0, np.int64(0)
    for mine in range(lines.size):
        line = lines[mine]
        own = keys[starts[line] : starts[line + 1]]
        numbers = rows[starts[line] : starts[line + 1]]
        gap = 2 * error[line]
        given = np.full(own.size, -1, np.int64)
        end, opened = 0, size
        for rank in np.sort(ranks[firsts[mine] : firsts[mine + 1]]):
            key, first = np.float64(own[rank]), max(rank, end)
            while first > end and np.float64(own[first - 1]) >= key - gap:
                first -= 1
            if first > end or (end > 0 and np.float64(own[end - 1]) < key - gap):
                runs = _close(run[opened:size], runs)
                end, opened = first, size
            while end < own.size and (end <= rank or np.float64(own[end]) <= key + gap):
                found[size], number[size] = numbers[end], mine
                given[end] = size
                size += 1
                end += 1
        runs = _close(run[opened:size], runs)
        for pick in range(firsts[mine], firsts[mine + 1]):
            place[pick] = given[ranks[pick]]
    return size
