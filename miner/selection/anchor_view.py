"""An anchor of a counted block as the strategies see it: `strategies.base.Anchor`."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from miner.census.walk.census import Census
from miner.census.walk.ranked_block import RankedBlock
from miner.selection.score_counts import count_scoring
from miner.selection.strategies.base import Bound, seeds
from miner.triplets.distance import score
from miner.triplets.types import Float64, Rows

__all__ = ["AnchorView", "Block", "BlockView"]


class Block(Protocol):
    """Some anchors whose pairs are counted: see `miner.census.walk.ranked_block.RankedBlock`."""

    @property
    def anchors(self) -> Rows:
        """The anchors, shape (b,)."""

    @property
    def starts(self) -> Rows:
        """Where the pairs of each begin, and the end, shape (b + 1,)."""

    @property
    def positives(self) -> Rows:
        """The positive of each pair."""

    @property
    def hard(self) -> Rows:
        """How many negatives of each pair are hard."""

    @property
    def within(self) -> Rows:
        """How many are hard or semi-hard."""

    def rows_at(self, lines: Rows, ranks: Rows) -> Rows:
        """Return the rows at some ranks of some anchors: by true distance, ties by row number."""

    def ordered(self, line: int) -> Rows:
        """Return the rows within reach of one anchor in the order of their true distances."""


class AnchorView:
    """One anchor; its negatives are put in order, and distances measured, when asked for.

    Parameters
    ----------
    census : Census
    block : Block
    line : int
        Which of the block's anchors.
    normalized : bool
        Whether the vectors have unit length: what a score is depends on it.
    seed : int
        The job's.
    """

    def __init__(
        self, census: Census, block: Block, line: int, normalized: bool, seed: int
    ) -> None:
        self._pairs = slice(block.starts[line], block.starts[line + 1])
        self.number = int(block.anchors[line])
        self.line = line
        self.hard: Rows = block.hard[self._pairs]
        self.within: Rows = block.within[self._pairs]
        self._census, self._block = census, block
        self._normalized, self._seed = normalized, seed

    @property
    def dim(self) -> int:
        """The dimensions of the vectors."""
        return self._census.vectors.dim

    @functools.cached_property
    def d_ap(self) -> Float64:
        """True distances of the positives, shape (positives,)."""
        return self._measure(self._block.positives[self._pairs])

    @functools.cached_property
    def d_an(self) -> Float64:
        """True distances of the negatives by rank."""
        return self._measure(self._block.ordered(self.line))

    def score(self, distances: Float64) -> Float64:
        """Return the scores of distances."""
        return score(self._census.metric, self._normalized, distances)

    def closer(self, distance: float) -> int:
        """Count the negatives nearer than a distance."""
        return int(np.searchsorted(self.d_an, distance, side="left"))

    def scoring(self, bound: Bound) -> Rows:
        """Count, per pair, the negatives within reach whose score is not below a bound."""
        if isinstance(self._block, RankedBlock):
            alone = self._block.single(self.line)
            return count_scoring(alone, bound, normalized=self._normalized)
        scores = self.score(self.d_an)[::-1]
        least = bound.least(self.score(self.d_ap))
        return len(scores) - np.searchsorted(scores, least, side="left")

    def rng(self, *place: int) -> np.random.Generator:
        """Return the generator of a place at this anchor."""
        return np.random.default_rng(seeds(self._seed, *place, self.number))

    def _measure(self, rows: Rows) -> Float64:
        return self._census.vectors.measure(self._census.metric, np.array([self.number]), rows)


@dataclass(frozen=True, slots=True)
class BlockView:
    """The pairs of all anchors of a block side by side: what filters ask of an `Anchor`.

    Attributes
    ----------
    census : Census
    block : Block
    normalized : bool
        As of `AnchorView`.
    """

    census: Census
    block: Block
    normalized: bool

    @property
    def hard(self) -> Rows:
        """Negatives of each pair that are hard."""
        return self.block.hard

    @property
    def within(self) -> Rows:
        """Negatives of each pair that are hard or semi-hard."""
        return self.block.within

    def scoring(self, bound: Bound) -> Rows:
        """As of `AnchorView`: counted from keys, or from measured rows where there are none."""
        if isinstance(self.block, RankedBlock):
            return count_scoring(self.block, bound, normalized=self.normalized)
        parts = [
            AnchorView(self.census, self.block, line, self.normalized, 0).scoring(bound)
            for line in range(len(self.block.anchors))
        ]
        return np.concatenate(parts)
