"""Plans what a job counts in addition to the classes: hubs, confusions, nearest rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from miner.census.column_sums import ColumnSums
from miner.census.confusions import MostConfused, UnitConfusions
from miner.census.neighbors import majority, nearest_of
from miner.census.walk.ranked_block import RankedBlock
from miner.job_sections import MiningJob
from miner.triplets.relevance import Relevance
from miner.triplets.relevance.labels import RowLabels, row_labels
from miner.triplets.types import Rows

__all__ = ["StatisticsPlan", "StatisticsRequest", "plan_statistics"]

_LEAST_PART = 64
"""The least number of anchors that are counted together, however many label pairs they make."""
_PAIRS = 1 << 20
"""The approximate number of label pairs that a part of a unit holds."""


@dataclass(frozen=True, slots=True)
class StatisticsRequest:
    """The statistics that a job asks for.

    Attributes
    ----------
    hubs : bool
    confusions : int
        The number of label pairs to keep; 0 for none.
    neighbours : int
        The number of nearest rows to examine; 0 for none.
    """

    hubs: bool = False
    confusions: int = 0
    neighbours: int = 0

    @classmethod
    def from_job(cls, mining: MiningJob) -> StatisticsRequest:
        """Return the statistics that the `[mining]` section asks for."""
        return cls(mining.hubs > 0, mining.confusions, mining.neighbours)


@dataclass(frozen=True, slots=True)
class StatisticsPlan:
    """How the units of a job compute its statistics.

    Attributes
    ----------
    order : ndarray of shape (anchors,), int64
        The anchors in the order of counting: by label, if each has one. If empty, the order of
        their numbers.
    labels : RowLabels or None
    columns : bool
        Whether triplets are counted by their negative.
    confusions : int
        The number of pairs (anchor label, negative label) to keep; 0 counts none.
    ranks : ndarray of shape (labels,), int64
        The position of each label among all labels; it breaks ties.
    neighbours : int
    """

    order: Rows = field(default_factory=lambda: np.empty(0, dtype=np.int64), compare=False)
    labels: RowLabels | None = field(default=None, compare=False)
    columns: bool = False
    confusions: int = 0
    ranks: Rows = field(default_factory=lambda: np.empty(0, dtype=np.int64), compare=False)
    neighbours: int = 0

    def anchors(self, unit: tuple[int, int]) -> Rows:
        """Return the anchors that a unit counts."""
        return self.order[slice(*unit)] if len(self.order) else np.arange(*unit)

    def sums(self, rows: int, unit: tuple[int, int], kernel: str = "auto") -> ColumnSums | None:
        """Return empty sums for a unit, or None if nothing is counted by row."""
        if not self.columns:
            return None
        if not self.confusions or self.labels is None:
            return ColumnSums(rows, kernel=kernel)
        ends = self.labels.anchors[self.anchors(unit)[[0, -1]]]
        kept, labels = MostConfused(self.confusions, self.ranks), self.labels.count
        pairs = UnitConfusions(set(ends.tolist()), kept, labels)
        return ColumnSums(rows, self.labels, pairs, kernel)

    def parts(self, unit: tuple[int, int], sums: ColumnSums | None) -> Iterator[tuple[int, int]]:
        """Cut a unit into parts, and close the finished labels after each part.

        Parts are sized so that about `_PAIRS` label pairs are held at a time.
        """
        start, end = unit
        pairs = sums.confusions if sums is not None else None
        if pairs is None or self.labels is None:
            yield unit
            return
        step = max(_LEAST_PART, _PAIRS // max(1, self.labels.count))
        while start < end:
            stop = min(start + step, end)
            yield start, stop
            step = min(max(_LEAST_PART, step * _PAIRS // max(1, pairs.held)), 4 * step)
            pairs.close(int(self.labels.anchors[self.order[stop]]) if stop < end else None)
            start = stop

    def vote(self, block: RankedBlock, counted: NDArray[np.void]) -> NDArray[np.void]:
        """Fill in the majority label among the nearest rows of a block's anchors."""
        if self.neighbours:
            assert self.labels is not None
            found = majority(nearest_of(block, self.neighbours), self.labels)
            for name, values in zip(("neighbour", "votes", "looked"), found, strict=True):
                counted[name] = values
        return counted


def plan_statistics(
    relevance: Relevance, wanted: StatisticsRequest, ranks: Rows | None = None
) -> StatisticsPlan:
    """Return the statistics that can be computed for a relevance.

    Confusions and nearest rows need exactly one label per row.

    Parameters
    ----------
    relevance : Relevance
    wanted : StatisticsRequest
    ranks : ndarray of shape (labels,), int64, optional
        The position of each label among all labels; by default the label codes.
    """
    labels = row_labels(relevance)
    order = np.empty(0, dtype=np.int64)
    if labels is not None and (wanted.hubs or wanted.confusions or wanted.neighbours):
        order = np.argsort(labels.anchors, kind="stable")
    confusions = wanted.confusions if labels is not None else 0
    if ranks is None:
        ranks = np.arange(labels.count if labels is not None else 0)
    return StatisticsPlan(
        order=order,
        labels=labels,
        columns=wanted.hubs or confusions > 0,
        confusions=confusions,
        ranks=ranks,
        neighbours=min(wanted.neighbours, relevance.rows) if labels is not None else 0,
    )
