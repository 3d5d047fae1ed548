"""The compiled loops of the fast counting pass, `miner.census.fast.counter`.

A row of keys is counted by looking its keys up: the range of the anchor's thresholds is cut into
equal cells, and a table says for each cell how many thresholds lie surely above it. A cell that a
threshold, give or take the error of a key, reaches into is *mixed*: its keys are compared with
those thresholds one by one, and computed again in float64 where that leaves it open; what even
float64 leaves open makes the anchor unsure. No other cell needs a comparison.

Arguments that several loops share, one line an anchor of the block:

pairs : (starts, hard, within, d_ap)
    The thresholds of anchor i are ``starts[i]:starts[i + 1]`` of float64 arrays.
space : (queries, rows, center, scale, bias, offset, slope, margin, root)
    What makes a float64 key and a distance.
errors : (wide, tolerance)
    How far a key, and a float64 key, may be from a threshold and still be unsure.
tables : (grid, counts, sums, base, begin, edges, owners)
    ``grid[i]`` (of the keys' type) is where cell 1 begins, cells per unit, the last cell and the
    highest key of interest; no last cell: the anchor is unsure. ``counts[i, cell]`` (uint32) holds
    thresholds surely above: hard in the low 16 bits, within in the next 15; or `MIXED` and the
    number of a mixed cell, for which ``base[i]`` holds the same, and whose thresholds are
    ``edges[i]`` (float64) from ``begin[i, number]`` to ``begin[i, number + 1]``; ``owners[i]`` is
    twice the pair of each, plus 1 where semi-hard ends. ``sums[i, k]`` (float32) is the sum of
    d(a,p) + m over the k highest thresholds.
results : (totals, losses, few)
    ``totals[i]`` (int64): hard, within, whether something is unsure, rows within reach;
    ``losses[i]``; ``few[i]`` (int32): the first rows within reach.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from miner.census.kernels.candidates import keep, keeps
from miner.census.kernels.column_sums import add_found, add_row, fold
from miner.census.kernels.float64_keys import FEW, dot
from miner.census.kernels.jit import compiled
from miner.census.kernels.lookup_steps import (
    list_mixed,
    list_within_reach,
    note,
    strike,
    sum_few,
    sum_many,
    survivors,
)
from miner.census.kernels.lookup_tables import MIXED, build, cell_of
from miner.census.kernels.nearest import nearest_room, scan

__all__ = ["build", "count_tile", "strike"]

_SPARSE = 4
"""With fewer than one key in so many within reach, those are looked at one by one."""
_LOW16, _BY16 = np.uint32(0xFFFF), np.uint32(16)


@compiled
def _resolve(
    columns: Any, start: Any, products: Any, bias: Any, grid: Any, counts: Any, sums: Any,
    base: Any, begin: Any, edges: Any, owners: Any, d_ap: Any, wide: Any, tolerance: Any,
    query: Any, rows: Any, center: Any, scale: Any, bias64: Any, offset: Any, slope: Any,
    margin: Any, root: Any, total: Any, few: Any, packed: Any, seen: Any, one: Any, noting: Any,
) -> Any:  # fmt: skip  # pragma: no cover  (compiled)
    """Compare the keys of mixed cells with the thresholds that reach into them; return their loss.

    Plain arrays only, as in `sum_few`.
    """
    low, cells, last, _ = grid
    hards: Any = 0
    withins: Any = 0
    lost, unsure = 0.0, False
    for column in columns:
        key = bias[column] - products[column]
        mixed = np.int64(counts[cell_of(key, low, cells, last)] ^ MIXED)
        plain, exact = base[mixed], np.nan
        found = np.int64(plain >> _BY16)
        hard = np.int64(plain & _LOW16)
        d_an = offset + slope * np.float64(key)
        if root:
            d_an = np.sqrt(max(d_an, 0.0))
        lost += sums[found] - found * d_an
        for entry in range(begin[mixed], begin[mixed + 1]):
            gap = np.float64(key) - edges[entry]
            if -wide <= gap <= wide:
                if np.isnan(exact):
                    row = start + column
                    exact = bias64[row] - dot(query, rows[row], center) * scale[row]
                gap = exact - edges[entry]
                unsure |= -tolerance <= gap <= tolerance
            # Whether a threshold is above is as good as random: no branch may hang on it.
            owner = owners[entry]
            above = np.int64(gap < 0)
            semi = above & owner
            found += semi
            hard += above - semi
            lost += (d_ap[owner >> 1] + margin - d_an) * semi
        withins += found
        hards += hard
        add_row(column, start, hard, found, noting, packed, seen, one, total, few)
    total[0] += hards
    total[1] += withins
    total[2] |= unsure
    return lost


_STEP = 8192


@compiled
def _count_line(
    line: Any, at: Any, start: Any, products: Any, bias: Any, shift: Any, pairs: Any, space: Any,
    errors: Any, tables: Any, results: Any, loss: Any, looks: Any, room: Any, into: Any, kept: Any,
) -> None:  # fmt: skip  # pragma: no cover  (compiled)
    """Count one anchor's keys, some thousand at a time."""
    if tables[0][line, 2] == 0:
        results[0][line, 2] = 1
        return
    totals, losses, few = results
    grid, counts, sums = tables[0][line], tables[1][at], tables[2][at]
    look, again = looks
    one, noting = into[2], into[3]
    packed, seen = into[0], into[1]
    for begin in range(0, products.size, _STEP):
        end = min(begin + _STEP, products.size)
        part, own = products[begin:end], bias[begin:end]
        if noting:
            packed, seen = into[0][begin:end], into[1][begin:end]
        alive = survivors(part, own, grid[3])
        if alive == 0:
            continue
        sparse = alive * _SPARSE < part.size
        keeping = keeps(line, alive, sparse, kept)
        looked = list_within_reach(part, own, grid[3], look) if sparse or keeping else 0
        if keeping:
            keep(line, look[:looked], start + begin, part, own, kept)
        if sparse:
            lost, mixed = sum_few(
                look[:looked], start + begin, part, own, grid, counts, sums, shift[line], space[8],
                totals[line], few[line], again, packed, seen, one, noting,
            )  # fmt: skip
        else:
            size = end - begin
            lost, mixed = sum_many(
                part, own, grid, counts, sums, shift[line], space[8], loss, totals[line],
                (room[0][:size], room[1][:size], room[2][:size], room[3][:size]),
            )  # fmt: skip
            if noting:
                add_found(room[2][:size], packed, seen, one)
            mixed = list_mixed(room[2][:size], again) if mixed else 0
            if totals[line, 3] < FEW:
                note(room[2][:size], start + begin, totals[line], few[line])
        losses[line] += lost
        if mixed:
            losses[line] += _resolve(
                again[:mixed], start + begin, part, own, grid, counts, sums, tables[3][at],
                tables[4][at], tables[5][at], tables[6][at], pairs[3], errors[0][line],
                errors[1][line], space[0][line], space[1], space[2], space[3], space[4],
                space[5][line], space[6], space[7], space[8], totals[line], few[line], packed,
                seen, one, noting,
            )  # fmt: skip


