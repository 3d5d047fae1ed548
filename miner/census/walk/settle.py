"""Counts of the rows on one side of thresholds: by keys where those tell, else by the definition.

A threshold is an interval of keys: rows below it count for sure, rows above it do not. Of the rows
inside, the distances are measured, and the definition decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.walk.line_loops import MANY
from miner.census.walk.ranked_block import RankedBlock, joined, packed, row_bits, rows_of
from miner.triplets.hardness import is_hard, is_within
from miner.triplets.relevance import spans
from miner.triplets.types import Float64, Rows

__all__ = ["Holds", "Settled", "ascending", "count_pairs", "settle"]

Holds = Callable[[Float64, Rows], NDArray[np.bool_]]
"""Whether measured distances count, each for the pair whose number stands beside it."""


def ascending(starts: Rows, values: Float64, loops: Any, many: int = MANY) -> Rows:
    """Return the thresholds of each line, about ascending where there are so many.

    Parameters
    ----------
    starts : ndarray of shape (b + 1,), int64
        Where the thresholds of each line begin.
    values : ndarray of shape (thresholds,), float64
    loops : module
        See `miner.census.walk.line_loops`.
    """
    sizes, order = np.diff(starts), np.arange(len(values))
    if not (sizes >= many).any():
        return order
    first = np.repeat(starts[:-1], sizes)
    bits = row_bits(int(sizes.max()))
    entries = packed(values, order - first, bits)  # far quicker to sort than to find an order
    loops.sort_lines(entries, starts)
    return np.where(np.repeat(sizes >= many, sizes), first + rows_of(entries, bits), order)


@dataclass(frozen=True, slots=True)
class Settled:
    """Rows that were put in order, and what was counted.

    Attributes
    ----------
    counts : ndarray of shape (thresholds,), int64
    places, distances : ndarray of int64 and of float64
        Where in ``block.entries`` rows were put in order, ascending, and their distances.
    """

    counts: Rows
    places: Rows
    distances: Float64


def settle(block: RankedBlock, lines: Rows, low: Rows, high: Rows, holds: Holds) -> Settled:
    """Count the rows of each threshold; put those inside of one in the order of their distances.

    Parameters
    ----------
    block : RankedBlock
        Its entries are put in order.
    lines : ndarray of shape (thresholds,), int64
        The anchor of each threshold.
    low, high : ndarray of shape (thresholds,), int64
        The rows below rank `low` of the anchor count, those from rank `high` on do not.
    holds : callable
        Holds up to some distance, and never beyond it.
    """
    counts = low.copy()
    unsure = np.flatnonzero(high > low)
    if not len(unsure):
        return Settled(counts, unsure, np.empty(0))
    own = block.firsts[lines[unsure]]
    stretches = joined(own + low[unsure], own + high[unsure], lines[unsure])
    places, distances = _ordered(block, *stretches)
    begin, end, _ = stretches
    which = np.searchsorted(begin, own + low[unsure], side="right") - 1
    first = (np.cumsum(end - begin) - (end - begin))[which]
    least, most = first.copy(), first + (end - begin)[which]
    going = np.arange(len(unsure))
    while len(going):  # every threshold is searched for by bisection, all at once
        middle = (least[going] + most[going]) // 2
        held = holds(distances[middle], unsure[going])
        least[going] = np.where(held, middle + 1, least[going])
        most[going] = np.where(held, most[going], middle)
        going = going[least[going] < most[going]]
    counts[unsure] = begin[which] - own + least - first
    return Settled(counts, places, distances)


def _ordered(block: RankedBlock, begin: Rows, end: Rows, lines: Rows) -> tuple[Rows, Float64]:
    """Put the rows of stretches of entries in order; return their places and distances."""
    sizes = end - begin
    places = spans(begin, sizes)
    stretch = np.repeat(np.arange(len(begin)), sizes)
    rows, distances, before = block.in_order(places, lines[stretch], stretch)
    block.entries.view(np.int64)[places] += rows - before  # rows are the lowest bits
    return places, distances


def count_pairs(block: RankedBlock, margin: float, unclear: Float64) -> None:
    """Fill the counts of a block.

    Parameters
    ----------
    block : RankedBlock
        Rows whose place among the thresholds is unsure are put in the order of their distances.
    margin : float
    unclear : ndarray of shape (b,), float64
        So are the rows whose keys are below this; where it is infinite, positives are measured too.
    """
    pairs, borders = block.pairs, block.borders
    count, (low, high) = len(pairs.positives), _intervals(block)
    unsure = (high > low).reshape(2, -1).any(axis=0) | np.isposinf(unclear[pairs.lines])
    pair = np.flatnonzero(unsure)
    if len(pair) and not block.exact:
        borders.d_ap[pair] = pairs.measured(block.vectors, block.space, pair)

    def holds(d_an: Float64, threshold: Rows) -> NDArray[np.bool_]:
        """Whether rows are hard, or hard or semi-hard, as their threshold asks."""
        d_ap = borders.d_ap[threshold % count]
        return np.where(threshold < count, is_hard(d_ap, d_an), is_within(d_ap, d_an, margin))

    lines = np.arange(len(pairs.anchors))
    upto, _ = block.between(np.arange(len(lines) + 1), lines, unclear, np.zeros(len(lines)))
    settled = settle(
        block,
        np.concatenate([pairs.lines, pairs.lines, lines]),
        np.concatenate([low, np.zeros_like(upto)]),
        np.concatenate([high, upto]),
        holds,
    )
    block.hard, block.within = settled.counts[:count], settled.counts[count : 2 * count]
    # A margin that rounding swallows (d + m == d) leaves the ties hard all the same.
    np.maximum(block.within, block.hard, out=block.within)
    block.settled = settled.places, settled.distances


def _intervals(block: RankedBlock) -> tuple[Rows, Rows]:
    """Return between which ranks each threshold lies: first where hard ends, then semi-hard."""
    starts, borders = block.starts, block.borders
    order = ascending(starts, borders.hard, block.loops)
    found = [
        block.between(starts, order, edges, block.tolerance)
        for edges in (borders.hard, borders.within)  # both are in one order
    ]
    low, high = zip(*found, strict=True)
    return np.concatenate(low), np.concatenate(high)
