"""Caps: how many triplets an anchor writes of a class, and how the cap of a class is shared out.

At most `per_pair` of the triplets of a pair (anchor, positive), then at most `per_anchor` of what
is left of an anchor; both for each class on its own.

Where a class is larger than `max_triplets`, that cap is shared out in proportion to what the
anchors have, by systematic sampling (Madow 1949):
anchor i gets ``floor((C[i] M + r) / T) - floor((C[i-1] M + r) / T)``, with C the running sum of
the anchors' slots, T their total, M the cap and r one random integer below T. Every slot has the
inclusion probability M / T exactly, the shares sum to M exactly, and no anchor is more than one
triplet away from its proportion. The arithmetic is that of Python's integers: totals may pass 2^63.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miner.selection.draws import draw_distinct
from miner.selection.strategies.base import Counts, Picks

__all__ = ["Caps", "allocate"]


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


def allocate(slots: NDArray[np.int64], cap: int, seed: np.random.SeedSequence) -> NDArray[np.int64]:
    """Share out a cap over anchors.

    Parameters
    ----------
    slots : ndarray of shape (anchors,), int64
        What each anchor has to write.
    cap : int
        At most so many in total.
    seed : SeedSequence
        Seeds the one draw.

    Returns
    -------
    ndarray of shape (anchors,), int64
        ``slots`` itself when its total is within the cap.
    """
    counts = slots.tolist()
    total = sum(counts)
    if total <= cap:
        return slots
    start = _below(total, np.random.default_rng(seed))
    ends = [(running * cap + start) // total for running in itertools.accumulate(counts)]
    shares: NDArray[np.int64] = np.diff(np.array([0, *ends], dtype=np.int64)).astype(np.int64)
    return shares


def _below(total: int, rng: np.random.Generator) -> int:
    """Draw a uniform integer below `total`, which may be larger than any NumPy integer."""
    words = [int(word) for word in rng.integers(0, 2**32, size=total.bit_length() // 32 + 3)]
    wide = 0
    for word in words:
        wide = (wide << 32) | word
    return wide * total >> (32 * len(words))
