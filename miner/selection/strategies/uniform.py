"""``uniform``: per anchor k of all its hard and semi-hard triplets, each equally likely.

The weight is 1 / the probability of being drawn, ``total / k``, so that weighted sums estimate the
sums over all triplets that the filters leave (Horvitz and Thompson 1952).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miner.selection.draws import draw_distinct
from miner.selection.strategies.base import (
    Admitted,
    Counts,
    Picks,
    Strategy,
    Take,
    check_count,
)
from miner.triplets.hardness import MINED, Kept, Mined

__all__ = ["Uniform"]

_PLACE = len(MINED) + 1
"""Seeds the draw over both classes; below it are the places of the folders."""


@dataclass(frozen=True)
class Uniform(Strategy):
    """Draws `k` triplets of each anchor."""

    shared = True
    k: int = 1

    def __post_init__(self) -> None:
        check_count("k", self.k)

    def at_most(self, name: Mined, pairs: int, anchors: int) -> int:
        """Bound it by k an anchor."""
        return self.k * anchors

    def take(self, admitted: Admitted, name: Kept) -> Take:
        """Take what of the anchor's draw is of this class."""
        spans = np.maximum(admitted.high - admitted.low, 0)
        ends = np.cumsum(spans)
        total = int(ends[-1])
        count = min(self.k, total)
        slots = draw_distinct(admitted.anchor.rng(_PLACE), total, count)
        pair = np.searchsorted(ends, slots, side="right")
        rank = admitted.low[pair] + slots - (ends - spans)[pair]
        mine = (rank < admitted.anchor.hard[pair]) == (name == "hard")
        counts = np.bincount(pair[mine], minlength=len(spans))
        missing = self.k - count if name == admitted.farthest else 0
        begin, span = admitted.span(name)
        weight = total / max(1, count)
        return Take(begin, span, counts, int(counts.sum()) + missing, weight, rank[mine])

    def ranks(
        self, admitted: Admitted, take: Take, picks: Picks, rng: np.random.Generator
    ) -> Counts:
        """Return the ranks that were drawn."""
        assert take.drawn is not None  # `take` draws
        starts = np.cumsum(take.counts) - take.counts
        ranks: Counts = take.drawn[starts[picks.pair] + picks.rank]
        return ranks
