"""``uniform``: for each anchor k of all its hard and semi-hard triplets, each equally likely.

The weight is 1 / the probability of being drawn, ``total / k``, so that weighted sums estimate the
sums over all triplets that pass the filters (Horvitz and Thompson 1952).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from miner.selection.draws import draw_distinct
from miner.selection.strategies.base import (
    Counts,
    EligibleRanks,
    Picks,
    Selected,
    Strategy,
    check_count,
    seed_sequence,
)
from miner.triplets.hardness import MINED_CLASSES, MinedClass, OutputFolder
from miner.triplets.types import Float64

__all__ = ["Uniform"]

_PLACE = len(MINED_CLASSES) + 1
"""Seeds the draw over both classes; the folders use smaller numbers."""


@dataclass(frozen=True)
class Uniform(Strategy):
    """Draws `k` triplets of each anchor."""

    from_totals = True
    shared = True
    k: int = 1

    def __post_init__(self) -> None:
        check_count("k", self.k)

    def at_most(self, name: MinedClass, pairs: int, anchors: int) -> int:
        """Return k times the number of anchors."""
        return self.k * anchors

    def of_totals(
        self, totals: Mapping[MinedClass, Counts], anchors: Counts, seed: int
    ) -> dict[MinedClass, tuple[Counts, Counts]]:
        """Return, per class, the drawn and the requested triplets of each anchor."""
        total = np.sum([*totals.values()], axis=0)
        hard = totals.get("hard", total * 0)
        count = np.minimum(self.k, total)
        first = np.minimum(hard, count)
        for at in np.flatnonzero((count < total) & (hard > 0) & (hard < total)).tolist():
            rng = np.random.default_rng(seed_sequence(seed, _PLACE, int(anchors[at])))
            slots = draw_distinct(rng, int(total[at]), int(count[at]))
            first[at] = np.searchsorted(slots, hard[at])
        missing = self.k - count
        last = "semi_hard" if "semi_hard" in totals else "hard"  # reports the missing triplets
        taken: dict[MinedClass, Counts] = {"hard": first, "semi_hard": count - first}
        return {name: (taken[name], taken[name] + missing * (name == last)) for name in totals}

    def weights(self, totals: Counts) -> Float64:
        """Return 1 / the probability of being drawn."""
        return np.asarray(totals / np.maximum(1, np.minimum(self.k, totals)))

    def take(self, eligible: EligibleRanks, name: OutputFolder) -> Selected:
        """Select the triplets of the anchor's draw that belong to this class.

        The draw numbers the hard triplets first, then the semi-hard ones.
        """
        begin, span = eligible.span(name)
        hard = int(eligible.span("hard")[1].sum())
        total = hard + int(eligible.span("semi_hard")[1].sum())
        count = min(self.k, total)
        slots = draw_distinct(eligible.anchor.rng(_PLACE), total, count)
        first = int(np.searchsorted(slots, hard))
        mine = slots[:first] if name == "hard" else slots[first:] - hard
        ends = np.cumsum(span)
        pair = np.searchsorted(ends, mine, side="right")
        rank = begin[pair] + mine - (ends - span)[pair]
        counts = np.bincount(pair, minlength=len(span))
        missing = self.k - count if name == eligible.fallback_class else 0
        weight = total / max(1, count)
        return Selected(begin, span, counts, int(counts.sum()) + missing, weight, rank)

    def ranks(
        self, eligible: EligibleRanks, take: Selected, picks: Picks, rng: np.random.Generator
    ) -> Counts:
        """Return the ranks that `take` drew."""
        assert take.drawn is not None  # `take` draws
        starts = np.cumsum(take.counts) - take.counts
        ranks: Counts = take.drawn[starts[picks.pair] + picks.rank]
        return ranks
