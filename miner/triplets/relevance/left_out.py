"""Labelled items of which some are left out: as anchors, as positives and as negatives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from miner.triplets.relevance.base import NONE, Relevance, among
from miner.triplets.relevance.labels import RowLabels, row_labels
from miner.triplets.relevance.subset import AnchorSubset
from miner.triplets.types import Float64, Rows

__all__ = ["WithoutRows", "anchor_rows"]


def anchor_rows(relevance: Relevance) -> Rows:
    """Return the row of each anchor, for labelled items."""
    return relevance.chosen if isinstance(relevance, AnchorSubset) else np.arange(relevance.anchors)


@dataclass(frozen=True)
class WithoutRows(Relevance):
    """A relevance without some of its rows.

    Parameters
    ----------
    inner : Relevance
        Labelled items with one label each.
    rows_left_out : ndarray of shape (k,), int64
        Ascending, without repetitions.
    """

    inner: Relevance
    rows_left_out: Rows

    @property
    def anchors(self) -> int:
        """The number of anchors, including the ones left out, which have no positives."""
        return self.inner.anchors

    @property
    def rows(self) -> int:
        """The number of rows, including the ones left out, which are hidden."""
        return self.inner.rows

    @cached_property
    def _own(self) -> NDArray[np.bool_]:
        """Whether each anchor is left out."""
        return among(anchor_rows(self.inner), self.rows_left_out)

    @cached_property
    def positive_counts(self) -> Rows:
        """The number of positives of each anchor."""
        labels = self._labels
        fewer = np.bincount(labels.rows[self.rows_left_out], minlength=labels.count)
        counts = self.inner.positive_counts - fewer[labels.anchors]
        return np.where(self._own, 0, counts)

    @property
    def _labels(self) -> RowLabels:
        labels = row_labels(self.inner)
        assert labels is not None
        return labels

    def positives(self, anchor: int) -> Rows:
        """Return the remaining positives of the anchor; none if the anchor is left out."""
        positives = self.inner.positives(anchor)
        if self._own[anchor]:
            return positives[:0]
        return positives[~among(positives, self.rows_left_out)]

    def exclusions(self, anchor: int) -> tuple[Rows, Rows, Rows]:
        """Return the anchor, its duplicates, and other rows that are in its group or left out."""
        itself, duplicates, group = self.inner.exclusions(anchor)
        more = np.union1d(group, self.rows_left_out)
        hidden = np.union1d(itself, duplicates)
        return itself, duplicates, more[~among(more, hidden)]

    def exclusion_counts(self) -> NDArray[np.int64]:
        """Return the number of exclusions of all anchors, by reason."""
        counts = self.inner.exclusion_counts()
        if counts[:, 1:].any():  # rows may be hidden and left out: anchors differ
            return super().exclusion_counts()
        counts = counts.copy()
        counts[:, 2] = len(self.rows_left_out) - self._own
        return counts

    def hidden_lists(self, anchors: Rows) -> tuple[Rows, Rows]:
        """Return the rows that are hidden from some anchors."""
        starts, hidden = self.inner.hidden_lists(anchors)
        parts = [
            np.unique(np.concatenate([self.rows_left_out, hidden[start:stop]]))
            for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
        ]
        sizes = np.cumsum([0, *map(len, parts)])
        return sizes, np.concatenate([hidden[:0], *parts])

    def positive_group(self, anchors: Rows) -> Rows:
        """Return the inner relevance's numbers; anchors that are left out get unique ones."""
        return np.where(self._own[anchors], -1 - anchors, self.inner.positive_group(anchors))

    def pick_positives(self, anchors: Rows, shares: Float64) -> Rows:
        """Return a random positive of each anchor, `NONE` if the drawn row is left out."""
        return self._kept(self.inner.pick_positives(anchors, shares))

    def pick_negatives(self, anchors: Rows, shares: Float64) -> Rows:
        """Return a random negative of each anchor, `NONE` if the drawn row is left out."""
        return self._kept(self.inner.pick_negatives(anchors, shares))

    def arrays(self) -> dict[str, Rows]:
        """Return the arrays of the inner relevance, and the rows that are left out."""
        return {**self.inner.arrays(), "rows_left_out": self.rows_left_out}

    def _kept(self, rows: Rows) -> Rows:
        return np.where(among(rows, self.rows_left_out), NONE, rows)
