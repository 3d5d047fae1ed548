"""The seam of the strategies, and the seeded draws that they share.

A strategy sees one anchor at a time. Its negatives are in order of their true distance, ties by row
number, and are named by their rank. A pair (anchor, positive) finds its hard negatives at the ranks
below ``hard`` and its semi-hard ones from there up to ``within``; the filters leave an interval of
ranks, and the strategy takes from that. It never sees float32 distances or the order of
scheduling, so the same job draws the same triplets everywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from miner.errors import UsageError
from miner.registry import Registry
from miner.triplets.distance import Metric
from miner.triplets.hardness import Kept, Mined
from miner.triplets.types import Float64

__all__ = [
    "STRATEGIES",
    "Anchor",
    "EligibleRanks",
    "PairCounts",
    "PairCountsLike",
    "Picks",
    "ScoreBound",
    "Selected",
    "Strategy",
    "check_count",
    "seed_sequence",
    "single_triplet",
]

Counts = NDArray[np.int64]

STRATEGIES = Registry("strategy", plural="strategies")
for _name, _target, _summary in (
    ("all", "all:All", "every semi-hard and hard triplet"),
    ("batch-hard", "batch_hard:BatchHard", "per anchor its farthest positive, nearest negative"),
    ("hardest", "hardest:Hardest", "per pair the k nearest of each class: guard it"),
    ("semi-hard", "semi_hard:SemiHard", "first choice: per pair the nearest beyond the positive"),
    ("easy-positive", "easy_positive:EasyPositive", "per anchor its nearest positive"),
    ("distance-weighted", "distance_weighted:DistanceWeighted", "per pair k, all distances alike"),
    ("simans", "simans:SimAns", "per pair k whose score is near the positive's"),
    ("warp", "warp:Warp", "per pair k, the higher a rank the likelier"),
    ("uniform", "uniform:Uniform", "per anchor k of all its triplets"),
):
    STRATEGIES.register(_name, f"miner.selection.strategies.{_target}", _summary)

_MOST_K = 2**31 - 1


@dataclass(frozen=True, slots=True)
class ScoreBound:
    """What the scores of negatives are held against.

    Attributes
    ----------
    least : callable
        From the scores of positives, that which a negative of the pair must have at least to be
        counted: the greater, the greater they are, but for rounding.
    by_pair : bool
        Whether it hangs on the positive; else it is one number.
    """

    least: Callable[[Float64], Float64]
    by_pair: bool


class Anchor(Protocol):
    """What an anchor tells of its negatives and positives; measured only when it is asked for."""

    @property
    def hard(self) -> Counts:
        """Negatives of each pair that are hard: ranks below it, shape (positives,)."""

    @property
    def within(self) -> Counts:
        """Negatives of each pair that are hard or semi-hard, shape (positives,)."""

    @property
    def dim(self) -> int:
        """The dimensions of the vectors."""

    @property
    def d_ap(self) -> Float64:
        """True distances of the positives, shape (positives,); positives ascend by row."""

    @property
    def d_an(self) -> Float64:
        """True distances of the negatives by rank, at least up to the largest ``within``."""

    def score(self, distances: Float64) -> Float64:
        """Return the scores of distances; see `miner.triplets.distance.score`."""

    def count_nearer(self, distance: float) -> int:
        """Count the negatives nearer than a distance, among the ranks below all ``within``."""

    def count_scores_at_least(self, bound: ScoreBound) -> Counts:
        """Count, per pair, those whose score is not below a bound: the ranks below the count.

        Where it is more than ``within``, the count may be anything from there on.
        """

    def rng(self, *place: int) -> np.random.Generator:
        """Return the generator of a place at this anchor."""


class PairCountsLike(Protocol):
    """The pairs of many anchors side by side: what a strategy that goes pair by pair asks."""

    @property
    def hard(self) -> Counts:
        """As of an `Anchor`."""

    @property
    def within(self) -> Counts:
        """As of an `Anchor`."""


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Such pairs without their scores: for filters that ask for ranks only.

    Attributes
    ----------
    hard, within : ndarray of shape (pairs,), int64
        As those of an anchor.
    """

    hard: Counts
    within: Counts


@dataclass(frozen=True, slots=True)
class EligibleRanks:
    """What the filters leave of one anchor.

    Attributes
    ----------
    anchor : Anchor
    low, high : ndarray of shape (positives,), int64
        Ranks that a pair may use: from ``low`` up to below ``high``, which is at most ``within``.
        There are none where ``high <= low``.
    suspects : ndarray of shape (positives,), int64
        A positive-aware filter dropped so many of the pair's nearest hard or semi-hard negatives.
    classes : tuple of str
        The classes that the job writes.
    """

    anchor: Anchor
    low: Counts
    high: Counts
    suspects: Counts
    classes: tuple[Mined, ...]

    def span(self, name: Kept) -> tuple[Counts, Counts]:
        """Return where each pair's ranks of a class begin, and how many there are."""
        hard = self.anchor.hard
        low = self.low if name == "hard" else np.maximum(self.low, hard)
        high = np.minimum(self.high, hard) if name == "hard" else self.high
        return low, np.maximum(high - low, 0)

    def named(self, rank: int, pair: int) -> Mined:
        """Name the class of a pair's triplet."""
        return "hard" if rank < self.anchor.hard[pair] else "semi_hard"

    @property
    def fallback_class(self) -> Mined:
        """The class in which a strategy that takes either looks last."""
        return "semi_hard" if "semi_hard" in self.classes else "hard"


