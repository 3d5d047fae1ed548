"""``hardest``: for each pair (anchor, positive) the k nearest negatives of each class.

These are the hardest negatives of Simo-Serra et al. 2015, over the whole data set: the k triplets
of a pair and class with the largest loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miner.selection.strategies.base import Counts, EligibleRanks, Selected, Strategy, check_count
from miner.triplets.hardness import MinedClass, OutputFolder

__all__ = ["Hardest"]


@dataclass(frozen=True)
class Hardest(Strategy):
    """Selects the `k` nearest negatives of each pair and class."""

    by_pair = True
    seeded = False
    k: int = 1

    def __post_init__(self) -> None:
        check_count("k", self.k)

    def at_most(self, name: MinedClass, pairs: int, anchors: int) -> int:
        """Return k times the number of pairs."""
        return self.k * pairs

    def take(self, eligible: EligibleRanks, name: OutputFolder) -> Selected:
        """Select the first k ranks of each pair's interval."""
        begin, span = eligible.span(name)
        counts = np.minimum(span, self.k)
        wanted = self.k * len(span) if name in eligible.classes else 0
        return Selected(begin, counts, counts, wanted)

    def wants(self, span: Counts, name: MinedClass) -> Counts:
        """Request k negatives of each pair."""
        return np.full_like(span, self.k)
