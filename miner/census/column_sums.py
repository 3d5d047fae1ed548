"""What the counting pass finds of rows as negatives: a unit's hubs and confusions.

A row is the negative of so many hard and semi-hard triplets; a pair of labels is that of the
anchors and the negatives of so many. Both are added up in integers over the anchors of a unit, and
later over the units, so that neither their cut nor their order matters.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from miner.census.confusions import UnitConfusions, packed
from miner.triplets.relevance.labels import Labels
from miner.triplets.types import Rows

__all__ = ["HUBS", "ColumnSums", "add_up_hubs"]

HUBS = ("row", "hard", "semi_hard", "anchors")


class ColumnSums:
    """Adds up what the anchors of a unit find.

    Parameters
    ----------
    rows : int
    labels : Labels or None
        None counts no confusions.
    confusions : UnitConfusions or None
        Takes the pairs of labels, where there are labels.

    Attributes
    ----------
    totals : ndarray of shape (2, rows), int64
        Triplets in which the row is the negative: hard; hard or semi-hard.
    seen : ndarray of shape (rows,), uint32
        Anchors that the row is a hard negative of.
    """

    def __init__(
        self, rows: int, labels: Labels | None = None, confusions: UnitConfusions | None = None
    ) -> None:
        self.labels, self.confusions = labels, confusions
        self.totals = np.zeros((2, rows), dtype=np.int64)
        self.seen = np.zeros(rows, dtype=np.uint32)

    def add(self, anchor: int, columns: Rows, hard: Rows, within: Rows) -> None:
        """Add one anchor's triplets: per negative that are hard, and hard or semi-hard."""
        self.totals[0, columns] += hard
        self.totals[1, columns] += within
        self.seen[columns] += (hard > 0).astype(np.uint32)
        if self.labels is not None:
            others, at = np.unique(self.labels.rows[columns], return_inverse=True)
            counts = np.zeros((2, len(others)), dtype=np.int64)
            np.add.at(counts[0], at, hard)
            np.add.at(counts[1], at, within)
            self.book(np.full(len(others), self.labels.anchors[anchor]), others, counts)

    def book(self, labels: Rows, others: Rows, counts: Rows) -> None:
        """Book triplets by labels of anchors and of negatives; what is below 0 is taken off.

        Parameters
        ----------
        labels, others : ndarray of shape (n,), int64
        counts : ndarray of shape (2, n), int64
            Hard; hard or semi-hard.
        """
        if self.confusions is not None:
            self.confusions.add(labels, others, counts)

    def hubs(self) -> NDArray[np.void]:
        """Return the rows that are a negative of some triplet, with `HUBS`."""
        rows = np.flatnonzero(self.totals[1])
        hard, within = self.totals[:, rows]
        values = (rows, hard, within - hard, self.seen[rows].astype(np.int64))
        return packed(dict(zip(HUBS, values, strict=True)))


def add_up_hubs(units: Iterable[NDArray[np.void]], rows: int) -> Rows:
    """Add up the hubs of units: hard, semi-hard, anchors, shape (3, rows)."""
    totals = np.zeros((3, rows), dtype=np.int64)
    for unit in units:
        at = unit["row"].astype(np.int64)  # each once
        for total, name in zip(totals, HUBS[1:], strict=True):
            total[at] += unit[name].astype(np.int64)
    return totals
