"""The nearest rows of anchors, and whether they belong to another label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miner.census.measure import Vectors
from miner.census.walk.ranked_block import RankedBlock, rows_of
from miner.triplets.distance import Metric
from miner.triplets.relevance import NONE, Relevance
from miner.triplets.relevance.labels import Labels
from miner.triplets.types import Rows

__all__ = ["NearestRows", "majority", "nearest_by_definition", "nearest_of"]


@dataclass(frozen=True, slots=True)
class NearestRows:
    """The nearest rows of some anchors, in no order.

    Attributes
    ----------
    anchors : ndarray of shape (b,), int64
    rows : ndarray of shape (b, k), int64
        -1 where an anchor has no more rows.
    """

    anchors: Rows
    rows: Rows


def nearest_of(block: RankedBlock, most: int) -> NearestRows:
    """Return the nearest rows of a block's anchors, positives too; ties break by row number.

    The block must list so many (`miner.census.walk.census.Census.blocks`).
    """
    parts = [_competing(block, line, most) for line in range(len(block.anchors))]
    lines = np.repeat(np.arange(len(parts)), list(map(len, parts)))
    rows = np.concatenate([np.empty(0, dtype=np.int64), *parts])
    competing = (block.anchors, lines, rows, np.full(len(parts), most))
    line, rank, row = _settle_nearest(block.vectors, block.space.metric, *competing)
    nearest = np.full((len(parts), most), NONE, dtype=np.int64)
    nearest[line, rank] = row
    return NearestRows(block.anchors, nearest)


def _competing(block: RankedBlock, line: int, most: int) -> Rows:
    """Return the rows that may be among an anchor's nearest."""
    pairs = slice(block.starts[line], block.starts[line + 1])
    own = block.entries[block.firsts[line] : block.firsts[line + 1]]
    keys, rows = block.borders.hard[pairs], block.positives[pairs]
    both = np.concatenate([own[:most], keys])
    if len(both) > most:
        last = np.partition(both, most - 1)[most - 1] + 2 * block.tolerance[line]
        own, rows = own[: own.searchsorted(last, side="right")], rows[keys <= last]
    return np.concatenate([rows, rows_of(own, block.bits)])


def nearest_by_definition(
    vectors: Vectors, relevance: Relevance, metric: Metric, anchor: int, most: int
) -> Rows:
    """Measure all rows that are not hidden from an anchor, and return the nearest."""
    there = np.ones(len(vectors.rows), dtype=np.bool_)
    there[relevance.hidden(anchor)] = False
    rows, lines = np.flatnonzero(there), np.zeros(int(there.sum()), dtype=np.int64)
    wanted = np.array([most])
    return _settle_nearest(vectors, metric, np.array([anchor]), lines, rows, wanted)[2]


def _settle_nearest(
    vectors: Vectors, metric: Metric, anchors: Rows, lines: Rows, rows: Rows, most: Rows
) -> tuple[Rows, Rows, Rows]:
    """Choose the nearest of candidates by the float64 definition; ties break by row number.

    Parameters
    ----------
    vectors : Vectors
    metric : str
    anchors : ndarray of shape (b,), int64
    lines, rows : ndarray of shape (candidates,), int64
        Whose candidate, counted from 0 in `anchors`, and the row.
    most : ndarray of shape (b,), int64
        How many of each anchor's are chosen.

    Returns
    -------
    tuple of ndarray of shape (chosen,), int64
        The line, the rank among the line's candidates, the row.
    """
    distances = vectors.measure(metric, anchors[lines], rows)
    order = np.lexsort((rows, distances, lines))
    ordered = lines[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    kept = rank < most[ordered]
    return ordered[kept], rank[kept], rows[order[kept]]


def majority(nearest: NearestRows, labels: Labels) -> tuple[Rows, Rows, Rows]:
    """Find another label that more than half of an anchor's nearest rows have.

    Returns
    -------
    tuple of ndarray of shape (b,), int64
        The label, -1 where there is none; how many of the rows have it; how many rows there are.
    """
    there = nearest.rows >= 0
    codes = np.where(there, labels.rows[nearest.rows], -1)
    looked = there.sum(axis=1)
    # What more than half of them have stands in the middle of those that there are, in order.
    ordered = np.sort(np.where(there, codes, np.iinfo(np.int64).max), axis=1)
    middle = ordered[np.arange(len(codes)), np.minimum(looked // 2, codes.shape[1] - 1)]
    votes = ((codes == middle[:, None]) & there).sum(axis=1)
    other = (2 * votes > looked) & (middle != labels.anchors[nearest.anchors])
    return np.where(other, middle, -1), np.where(other, votes, 0), looked