@dataclass(frozen=True, slots=True)
class Selected:
    """What a strategy takes of one anchor and class, before the caps.

    Attributes
    ----------
    begin, span : ndarray of shape (positives,), int64
        The interval of ranks that it takes from.
    counts : ndarray of shape (positives,), int64
        How many it takes of each pair: all of the interval, or fewer, which it then draws.
    wanted : int
        How many it would have taken if there were enough.
    weight : float
        1 / the probability of being drawn, for a uniform draw; 1 for all others.
    drawn : ndarray of int64, optional
        The ranks by pair, where they are drawn already.
    """

    begin: Counts
    span: Counts
    counts: Counts
    wanted: int
    weight: float = 1.0
    drawn: Counts | None = None


@dataclass(frozen=True, slots=True)
class Picks:
    """Chosen triplets of one anchor and class, ordered by pair and rank.

    Attributes
    ----------
    pair : ndarray of shape (k,), int64
        Position of the positive among the anchor's positives.
    rank : ndarray of shape (k,), int64
        Which of the triplets that the strategy takes of the pair.
    weight : ndarray of shape (k,), float64
        1 / the probability that the caps of this anchor keep a triplet.
    """

    pair: Counts
    rank: Counts
    weight: Float64


class Strategy(ABC):
    """Takes from what the filters admit.

    A strategy is a frozen dataclass, whose fields are the keys of ``[select.options]``.
    """

    from_totals = False
    """Whether it takes all of each class, or draws uniformly from it: an anchor's totals say how
    many (`of_totals`)."""

    by_pair = False
    """Whether how many it takes of a pair hangs on that pair's interval alone."""

    seeded = True
    """Whether how many it takes of a class may hang on the seed, and not only which."""

    shared = False
    """Whether its bounds for the classes (`at_most`) hold for their sum: it takes either."""

    def check(  # noqa: B027  (a hook: most have nothing to refuse)
        self, metric: Metric, normalized: bool, classes: tuple[Mined, ...]
    ) -> None:
        """Raise `UsageError` when it has no meaning for such distances or classes."""

    def at_most(self, name: Mined, pairs: int, anchors: int) -> int | None:
        """Bound what it takes of a class from so many pairs of anchors; None: it takes any number.

        For `mine plan`, which counts pairs and anchors, and nothing else.
        """
        return None

    @abstractmethod
    def take(self, eligible: EligibleRanks, name: Kept) -> Selected:
        """Say how many it takes of each pair, of one class."""

    def wants(self, span: Counts, name: Mined) -> Counts:
        """Return how many of each pair it would take if there were enough: by default, all.

        Asked for only where `by_pair`.

        Parameters
        ----------
        span : ndarray of shape (pairs,), int64
            What the filters leave of each pair.
        name : str
            A class that the job writes.
        """
        return span

    def of_totals(
        self, totals: Mapping[Mined, Counts], anchors: Counts, seed: int
    ) -> dict[Mined, tuple[Counts, Counts]]:
        """Return how many it takes of each class of anchors, and wants: by default, all.

        Asked for only where `from_totals`, of anchors that have valid triplets.

        Parameters
        ----------
        totals : mapping
            Per class that the job writes, the anchors' triplets.
        anchors : ndarray of shape (anchors,), int64
        seed : int
            The job's.
        """
        return {name: (total, total) for name, total in totals.items()}

    def weights(self, totals: Counts) -> Float64:
        """Return `Selected.weight` of anchors from the totals of both classes, where `from_totals`."""
        return np.ones(len(totals))

    def ranks(
        self, eligible: EligibleRanks, take: Selected, picks: Picks, rng: np.random.Generator
    ) -> Counts:
        """Return the ranks of picks, ascending within a pair; a pair's picks come together."""
        return take.begin[picks.pair] + picks.rank


def single_triplet(eligible: EligibleRanks, name: Kept, pair: int | None, rank: int) -> Selected:
    """Take one triplet of an anchor, in the class that it is of; `pair` None when there is none."""
    nothing = np.zeros_like(eligible.low)
    if pair is None:
        return Selected(nothing, nothing, nothing, int(name == eligible.fallback_class))
    if eligible.named(rank, pair) != name:
        return Selected(nothing, nothing, nothing, 0)
    begin, counts = nothing.copy(), nothing.copy()
    begin[pair], counts[pair] = rank, 1
    return Selected(begin, counts, counts, 1)


def check_count(key: str, value: int) -> None:
    """Raise `UsageError` unless a strategy's count is a number that can be drawn."""
    if not 1 <= value <= _MOST_K:
        raise UsageError(f"select.options.{key} = {value} must be between 1 and {_MOST_K:,}")


def seed_sequence(seed: int, *place: int) -> np.random.SeedSequence:
    """Seed the draws of one place: a class, or a class and an anchor.

    A spawn key keeps places apart: as plain entropy (s, 1) and (s, 1, 0) are one seed.
    """
    return np.random.SeedSequence(seed, spawn_key=place)
