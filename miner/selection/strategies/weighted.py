"""Base class of the weighted strategies: draw k of a pair's negatives without replacement.

Negatives are drawn one after the other, each with a probability proportional to its weight among
the remaining ones. Taking the k smallest values of ``e / w``, with exponential noise e, is the same
draw (Efraimidis and Spirakis 2006); computed in logarithms, it works for arbitrarily small weights.
The probability that k draws include a triplet has no closed form, so `weight` stays 1.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from miner.selection.strategies.base import (
    Counts,
    EligibleRanks,
    Picks,
    Selected,
    Strategy,
    check_count,
)
from miner.triplets.hardness import MinedClass, OutputFolder
from miner.triplets.types import Float64

__all__ = ["Weighted"]

_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Weighted(Strategy):
    """Draws `k` negatives of each pair and class, with probabilities given by weights."""

    by_pair = True
    seeded = False
    k: int = 1

    def __post_init__(self) -> None:
        check_count("k", self.k)

    @abstractmethod
    def log_weights(self, eligible: EligibleRanks, pair: int, begin: int, end: int) -> Float64:
        """Return the finite logarithms of the weights of the ranks `begin` to `end` - 1."""

    def at_most(self, name: MinedClass, pairs: int, anchors: int) -> int:
        """Return k times the number of pairs."""
        return self.k * pairs

    def take(self, eligible: EligibleRanks, name: OutputFolder) -> Selected:
        """Select k of each pair's ranks, or all if the pair has fewer."""
        begin, span = eligible.span(name)
        wanted = self.k * len(span) if name in eligible.classes else 0
        return Selected(begin, span, np.minimum(span, self.k), wanted)

    def wants(self, span: Counts, name: MinedClass) -> Counts:
        """Request k negatives of each pair."""
        return np.full_like(span, self.k)

    def ranks(
        self, eligible: EligibleRanks, take: Selected, picks: Picks, rng: np.random.Generator
    ) -> Counts:
        """Draw the ranks of each pair, and return those that the caps chose."""
        result = np.empty_like(picks.rank)
        pairs, starts = np.unique(picks.pair, return_index=True)
        ends = np.append(starts[1:], len(picks.pair))
        for pair, start, end in zip(pairs.tolist(), starts, ends, strict=True):
            begin, span, k = (int(a[pair]) for a in (take.begin, take.span, take.counts))
            drawn = np.arange(span)
            if k < span:
                noise = np.maximum(rng.standard_exponential(span), _TINY)
                noisy = self.log_weights(eligible, pair, begin, begin + span) - np.log(noise)
                drawn = np.sort(np.argpartition(noisy, span - k)[span - k :])
            result[start:end] = begin + drawn[picks.rank[start:end]]
        return result
