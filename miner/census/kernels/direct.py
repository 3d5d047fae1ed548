"""Compiled loops that hold every key against every threshold: for anchors with few positives.

A key that is near to a threshold decides nothing here: its row is listed, and left out of all sums.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.kernels.jit import compiled
from miner.triplets.types import Float64, Rows

__all__ = ["count_rows"]

_STEP = 1024
"""Keys that are held against all thresholds at once: a CPU's nearest cache holds them."""
_ZERO, _ONE = np.int32(0), np.int32(1)


@compiled
def _key_rows(products: Any, bias: Any, keys: Any) -> None:  # pragma: no cover  (compiled)
    for column in range(keys.size):
        keys[column] = bias[column] - products[column]


@compiled
def _compare(
    keys: Any, edges: Any, pair: Any, hard: Any, within: Any, near: Any, counts: Any
) -> None:  # pragma: no cover  (compiled)
    """Count the keys below the thresholds of two pairs; note where one is near."""
    low0, high0, low2, high2 = edges[0, pair], edges[1, pair], edges[2, pair], edges[3, pair]
    pair += 1
    low1, high1, low3, high3 = edges[0, pair], edges[1, pair], edges[2, pair], edges[3, pair]
    count0, count1, count2, count3 = _ZERO, _ZERO, _ZERO, _ZERO
    for column in range(keys.size):
        key = keys[column]
        below0, below1 = np.int32(key < low0), np.int32(key < low1)
        below2, below3 = np.int32(key < low2), np.int32(key < low3)
        hard[column] += below0 + below1
        within[column] += below2 + below3
        upto = np.int32(key <= high0) + np.int32(key <= high1)
        upto += np.int32(key <= high2) + np.int32(key <= high3)
        near[column] += upto - below0 - below1 - below2 - below3
        count0 += below0
        count1 += below1
        count2 += below2
        count3 += below3
    counts[0, pair - 1] += count0
    counts[0, pair] += count1
    counts[1, pair - 1] += count2
    counts[1, pair] += count3


def _lose_loop(
    keys: Any, within: Any, near: Any, offset: Any, slope: Any, root: Any
) -> Any:  # pragma: no cover  (compiled)
    """Return the sum of the distances of all pairs of some rows."""
    total = 0.0
    for column in range(keys.size):
        value = offset + slope * keys[column]
        if root:
            value = np.sqrt(value if value > np.float32(0.0) else np.float32(0.0))
        times = within[column] if near[column] == _ZERO else _ZERO
        total += np.float64(value * np.float32(times)) if times > _ZERO else 0.0
    return total


_lose = compiled(_lose_loop, reorder=True)


@compiled
def _note(hard: Any, within: Any, near: Any, found: Any, seen: Any) -> None:  # pragma: no cover
    """Add up by row what is sure."""
    for column in range(hard.size):
        sure = np.int64(near[column] == _ZERO)
        found[column] += sure * (
            np.int64(hard[column]) + (np.int64(within[column]) << np.int64(32))
        )
        seen[column] += np.uint32(sure & np.int64(hard[column] > _ZERO))


@compiled
def _leave_out(
    line: Any, start: Any, keys: Any, near: Any, pairs: Any, edges: Any, counts: Any, lines: Any,
    rows: Any, listed: Any,
) -> Any:  # fmt: skip  # pragma: no cover  (compiled)
    """List the rows that are near to a threshold, and take them off the counts of all."""
    for column in range(keys.size):
        if near[column] == _ZERO:
            continue
        if listed < rows.size:
            lines[listed], rows[listed] = line, start + column
        listed += 1
        for which in range(2):
            for pair in range(pairs[0], pairs[1]):
                counts[which, pair] -= np.int64(keys[column] < edges[2 * which, pair])
    return listed


@compiled
def _count_rows(
    products: Any, bias: Any, starts: Any, edges: Any, unclear: Any, first: Any, last: Any,
    key_space: Any, found: Any, seen: Any, noting: Any, counts: Any, sums: Any, lines: Any,
    rows: Any,
) -> Any:  # fmt: skip  # pragma: no cover  (compiled)
    offset, slope, root = key_space
    keys, both = np.empty(_STEP, np.float32), np.empty((2, _STEP), np.int32)
    near, listed = np.empty(_STEP, np.int32), np.int64(0)
    for line in range(first, last):
        pairs = (starts[line], starts[line + 1])
        for start in range(0, bias.size, _STEP):
            stop = min(start + _STEP, bias.size)
            size = stop - start
            own, close, hard, within = keys[:size], near[:size], both[0, :size], both[1, :size]
            _key_rows(products[line, start:stop], bias[start:stop], own)
            for column in range(size):
                close[column] = np.int32(own[column] < unclear[line])
            both[:] = 0
            for pair in range(pairs[0], pairs[1], 2):
                _compare(own, edges, pair, hard, within, close, counts)
            listed = _leave_out(line, start, own, close, pairs, edges, counts, lines, rows, listed)
            sums[line] += _lose(own, within, close, offset[line], slope, root)
            if noting:
                _note(hard, within, close, found[start:stop], seen[start:stop])
    return listed


def count_rows(
    products: NDArray[np.float32], bias: NDArray[np.float32], starts: Rows,
    edges: NDArray[np.float32], unclear: NDArray[np.float32], lines: tuple[int, int],
    key_space: tuple[NDArray[np.float32], np.float32, bool], found: Rows,
    seen: NDArray[np.uint32], counts: Rows, sums: Float64,
) -> tuple[Rows, Rows]:  # fmt: skip
    """Count the keys of some lines below each threshold, and add them up by row.

    Parameters
    ----------
    products : ndarray of shape (b, n), float32
        Not a number where a row does not count.
    bias : ndarray of shape (n,), float32
        What rows add to their keys.
    starts : ndarray of shape (b + 1,), int64
        Where the pairs of each line begin, and the end; an even number of each.
    edges : ndarray of shape (4, pairs), float32
        Below and above which keys are on their side of a threshold for sure: where hard ends, and
        where semi-hard ends. No key is below one of minus infinity.
    unclear : ndarray of shape (b,), float32
        Keys below it are left out, too.
    lines : tuple of int
        The first line, and the one after the last.
    key_space : (offset, slope, root)
        What turns a key into a distance.
    found, seen
        As of `miner.census.walk.line_loops.add_up`.
    counts : ndarray of shape (2, pairs), int64
        Is added to: hard; hard or semi-hard.
    sums : ndarray of shape (b,), float64
        Is added to: the distances of rows, one for each pair.

    Returns
    -------
    lines, rows : ndarray of int64
        What was left out.
    """
    room = 1 << 10
    given = (products, bias, starts, edges, unclear, *lines, key_space, found, seen)
    filled: tuple[NDArray[Any], ...] = (counts, sums, found, seen)
    before = tuple(array.copy() for array in filled)
    while True:
        mine, rows = np.empty((2, room), dtype=np.int64)
        listed = _count_rows(*given, len(found) > 0, counts, sums, mine, rows)
        if listed <= room:
            return mine[:listed], rows[:listed]
        room = int(listed)  # once more, with room for all
        for array, old in zip(filled, before, strict=True):
            array[:] = old
