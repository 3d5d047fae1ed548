"""Sums per row: how often each row is a hard or semi-hard negative (hubs and confusions).

Hub counts are summed per row, confusion counts per pair (anchor label, negative label). Both are
integers, summed over the anchors of a unit and later over the units, so neither the cut into units
nor their order changes the result.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from miner.census.confusions import UnitConfusions, pack_columns
from miner.census.walk.line_loops import load_line_loops
from miner.triplets.relevance.labels import RowLabels
from miner.triplets.types import Rows

__all__ = ["HUBS", "ColumnSums", "add_up_hubs"]

HUBS = ("row", "hard", "semi_hard", "anchors")


class ColumnSums:
    """The sums per row and per label pair of one unit.

    Parameters
    ----------
    rows : int
    labels : RowLabels or None
        If None, no confusions are counted.
    confusions : UnitConfusions or None
        The label pairs are added to it, if there are labels.
    kernel : str
        As in `miner.census.walk.census.Census`.

    Attributes
    ----------
    totals : ndarray of shape (2, rows), int64
        The triplets in which the row is the negative: the hard ones; the hard or semi-hard ones.
    seen : ndarray of shape (rows,), uint32
        The number of anchors for which the row is a hard negative.
    found : ndarray of shape (rows,), int64
        The counts of the current run of anchors; see `miner.census.walk.line_loops.add_up`.
    row_codes : ndarray of shape (rows,), int64
        The label of each row, below 0 for none; empty if no confusions are counted.
    label_count : int
        The number of labels; 0 if no confusions are counted.
    """

    def __init__(
        self,
        rows: int,
        labels: RowLabels | None = None,
        confusions: UnitConfusions | None = None,
        kernel: str = "auto",
    ) -> None:
        self._loops = load_line_loops(kernel)
        self.labels, self.confusions = labels, confusions
        self.totals = np.zeros((2, rows), dtype=np.int64)
        self.seen = np.zeros(rows, dtype=np.uint32)
        self.found = np.zeros(rows, dtype=np.int64)
        there = labels is not None and confusions is not None
        self.row_codes = labels.rows if labels and there else np.empty(0, dtype=np.int64)
        self.label_count = labels.count if labels and there else 0
        self._by_label = np.zeros((2, self.label_count), dtype=np.int64)

    def runs(self, anchors: Rows) -> list[tuple[int, int]]:
        """Cut anchors into runs with the same label; the counts of a run are added together."""
        cuts: list[int] = []
        if self.labels is not None:
            cuts = (np.flatnonzero(np.diff(self.labels.anchors[anchors])) + 1).tolist()
        return list(itertools.pairwise([0, *cuts, len(anchors)]))

    def flush_run(self, anchor: int) -> None:
        """Add the counts in `found` to the sums; `anchor` is any anchor of the run."""
        self._loops.fold(self.found, self.row_codes, self.totals, self._by_label)
        met = np.flatnonzero(self._by_label[1])
        self.add_labels(np.full(len(met), anchor), met, self._by_label[:, met])
        self._by_label[:, met] = 0

    def add_labels(self, anchors: Rows, others: Rows, counts: Rows) -> None:
        """Add triplets of some anchors by the label of the negative, if confusions are counted."""
        if self.labels is not None and self.confusions is not None:
            self.confusions.add(self.labels.anchors[anchors], others, counts)

    def add(self, anchors: Rows, rows: Rows, counts: Rows, met: NDArray[np.bool_]) -> None:
        """Add triplets of some anchors and negatives.

        Parameters
        ----------
        anchors, rows : ndarray of shape (k,), int64
        counts : ndarray of shape (2, k), int64
            The hard triplets; the hard or semi-hard ones.
        met : ndarray of shape (k,), bool
            Whether the row was not yet counted as a hard negative of the anchor.
        """
        for total, count in zip(self.totals, counts, strict=True):
            np.add.at(total, rows, count)
        np.add.at(self.seen, rows[met], np.uint32(1))
        if self.labels is not None and self.confusions is not None:
            there = np.flatnonzero((counts > 0).any(axis=0) & (self.row_codes[rows] >= 0))
            self.add_labels(anchors[there], self.row_codes[rows[there]], counts[:, there])

    def hubs(self) -> NDArray[np.void]:
        """Return the rows that are the negative of some triplet, with the columns `HUBS`."""
        rows = np.flatnonzero(self.totals[1])
        hard, non_easy = self.totals[:, rows]
        values = (rows, hard, non_easy - hard, self.seen[rows].astype(np.int64))
        return pack_columns(dict(zip(HUBS, values, strict=True)))


def add_up_hubs(units: Iterable[NDArray[np.void]], rows: int) -> Rows:
    """Return the sums of the hubs of units: hard, semi-hard, anchors, shape (3, rows)."""
    totals = np.zeros((3, rows), dtype=np.int64)
    for unit in units:
        at = unit["row"].astype(np.int64)  # each row at most once
        for total, name in zip(totals, HUBS[1:], strict=True):
            total[at] += unit[name].astype(np.int64)
    return totals
