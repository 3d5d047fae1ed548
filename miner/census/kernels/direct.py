"""Compiled loops that look keys up among an anchor's thresholds, without sorting rows.

A table of equal buckets says where the search for a key begins. A key near to a threshold is
undecided: its row is listed, with the thresholds that it may be on either side of. Array indices
are unsigned; `miner.census.kernels.jit` says why.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.kernels.jit import compiled
from miner.census.kernels.lines import note_least
from miner.census.kernels.thresholds import merge_thresholds
from miner.triplets.types import Float64, Rows

__all__ = ["count_rows", "merge_thresholds"]

_STEP = 1024
"""Keys looked up at once, which fit in a CPU's first-level cache."""
_LEAST, _MOST, _SPREAD = 1 << 12, 1 << 15, 8
"""Buckets of an anchor: at least `_LEAST`, at most `_MOST`, about `_SPREAD` per threshold."""
_LONG = 16
"""A bucket with more thresholds than this is searched by bisection."""


@compiled
def _fill_table(
    edges: Any, low: Any, scale: Any, top: Any, table: Any
) -> Any:  # pragma: no cover  (compiled)
    """Write how many thresholds are in earlier buckets; return the most in one bucket."""
    table[:] = 0
    for place in range(edges.size - 1):
        value = (edges[place] - low) * scale
        table[np.uint64(value if value < top else top) + np.uint64(1)] += np.uint32(1)
    total, most = np.uint32(0), np.uint32(0)
    for bucket in range(table.size):
        most = max(most, table[bucket])
        total += table[bucket]
        table[bucket] = total
    return most


@compiled
def _choose(
    products: Any, bias: Any, low: Any, scale: Any, top: Any, near: Any, keys: Any, buckets: Any
) -> Any:  # pragma: no cover  (compiled)
    """Write the keys and their buckets; return how many keys are not above `near`."""
    found = np.int32(0)
    for column in range(keys.size):
        key = bias[column] - products[column]
        value = (key - low) * scale
        value = value if value < top else top
        keys[column] = key
        buckets[column] = np.uint32(value if value > 0 else 0)
        found += np.int32(key <= near)
    return found


@compiled
def _note_nearest(
    keys: Any, start: Any, spare: Any, best: Any, mask: Any, entries: Any, whole: Any, end: Any
) -> Any:  # pragma: no cover  (compiled)
    """List the keys that may be among the ``best.size`` nearest."""
    last = best.size - 1
    for column in range(keys.size):
        key = keys[column]
        if not key <= best[last] + spare:
            continue
        entries[end] = key
        whole[end] = (whole[end] & mask) | np.int64(start + column)
        end += 1
        if key < best[last]:
            note_least(key, best)
    return end


@compiled
def _bisect(edges: Any, key: Any, at: Any, stop: Any) -> Any:  # pragma: no cover  (compiled)
    """Return the first threshold in [at, stop) that is not below a key."""
    while at < stop:
        middle = (at + stop) >> np.uint64(1)
        if edges[middle] < key:
            at = middle + np.uint64(1)
        else:
            stop = middle
    return at


@compiled
def _look_up(
    keys: Any, buckets: Any, table: Any, crowded: Any, edges: Any, above: Any, wide: Any,
    unclear: Any, last: Any, values: Any, start: Any, listed: Any, rows: Any, begin: Any, end: Any,
) -> Any:  # fmt: skip  # pragma: no cover  (compiled)
    """Turn buckets into ranks among the thresholds; list the rows of undecided keys."""
    beyond = keys.dtype.type(np.inf)
    for column in range(keys.size):
        key, bucket = keys[column], np.uint64(buckets[column])
        key = key if key <= last else beyond
        at = np.uint64(table[bucket])
        if crowded:
            at = _bisect(edges, key, at, np.uint64(table[bucket + np.uint64(1)]))
        at += np.uint64(edges[at] < key)  # no branch: it could not be predicted
        while edges[at] < key:
            at += np.uint64(1)
        if key >= edges[at] - wide or key < unclear:
            upto = at
            while key >= edges[upto] - wide:
                upto += np.uint64(1)
            rows[listed], begin[listed], end[listed] = start + column, at, upto
            listed += 1
            at = upto
        buckets[column] = np.uint32(at)
        values[column] = above[at]
    return listed


