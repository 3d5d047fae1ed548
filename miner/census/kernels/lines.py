"""Compiled loops over lines of keys and entries; `miner.census.walk.line_loops` is in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.kernels.jit import compiled
from miner.triplets.types import Float64, Rows

MANY = 32
"""Thresholds of a line from which on they come in ascending order."""

__all__ = ["add_rows", "between", "fold", "list_entries", "sum_losses"]


@compiled
def _list_entries(
    keys: Any, tops: Any, start: Any, bits: Any, out: Any, whole: Any, counts: Any
) -> None:  # pragma: no cover  (compiled)
    mask = np.int64(-1) << np.int64(bits)
    end: Any = 0
    for line in range(keys.shape[0]):
        first, top = end, tops[line]
        for column in range(keys.shape[1]):  # without a branch: it would be taken at random
            key = keys[line, column]
            out[end] = key
            whole[end] = (whole[end] & mask) | np.int64(start + column)
            end += np.int64(key <= top)
        counts[line] = end - first


def list_entries(
    keys: NDArray[Any], tops: NDArray[Any], start: int, bits: int, out: Float64
) -> Rows:
    """List the rows of a tile within reach; see `miner.census.walk.line_loops.list_entries`."""
    counts = np.empty(len(keys), dtype=np.int64)
    _list_entries(keys, tops, start, bits, out, out.view(np.int64), counts)
    return counts


@compiled
def _search(own: Any, value: Any, equal: Any) -> Any:  # pragma: no cover  (compiled)
    """Count the entries below a value, or those equal to it too."""
    low, high = 0, own.size
    while low < high:
        middle = (low + high) // 2
        if own[middle] < value or (equal and own[middle] == value):
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def between_loop(
    entries: Any, firsts: Any, starts: Any, order: Any, low: Any, high: Any, under: Any, over: Any
) -> None:  # pragma: no cover  (compiled)
    for line in range(firsts.size - 1):
        own = entries[firsts[line] : firsts[line + 1]]
        begin, end = starts[line], starts[line + 1]
        few = end - begin < MANY or 40 * (end - begin) < own.size
        at = 0
        for place in range(begin, end):
            pair = order[place]
            if few:
                at = _search(own, low[pair], False)
            else:
                while at < own.size and own[at] < low[pair]:
                    at += 1
            upto = at
            while upto < own.size and own[upto] <= high[pair] and upto < at + 8:
                upto += 1
            if upto == at + 8:
                upto = _search(own, high[pair], True)
            under[pair], over[pair] = at, upto


def between(
    entries: Float64, firsts: Rows, starts: Rows, order: Rows, low: Float64, high: Float64
) -> tuple[Rows, Rows]:
    """Look thresholds up in lines of entries; see `miner.census.walk.line_loops.between`."""
    under, over = np.empty((2, len(low)), dtype=np.int64)
    between_loop(entries, firsts, starts, order, low, high, under, over)
    return under, over


@compiled
def _add_rows(
    whole: Any, firsts: Any, bits: Any, starts: Any, hard: Any, within: Any, first: Any, last: Any,
    found: Any, seen: Any,
) -> None:  # fmt: skip  # pragma: no cover  (compiled)
    mask = (np.int64(1) << np.int64(bits)) - np.int64(1)
    for line in range(first, last):
        above, upto, end = starts[line], starts[line], starts[line + 1]
        own = whole[firsts[line] : firsts[line] + within[end - 1]]
        rank = 0
        while rank < own.size:
            while above < end and hard[above] <= rank:
                above += 1
            while within[upto] <= rank:
                upto += 1
            stop = min(hard[above], within[upto]) if above < end else within[upto]
            step = (end - above) + ((end - upto) << np.int64(32))
            for entry in own[rank:stop]:
                found[entry & mask] += step
            rank = stop
        for entry in own[: hard[end - 1]]:
            seen[entry & mask] += np.uint32(1)


def add_rows(
    entries: Float64, firsts: Rows, bits: int, starts: Rows, hard: Rows, within: Rows,
    lines: tuple[int, int], found: Rows, seen: NDArray[np.uint32],
) -> None:  # fmt: skip
    """Add up the rows of some lines; see `miner.census.walk.line_loops.add_rows`."""
    whole = entries.view(np.int64)
    _add_rows(whole, firsts, bits, starts, hard, within, *lines, found, seen)


@compiled
def fold(
    found: Any, labels: Any, totals: Any, by_label: Any
) -> None:  # pragma: no cover  (compiled)
    """Add up what was found by row and by label; see `miner.census.walk.line_loops.fold`."""
    low = np.int64(0xFFFFFFFF)
    for row in range(found.size):
        value = found[row]
        if value:
            hard, within = value & low, value >> np.int64(32)
            totals[0, row] += hard
            totals[1, row] += within
            if labels.size and labels[row] >= 0:
                by_label[0, labels[row]] += hard
                by_label[1, labels[row]] += within
            found[row] = 0


def _sum_loop(
    keys: Any, offset: Any, slope: Any, root: Any, base: Any
) -> Any:  # pragma: no cover  (compiled)
    total = 0.0
    for key in keys:
        value = offset + slope * key
        if root:
            value = np.sqrt(value if value > 0.0 else 0.0)
        total += value - base
    return total


_sum = compiled(_sum_loop, reorder=True)


@compiled
def _sum_losses(
    entries: Any, firsts: Any, starts: Any, within: Any, offset: Any, slope: Any, root: Any,
    places: Any, measured: Any, bases: Any, sums: Any,
) -> None:  # fmt: skip  # pragma: no cover  (compiled)
    known = np.int64(0)
    for line in range(firsts.size - 1):
        upto, end = starts[line], starts[line + 1]
        own = entries[firsts[line] : firsts[line] + within[end - 1]]
        if own.size == 0:
            continue
        while known < places.size and places[known] < firsts[line]:
            known += 1
        base = _sum(own[:1], offset[line], slope, root, 0.0)
        rank, total = np.int64(0), 0.0
        while rank < own.size:
            while within[upto] <= rank:
                upto += 1
            part = _sum(own[rank : within[upto]], offset[line], slope, root, base)
            while known < places.size and places[known] < firsts[line] + within[upto]:
                at = places[known] - firsts[line]
                part += measured[known] - base
                part -= _sum(own[at : at + 1], offset[line], slope, root, base)
                known += 1
            total += (end - upto) * part
            rank = within[upto]
        bases[line], sums[line] = base, total


def sum_losses(
    entries: Float64, firsts: Rows, starts: Rows, within: Rows, offset: Float64, slope: float,
    root: bool, places: Rows, measured: Float64,
) -> tuple[Float64, Float64]:  # fmt: skip
    """Sum the distances of lines; see `miner.census.walk.line_loops.sum_losses`."""
    bases, sums = np.zeros((2, len(firsts) - 1))
    _sum_losses(entries, firsts, starts, within, offset, slope, root, places, measured, bases, sums)
    return bases, sums
