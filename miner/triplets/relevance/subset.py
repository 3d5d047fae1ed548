"""The relevance of some rows of a labelled data set as anchors, with all rows as candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miner.triplets.relevance.base import PositiveLists, Relevance
from miner.triplets.types import Float64, Rows

__all__ = ["AnchorSubset"]

_FEW = 8
"""If the inner relevance has this many times as many anchors, count anchor by anchor."""


@dataclass(frozen=True)
class AnchorSubset(Relevance):
    """Some rows as anchors; positives and negatives come from all rows.

    Parameters
    ----------
    inner : Relevance
        Labelled items: its anchors are its rows.
    chosen : ndarray of shape (anchors,), int64
        The rows that are anchors, ascending, without repetitions: anchor k is row ``chosen[k]``.
    """

    inner: Relevance
    chosen: Rows

    @property
    def anchors(self) -> int:
        """The number of chosen rows."""
        return len(self.chosen)

    @property
    def rows(self) -> int:
        """The number of all rows, chosen or not."""
        return self.inner.rows

    def positives(self, anchor: int) -> Rows:
        """Return the positives of the chosen row, from all rows."""
        return self.inner.positives(int(self.chosen[anchor]))

    @property
    def positive_counts(self) -> Rows:
        """The number of positives of each chosen row."""
        return np.asarray(self.inner.positive_counts[self.chosen])

    def exclusions(self, anchor: int) -> tuple[Rows, ...]:
        """Return the rows that are hidden from the chosen row, by reason."""
        return self.inner.exclusions(int(self.chosen[anchor]))

    def exclusion_counts(self) -> NDArray[np.int64]:
        """Return the number of exclusions of the chosen rows, by reason."""
        # Counting all rows at once is slow if only a few of very many are anchors.
        if _FEW * self.anchors < self.inner.anchors:
            return super().exclusion_counts()
        return np.asarray(self.inner.exclusion_counts()[self.chosen])

    def hidden(self, anchor: int) -> Rows:
        """Return all rows that are neither positive nor negative."""
        return self.inner.hidden(int(self.chosen[anchor]))

    def positive_group(self, anchors: Rows) -> Rows:
        """Return the numbers that the inner relevance has for the chosen rows."""
        return self.inner.positive_group(self.chosen[anchors])

    def positive_lists(self, anchors: Rows) -> PositiveLists:
        """Return the positives of some of the chosen rows."""
        return self.inner.positive_lists(self.chosen[anchors])

    def hidden_lists(self, anchors: Rows) -> tuple[Rows, Rows]:
        """Return the rows that are hidden from some of the chosen rows."""
        return self.inner.hidden_lists(self.chosen[anchors])

    def pick_positives(self, anchors: Rows, shares: Float64) -> Rows:
        """Return a random positive of each chosen row."""
        return self.inner.pick_positives(self.chosen[anchors], shares)

    def are_negatives(self, anchors: Rows, rows: Rows) -> NDArray[np.bool_]:
        """Return whether each row is a negative of its chosen row."""
        return self.inner.are_negatives(self.chosen[anchors], rows)

    def pick_negatives(self, anchors: Rows, shares: Float64) -> Rows:
        """Return a random negative of each chosen row."""
        return self.inner.pick_negatives(self.chosen[anchors], shares)

    def arrays(self) -> dict[str, Rows]:
        """Return the arrays of the inner relevance, and the chosen rows."""
        return {**self.inner.arrays(), "chosen": self.chosen}