@compiled
def _count_up(ranks: Any, counts: Any) -> None:  # pragma: no cover  (compiled)
    """Count the keys of each rank, alternating between two arrays.

    Adjacent keys often have the same rank, and a CPU would wait for the previous increment.
    """
    for column in range(0, ranks.size - 1, 2):
        counts[0, np.uint64(ranks[column])] += np.int32(1)
        counts[1, np.uint64(ranks[column + 1])] += np.int32(1)
    if ranks.size % 2:
        counts[0, np.uint64(ranks[ranks.size - 1])] += np.int32(1)


@compiled
def _book(values: Any, found: Any, seen: Any) -> None:  # pragma: no cover  (compiled)
    """Add the counts of each row."""
    for column in range(values.size):
        found[column] += values[column]
        seen[column] += np.uint32((values[column] & np.int64(0xFFFFFFFF)) > 0)


def _lose_loop(
    keys: Any, values: Any, offset: Any, slope: Any, root: Any
) -> Any:  # pragma: no cover  (compiled)
    """Return the sum of the rows' distances, each once per pair that the row is counted for."""
    total = 0.0
    for column in range(keys.size):
        value = offset + slope * keys[column]
        if root:
            value = np.sqrt(value if value > 0 else offset - offset)
        many = values[column] >> np.int64(32)
        total += np.float64(value * np.float32(many)) if many > 0 else 0.0
    return total


_lose = compiled(_lose_loop, reorder=True)


@compiled
def _count_row(
    products: Any, bias: Any, edges: Any, above: Any, wide: Any, unclear: Any, key_space: Any,
    table: Any, counts: Any, found: Any, seen: Any, noting: Any, rows: Any, begin: Any, end: Any,
    nearest: Any, spare: Any,
) -> Any:  # fmt: skip  # pragma: no cover  (compiled)
    """Count one line; return its summed distances and the numbers of undecided and nearest rows."""
    (offset, slope, root), (best, mask, entries, whole) = key_space, nearest
    keys, values = np.empty(_STEP, products.dtype), np.empty(_STEP, np.int64)
    buckets, ends = np.empty(_STEP, np.uint32), np.empty(3, products.dtype)
    last, ends[0], ends[1] = edges[edges.size - 2], edges[0] - wide, table.size - 2
    low, top = ends[0], ends[1]
    ends[2] = top / (last - low) if last > low else top - top
    scale, total, listed, near = ends[2], 0.0, np.int64(0), np.int64(0)
    crowded = _fill_table(edges, low, scale, top, table) > _LONG
    for start in range(0, bias.size, _STEP):
        stop, before = min(start + _STEP, bias.size), listed
        own, ranks, mine = keys[: stop - start], buckets[: stop - start], values[: stop - start]
        limit = best[best.size - 1] + spare
        if _choose(products[start:stop], bias[start:stop], low, scale, top, limit, own, ranks):
            near = _note_nearest(own, start, spare, best, mask, entries, whole, near)
        listed = _look_up(
            own, ranks, table, crowded, edges, above, wide, unclear, last, mine, start, listed,
            rows, begin, end,
        )  # fmt: skip
        _count_up(ranks, counts)
        if noting:
            _book(mine, found[start:stop], seen[start:stop])
        for place in range(before, listed):  # their distances are measured
            mine[rows[place] - start] = 0
        total += _lose(own, mine, offset, slope, root)
    return total, listed, near


@compiled
def _keep_nearest(entries: Any, size: Any, top: Any) -> Any:  # pragma: no cover  (compiled)
    """Move the entries up to `top` to the front; return their number."""
    kept = np.int64(0)
    for place in range(size):
        entries[kept] = entries[place]
        kept += np.int64(entries[place] <= top)
    return kept


