"""The ranges of anchors that form units, the record of one anchor, and quotas of triplets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miner.triplets.types import Rows

__all__ = ["ANCHOR_COUNTS", "CENSUS_COLUMNS", "SELECTION_COLUMNS", "Quota", "cut_units"]

ANCHOR_COUNTS = np.dtype(
    [
        ("positives", np.int64),
        ("negatives", np.int64),
        ("easy", np.int64),
        ("semi_hard", np.int64),
        ("hard", np.int64),
        ("slots_semi_hard", np.int64),
        ("slots_hard", np.int64),
        ("slots_suspects", np.int64),
        ("wanted_semi_hard", np.int64),
        ("wanted_hard", np.int64),
        ("available_semi_hard", np.int64),
        ("available_hard", np.int64),
        ("loss", np.float64),
        ("neighbour", np.int64),
        ("votes", np.int64),
        ("looked", np.int64),
    ]
)
"""The record of one anchor.

``positives`` to ``hard`` are counts. ``slots_*``: triplets to write before the cap on the class.
``wanted_*``: triplets that the strategy requested. ``available_*``: triplets that pass the filters.
``loss``: sum of the hinge loss. ``neighbour``, ``votes``, ``looked``: the label that most of the
nearest rows have (-1 if it is the anchor's own label or there is none), the number of rows with it,
and the number of rows examined."""

CENSUS_COLUMNS = ("positives", "negatives", "easy", "semi_hard", "hard")
"""The columns of `ANCHOR_COUNTS` that ``census.parquet`` contains."""

SELECTION_COLUMNS = tuple(
    name
    for name in ANCHOR_COUNTS.names or ()
    if name.startswith(("slots_", "wanted_", "available_"))
)
"""The columns of `ANCHOR_COUNTS` that depend on ``[select]``."""

_UNIT_FLOPS = 1e12


def cut_units(anchors: int, rows: int, dim: int) -> list[tuple[int, int]]:
    """Return the ranges of anchors that form the units.

    A unit has at most about 10^12 operations, and there are about 32 units or more. The ranges
    depend only on the data, so a resumed run has the same units with any number of workers.
    """
    by_work = int(_UNIT_FLOPS / (2 * max(1, rows) * max(1, dim)))
    size = max(16, min(-(-anchors // 32), by_work))
    return [(start, min(start + size, anchors)) for start in range(0, anchors, size)]


@dataclass(frozen=True, slots=True)
class Quota:
    """The number of triplets that each anchor writes to one folder.

    Attributes
    ----------
    counts : ndarray of shape (anchors,), int64
    factor : float
        The factor by which the cap on the whole folder multiplies the weights.
    """

    counts: Rows
    factor: float

    @property
    def total(self) -> int:
        """The number of triplets of all anchors."""
        return int(self.counts.sum())

    def take(self, anchors: Rows) -> Quota:
        """Return the quota of the anchors with these indexes."""
        return Quota(self.counts[anchors], self.factor)

    def part(self, anchors: slice) -> Quota:
        """Return the quota of a range of anchors."""
        return Quota(self.counts[anchors], self.factor)
