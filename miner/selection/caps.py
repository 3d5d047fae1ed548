"""Caps: how many of a strategy's triplets of one anchor and class are written, drawn uniformly.

At most `per_pair` of the triplets of a pair (anchor, positive), then at most `per_anchor` of what
is left of an anchor; both for each class on its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miner.selection.draws import draw_distinct
from miner.selection.strategies.base import Counts, Picks

__all__ = ["Caps"]


@dataclass(frozen=True, slots=True)
class Caps:
    """Everything, up to caps; 0 means no cap."""

    per_pair: int = 0
    per_anchor: int = 0

    def _capped(self, counts: Counts) -> Counts:
        return np.minimum(counts, self.per_pair) if self.per_pair else counts

    def slots(self, counts: Counts) -> int:
        """Return how many triplets the caps leave of an anchor.

        Parameters
        ----------
        counts : ndarray of shape (positives,), int64
            What the strategy takes of each pair.
        """
        total = int(self._capped(counts).sum())
        return min(total, self.per_anchor) if self.per_anchor else total

    def slots_of_pairs(self, counts: Counts, starts: Counts) -> Counts:
        """Return the same for many anchors: the pairs of anchor i begin at ``starts[i]``."""
        return self.slots_of_totals(np.add.reduceat(self._capped(counts), starts))

    def slots_of_totals(self, totals: Counts) -> Counts:
        """Return the same for many anchors from their totals, `per_pair` being done with."""
        return np.minimum(totals, self.per_anchor) if self.per_anchor else totals

    def weights(self, totals: Counts) -> NDArray[np.float64]:
        """Return what the cap on anchors puts on the weights of some, `per_pair` being done with.

        Parameters
        ----------
        totals : ndarray of shape (anchors,), int64
            Their slots before it.
        """
        kept = np.maximum(self.slots_of_totals(totals), 1)
        return np.asarray(totals / kept)

    def choose(self, counts: Counts, take: int, rng: np.random.Generator) -> Picks:
        """Choose `take` of an anchor's slots, each subset equally likely."""
        capped = self._capped(counts)
        ends = np.cumsum(capped)
        total = int(ends[-1])
        slots = draw_distinct(rng, total, take)
        pair = np.searchsorted(ends, slots, side="right")
        rank = slots - (ends - capped)[pair]
        share = float(self.weights(capped.sum(keepdims=True))[0])
        if not self.per_pair:
            return Picks(pair, rank, np.full(take, share))
        chosen = np.bincount(pair, minlength=len(counts))
        stops = np.cumsum(chosen)
        for cut in np.flatnonzero((capped < counts) & (chosen > 0)):
            mine = slice(stops[cut] - chosen[cut], stops[cut])
            rank[mine] = draw_distinct(rng, int(counts[cut]), int(chosen[cut]))
        kept = np.maximum(capped, 1)
        return Picks(pair, rank, (counts / kept)[pair] * share)
