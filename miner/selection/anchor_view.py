"""Adapters that give strategies and filters access to the anchors of a counted block.

`AnchorView` implements `miner.selection.strategies.base.Anchor`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from miner.census.walk.census import Census
from miner.census.walk.ranked_block import RankedBlock
from miner.selection.score_counts import count_scores_at_least
from miner.selection.strategies.base import ScoreBound, seed_sequence
from miner.triplets.distance import score
from miner.triplets.relevance import LinkRelevance, unconstrained
from miner.triplets.types import Float64, Rows

__all__ = ["AnchorView", "Block", "BlockView"]


class Block(Protocol):
    """Anchors with counted pairs; see `miner.census.walk.ranked_block.RankedBlock`."""

    @property
    def anchors(self) -> Rows:
        """The anchors, shape (b,)."""

    @property
    def starts(self) -> Rows:
        """Index of the first pair of each anchor, and the number of pairs, shape (b + 1,)."""

    @property
    def positives(self) -> Rows:
        """The positive of each pair."""

    @property
    def hard(self) -> Rows:
        """Number of hard negatives of each pair."""

    @property
    def non_easy(self) -> Rows:
        """Number of hard and semi-hard negatives of each pair."""

    def rows_at(self, lines: Rows, ranks: Rows) -> Rows:
        """Return the rows at the given ranks of anchors, ranked by true distance, then row."""

    def ordered(self, line: int) -> Rows:
        """Return the listed rows of one anchor in the order of their true distances."""


class AnchorView:
    """One anchor of a block; negatives are sorted and distances measured only on request.

    Parameters
    ----------
    census : Census
    block : Block
    line : int
        Index of the anchor in the block.
    normalized : bool
        Whether the vectors have unit length, which the definition of the score depends on.
    seed : int
        The seed of the job.
    """

    def __init__(
        self, census: Census, block: Block, line: int, normalized: bool, seed: int
    ) -> None:
        self._pairs = slice(block.starts[line], block.starts[line + 1])
        self.number = int(block.anchors[line])
        self.line = line
        self.hard: Rows = block.hard[self._pairs]
        self.non_easy: Rows = block.non_easy[self._pairs]
        self._census, self._block = census, block
        self._normalized, self._seed = normalized, seed

    @property
    def dim(self) -> int:
        """The number of dimensions of the vectors."""
        return self._census.vectors.dim

    @functools.cached_property
    def d_ap(self) -> Float64:
        """True distances of the positives, shape (positives,)."""
        return self._measure(self._block.positives[self._pairs])

    @functools.cached_property
    def d_an(self) -> Float64:
        """True distances of the listed negatives, by rank."""
        return self._measure(self._block.ordered(self.line))

    @functools.cached_property
    def judged(self) -> Rows:
        """The ranks of the listed negatives that were judged, ascending."""
        links = unconstrained(self._census.relevance)
        assert isinstance(links, LinkRelevance)  # only links are judged
        listed = self._block.ordered(self.line)
        return np.flatnonzero(np.isin(listed, links.preferred_rows(self.number)))

    def score(self, distances: Float64) -> Float64:
        """Return the scores of distances."""
        return score(self._census.metric, self._normalized, distances)

    def count_nearer(self, distance: float) -> int:
        """Return the number of listed negatives nearer than a distance."""
        return int(np.searchsorted(self.d_an, distance, side="left"))

    def count_scores_at_least(self, bound: ScoreBound) -> Rows:
        """Count, per pair, the listed negatives whose score is at least a bound."""
        if isinstance(self._block, RankedBlock):
            alone = self._block.single(self.line)
            return count_scores_at_least(alone, bound, normalized=self._normalized)
        scores = self.score(self.d_an)[::-1]
        least = bound.least(self.score(self.d_ap))
        return len(scores) - np.searchsorted(scores, least, side="left")

    def rng(self, *place: int) -> np.random.Generator:
        """Return the random generator of this anchor for one purpose (`place`)."""
        return np.random.default_rng(seed_sequence(self._seed, *place, self.number))

    def _measure(self, rows: Rows) -> Float64:
        return self._census.vectors.measure(self._census.metric, np.array([self.number]), rows)


@dataclass(frozen=True, slots=True)
class BlockView:
    """The pairs of all anchors of a block, with the part of `Anchor` that filters use.

    Attributes
    ----------
    census : Census
    block : Block
    normalized : bool
        As in `AnchorView`.
    """

    census: Census
    block: Block
    normalized: bool

    @property
    def hard(self) -> Rows:
        """Number of hard negatives of each pair."""
        return self.block.hard

    @property
    def non_easy(self) -> Rows:
        """Number of hard and semi-hard negatives of each pair."""
        return self.block.non_easy

    def count_scores_at_least(self, bound: ScoreBound) -> Rows:
        """Count, per pair, the listed negatives whose score is at least a bound.

        The counts come from keys if the block has them, else from measured distances.
        """
        if isinstance(self.block, RankedBlock):
            return count_scores_at_least(self.block, bound, normalized=self.normalized)
        parts = [
            AnchorView(self.census, self.block, line, self.normalized, 0).count_scores_at_least(
                bound
            )
            for line in range(len(self.block.anchors))
        ]
        return np.concatenate(parts)
