"""Compiled loops over keys and entries; `miner.census.walk.line_loops` documents them, in NumPy.

Array indices are unsigned; `miner.census.kernels.jit` says why.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.kernels.jit import compiled
from miner.census.kernels.sorting import sort_lines
from miner.census.walk.line_loops import MIN_ORDERED
from miner.triplets.types import Float64, Rows

_GROUPS = 512
"""Rows are divided into this many groups; the least key of each group is found in one vector
loop."""
_FEW = 128
"""Rows that are tested together before any of them is listed."""

__all__ = [
    "add_up",
    "between",
    "fold",
    "list_entries",
    "nearest_max_keys",
    "place_thresholds",
    "sort_lines",
    "take_keys",
]


@compiled
def _survivors(products: Any, bias: Any, top: Any) -> Any:  # pragma: no cover  (compiled)
    """Return how many keys are not above `top`."""
    found = np.int32(0)
    for column in range(bias.size):
        found += np.int32(bias[column] - products[column] <= top)
    return found


@compiled
def _list_some(
    products: Any, bias: Any, top: Any, start: Any, mask: Any, out: Any, whole: Any, end: Any
) -> Any:  # pragma: no cover  (compiled)
    """List some rows without a branch, because its outcome could not be predicted."""
    for column in range(bias.size):
        key = bias[column] - products[column]
        out[end] = key
        whole[end] = (whole[end] & mask) | (start + column)
        end += np.uint64(key <= top)
    return end


@compiled
def _list_entries(
    products: Any,
    bias: Any,
    max_keys: Any,
    start: Any,
    bits: Any,
    out: Any,
    whole: Any,
    counts: Any,
) -> None:  # pragma: no cover  (compiled)
    mask, end = np.int64(-1) << np.int64(bits), np.uint64(0)
    for line in range(products.shape[0]):
        first = end
        for begin in range(0, bias.size, _FEW):
            stop = min(begin + _FEW, bias.size)
            part, own = products[line, begin:stop], bias[begin:stop]
            if _survivors(part, own, max_keys[line]):
                at = np.int64(start + begin)
                end = _list_some(part, own, max_keys[line], at, mask, out, whole, end)
        counts[line] = end - first


def list_entries(
    products: NDArray[Any], bias: NDArray[Any], max_keys: NDArray[Any], start: int, bits: int,
    out: Float64,
) -> Rows:  # fmt: skip
    """List the rows of a tile up to a key; see `miner.census.walk.line_loops.list_entries`."""
    counts = np.empty(len(products), dtype=np.int64)
    _list_entries(products, bias, max_keys, start, bits, out, out.view(np.int64), counts)
    return counts


@compiled
def _take_keys(
    products: Any, bias: Any, lines: Any, rows: Any, keys: Any
) -> None:  # pragma: no cover  (compiled)
    for place in range(keys.size):
        line, row = np.uint64(lines[place]), np.uint64(rows[place])
        keys[place] = bias[row] - products[line, row]
        products[line, row] = np.nan


def take_keys(products: NDArray[Any], bias: NDArray[Any], lines: Rows, rows: Rows) -> Float64:
    """Return keys and mask their products; see `miner.census.walk.line_loops.take_keys`."""
    keys = np.empty(len(rows))
    _take_keys(products, bias, lines, rows, keys)
    return keys


@compiled
def _place_thresholds(
    keys: Any, starts: Any, offset: Any, key_error: Any, slope: Any, root: Any, margin: Any,
    steep: Any, unit: Any, d_ap: Any, non_easy: Any, tolerance: Any,
) -> Any:  # fmt: skip  # pragma: no cover  (compiled)
    clear = True
    for line in range(starts.size - 1):
        shift, error, most = offset[line], key_error[line], 0.0
        for pair in range(starts[line], starts[line + 1]):
            distance, growth = shift + slope * keys[pair], 1.0
            if root:
                clear &= distance >= 128 * error
                distance = np.sqrt(max(distance, 0.0))
                growth = (distance + margin) / max(distance, 1e-300)
                clear &= growth <= steep
            border = distance + margin
            value = border * border if root else border
            size = value if root else abs(distance) + margin
            d_ap[pair], non_easy[pair] = distance, (value - shift) / slope
            most = max(most, 2.5 * growth * error + 16 * unit * (size + abs(shift)))
        tolerance[line] = most
    return clear


def place_thresholds(
    keys: Float64, starts: Rows, offset: Float64, key_error: Float64, slope: float, root: bool,
    margin: float, steep: float, unit: float,
) -> tuple[Float64, Float64, Float64, bool]:  # fmt: skip
    """Return the thresholds of pairs; see `miner.census.walk.line_loops.place_thresholds`."""
    d_ap, non_easy = np.empty((2, len(keys)))
    tolerance = np.empty(len(offset))
    given = (keys, starts, offset, key_error, slope, root, margin, steep, unit)
    clear = _place_thresholds(*given, d_ap, non_easy, tolerance)
    return d_ap, non_easy, tolerance, bool(clear)


@compiled
def _search(own: Any, value: Any, equal: Any) -> Any:  # pragma: no cover  (compiled)
    """Return how many entries are below a value, or not above it if `equal`."""
    low, high = np.uint64(0), np.uint64(own.size)
    while low < high:
        middle = (low + high) >> np.uint64(1)
        if own[middle] < value or (equal and own[middle] == value):
            low = middle + np.uint64(1)
        else:
            high = middle
    return low


@compiled
def between_loop(
    entries: Any, firsts: Any, starts: Any, order: Any, edges: Any, wide: Any, under: Any, over: Any
) -> None:  # pragma: no cover  (compiled)
    """Locate thresholds among the entries of their lines."""
    step, most = np.uint64(1), np.uint64(8)
    for line in range(firsts.size - 1):
        own, error = entries[firsts[line] : firsts[line + 1]], wide[line]
        begin, end, size = starts[line], starts[line + 1], np.uint64(own.size)
        few = end - begin < MIN_ORDERED or 40 * (end - begin) < own.size
        at = np.uint64(0)
        for place in range(begin, end):
            pair = np.uint64(order[place])
            low, high = edges[pair] - error, edges[pair] + error
            if few:
                at = _search(own, low, False)
            while at < size and own[at] < low:
                at += step
            upto = at
            while upto < size and own[upto] <= high and upto < at + most:
                upto += step
            if upto == at + most:
                upto = _search(own, high, True)
            under[pair], over[pair] = at, upto


def between(
    entries: Float64, firsts: Rows, starts: Rows, order: Rows, edges: Float64, wide: Float64
) -> tuple[Rows, Rows]:
    """Locate thresholds in lines of entries; see `miner.census.walk.line_loops.between`."""
    under, over = np.empty((2, len(edges)), dtype=np.int64)
    between_loop(entries, firsts, starts, order, edges, wide, under, over)
    return under, over


@compiled
def _distances(
    keys: Any, offset: Any, slope: Any, root: Any, coarse: Any, out: Any
) -> None:  # pragma: no cover  (compiled)
    """Turn keys into distances; if `coarse`, take square roots in float32."""
    for rank in range(keys.size):
        value = offset + slope * keys[rank]
        if root:
            value = value if value > 0.0 else 0.0
            value = np.sqrt(np.float32(value)) if coarse else np.sqrt(value)
        out[rank] = value


@compiled
def _add_line(
    own: Any, mask: Any, pairs: Any, bumps: Any, far: Any, found: Any, noting: Any
) -> Any:  # pragma: no cover  (compiled)
    """Add the counts of one line's rows; return its summed distances, minus the base."""
    step, total, (distances, base) = pairs + (pairs << np.int64(32)), 0.0, far
    for rank in range(own.size):
        step -= bumps[rank]
        if noting:
            found[np.uint64(own[rank] & mask)] += step
        total += (step >> np.int64(32)) * (distances[rank] - base)
    return total


