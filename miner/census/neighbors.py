"""The nearest rows of anchors, and whether they belong to another label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miner.census.measure import Vectors
from miner.triplets.distance import Metric
from miner.triplets.relevance.labels import Labels
from miner.triplets.types import Rows

__all__ = ["NearestRows", "majority", "settle_nearest"]


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


def settle_nearest(
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
