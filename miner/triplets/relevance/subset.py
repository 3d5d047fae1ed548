"""Some rows of a labelled data set as anchors, all rows as candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miner.triplets.relevance.base import Lists, Relevance
from miner.triplets.types import Float64, Rows

__all__ = ["AnchorSubset"]

_FEW = 8
"""Anchors are few when the relevance has so many times as many."""


@dataclass(frozen=True)
class AnchorSubset(Relevance):
    """The anchors are some rows; positives and negatives still come from all rows.

    Parameters
    ----------
    inner : Relevance
        Of labelled items: its anchors are its rows.
    chosen : ndarray of shape (anchors,), int64
        The rows that are anchors, ascending, each once: anchor k is row ``chosen[k]``.
    """

    inner: Relevance
    chosen: Rows

    @property
    def anchors(self) -> int:
        """How many rows were chosen."""
        return len(self.chosen)

    @property
    def rows(self) -> int:
        """How many rows there are, chosen or not."""
        return self.inner.rows

    def positives(self, anchor: int) -> Rows:
        """Return the positives of the chosen row, among all rows."""
        return self.inner.positives(int(self.chosen[anchor]))

    @property
    def positive_counts(self) -> Rows:
        """How many positives each chosen row has."""
        return np.asarray(self.inner.positive_counts[self.chosen])

    def exclusions(self, anchor: int) -> tuple[Rows, Rows, Rows]:
        """Return the chosen row itself, its duplicates, and its group's rows."""
        return self.inner.exclusions(int(self.chosen[anchor]))

    def exclusion_counts(self) -> NDArray[np.int64]:
        """Count the exclusions of the chosen rows."""
        # What is fast for all rows at once is slow for a few of very many.
        if _FEW * self.anchors < self.inner.anchors:
            return super().exclusion_counts()
        return np.asarray(self.inner.exclusion_counts()[self.chosen])

    def hidden(self, anchor: int) -> Rows:
        """Return all rows that are neither positive nor negative."""
        return self.inner.hidden(int(self.chosen[anchor]))

    def alike(self, anchors: Rows) -> Rows:
        """Return what the inner relevance says of the chosen rows."""
        return self.inner.alike(self.chosen[anchors])

    def positive_lists(self, anchors: Rows) -> Lists:
        """Return the positives of some of the chosen rows."""
        return self.inner.positive_lists(self.chosen[anchors])

    def hidden_lists(self, anchors: Rows) -> tuple[Rows, Rows]:
        """Return what is hidden from some of the chosen rows."""
        return self.inner.hidden_lists(self.chosen[anchors])

    def pick_positives(self, anchors: Rows, shares: Float64) -> Rows:
        """Return a positive of the chosen row."""
        return self.inner.pick_positives(self.chosen[anchors], shares)

    def pick_negatives(self, anchors: Rows, shares: Float64) -> Rows:
        """Return a negative of the chosen row."""
        return self.inner.pick_negatives(self.chosen[anchors], shares)

    def arrays(self) -> dict[str, Rows]:
        """Return the codes of the rows, and which were chosen."""
        return {**self.inner.arrays(), "chosen": self.chosen}
