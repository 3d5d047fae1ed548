"""The single label of each anchor and row, where there is one."""

from __future__ import annotations

from dataclasses import dataclass

from miner.triplets.relevance import AnchorSubset, LabelRelevance, Relevance
from miner.triplets.types import Rows

__all__ = ["Labels", "labels_of"]


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
