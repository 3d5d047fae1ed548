"""``easy-positive``: per anchor the nearest positive, and a negative that is hard for it.

Xuan, Stylianou and Pless 2020: ``ephn`` takes the nearest negative, ``epshn`` the
nearest that is farther than the positive. One triplet an anchor at most, in the class that it is
of. The positive is the nearest whatever the filters leave: another would not be the easy one. When
no negative of it is within the margin, the triplet has no loss and the anchor has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from miner.errors import UsageError
from miner.selection.strategies.base import EligibleRanks, Selected, Strategy, single_triplet
from miner.triplets.distance import Metric
from miner.triplets.hardness import Kept, Mined

__all__ = ["EasyPositive"]


@dataclass(frozen=True)
class EasyPositive(Strategy):
    """Takes one triplet of each anchor, with its nearest positive."""

    seeded = False
    shared = True
    variant: Literal["ephn", "epshn"] = "ephn"

    def check(self, metric: Metric, normalized: bool, classes: tuple[Mined, ...]) -> None:
        """Refuse ``epshn`` without semi-hard triplets."""
        if self.variant == "epshn" and "semi_hard" not in classes:
            raise UsageError(
                "variant 'epshn' finds semi-hard triplets only, and select.classes leaves them "
                "out; add 'semi_hard', or use the variant 'ephn'"
            )

    def at_most(self, name: Mined, pairs: int, anchors: int) -> int:
        """Bound it by one an anchor."""
        return anchors

    def take(self, eligible: EligibleRanks, name: Kept) -> Selected:
        """Take one triplet of the anchor, if it is of this class."""
        pair = int(np.argmin(eligible.anchor.d_ap))
        rank = int(eligible.low[pair])
        if self.variant == "epshn":
            rank = max(rank, int(eligible.anchor.hard[pair]))
        found = rank < eligible.high[pair]
        return single_triplet(eligible, name, pair if found else None, rank)
