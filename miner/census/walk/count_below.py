"""Counts of the rows below thresholds, by their keys, and by true distances where keys are unsure.

A threshold is an interval of keys. Rows below the interval are counted, rows above it are not. For
rows inside it the distances are measured and the definition decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.walk.line_loops import MIN_ORDERED
from miner.census.walk.ranked_block import (
    RankedBlock,
    entry_rows,
    merge_intervals,
    pack_entries,
    row_bits,
)
from miner.triplets.hardness import is_hard, is_within
from miner.triplets.relevance import ranges
from miner.triplets.types import Float64, Rows

__all__ = ["Holds", "ThresholdCounts", "ascending", "count_below", "count_pairs"]

Holds = Callable[[Float64, Rows], NDArray[np.bool_]]
"""Takes measured distances and the index of the threshold of each one; returns which ones count."""


def ascending(starts: Rows, values: Float64, loops: Any, many: int = MIN_ORDERED) -> Rows:
    """Return the order of each line's thresholds, nearly ascending if there are at least `many`.

    Parameters
    ----------
    starts : ndarray of shape (b + 1,), int64
        Where the thresholds of each line begin.
    values : ndarray of shape (thresholds,), float64
    loops : module
        See `miner.census.walk.line_loops`.
    many : int
        Lines with fewer thresholds keep their order.
    """
    sizes, order = np.diff(starts), np.arange(len(values))
    if not (sizes >= many).any():
        return order
    first = np.repeat(starts[:-1], sizes)
    bits = row_bits(int(sizes.max()))
    entries = pack_entries(
        values, order - first, bits
    )  # sorting entries is far quicker than argsort
    loops.sort_lines(entries, starts)
    return np.where(np.repeat(sizes >= many, sizes), first + entry_rows(entries, bits), order)


@dataclass(frozen=True, slots=True)
class ThresholdCounts:
    """The number of rows below each threshold, and the rows whose distances were measured.

    Attributes
    ----------
    counts : ndarray of shape (thresholds,), int64
    places, distances : ndarray of int64 and of float64
        The positions in ``block.entries`` that were sorted by distance, ascending, and these
        distances.
    """

    counts: Rows
    places: Rows
    distances: Float64


def count_below(
    block: RankedBlock, lines: Rows, low: Rows, high: Rows, holds: Holds
) -> ThresholdCounts:
    """Count the rows of each threshold; sort the rows inside a threshold by distance.

    Parameters
    ----------
    block : RankedBlock
        Its entries are reordered.
    lines : ndarray of shape (thresholds,), int64
        The position of each threshold's anchor in the block.
    low, high : ndarray of shape (thresholds,), int64
        Rows of the anchor below rank `low` are counted, rows from rank `high` on are not.
    holds : callable
        Must be True up to some distance and False above it.
    """
    counts = low.copy()
    unsure = np.flatnonzero(high > low)
    if not len(unsure):
        return ThresholdCounts(counts, unsure, np.empty(0))
    own = block.firsts[lines[unsure]]
    stretches = merge_intervals(own + low[unsure], own + high[unsure], lines[unsure])
    places, distances = _ordered(block, *stretches)
    begin, end, _ = stretches
    which = np.searchsorted(begin, own + low[unsure], side="right") - 1
    first = (np.cumsum(end - begin) - (end - begin))[which]
    least, most = first.copy(), first + (end - begin)[which]
    going = np.arange(len(unsure))
    while len(going):  # bisection for all thresholds at once
        middle = (least[going] + most[going]) // 2
        held = holds(distances[middle], unsure[going])
        least[going] = np.where(held, middle + 1, least[going])
        most[going] = np.where(held, most[going], middle)
        going = going[least[going] < most[going]]
    counts[unsure] = begin[which] - own + least - first
    return ThresholdCounts(counts, places, distances)


def _ordered(block: RankedBlock, begin: Rows, end: Rows, lines: Rows) -> tuple[Rows, Float64]:
    """Sort the rows in some ranges of the entries; return their positions and distances."""
    sizes = end - begin
    places = ranges(begin, sizes)
    stretch = np.repeat(np.arange(len(begin)), sizes)
    rows, distances, before = block.in_order(places, lines[stretch], stretch)
    block.entries.view(np.int64)[places] += rows - before  # the lowest bits hold the row
    return places, distances


def count_pairs(block: RankedBlock, margin: float, unclear: Float64) -> None:
    """Count the hard and the non-easy negatives of each pair of a block.

    Parameters
    ----------
    block : RankedBlock
        Its `hard`, `non_easy` and `measured` are set. Rows that are undecided for some threshold
        are sorted by distance.
    margin : float
    unclear : ndarray of shape (b,), float64
        Rows with keys below this limit are sorted by distance too. If it is infinite, the distances
        of the positives are measured as well.
    """
    pairs, thresholds = block.pairs, block.thresholds
    count, (low, high) = len(pairs.positives), _intervals(block)
    unsure = (high > low).reshape(2, -1).any(axis=0) | np.isposinf(unclear[pairs.lines])
    pair = np.flatnonzero(unsure)
    if len(pair) and not block.exact:
        thresholds.d_ap[pair] = pairs.measured(block.vectors, block.space, pair)

    def holds(d_an: Float64, threshold: Rows) -> NDArray[np.bool_]:
        """Whether a row is hard (first `count` thresholds), or hard or semi-hard (the others)."""
        d_ap = thresholds.d_ap[threshold % count]
        return np.where(threshold < count, is_hard(d_ap, d_an), is_within(d_ap, d_an, margin))

    lines = np.arange(len(pairs.anchors))
    upto, _ = block.between(np.arange(len(lines) + 1), lines, unclear, np.zeros(len(lines)))
    measured = count_below(
        block,
        np.concatenate([pairs.lines, pairs.lines, lines]),
        np.concatenate([low, np.zeros_like(upto)]),
        np.concatenate([high, upto]),
        holds,
    )
    block.hard, block.non_easy = measured.counts[:count], measured.counts[count : 2 * count]
    # If rounding swallows the margin (d + m == d), ties are hard all the same.
    np.maximum(block.non_easy, block.hard, out=block.non_easy)
    block.measured = measured.places, measured.distances


def _intervals(block: RankedBlock) -> tuple[Rows, Rows]:
    """Return the lowest and the highest rank of each threshold: all hard ones, then all others."""
    starts, thresholds = block.starts, block.thresholds
    order = ascending(starts, thresholds.hard, block.loops)
    found = [
        block.between(starts, order, edges, block.tolerance)
        for edges in (thresholds.hard, thresholds.non_easy)  # both have the same order
    ]
    low, high = zip(*found, strict=True)
    return np.concatenate(low), np.concatenate(high)