@compiled
def _room(kind: Any) -> Any:  # pragma: no cover  (compiled)
    return (
        np.empty(_STEP, kind.dtype),
        np.empty(_STEP, np.int32),
        np.empty(_STEP, np.uint32),
        np.empty(_STEP, np.float32),
    )


@compiled
def count_tile(
    products: Any, start: Any, bias: Any, shift: Any, pairs: Any, able: Any, unit: Any, whole: Any,
    space: Any, errors: Any, tables: Any, results: Any, loss: Any, runs: Any, into: Any, near: Any,
    kept: Any, book: Any,
) -> Any:  # fmt: skip  # pragma: no cover  (compiled)
    """Count a tile of products of some anchors with the rows from `start` on.

    Returns how many pairs of labels were booked.

    Parameters
    ----------
    products : ndarray of shape (b, t), float32 or float64
        Minus infinity where a row does not count.
    bias : ndarray of shape (t,), of the same type
        What the rows add to their keys.
    shift : ndarray of shape (b, 2), of the same type
        Offset and slope of the distance of a key, per anchor.
    able, unit : ndarray of shape (b,), bool, and float
        As `miner.census.kernels.lookup_tables.build` has them.
    whole : bool
        Whether the tile is all rows: then there is room for the tables of one anchor, and they are
        made as it is counted.
    runs : ndarray of shape (r, 3), int64
        The first anchor, the one after the last, and which line of products the first has: of
        each run of anchors that are booked together.
    into : (packed, seen, one, whether)
        Where it is noted what the rows of the tile are (`miner.census.kernels.column_sums`), if it
        is.
    near : tuple
        As `miner.census.kernels.nearest.scan` has it.
    kept : tuple
        As `miner.census.kernels.candidates.keep` has it.
    book : tuple
        As `miner.census.kernels.column_sums.fold` has it.
    """
    looks = (np.empty(_STEP + 1, np.int32), np.empty(_STEP + 1, np.int32))
    room, best, held = _room(products), nearest_room(near[0], bias), np.int64(0)
    for run in range(len(runs)):
        for line in range(runs[run, 0], runs[run, 1]):
            if whole:
                build(pairs, able, errors[0], space[7], unit, tables, line)
            row = products[line - runs[run, 0] + runs[run, 2]]
            if near[0]:
                scan(line, row, start, bias, near, best)
            _count_line(
                line, 0 if whole else line, start, row, bias, shift, pairs, space, errors, tables,
                results, loss, looks, room, into, kept,
            )  # fmt: skip
        held = fold(run, held, into[0], book)
    return held
