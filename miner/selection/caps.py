"""Caps on the triplets of a pair, of an anchor and of a class.

A pair (anchor, positive) writes at most `per_pair` triplets, then an anchor writes at most
`per_anchor` of the remaining ones. Both caps apply to each class separately. The triplets that
remain are the anchor's slots.

If a class has more slots than `max_triplets`, that cap is divided among the anchors in proportion
to their slots, by systematic sampling (Madow 1949):
anchor i gets ``floor((C[i] M + r) / T) - floor((C[i-1] M + r) / T)``, with C the running sum of
the anchors' slots, T their total, M the cap and r one random integer below T. Every slot has the
inclusion probability M / T exactly, the shares sum to M exactly, and the share of each anchor
differs from its exact proportion by less than one triplet. The arithmetic uses Python's integers,
because totals may exceed 2^63.
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
    """The caps of a pair and of an anchor, for each class; 0 means no cap."""

    per_pair: int = 0
    per_anchor: int = 0

    def _capped(self, counts: Counts) -> Counts:
        return np.minimum(counts, self.per_pair) if self.per_pair else counts

    def slots(self, counts: Counts) -> int:
        """Return the number of triplets of an anchor that remain after the caps.

        Parameters
        ----------
        counts : ndarray of shape (positives,), int64
            The number of triplets that the strategy takes from each pair.
        """
        total = int(self._capped(counts).sum())
        return min(total, self.per_anchor) if self.per_anchor else total

    def slots_of_pairs(self, counts: Counts, starts: Counts) -> Counts:
        """Return `slots` of many anchors; the pairs of anchor i begin at ``starts[i]``."""
        return self.slots_of_totals(np.add.reduceat(self._capped(counts), starts))

    def slots_of_totals(self, totals: Counts) -> Counts:
        """Return `slots` of many anchors from their totals, to which `per_pair` was applied."""
        return np.minimum(totals, self.per_anchor) if self.per_anchor else totals

    def weights(self, totals: Counts) -> NDArray[np.float64]:
        """Return the factors by which the cap `per_anchor` increases the weights of anchors.

        Parameters
        ----------
        totals : ndarray of shape (anchors,), int64
            Triplets of each anchor after `per_pair` and before `per_anchor`.
        """
        kept = np.maximum(self.slots_of_totals(totals), 1)
        return np.asarray(totals / kept)

    def choose(self, counts: Counts, take: int, rng: np.random.Generator) -> Picks:
        """Draw `take` of an anchor's slots, every subset equally likely."""
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
    """Divide a cap among anchors in proportion to their slots.

    Parameters
    ----------
    slots : ndarray of shape (anchors,), int64
        Triplets that each anchor could write.
    cap : int
        The largest total.
    seed : SeedSequence
        Seeds the random integer of the systematic sampling.

    Returns
    -------
    ndarray of shape (anchors,), int64
        The number of triplets that each anchor writes; ``slots`` itself when its total is within
        the cap.
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
