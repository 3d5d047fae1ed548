"""``easy-positive``: for each anchor the nearest positive and a near negative.

Xuan, Stylianou and Pless 2020: the variant ``ephn`` uses the nearest negative, ``epshn`` the
nearest negative that is farther than the positive. Each anchor has at most one triplet, which is
written to the folder of its class. The nearest positive is used even if the filters leave it no
negative, because another one would not be the easy positive. An anchor without an eligible hard or
semi-hard negative for this positive has no triplet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from miner.errors import UsageError
from miner.selection.strategies.base import EligibleRanks, Selected, Strategy, single_triplet
from miner.triplets.distance import Metric
from miner.triplets.hardness import MinedClass, OutputFolder

__all__ = ["EasyPositive"]


@dataclass(frozen=True)
class EasyPositive(Strategy):
    """Selects one triplet of each anchor, with its nearest positive."""

    seeded = False
    shared = True
    variant: Literal["ephn", "epshn"] = "ephn"

    def check(self, metric: Metric, normalized: bool, classes: tuple[MinedClass, ...]) -> None:
        """Raise `UsageError` for ``epshn`` if the job writes no semi-hard triplets."""
        if self.variant == "epshn" and "semi_hard" not in classes:
            raise UsageError(
                "variant 'epshn' finds semi-hard triplets only, and select.classes leaves them "
                "out; add 'semi_hard', or use the variant 'ephn'"
            )

    def at_most(self, name: MinedClass, pairs: int, anchors: int) -> int:
        """Return the number of anchors: each has one triplet at most."""
        return anchors

    def take(self, eligible: EligibleRanks, name: OutputFolder) -> Selected:
        """Select the anchor's triplet, if it belongs to this class."""
        pair = int(np.argmin(eligible.anchor.d_ap))
        rank = int(eligible.low[pair])
        if self.variant == "epshn":
            rank = max(rank, int(eligible.anchor.hard[pair]))
        found = rank < eligible.high[pair]
        return single_triplet(eligible, name, pair if found else None, rank)
