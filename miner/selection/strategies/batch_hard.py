"""``batch-hard``: per anchor the farthest positive and the nearest negative.

Hermans, Beyer and Leibe 2017, eq. 5, with the whole data set as the batch: ``argmax d(a,p)``,
``argmin d(a,n)``, ties by row number. One triplet an anchor, in the class that it is of. With
filters the positive is the farthest that has a negative left, and the negative the nearest of
those.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miner.selection.strategies.base import Admitted, Strategy, Take, single
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

    def take(self, admitted: Admitted, name: Kept) -> Take:
        """Take one triplet of the anchor, if it is of this class."""
        left = admitted.high > admitted.low
        if not left.any():
            return single(admitted, name, None, 0)
        pair = int(np.argmax(np.where(left, admitted.anchor.d_ap, -np.inf)))
        return single(admitted, name, pair, int(admitted.low[pair]))
