"""The interface of strategies, and the registry of their names.

A strategy handles one anchor at a time. The anchor's negatives are ranked by their true distance,
ties by row number. For a pair (anchor, positive), the negatives at the ranks below ``hard`` are
hard, and those at the ranks from ``hard`` to ``non_easy`` - 1 are semi-hard. The filters keep an
interval of these ranks, and the strategy selects from it. It depends neither on float32 distances
nor on the order in which anchors are processed, so the same job draws the same triplets on every
machine.
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
from miner.triplets.hardness import MinedClass, OutputFolder
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
    (
        "distance-weighted",
        "distance_weighted:DistanceWeighted",
        "per pair k, spread over distances",
    ),
    ("simans", "simans:SimAns", "per pair k whose score is near the positive's"),
    ("warp", "warp:Warp", "per pair k, nearer ones more likely"),
    ("uniform", "uniform:Uniform", "per anchor k of all its triplets"),
):
    STRATEGIES.register(_name, f"miner.selection.strategies.{_target}", _summary)

_MOST_K = 2**31 - 1


@dataclass(frozen=True, slots=True)
class ScoreBound:
    """A lower bound for the scores of negatives.

    Attributes
    ----------
    least : callable
        Maps the scores of positives to the lowest score at which a negative of the pair counts.
        Apart from rounding, it must not decrease as the score of the positive increases.
    by_pair : bool
        Whether the bound depends on the score of the positive; else it is a constant.
    """

    least: Callable[[Float64], Float64]
    by_pair: bool


class Anchor(Protocol):
    """An anchor with its positives and negatives; distances are measured only on request."""

    @property
    def hard(self) -> Counts:
        """Number of hard negatives of each pair (the ranks below it), shape (positives,)."""

    @property
    def non_easy(self) -> Counts:
        """Number of hard and semi-hard negatives of each pair, shape (positives,)."""

    @property
    def dim(self) -> int:
        """The number of dimensions of the vectors."""

    @property
    def d_ap(self) -> Float64:
        """True distances of the positives, shape (positives,); positives ascend by row."""

    @property
    def d_an(self) -> Float64:
        """True distances of the negatives by rank, at least up to the largest ``non_easy``."""

    def score(self, distances: Float64) -> Float64:
        """Convert distances to scores; see `miner.triplets.distance.score`."""

    def count_nearer(self, distance: float) -> int:
        """Count the negatives nearer than a distance, among the ranks that `d_an` covers."""

    def count_scores_at_least(self, bound: ScoreBound) -> Counts:
        """Count, per pair, the negatives whose score is at least a bound.

        These negatives have the ranks below the count. A count above ``non_easy`` need not be
        exact.
        """

    def rng(self, *place: int) -> np.random.Generator:
        """Return the random generator of this anchor for one purpose (`place`)."""


class PairCountsLike(Protocol):
    """The pairs of many anchors, with the counts that strategies with `by_pair` need."""

    @property
    def hard(self) -> Counts:
        """Number of hard negatives of each pair, shape (pairs,)."""

    @property
    def non_easy(self) -> Counts:
        """Number of hard and semi-hard negatives of each pair, shape (pairs,)."""


@dataclass(frozen=True, slots=True)
class PairCounts:
    """The counts of pairs, without scores, for filters that depend on ranks only.

    Attributes
    ----------
    hard, non_easy : ndarray of shape (pairs,), int64
        Hard negatives of each pair; hard and semi-hard negatives.
    """

    hard: Counts
    non_easy: Counts


@dataclass(frozen=True, slots=True)
class EligibleRanks:
    """The ranks that pass the filters, for the pairs of one anchor.

    Attributes
    ----------
    anchor : Anchor
    low, high : ndarray of shape (positives,), int64
        The eligible ranks of a pair are ``low`` to ``high`` - 1, and ``high`` is at most
        ``non_easy``. If ``high <= low``, the pair has no eligible rank.
    suspects : ndarray of shape (positives,), int64
        The number of the pair's nearest hard or semi-hard negatives that a guard dropped.
    classes : tuple of str
        The classes that the job writes.
    """

    anchor: Anchor
    low: Counts
    high: Counts
    suspects: Counts
    classes: tuple[MinedClass, ...]

    def span(self, name: OutputFolder) -> tuple[Counts, Counts]:
        """Return the first eligible rank of each pair in a class, and their number."""
        hard = self.anchor.hard
        low = self.low if name == "hard" else np.maximum(self.low, hard)
        high = np.minimum(self.high, hard) if name == "hard" else self.high
        return low, np.maximum(high - low, 0)

    def named(self, rank: int, pair: int) -> MinedClass:
        """Return the class of the triplet of a pair with the negative at a rank."""
        return "hard" if rank < self.anchor.hard[pair] else "semi_hard"

    @property
    def fallback_class(self) -> MinedClass:
        """The class in which a strategy that fills either class reports a missing triplet."""
        return "semi_hard" if "semi_hard" in self.classes else "hard"


@dataclass(frozen=True, slots=True)
class Selected:
    """The selection of a strategy from one anchor and class, before the caps.

    Attributes
    ----------
    begin, span : ndarray of shape (positives,), int64
        First rank and length of the interval that the strategy selects from.
    counts : ndarray of shape (positives,), int64
        Number of triplets of each pair: the whole interval, or fewer, which are then drawn.
    wanted : int
        Number of triplets that the strategy requests, even if there are fewer.
    weight : float
        1 / the probability of being drawn, for a uniform draw; 1 for all others.
    drawn : ndarray of int64, optional
        The drawn ranks, one pair after the other, if they are already drawn.
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
        Index among the triplets that the strategy selects from the pair.
    weight : ndarray of shape (k,), float64
        1 / the probability that the caps of this anchor keep a triplet.
    """

    pair: Counts
    rank: Counts
    weight: Float64


class Strategy(ABC):
    """Selects triplets from the ranks that pass the filters.

    A strategy is a frozen dataclass; its fields are the keys of ``[select.options]``.
    """

    from_totals = False
    """Whether the number of selected triplets follows from an anchor's totals per class
    (`of_totals`), because the strategy selects each class as a whole or draws uniformly from it."""

    by_pair = False
    """Whether the number of selected triplets of a pair depends on that pair's interval only."""

    seeded = True
    """Whether the number of selected triplets of a class may depend on the seed."""

    shared = False
    """Whether the bounds of the classes (`at_most`) also bound the sum of the classes, because a
    selected triplet may belong to either class."""

    def check(  # noqa: B027  (a hook: most have nothing to refuse)
        self, metric: Metric, normalized: bool, classes: tuple[MinedClass, ...]
    ) -> None:
        """Raise `UsageError` if the strategy is not defined for these distances or classes."""

    def at_most(self, name: MinedClass, pairs: int, anchors: int) -> int | None:
        """Return an upper bound on the selected triplets of a class; None if unbounded.

        `mine plan` uses it, which knows only the number of pairs and of anchors.
        """
        return None

    @abstractmethod
    def take(self, eligible: EligibleRanks, name: OutputFolder) -> Selected:
        """Return the selection from one anchor and class."""

    def wants(self, span: Counts, name: MinedClass) -> Counts:
        """Return the number of triplets that the strategy requests from each pair: by default, all.

        Used only if `by_pair`.

        Parameters
        ----------
        span : ndarray of shape (pairs,), int64
            Number of eligible triplets of each pair.
        name : str
            A class that the job writes.
        """
        return span

    def of_totals(
        self, totals: Mapping[MinedClass, Counts], anchors: Counts, seed: int
    ) -> dict[MinedClass, tuple[Counts, Counts]]:
        """Return, per class, the selected and the requested triplets of each anchor.

        By default, both are all triplets. Used only if `from_totals`, for anchors that have valid
        triplets.

        Parameters
        ----------
        totals : mapping
            For each class that the job writes, the number of triplets of each anchor.
        anchors : ndarray of shape (anchors,), int64
        seed : int
            The seed of the job.
        """
        return {name: (total, total) for name, total in totals.items()}

    def weights(self, totals: Counts) -> Float64:
        """Return `Selected.weight` of anchors, given their totals over both classes.

        Used only if `from_totals`.
        """
        return np.ones(len(totals))

    def ranks(
        self, eligible: EligibleRanks, take: Selected, picks: Picks, rng: np.random.Generator
    ) -> Counts:
        """Return the ranks of picks, ascending within a pair; the picks of a pair are adjacent."""
        return take.begin[picks.pair] + picks.rank