@compiled
def _count_rows(
    products: Any, bias: Any, starts: Any, edges: Any, pairs: Any, above: Any, wide: Any,
    unclear: Any, first: Any, last: Any, key_space: Any, nearest: Any, found: Any, seen: Any,
    noting: Any, counts: Any, sums: Any, listed: Any, sizes: Any,
) -> Any:  # fmt: skip  # pragma: no cover  (compiled)
    """Count lines while there is room for undecided rows; return the next line."""
    (offset, slope, root), (wanted, spare, mask, entries, whole, firsts) = key_space, nearest
    used, best = np.int64(0), np.empty(max(wanted, 1), products.dtype)
    for line in range(first, last):
        if listed.shape[1] - used < bias.size:
            return line
        begin, end = 2 * starts[line] + line, 2 * starts[line + 1] + line + 1
        most = _LEAST
        while most < _MOST and most < _SPREAD * (end - begin):
            most *= 2
        table, ranked = np.empty(most + 1, np.uint32), np.zeros((2, end - begin), np.uint32)
        rows, at, upto = listed[0, used:], listed[1, used:], listed[2, used:]
        best[:], own = np.inf if wanted else -np.inf, entries[firsts[line] :]
        sums[line], sizes[line], near = _count_row(
            products[line], bias, edges[begin:end], above[begin:end], wide[line], unclear[line],
            (offset[line], slope, root), table, ranked, found, seen, noting, rows, at, upto,
            (best, mask, own, whole[firsts[line] :]), spare[line],
        )  # fmt: skip
        top = np.float64(best[best.size - 1]) + spare[line]
        firsts[line + 1] = firsts[line] + _keep_nearest(own, near, top)
        for place in range(sizes[line]):
            at[place] += begin
            upto[place] += begin
        used += sizes[line]
        total = np.int64(0)
        for place in range(begin, end - 1):
            total += ranked[0, place - begin] + ranked[1, place - begin]
            counts[np.uint64(pairs[place])] = total
    return last


def count_rows(
    products: NDArray[Any], bias: NDArray[Any], starts: Rows,
    thresholds: tuple[NDArray[Any], Rows, Rows], wide: NDArray[Any], unclear: NDArray[Any],
    lines: tuple[int, int], key_space: tuple[NDArray[Any], Any, bool],
    nearest: tuple[int, NDArray[Any], int, Float64, Rows], found: Rows, seen: NDArray[np.uint32],
    counts: Rows, sums: Float64,
) -> tuple[Rows, Rows]:  # fmt: skip
    """Count the keys of some lines below each threshold, and add the counts of each row.

    Parameters
    ----------
    products : ndarray of shape (b, n), float32 or float64
        NaN where a row is not a negative.
    bias : ndarray of shape (n,), of the same type
        The term that each row adds to its keys.
    starts : ndarray of shape (b + 1,), int64
        Where the pairs of each line begin, and the end; each line has at least one.
    thresholds : (edges, pairs, above)
        As `merge_thresholds` returns them, with edges of the type of the products.
    wide : ndarray of shape (b,), of the same type
        Keys less than this below an edge are undecided.
    unclear : ndarray of shape (b,), of the same type
        Rows with smaller keys are listed too, because their keys do not give exact distances.
    lines : tuple of int
        The first line, and the one after the last.
    key_space : (offset, slope, root)
        See `miner.census.walk.key_space.KeySpace`.
    nearest : (wanted, spare, bits, entries, firsts)
        The number of nearest rows to list; rows whose keys exceed the last of these by at most
        `spare` are listed too; the number of low bits of an entry that hold the row number.
        `entries` is filled, and `firsts` with where each line's entries begin.
    found, seen
        As in `miner.census.walk.line_loops.add_up`.
    counts : ndarray of shape (2 * pairs,), int64
        Filled with the number of keys below each threshold: all hard ones, then all semi-hard ones.
    sums : ndarray of shape (b,), float64
        Filled with the distances of rows that are not listed, each once per pair.

    Returns
    -------
    lines : ndarray of shape (k,), int64
        The line of each undecided row.
    listed : ndarray of shape (3, k), int64
        The undecided rows, and the first threshold that each may be on either side of, and the one
        after the last. Each row was counted as if it were above all of these.
    """
    wanted, spare, bits, entries, firsts = nearest
    near = (wanted, spare, np.int64(-1 << bits), entries, entries.view(np.int64), firsts)
    first, stop = lines
    sizes, done = np.zeros(len(sums), dtype=np.int64), 0
    parts: list[Rows] = []
    while first < stop:
        listed = np.empty((3, 2 * len(bias)), dtype=np.int64)
        given = (products, bias, starts, *thresholds, wide, unclear, first, stop, key_space, near)
        first = _count_rows(*given, found, seen, len(found) > 0, counts, sums, listed, sizes)
        parts.append(listed[:, : int(sizes.sum()) - done].copy())
        done = int(sizes.sum())
    return np.repeat(np.arange(len(sizes)), sizes), np.concatenate(parts, axis=1)
