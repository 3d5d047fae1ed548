"""What the weighted strategies share: k of a pair's negatives, drawn without replacement.

One after the other, each with a probability in proportion to its weight among those left. Taking
the k smallest of ``e / w``, with e exponential noise, is the same draw (Efraimidis and Spirakis
2006); in logarithms no weight is too small for it. The probability that k draws include a triplet
has no closed form: `weight` stays 1.
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
from miner.triplets.hardness import Kept, Mined
from miner.triplets.types import Float64

__all__ = ["Weighted"]

_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Weighted(Strategy):
    """Draws `k` negatives of each pair and class, by weights."""

    by_pair = True
    seeded = False
    k: int = 1

    def __post_init__(self) -> None:
        check_count("k", self.k)

    @abstractmethod
    def log_weights(self, eligible: EligibleRanks, pair: int, begin: int, end: int) -> Float64:
        """Return the logarithms of the weights of ranks `begin` to below `end`, all finite."""

    def at_most(self, name: Mined, pairs: int, anchors: int) -> int:
        """Bound it by k a pair."""
        return self.k * pairs

    def take(self, eligible: EligibleRanks, name: Kept) -> Selected:
        """Take k of each pair, or all that there are."""
        begin, span = eligible.span(name)
        wanted = self.k * len(span) if name in eligible.classes else 0
        return Selected(begin, span, np.minimum(span, self.k), wanted)

    def wants(self, span: Counts, name: Mined) -> Counts:
        """Want k of each pair."""
        return np.full_like(span, self.k)

    def ranks(
        self, eligible: EligibleRanks, take: Selected, picks: Picks, rng: np.random.Generator
    ) -> Counts:
        """Draw for the pairs that the caps left, and return what they left of each draw."""
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
