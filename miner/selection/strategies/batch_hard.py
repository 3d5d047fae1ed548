"""``batch-hard``: for each anchor the farthest positive and the nearest negative.

Hermans, Beyer and Leibe 2017, eq. 5, with the whole data set as the batch: ``argmax d(a,p)``,
``argmin d(a,n)``, ties by row number. Each anchor has one triplet, which is written to the folder
of its class. With filters, the positive is the farthest one that has an eligible negative, and the
negative is the nearest eligible one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miner.selection.strategies.base import EligibleRanks, Selected, Strategy, single_triplet
from miner.triplets.hardness import MinedClass, OutputFolder

__all__ = ["BatchHard"]


@dataclass(frozen=True)
class BatchHard(Strategy):
    """Selects the hardest triplet of each anchor."""

    seeded = False
    shared = True

    def at_most(self, name: MinedClass, pairs: int, anchors: int) -> int:
        """Return the number of anchors: each has one triplet at most."""
        return anchors

    def take(self, eligible: EligibleRanks, name: OutputFolder) -> Selected:
        """Select the anchor's triplet, if it belongs to this class."""
        left = eligible.high > eligible.low
        if not left.any():
            return single_triplet(eligible, name, None, 0)
        pair = int(np.argmax(np.where(left, eligible.anchor.d_ap, -np.inf)))
        return single_triplet(eligible, name, pair, int(eligible.low[pair]))