@compiled
def _bump(hard: Any, non_easy: Any, bumps: Any) -> Any:  # pragma: no cover  (compiled)
    """Write how many pairs end at each rank; return the most hard and the most non-easy rows."""
    near: Any = 0
    deep: Any = 0
    for pair in range(hard.size):
        near, deep = max(near, hard[pair]), max(deep, non_easy[pair])
    bumps[: deep + 1] = 0
    for pair in range(hard.size):
        bumps[np.uint64(hard[pair])] += np.int64(1)
        bumps[np.uint64(non_easy[pair])] += np.int64(1) << np.int64(32)
    return near, deep


@compiled
def _add_up(
    entries: Any, whole: Any, firsts: Any, bits: Any, starts: Any, hard: Any, non_easy: Any,
    first: Any, last: Any, key_space: Any, known: Any, at: Any, found: Any, seen: Any, noting: Any,
    bases: Any, sums: Any,
) -> None:  # fmt: skip  # pragma: no cover  (compiled)
    offset, slope, root, coarse = key_space
    places, measured = known
    mask = (np.int64(1) << np.int64(bits)) - np.int64(1)
    most = np.int64(0)
    for line in range(first, last):
        most = max(most, firsts[line + 1] - firsts[line])
    bumps, distances = np.empty(most + 1, np.int64), np.empty(most)
    for line in range(first, last):
        pairs = slice(starts[line], starts[line + 1])
        near, deep = _bump(hard[pairs], non_easy[pairs], bumps)
        own = slice(firsts[line], firsts[line] + deep)
        _distances(entries[own], offset[line], slope, root, coarse, distances)
        while at < places.size and places[at] < firsts[line + 1]:
            if places[at] < own.stop:
                distances[places[at] - own.start] = measured[at]
            at += 1
        if deep:
            bases[line] = distances[0]
        count = np.int64(pairs.stop - pairs.start)
        far = (distances, bases[line])
        sums[line] = _add_line(whole[own], mask, count, bumps, far, found, noting)
        for entry in whole[own][: near if noting else 0]:
            seen[np.uint64(entry & mask)] += np.uint32(1)


