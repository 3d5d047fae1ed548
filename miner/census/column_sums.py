"""What the walk finds of rows as negatives: a unit's hubs and confusions.

A row is the negative of so many hard and semi-hard triplets; a pair of labels is that of the
anchors and the negatives of so many. Both are added up in integers over the anchors of a unit, and
later over the units, so that neither their cut nor their order matters.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from miner.census.confusions import UnitConfusions, packed
from miner.census.walk.ranked_block import RankedBlock
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
        self._found = np.zeros(rows, dtype=np.int64)
        there = labels is not None and confusions is not None
        self._codes = labels.rows if labels and there else np.empty(0, dtype=np.int64)
        self._by_label = np.zeros((2, labels.count if labels and there else 0), dtype=np.int64)

    def add(self, block: RankedBlock) -> None:
        """Add the triplets of a block's anchors; those of one label are booked together."""
        labels = self.labels.anchors[block.anchors] if self.labels else np.zeros(len(block.anchors))
        cuts = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
        entries = (block.entries, block.firsts, block.bits)
        pairs = (block.starts, *block.ascending_counts)
        for lines in itertools.pairwise(cuts):
            block.loops.add_rows(*entries, *pairs, lines, self._found, self.seen)
            block.loops.fold(self._found, self._codes, self.totals, self._by_label)
            if self.confusions is not None:
                met = np.flatnonzero(self._by_label[1])
                counts = self._by_label[:, met]
                self.confusions.add(np.full(len(met), int(labels[lines[0]])), met, counts)
                self._by_label[:, met] = 0

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
