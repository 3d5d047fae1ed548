"""Compiled loops for float64 keys among many thresholds: most keys lie next to one.

The range of an anchor's thresholds is cut into equal *places*, 2^15 to a cell. A key and a
threshold that are two places apart or more are told apart by their places alone, for a place is
far wider than the error of a float64 key; and a cell's record holds up to two thresholds, so that
one look-up and two comparisons of 16-bit numbers say how many thresholds lie above a key. Keys in
cells with more thresholds go through the sorted places; keys within a place of a threshold are
computed once more, the same way in every run, and compared with all thresholds.

A *mark* (uint32) is a threshold's place, and in its lowest bit whether semi-hard ends there; so a
cell's number is in the high 16 bits and what tells apart within a cell in the low 16. A *record*
(uint64) holds two marks' low halves in its high 32 bits, zero for none, and below them how many
thresholds lie above the cell, as `miner.census.kernels.count_lookup` has it; with `MIXED` the cell
has more.

Arguments beside those of `miner.census.kernels.count_lookup`:

grid : ndarray of shape (b, 4), float64
    Where cell 1 begins, places per unit, cells (0: the anchor is unsure), the highest key within
    reach.
marks : ndarray of shape (2 * pairs,), uint32
    Of anchor i those from ``2 * starts[i]`` to ``2 * starts[i + 1]``, ascending once sorted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from miner.census.kernels.candidates import keep, keeps
from miner.census.kernels.column_sums import add_found, add_row, fold
from miner.census.kernels.float64_keys import FEW, dot
from miner.census.kernels.jit import compiled
from miner.census.kernels.lookup_steps import (
    add_counts,
    list_mixed,
    list_within_reach,
    note,
    sum_loss,
    survivors,
)
from miner.census.kernels.nearest import nearest_room, scan

__all__ = ["count_dense", "lay_marks"]

_PLACES = 1 << 15
_HALF = 1 << 14
_ONE, _TWO, _BY4, _BY16, _BY31 = (np.uint32(n) for n in (1, 2, 4, 16, 31))
_LOW16, _LOW15, _NONE = np.uint32(0xFFFF), np.uint32(0x7FFF), np.uint32(0)
_WIDE16, _WIDE32 = np.uint64(0xFFFF), np.uint64(32)
_FIRST_LOW, _LOW32 = np.uint64(0xFFFF << 32), np.uint64(0xFFFFFFFF)
_STEP = 4096
_NARROW = 0.2
"""In places: what a float64 key may be off, at most."""


@compiled
def lay_marks(
    pairs: Any, tolerance: Any, able: Any, cells: Any, grid: Any, marks: Any
) -> None:  # pragma: no cover  (compiled)
    """Lay the grid of every anchor and fill the marks of its thresholds, as yet in no order."""
    starts, hard, within, _ = pairs
    for line in range(starts.size - 1):
        low, high = np.inf, -np.inf
        for pair in range(starts[line], starts[line + 1]):
            low = min(low, hard[pair])
            high = max(high, within[pair])
        scale = (cells - 3) * np.float64(_PLACES) / (high - low)
        fine = able[line] and tolerance[line] * scale < _NARROW  # not so without any width
        grid[line, 0], grid[line, 1] = low, scale
        grid[line, 2], grid[line, 3] = cells if fine else 0, high + 2 * tolerance[line]
        if not fine:
            continue
        for pair in range(starts[line], starts[line + 1]):
            place = np.uint32((hard[pair] - low) * scale) + np.uint32(_PLACES)
            marks[2 * pair] = place << _ONE
            place = np.uint32((within[pair] - low) * scale) + np.uint32(_PLACES)
            marks[2 * pair + 1] = (place << _ONE) | _ONE


@compiled
def _fill_records(marks: Any, records: Any) -> None:  # pragma: no cover  (compiled)
    """Fill the records of one anchor's cells from its sorted marks."""
    records[:] = 0
    for mark in marks:
        cell = mark >> _BY16
        record = records[cell]
        low = np.uint64(mark & _LOW16) << _WIDE32
        others = (record & _FIRST_LOW) << np.uint64(16)
        count = (record & _LOW32) + (np.uint64(1) << (np.uint64(mark & _ONE) << np.uint64(4)))
        records[cell] = others | low | count
    above = np.uint64(0)
    for cell in range(records.size - 1, -1, -1):
        record = records[cell]
        here = record & _LOW32
        many = np.uint64((here & _WIDE16) + (here >> np.uint64(16)) > 2) << np.uint64(31)
        records[cell] = (record ^ here) | above | many
        above += here


