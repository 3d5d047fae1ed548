"""``batch-hard``: per anchor the farthest positive and the nearest negative.

Hermans, Beyer and Leibe 2017, eq. 5, with the whole data set as the batch: ``argmax d(a,p)``,
``argmin d(a,n)``, ties by row number. One triplet an anchor, in the class that it is of. With
filters the positive is the farthest that has a negative left, and the negative the nearest of
those.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miner.selection.strategies.base import EligibleRanks, Selected, Strategy, single_triplet
from miner.triplets.hardness import Kept, Mined

__all__ = ["BatchHard"]


@dataclass(frozen=True)
class BatchHard(Strategy):
    """Takes the hardest triplet of each anchor."""

    seeded = False
    shared = True

    def at_most(self, name: Mined, pairs: int, anchors: int) -> int:
        """Bound it by one an anchor."""
        return anchors

    def take(self, eligible: EligibleRanks, name: Kept) -> Selected:
        """Take one triplet of the anchor, if it is of this class."""
        left = eligible.high > eligible.low
        if not left.any():
            return single_triplet(eligible, name, None, 0)
        pair = int(np.argmax(np.where(left, eligible.anchor.d_ap, -np.inf)))
        return single_triplet(eligible, name, pair, int(eligible.low[pair]))
