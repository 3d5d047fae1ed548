"""What the fast pass notes beside the counts: what each row is to the anchors, and the nearest.

What a line's keys were found to be is added up row by row over the anchors of one label, in 32
bits, and then booked in `miner.census.column_sums.ColumnSums`. A line that turns out unsure is
taken off again: it is counted a second time and subtracted, to the last digit. For what a key is
found to be does not hang on its rounding (`miner.census.kernels.count_lookup`): away from a
threshold every key is on its side of it, and near one the same float64 key decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.column_sums import ColumnSums
from miner.census.fast.thresholds import Pairs
from miner.census.kernels import load_loops
from miner.census.measure import Vectors
from miner.census.neighbors import settle_nearest
from miner.triplets.distance import Metric
from miner.triplets.types import Float64, Rows

__all__ = ["NearestPass", "Runs", "Watch"]

Runs = NDArray[np.int64]
"""Lines that are booked together: of each run the first, the one after the last, and which line of
products the first has."""

_MOST = 0xFFFF
"""What 16 bits hold."""
_PAIRS = 1 << 17
"""Room for so many pairs of labels at once, or for those of one run."""
_HELD = 12
"""Room for so many times as many rows as are the nearest."""


class Watch:
    """Adds up rows over the lines of blocks.

    Parameters
    ----------
    rows : int
    sums : ColumnSums or None
        Where it is booked; None for nowhere.
    """

    def __init__(self, rows: int, sums: ColumnSums | None) -> None:
        self.sums = sums
        self._packed = np.zeros(rows if sums else 0, dtype=np.uint32)
        self._seen = sums.seen if sums else self._packed
        labels = sums.labels if sums else None
        codes = labels.rows if labels else np.empty(0)
        self._codes = codes.astype(np.int32)
        self._by_label = np.zeros((2, labels.count if labels else 0), dtype=np.int64)
        self._touched = np.empty(0, dtype=np.int32)
        self._pairs = np.empty((4, 0), dtype=np.int64)

    def runs(self, anchors: Rows, positives: int) -> Runs:
        """Cut the lines of a block into runs of one label that 16 bits can hold.

        Returns
        -------
        ndarray of shape (r, 3), int64
            The first line, the one after the last, and the first again.
        """
        if self.sums is None:
            return np.array([[0, len(anchors), 0]])
        cuts = np.zeros(len(anchors), dtype=np.bool_)
        if self.sums.labels is not None:
            cuts[1:] = np.diff(self.sums.labels.anchors[anchors]) != 0
        starts = np.flatnonzero(cuts).tolist()
        step = max(1, _MOST // max(1, positives))
        found = [
            (first, min(first + step, end), first)
            for begin, end in zip([0, *starts], [*starts, len(anchors)], strict=True)
            for first in range(begin, end, step)
        ]
        return np.array(found)

    def groups(self, runs: Runs, width: int) -> Iterator[Runs]:
        """Yield runs, as many at once as there is room for their pairs of labels."""
        step = max(1, _PAIRS // max(1, self._most_labels(width)))
        for first in range(0, len(runs), step):
            yield runs[first : first + step]

    def into(self, part: slice, sign: int) -> tuple[Any, ...]:
        """Return what the loops note some rows in."""
        one = np.uint32(1) if sign > 0 else np.uint32(0xFFFFFFFF)  # minus 1, in 32 bits
        return self._packed[part], self._seen[part], one, self.sums is not None

    def booking(self, runs: Runs, part: slice, sign: int) -> tuple[Any, ...]:
        """Return what the loops book the runs in; see `miner.census.kernels.column_sums`."""
        totals = self.sums.totals if self.sums else np.empty((2, 0), dtype=np.int64)
        most = self._most_labels(part.stop - part.start)
        if len(self._touched) < most:
            self._touched = np.empty(most, dtype=np.int32)
        if self._pairs.shape[1] < len(runs) * most:
            self._pairs = np.empty((4, len(runs) * most), dtype=np.int64)
        codes, room = self._codes[part], (self._by_label, self._touched, self._pairs)
        return part.start, codes, sign, totals, *room

    def _most_labels(self, width: int) -> int:
        """Bound the labels of so many rows."""
        return min(width, self._by_label.shape[1])

    def book(self, anchors: Rows, runs: Runs, held: int) -> None:
        """Book the pairs of labels that some runs found, or took off."""
        if held and self.sums is not None and self.sums.labels is not None:
            run, others, *counts = self._pairs[:, :held]
            labels = self.sums.labels.anchors[anchors[runs[:, 0]]]
            self.sums.book(labels[run], others, np.array(counts))


class NearestPass:
    """Finds the nearest rows of a block's anchors as their keys go by.

    Parameters
    ----------
    pairs : Pairs
    error : ndarray of shape (b,), float64
        How far a key may be from the true one.
    most : int
        How many rows are wanted; 0 finds none.
    kind : type
        Of the keys.
    """

    def __init__(self, pairs: Pairs, error: Float64, most: int, kind: Any) -> None:
        self._loops: Any = load_loops("nearest")
        self._pairs, self._error, self._most = pairs, error, most
        lines, room = len(error), max(_HELD * most, 2)
        self._tops = np.full(lines, np.finfo(kind).max, dtype=kind)
        self._keys = np.empty((lines, room))
        self._rows = np.empty((lines, room), dtype=np.int64)
        self._held = np.zeros(lines, dtype=np.int64)
        if most:
            self._loops.first_tops(pairs.starts, pairs.hard, error, most, self._tops)

    def into(self, sign: int) -> tuple[Any, ...]:
        """Return what the loops keep rows in; nothing is kept of what is taken off."""
        most = self._most if sign > 0 else 0
        return most, self._error, self._tops, self._keys, self._rows, self._held

    def settle(
        self, vectors: Vectors, metric: Metric, anchors: Rows
    ) -> tuple[Rows, NDArray[np.bool_]]:
        """Return the nearest rows, and for which anchors there were not too many candidates."""
        if not self._most:
            return np.empty((len(anchors), 0), dtype=np.int64), self._held >= 0
        pairs = self._pairs
        size = self._held.clip(0).sum() + len(pairs.columns)
        lines, rows = np.empty((2, size), dtype=np.int64)
        nearest = np.full((len(anchors), self._most), -1, dtype=np.int64)
        sure = np.zeros(len(anchors), dtype=np.int64)
        found = self._loops.candidates(
            pairs.starts, pairs.hard, pairs.columns, self._error, self._most, self._keys,
            self._rows, self._held, nearest, sure, lines, rows,
        )  # fmt: skip
        competing = (anchors, lines[:found], rows[:found], self._most - sure)
        line, rank, row = settle_nearest(vectors, metric, *competing)
        nearest[line, sure[line] + rank] = row
        return nearest, self._held >= 0