def single_triplet(
    eligible: EligibleRanks, name: OutputFolder, pair: int | None, rank: int
) -> Selected:
    """Select one triplet of an anchor if it belongs to the class `name`.

    `pair` is None if the anchor has no triplet, which then counts as requested in
    `EligibleRanks.fallback_class`.
    """
    nothing = np.zeros_like(eligible.low)
    if pair is None:
        return Selected(nothing, nothing, nothing, int(name == eligible.fallback_class))
    if eligible.named(rank, pair) != name:
        return Selected(nothing, nothing, nothing, 0)
    begin, counts = nothing.copy(), nothing.copy()
    begin[pair], counts[pair] = rank, 1
    return Selected(begin, counts, counts, 1)


def check_count(key: str, value: int) -> None:
    """Raise `UsageError` unless a count in ``[select.options]`` is between 1 and 2^31 - 1."""
    if not 1 <= value <= _MOST_K:
        raise UsageError(f"select.options.{key} = {value} must be between 1 and {_MOST_K:,}")


def seed_sequence(seed: int, *place: int) -> np.random.SeedSequence:
    """Return the seed of one place: a class, or a class and an anchor.

    The place is a spawn key, because as plain entropy (s, 1) and (s, 1, 0) give the same seed.
    """
    return np.random.SeedSequence(seed, spawn_key=place)