@compiled
def _fill_sums(
    marks: Any, grid: Any, offset: Any, slope: Any, margin: Any, root: Any, sums: Any
) -> None:  # pragma: no cover  (compiled)
    """Fill the sum of d(a,p) + m over the k highest thresholds where semi-hard ends, for all k."""
    low, wide = grid[0], 1.0 / grid[1]
    total = 0.0
    count: Any = 0
    sums[0] = 0
    for at in range(marks.size - 1, -1, -1):
        mark = marks[at]
        place = np.int64(mark >> _ONE) - _PLACES
        border = offset + slope * (low + (np.float64(place) + 0.5) * wide)
        total += (np.sqrt(max(border, 0.0)) if root else border) * np.float64(mark & _ONE)
        count += np.int64(mark & _ONE)
        sums[count] = total


@compiled
def _place(
    products: Any, bias: Any, low: Any, scale: Any, cells: Any, keys: Any, places: Any
) -> None:  # pragma: no cover  (compiled)
    """Turn products into keys and their places; those out of the range go amid an end's cell."""
    least, most = np.float64(_HALF), np.float64((cells - 1) * _PLACES + _HALF)
    for column in range(products.size):
        key = bias[column] - products[column]
        keys[column] = key
        x = (key - low) * scale + np.float64(_PLACES)
        x = x if x > least else least
        x = x if x < most else most
        places[column] = np.int32(x)


@compiled
def _fetch(records: Any, places: Any, out: Any) -> None:  # pragma: no cover  (compiled)
    for column in range(places.size):
        out[column] = records[places[column] >> 15]


@compiled
def _compare(fetched: Any, places: Any, found: Any) -> None:  # pragma: no cover  (compiled)
    """Fill what is above each key; `MIXED` is set where the record does not tell."""
    for column in range(fetched.size):
        record = fetched[column]
        value, both = np.uint32(record & _LOW32), np.uint32(record >> _WIDE32)
        own = np.uint32(places[column]) & _LOW15
        first, second = both & _LOW16, both >> _BY16
        one, two = first >> _ONE, second >> _ONE
        value += np.uint32(own < one) << ((first & _ONE) << _BY4)
        value += np.uint32(own < two) << ((second & _ONE) << _BY4)
        near = (np.uint32(own - one + _ONE) <= _TWO) | (np.uint32(own - two + _ONE) <= _TWO)
        near |= np.uint32(own + _ONE) & _LOW15 <= _ONE  # next to another cell
        found[column] = np.uint32(value) | (np.uint32(near) << _BY31)


@compiled
def _compare_all(
    key: Any, hard: Any, within: Any, tolerance: Any
) -> Any:  # pragma: no cover  (compiled)
    """Return how many thresholds of both kinds lie above a key, and whether that is unsure."""
    hards: Any = 0
    withins: Any = 0
    unsure = False
    for pair in range(hard.size):
        hards += np.int64(key < hard[pair])
        withins += np.int64(key < within[pair])
        unsure |= abs(key - hard[pair]) <= tolerance
        unsure |= abs(key - within[pair]) <= tolerance
    return hards, withins, unsure


@compiled
def _search(own: Any, cell: Any, base: Any, marks: Any) -> Any:  # pragma: no cover  (compiled)
    """Return how many thresholds of both kinds lie above a place, and whether one is near."""
    hards, withins = np.int64(base & _LOW16), np.int64(base >> _BY16)
    at = marks.size - 1 - hards - withins
    near = np.uint32(own + _ONE) & _LOW15 <= _ONE
    while at >= 0 and marks[at] >> _BY16 == cell:
        low, semi = (marks[at] & _LOW16) >> _ONE, np.int64(marks[at] & _ONE)
        above = np.int64(own < low)
        withins += above & semi
        hards += above & ~semi
        near |= np.uint32(own - low + _ONE) <= _TWO
        at -= 1
    return hards, withins, near


@compiled
def _settle(
    columns: Any, start: Any, keys: Any, places: Any, records: Any, marks: Any, sums: Any,
    hard: Any, within: Any, tolerance: Any, query: Any, rows: Any, center: Any, scale: Any,
    bias: Any, offset: Any, slope: Any, root: Any, total: Any, few: Any, packed: Any, seen: Any,
    one: Any, noting: Any,
) -> Any:  # fmt: skip  # pragma: no cover  (compiled)
    """Add up the keys that the records do not tell; return their loss. Plain arrays only."""
    hards: Any = 0
    withins: Any = 0
    lost, unsure = 0.0, False
    for column in columns:
        place, key = np.uint32(places[column]), keys[column]
        cell = place >> np.uint32(15)
        base = np.uint32(records[cell] & _LOW32) & np.uint32(0x7FFFFFFF)
        of_hard, of_within, near = _search(place & _LOW15, cell, base, marks)
        if near:
            row = start + column
            key = bias[row] - dot(query, rows[row], center) * scale[row]
            of_hard, of_within, doubt = _compare_all(key, hard, within, tolerance)
            unsure |= doubt
        d_an = offset + slope * key
        if root:
            d_an = np.sqrt(max(d_an, 0.0))
        lost += sums[of_within] - of_within * d_an
        hards += of_hard
        withins += of_within
        add_row(column, start, of_hard, of_within, noting, packed, seen, one, total, few)
    total[0] += hards
    total[1] += withins
    total[2] |= unsure
    return lost


