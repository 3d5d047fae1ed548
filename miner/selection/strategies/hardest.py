"""``hardest``: per pair (anchor, positive) the k nearest negatives of each class.

The hardest negatives of Simo-Serra et al. 2015, over the whole data set: for `k` the
triplets of a pair and class with the largest loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miner.selection.strategies.base import Counts, EligibleRanks, Selected, Strategy, check_count
from miner.triplets.hardness import Kept, Mined

__all__ = ["Hardest"]


@dataclass(frozen=True)
class Hardest(Strategy):
    """Takes the `k` nearest of each class."""

    by_pair = True
    seeded = False
    k: int = 1

    def __post_init__(self) -> None:
        check_count("k", self.k)

    def at_most(self, name: Mined, pairs: int, anchors: int) -> int:
        """Bound it by k a pair."""
        return self.k * pairs

    def take(self, eligible: EligibleRanks, name: Kept) -> Selected:
        """Take the first k of the interval."""
        begin, span = eligible.span(name)
        counts = np.minimum(span, self.k)
        wanted = self.k * len(span) if name in eligible.classes else 0
        return Selected(begin, counts, counts, wanted)

    def wants(self, span: Counts, name: Mined) -> Counts:
        """Want k of each pair."""
        return np.full_like(span, self.k)
