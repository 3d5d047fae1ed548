"""The seam of the strategies, and the seeded draws that they share.

A strategy sees one anchor at a time: how many triplets of a class each of its positives has. It
never sees distances in float32 or the order of scheduling, so that the same job draws the same
triplets everywhere. Within a pair (anchor, positive) the triplets of a class are numbered by the
true distance of the negative, ties by row number: that number is the rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from miner.job import SelectJob
from miner.registry import Registry

__all__ = ["STRATEGIES", "Picks", "Strategy", "draw_distinct", "load_strategy"]

Counts = NDArray[np.int64]

STRATEGIES = Registry("strategy")
STRATEGIES.register("all", "miner.strategies.all:All", "every semi-hard and hard triplet, or caps")


@dataclass(frozen=True, slots=True)
class Picks:
    """Chosen triplets of one anchor and class, ordered by pair and rank.

    Attributes
    ----------
    pair : ndarray of shape (k,), int64
        Position of the positive among the anchor's positives.
    rank : ndarray of shape (k,), int64
        Which of the pair's triplets of the class.
    weight : ndarray of shape (k,), float64
        1 / the probability that the caps of this anchor keep a triplet.
    """

    pair: Counts
    rank: Counts
    weight: NDArray[np.float64]


class Strategy(Protocol):
    """Chooses among the triplets of one anchor and class."""

    @property
    def needs_pairs(self) -> bool:
        """Whether `slots` needs the counts of each pair; else `slots_of_totals` serves."""

    def slots_of_totals(self, totals: Counts) -> Counts:
        """Return `slots` of many anchors from their totals, shape (anchors,)."""

    def slots(self, counts: Counts) -> int:
        """Return how many triplets it would write if the total were not capped.

        Parameters
        ----------
        counts : ndarray of shape (positives,), int64
            The triplets of the class that each positive has.
        """

    def choose(self, counts: Counts, take: int, rng: np.random.Generator) -> Picks:
        """Choose `take` of the ``slots(counts)`` triplets."""


def load_strategy(job: SelectJob) -> Strategy:
    """Build the strategy that the job names."""
    kind: Any = STRATEGIES.load(job.strategy)
    strategy: Strategy = kind(per_pair=job.per_pair, per_anchor=job.per_anchor)
    return strategy


def seeds(seed: int, *place: int) -> np.random.SeedSequence:
    """Seed the draws of one place: a class, or a class and an anchor.

    A spawn key keeps places apart: as plain entropy (s, 1) and (s, 1, 0) are one seed.
    """
    return np.random.SeedSequence(seed, spawn_key=place)


def draw_distinct(rng: np.random.Generator, total: int, take: int) -> Counts:
    """Draw `take` distinct numbers below `total`, every subset equally likely; ascending.

    Memory is in proportion to `take`: numbers are drawn one after the other and repeats ignored.
    Above half of `total` the numbers to leave out are drawn instead.
    """
    if take == total:
        return np.arange(total, dtype=np.int64)
    if 2 * take > total:
        kept = np.ones(total, dtype=np.bool_)
        kept[draw_distinct(rng, total, total - take)] = False
        return np.flatnonzero(kept)
    drawn = np.empty(0, dtype=np.int64)
    while len(drawn) < take:
        fresh = rng.integers(0, total, size=take - len(drawn), dtype=np.int64)
        drawn = np.unique(np.concatenate([drawn, fresh]))
    return drawn