@compiled
def _count_line(
    line: Any, products: Any, bias: Any, pairs: Any, space: Any, tolerance: Any, tables: Any,
    results: Any, loss: Any, room: Any, into: Any, kept: Any,
) -> None:  # fmt: skip  # pragma: no cover  (compiled)
    """Count one anchor's keys, some thousand at a time."""
    grid, marks, records, sums = tables
    totals, losses, few = results
    starts = pairs[0]
    first, end = starts[line], starts[line + 1]
    mine, hard, within = marks[2 * first : 2 * end], pairs[1][first:end], pairs[2][first:end]
    cells = np.int64(grid[line, 2])
    used = records[:cells]
    offset, slope, margin, root = space[5][line], space[6], space[7], space[8]
    shift = np.array([offset, slope], np.float32)
    _fill_records(mine, used)
    if loss:
        _fill_sums(mine, grid[line], offset, slope, margin, root, sums)
    packed, seen, one, noting = into
    keys, places, fetched, found, values, again, narrow = room
    for begin in range(0, products.size, _STEP):
        stop = min(begin + _STEP, products.size)
        size = stop - begin
        if noting:
            packed, seen = into[0][begin:stop], into[1][begin:stop]
        if kept[0] and kept[3][line] >= 0:
            part, own, top = products[begin:stop], bias[begin:stop], grid[line, 3]
            if keeps(line, survivors(part, own, top), False, kept):
                keep(
                    line, again[: list_within_reach(part, own, top, again)], begin, part, own, kept
                )
        _place(
            products[begin:stop], bias[begin:stop], grid[line, 0], grid[line, 1], cells,
            keys[:size], places[:size],
        )  # fmt: skip
        _fetch(used, places[:size], fetched[:size])
        _compare(fetched[:size], places[:size], found[:size])
        hards, withins, mixed = add_counts(found[:size])
        totals[line, 0] += hards
        totals[line, 1] += withins
        if loss and withins:
            narrow[:size] = keys[:size]  # as exact as the sums
            losses[line] += sum_loss(narrow[:size], found[:size], values[:size], sums, shift, root)
        if noting:
            add_found(found[:size], packed, seen, one)
        if totals[line, 3] < FEW:
            note(found[:size], begin, totals[line], few[line])
        if mixed:
            count = list_mixed(found[:size], again)
            losses[line] += _settle(
                again[:count], begin, keys, places, used, mine, sums, hard, within,
                tolerance[line], space[0][line], space[1], space[2], space[3], space[4], offset,
                slope, root, totals[line], few[line], packed, seen, one, noting,
            )  # fmt: skip


@compiled
def count_dense(
    products: Any, bias: Any, pairs: Any, space: Any, tolerance: Any, tables: Any, results: Any,
    loss: Any, runs: Any, into: Any, near: Any, kept: Any, book: Any,
) -> Any:  # fmt: skip  # pragma: no cover  (compiled)
    """Count whole rows of float64 products, as `miner.census.kernels.count_lookup.count_tile` does.

    Parameters
    ----------
    tables : (grid, marks, records, sums)
        Sorted marks; room for the records and sums of one anchor.
    """
    room = (
        np.empty(_STEP), np.empty(_STEP, np.int32), np.empty(_STEP, np.uint64),
        np.empty(_STEP, np.uint32), np.empty(_STEP, np.float32), np.empty(_STEP + 1, np.int32),
        np.empty(_STEP, np.float32),
    )  # fmt: skip
    best, held = nearest_room(near[0], bias), np.int64(0)
    for run in range(len(runs)):
        for line in range(runs[run, 0], runs[run, 1]):
            row = products[line - runs[run, 0] + runs[run, 2]]
            if near[0]:
                scan(line, row, np.int64(0), bias, near, best)
            if tables[0][line, 2] == 0:
                results[0][line, 2] = 1
                continue
            _count_line(
                line, row, bias, pairs, space, tolerance, tables, results, loss, room, into, kept
            )
        held = fold(run, held, into[0], book)
    return held
