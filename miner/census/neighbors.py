"""The nearest rows of anchors, and whether most of them have another label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miner.census.measure import Vectors
from miner.census.walk.ranked_block import RankedBlock, entry_rows
from miner.triplets.distance import Metric
from miner.triplets.relevance import NONE, Relevance
from miner.triplets.relevance.labels import RowLabels
from miner.triplets.types import Float64, Rows

_EXTRA = 8
"""Rows examined in addition to the nearest ones, because they may be equally near."""

__all__ = ["NearestRows", "majority", "nearest_by_definition", "nearest_of"]


@dataclass(frozen=True, slots=True)
class NearestRows:
    """The nearest rows of some anchors, in no particular order.

    Attributes
    ----------
    anchors : ndarray of shape (b,), int64
    rows : ndarray of shape (b, k), int64
        -1 where an anchor has fewer rows.
    """

    anchors: Rows
    rows: Rows


def nearest_of(block: RankedBlock, most: int) -> NearestRows:
    """Return the `most` nearest rows of a block's anchors, including positives.

    Ties break by row number. The block must list at least `most` rows (`CensusRequest.neighbours`).
    """
    lines, rows = _competing(block, most)
    wanted = np.full(len(block.anchors), most)
    competing = (block.anchors, lines, rows, wanted)
    line, rank, row = _choose_nearest(block.vectors, block.space.metric, *competing)
    nearest = np.full((len(wanted), most), NONE, dtype=np.int64)
    nearest[line, rank] = row
    return NearestRows(block.anchors, nearest)


def _competing(block: RankedBlock, most: int) -> tuple[Rows, Rows]:
    """Return the rows that may be among the nearest, as positions of anchors and rows."""
    width = most + _EXTRA
    own, place = _padded(block.entries, block.firsts, width)
    # A positive that is farther than `most` negatives is not among the nearest.
    bound = own[:, most - 1] + 2 * block.tolerance
    near_pairs = np.flatnonzero(block.thresholds.hard <= bound[block.pairs.lines])
    counts = np.bincount(block.pairs.lines[near_pairs], minlength=len(bound))
    starts = np.concatenate([[0], np.cumsum(counts)])
    keys, pair = _padded(block.thresholds.hard[near_pairs], starts, int(counts.max()))
    both = np.concatenate([own, keys], axis=1)
    last = np.partition(both, most - 1, axis=1)[:, most - 1] + 2 * block.tolerance
    near, good = own <= last[:, None], keys <= last[:, None]
    near &= own < np.inf
    good &= keys < np.inf
    crowded = np.flatnonzero(near[:, -1] & (block.sizes > width))
    near[crowded] = False
    lines, rows = [np.nonzero(near)[0]], [entry_rows(block.entries[place[near]], block.bits)]
    lines.append(np.nonzero(good)[0])
    rows.append(block.positives[near_pairs[pair[good]]])
    for line in crowded.tolist():  # more rows are equally near than were examined
        entries = block.entries[block.firsts[line] : block.firsts[line + 1]]
        mine = entry_rows(entries[: entries.searchsorted(last[line], side="right")], block.bits)
        lines.append(np.full(len(mine), line))
        rows.append(mine)
    return np.concatenate(lines), np.concatenate(rows)


def _padded(values: Float64, starts: Rows, width: int) -> tuple[Float64, Rows]:
    """Return the first `width` values of each line, infinite where the line has fewer.

    Returns
    -------
    values, places : ndarray of shape (lines, width)
        The values, and their positions in `values`.
    """
    places = starts[:-1, None] + np.arange(width)
    there = places < starts[1:, None]
    places = np.where(there, places, 0)
    found = values[places] if len(values) else np.empty(places.shape)
    return np.where(there, found, np.inf), places


def nearest_by_definition(
    vectors: Vectors, relevance: Relevance, metric: Metric, anchor: int, most: int
) -> Rows:
    """Return the nearest rows of one anchor, by measuring all rows that are not hidden from it."""
    there = np.ones(len(vectors.rows), dtype=np.bool_)
    there[relevance.hidden(anchor)] = False
    rows, lines = np.flatnonzero(there), np.zeros(int(there.sum()), dtype=np.int64)
    wanted = np.array([most])
    return _choose_nearest(vectors, metric, np.array([anchor]), lines, rows, wanted)[2]


def _choose_nearest(
    vectors: Vectors, metric: Metric, anchors: Rows, lines: Rows, rows: Rows, most: Rows
) -> tuple[Rows, Rows, Rows]:
    """Choose the nearest candidates by the float64 definition; ties break by row number.

    Parameters
    ----------
    vectors : Vectors
    metric : str
    anchors : ndarray of shape (b,), int64
    lines, rows : ndarray of shape (candidates,), int64
        The position of each candidate's anchor in `anchors`, and the row.
    most : ndarray of shape (b,), int64
        The number of rows to choose for each anchor.

    Returns
    -------
    tuple of ndarray of shape (chosen,), int64
        The position of the anchor, the rank among its candidates, the row.
    """
    distances = vectors.measure(metric, anchors[lines], rows)
    order = np.lexsort((rows, distances, lines))
    ordered = lines[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    kept = rank < most[ordered]
    return ordered[kept], rank[kept], rows[order[kept]]


def majority(nearest: NearestRows, labels: RowLabels) -> tuple[Rows, Rows, Rows]:
    """Find another label that more than half of an anchor's nearest rows have.

    Returns
    -------
    tuple of ndarray of shape (b,), int64
        The label, or -1 if none; the number of nearest rows with it; the number of nearest rows.
    """
    there = nearest.rows >= 0
    codes = np.where(there, labels.rows[nearest.rows], -1)
    looked = there.sum(axis=1)
    # A label that more than half of the rows have is in the middle of their sorted labels.
    ordered = np.sort(np.where(there, codes, np.iinfo(np.int64).max), axis=1)
    middle = ordered[np.arange(len(codes)), np.minimum(looked // 2, codes.shape[1] - 1)]
    votes = ((codes == middle[:, None]) & there).sum(axis=1)
    other = (2 * votes > looked) & (middle != labels.anchors[nearest.anchors])
    return np.where(other, middle, -1), np.where(other, votes, 0), looked
