"""What the counting pass finds of rows as negatives: a unit's hubs and confusions.

A row is the negative of so many hard and semi-hard triplets; a pair of labels is that of the
anchors and the negatives of so many. Both are added up in integers over the anchors of a unit, and
later over the units, so that neither their cut nor their order matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miner.relevance import AnchorSubset, LabelRelevance, Relevance

__all__ = [
    "CONFUSED",
    "HUBS",
    "ColumnSums",
    "Labels",
    "add_up_confusions",
    "add_up_hubs",
    "labels_of",
    "packed",
]

Rows = NDArray[np.int64]

HUBS = ("row", "hard", "semi_hard", "anchors")
CONFUSED = ("anchor_label", "negative_label", "hard", "semi_hard")
_TOGETHER = 1 << 17
"""Pairs of labels that are added up at once."""
_HELD = 1 << 18
"""Pairs that a unit holds before it adds up those that stand twice."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The label of each anchor and of each row, where every row has one.

    Attributes
    ----------
    anchors, rows : ndarray of int64
    """

    anchors: Rows
    rows: Rows

    @property
    def count(self) -> int:
        """The number of labels."""
        return int(self.rows.max(initial=-1)) + 1


def labels_of(relevance: Relevance) -> Labels | None:
    """Return the labels of anchors and rows; None of pairs, and where a row may have several."""
    inner = relevance.inner if isinstance(relevance, AnchorSubset) else relevance
    if not isinstance(inner, LabelRelevance):
        return None
    chosen = relevance.chosen if isinstance(relevance, AnchorSubset) else slice(None)
    return Labels(inner.labels[chosen], inner.labels)


class ColumnSums:
    """Adds up what the anchors of a unit find, one label of anchors after the other.

    Parameters
    ----------
    rows : int
    labels : Labels or None
        None counts no confusions.

    Attributes
    ----------
    totals : ndarray of shape (2, rows), int64
        Triplets in which the row is the negative: hard; hard or semi-hard.
    seen : ndarray of shape (rows,), uint32
        Anchors that the row is a hard negative of.
    by_label : ndarray of shape (2, labels), int64
        The same as `totals` by the negatives' label, of the anchors since the last `flush`.
    """

    def __init__(self, rows: int, labels: Labels | None) -> None:
        self.labels = labels
        self.totals = np.zeros((2, rows), dtype=np.int64)
        self.seen = np.zeros(rows, dtype=np.uint32)
        self.by_label = np.zeros((2, labels.count if labels else 0), dtype=np.int64)
        self._parts: list[tuple[int, Rows, Rows]] = []
        self._held, self._most = 0, _HELD

    def add(self, anchor: int, columns: Rows, hard: Rows, within: Rows) -> None:
        """Add one anchor's triplets: per negative that are hard, and hard or semi-hard."""
        self.totals[0, columns] += hard
        self.totals[1, columns] += within
        self.seen[columns] += (hard > 0).astype(np.uint32)
        if self.labels is not None:
            codes = self.labels.rows[columns]
            np.add.at(self.by_label[0], codes, hard)
            np.add.at(self.by_label[1], codes, within)
            self.flush(int(self.labels.anchors[anchor]))

    def flush(self, label: int) -> None:
        """Book `by_label` to a label of anchors, and empty it; what it takes off is below 0."""
        others = np.flatnonzero(self.by_label[1])
        if not len(others):
            return
        self._parts.append((label, others, self.by_label.take(others, axis=1)))
        self.by_label[:] = 0
        self._held += len(others)
        if self._held > self._most:
            merged = self._merged()
            cuts = np.flatnonzero(np.diff(merged[0])) + 1
            self._parts = [
                (int(part[0, 0]), part[1], part[2:]) for part in np.split(merged, cuts, axis=1)
            ]
            self._held = merged.shape[1]
            self._most = max(_HELD, 2 * self._held)

    def _merged(self) -> NDArray[np.int64]:
        """Return labels of anchors, of negatives, and counts, in their order, each pair once."""
        parts = sorted(self._parts, key=lambda part: part[0])
        labels = [label for label, _, _ in parts]
        merged = np.empty((4, sum(len(others) for _, others, _ in parts)), dtype=np.int64)
        merged[0] = np.repeat(labels, [len(others) for _, others, _ in parts]) if parts else 0
        start = 0
        for _, others, counts in parts:
            part = slice(start, start + len(others))
            merged[1, part], merged[2:, part] = others, counts
            start = part.stop
        if len(set(labels)) == len(labels):
            return merged
        keys = merged[0] * self.by_label.shape[1] + merged[1]
        order = np.argsort(keys, kind="stable")
        first = np.flatnonzero(np.diff(keys[order], prepend=-1))
        sums = np.add.reduceat(merged[2:, order], first, axis=1)
        joined = np.vstack([merged[:2, order[first]], sums])
        return np.asarray(joined[:, joined[3] > 0])

    def hubs(self) -> NDArray[np.void]:
        """Return the rows that are a negative of some triplet, with `HUBS`."""
        rows = np.flatnonzero(self.totals[1])
        hard, within = self.totals[:, rows]
        values = (rows, hard, within - hard, self.seen[rows].astype(np.int64))
        return packed(dict(zip(HUBS, values, strict=True)))

    def confusions(self) -> NDArray[np.void]:
        """Return the pairs of labels that are confused, with `CONFUSED`, in their order."""
        anchors, negatives, hard, within = self._merged()
        values = (anchors, negatives, hard, within - hard)
        return packed(dict(zip(CONFUSED, values, strict=True)))


def packed(columns: Mapping[str, Rows]) -> NDArray[np.void]:
    """Put columns of integers that are not negative side by side, each as narrow as it can be."""
    kinds = [(name, np.min_scalar_type(int(v.max(initial=0)))) for name, v in columns.items()]
    table = np.empty(len(next(iter(columns.values()))), dtype=kinds)
    for name, values in columns.items():
        table[name] = values
    return table


def add_up_hubs(units: Iterable[NDArray[np.void]], rows: int) -> Rows:
    """Add up the hubs of units: hard, semi-hard, anchors, shape (3, rows)."""
    totals = np.zeros((3, rows), dtype=np.int64)
    for unit in units:
        at = unit["row"].astype(np.int64)  # each once
        for total, name in zip(totals, HUBS[1:], strict=True):
            total[at] += unit[name].astype(np.int64)
    return totals


def add_up_confusions(
    read: Callable[[], Sequence[NDArray[np.void]]], labels: int
) -> Iterator[Rows]:
    """Add up the confusions of units, some labels of anchors at a time.

    Parameters
    ----------
    read : callable
        Maps the units' files; called anew for each step, so that pages do not pile up.
    labels : int
        How many there are.

    Yields
    ------
    ndarray of shape (4, pairs), int64
        As `CONFUSED`: pairs with a count above 0.
    """
    step = max(1, _TOGETHER // max(1, labels))
    for start in range(0, labels, step):
        stop = min(start + step, labels)
        dense = np.zeros((2, (stop - start) * labels), dtype=np.int64)
        for unit in read():
            here = slice(*np.searchsorted(unit["anchor_label"], [start, stop]))
            part = unit[here]
            place = (part["anchor_label"].astype(np.int64) - start) * labels
            place += part["negative_label"].astype(np.int64)
            for sums, name in zip(dense, CONFUSED[2:], strict=True):
                sums[place] += part[name].astype(np.int64)  # a pair stands once in a unit
        pairs = np.flatnonzero(dense.any(axis=0))
        if len(pairs):
            yield np.vstack([start + pairs // labels, pairs % labels, dense[:, pairs]])
