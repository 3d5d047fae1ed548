"""Labelled items some of which take no part: not as anchors, nor as positives, nor as negatives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from miner.triplets.relevance.base import NONE, Relevance, among
from miner.triplets.relevance.labels import Labels, labels_of
from miner.triplets.relevance.subset import AnchorSubset
from miner.triplets.types import Float64, Rows

__all__ = ["WithoutRows", "anchor_rows"]


def anchor_rows(relevance: Relevance) -> Rows:
    """Return the row of each anchor, of labelled items."""
    return relevance.chosen if isinstance(relevance, AnchorSubset) else np.arange(relevance.anchors)


@dataclass(frozen=True)
class WithoutRows(Relevance):
    """What a relevance is without some of its rows.

    Parameters
    ----------
    inner : Relevance
        Of labelled items with one label each.
    rows_left_out : ndarray of shape (k,), int64
        Ascending, each once.
    """

    inner: Relevance
    rows_left_out: Rows

    @property
    def anchors(self) -> int:
        """How many anchors there are, with those left out, which have no positive."""
        return self.inner.anchors

    @property
    def rows(self) -> int:
        """How many rows there are, with those left out, which are hidden."""
        return self.inner.rows

    @cached_property
    def _own(self) -> NDArray[np.bool_]:
        """Whether each anchor is left out."""
        return among(anchor_rows(self.inner), self.rows_left_out)

    @cached_property
    def positive_counts(self) -> Rows:
        """How many positives each anchor has."""
        labels = self._labels
        fewer = np.bincount(labels.rows[self.rows_left_out], minlength=labels.count)
        counts = self.inner.positive_counts - fewer[labels.anchors]
        return np.where(self._own, 0, counts)

    @property
    def _labels(self) -> Labels:
        labels = labels_of(self.inner)
        assert labels is not None
        return labels

    def positives(self, anchor: int) -> Rows:
        """Return the anchor's positives that are left; none of an anchor that is left out."""
        positives = self.inner.positives(anchor)
        if self._own[anchor]:
            return positives[:0]
        return positives[~among(positives, self.rows_left_out)]

    def exclusions(self, anchor: int) -> tuple[Rows, Rows, Rows]:
        """Return the anchor, the duplicates, and of the group and what is left out the rest."""
        itself, duplicates, group = self.inner.exclusions(anchor)
        more = np.union1d(group, self.rows_left_out)
        hidden = np.union1d(itself, duplicates)
        return itself, duplicates, more[~among(more, hidden)]

    def exclusion_counts(self) -> NDArray[np.int64]:
        """Count the exclusions of all anchors."""
        counts = self.inner.exclusion_counts()
        if counts[:, 1:].any():  # which of them are left out differs from anchor to anchor
            return super().exclusion_counts()
        counts = counts.copy()
        counts[:, 2] = len(self.rows_left_out) - self._own
        return counts

    def hidden_lists(self, anchors: Rows) -> tuple[Rows, Rows]:
        """Return what is hidden from some anchors."""
        starts, hidden = self.inner.hidden_lists(anchors)
        parts = [
            np.unique(np.concatenate([self.rows_left_out, hidden[start:stop]]))
            for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
        ]
        sizes = np.cumsum([0, *map(len, parts)])
        return sizes, np.concatenate([hidden[:0], *parts])

    def alike(self, anchors: Rows) -> Rows:
        """Return what the inner relevance says, and a number of its own for what is left out."""
        return np.where(self._own[anchors], -1 - anchors, self.inner.alike(anchors))

    def pick_positives(self, anchors: Rows, shares: Float64) -> Rows:
        """Return a positive of each anchor, `NONE` where it is left out: pick again."""
        return self._kept(self.inner.pick_positives(anchors, shares))

    def pick_negatives(self, anchors: Rows, shares: Float64) -> Rows:
        """Return a negative of each anchor, `NONE` where it is left out: pick again."""
        return self._kept(self.inner.pick_negatives(anchors, shares))

    def arrays(self) -> dict[str, Rows]:
        """Return the arrays of the inner relevance, and the rows that are left out."""
        return {**self.inner.arrays(), "rows_left_out": self.rows_left_out}

    def _kept(self, rows: Rows) -> Rows:
        return np.where(among(rows, self.rows_left_out), NONE, rows)