def add_up(
    entries: Float64, firsts: Rows, bits: int, starts: Rows, hard: Rows, non_easy: Rows,
    lines: tuple[int, int], key_space: tuple[Float64, float, bool, bool],
    known: tuple[Rows, Float64], found: Rows, seen: NDArray[np.uint32], bases: Float64,
    sums: Float64,
) -> None:  # fmt: skip
    """Accumulate counts and distances of rows; see `miner.census.walk.line_loops.add_up`."""
    noting = len(found) > 0
    given = (entries, entries.view(np.int64), firsts, bits, starts, hard, non_easy, *lines)
    at = np.searchsorted(known[0], firsts[lines[0]])
    _add_up(*given, key_space, known, at, found, seen, noting, bases, sums)


@compiled
def fold(
    found: Any, labels: Any, totals: Any, by_label: Any
) -> None:  # pragma: no cover  (compiled)
    """Add counts to the totals by row and by label; see `miner.census.walk.line_loops.fold`."""
    low = np.int64(0xFFFFFFFF)
    for row in range(found.size):
        value = found[row]
        if value:
            hard, non_easy = value & low, value >> np.int64(32)
            totals[0, row] += hard
            totals[1, row] += non_easy
            if labels.size and labels[row] >= 0:
                label = np.uint64(labels[row])
                by_label[0, label] += hard
                by_label[1, label] += non_easy
            found[row] = 0


@compiled
def _least(products: Any, bias: Any, least: Any) -> None:  # pragma: no cover  (compiled)
    for column in range(bias.size):
        key = bias[column] - products[column]
        least[column] = key if key < least[column] else least[column]


@compiled
def note_least(key: Any, best: Any) -> None:  # pragma: no cover  (compiled)
    """Insert a key into the ascending array of the least keys, in place of its last one."""
    place = best.size - 1
    while place > 0 and best[place - 1] > key:
        best[place] = best[place - 1]
        place -= 1
    best[place] = key


@compiled
def _nearest_max_keys(
    products: Any, bias: Any, wanted: Any, max_keys: Any
) -> None:  # pragma: no cover  (compiled)
    groups = min(_GROUPS, bias.size)
    least = np.empty(groups, bias.dtype)
    for line in range(wanted.size):
        if wanted[line] <= 0:
            continue
        least[:], max_keys[line] = np.inf, np.inf
        for start in range(0, bias.size, groups):
            stop = min(start + groups, bias.size)
            _least(products[line, start:stop], bias[start:stop], least)
        if wanted[line] <= groups:
            best = np.empty(wanted[line], bias.dtype)
            best[:] = np.inf
            for key in least:
                if key < best[best.size - 1]:
                    note_least(key, best)
            max_keys[line] = best[best.size - 1]


def nearest_max_keys(products: NDArray[Any], bias: NDArray[Any], wanted: Rows) -> NDArray[Any]:
    """Return keys that bound the nearest; see `miner.census.walk.line_loops.nearest_max_keys`.

    The k-th of the least keys of groups of rows bounds the k nearest rows.
    """
    max_keys = np.full(len(wanted), -np.inf, dtype=products.dtype)
    _nearest_max_keys(products, bias, wanted, max_keys)
    return max_keys
