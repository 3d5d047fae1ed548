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
from miner.census.walk.line_loops import load_line_loops
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
    kernel : str
        As of `miner.census.walk.census.Census`.

    Attributes
    ----------
    totals : ndarray of shape (2, rows), int64
        Triplets in which the row is the negative: hard; hard or semi-hard.
    seen : ndarray of shape (rows,), uint32
        Anchors that the row is a hard negative of.
    found : ndarray of shape (rows,), int64
        What a run of anchors finds; see `miner.census.walk.line_loops.add_up`.
    """

    def __init__(
        self,
        rows: int,
        labels: Labels | None = None,
        confusions: UnitConfusions | None = None,
        kernel: str = "auto",
    ) -> None:
        self._loops = load_line_loops(kernel)
        self.labels, self.confusions = labels, confusions
        self.totals = np.zeros((2, rows), dtype=np.int64)
        self.seen = np.zeros(rows, dtype=np.uint32)
        self.found = np.zeros(rows, dtype=np.int64)
        there = labels is not None and confusions is not None
        self._codes = labels.rows if labels and there else np.empty(0, dtype=np.int64)
        self._by_label = np.zeros((2, labels.count if labels and there else 0), dtype=np.int64)

    def runs(self, anchors: Rows) -> list[tuple[int, int]]:
        """Cut anchors into runs of one label, whose triplets are booked together."""
        cuts: list[int] = []
        if self.labels is not None:
            cuts = (np.flatnonzero(np.diff(self.labels.anchors[anchors])) + 1).tolist()
        return list(itertools.pairwise([0, *cuts, len(anchors)]))

    def book(self, anchor: int) -> None:
        """Book what was found for a run of anchors, of which this is one."""
        self._loops.fold(self.found, self._codes, self.totals, self._by_label)
        if self.labels is not None and self.confusions is not None:
            met = np.flatnonzero(self._by_label[1])
            label = np.full(len(met), self.labels.anchors[anchor])
            self.confusions.add(label, met, self._by_label[:, met])
            self._by_label[:, met] = 0

    def add(self, anchors: Rows, rows: Rows, counts: Rows, met: NDArray[np.bool_]) -> None:
        """Add triplets of some anchors and negatives.

        Parameters
        ----------
        anchors, rows : ndarray of shape (k,), int64
        counts : ndarray of shape (2, k), int64
            Hard; hard or semi-hard.
        met : ndarray of shape (k,), bool
            Whether the row was no hard negative of the anchor before.
        """
        for total, count in zip(self.totals, counts, strict=True):
            np.add.at(total, rows, count)
        np.add.at(self.seen, rows[met], np.uint32(1))
        if self.labels is not None and self.confusions is not None:
            there = np.flatnonzero((counts > 0).any(axis=0) & (self._codes[rows] >= 0))
            labels = self.labels.anchors[anchors[there]]
            self.confusions.add(labels, self._codes[rows[there]], counts[:, there])

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
