"""An anchor of a counted block as the strategies see it: `strategies.base.Anchor`."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from miner.census.block import BlockCounts
from miner.census.reference import Census
from miner.selection.ranking import Block, Ranking
from miner.selection.score_counts import count_listed, count_scoring
from miner.selection.strategies.base import Bound, seeds
from miner.triplets.distance import score
from miner.triplets.types import Float64, Rows

__all__ = ["AnchorView", "BlockView"]


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
        pairs = slice(block.starts[line], block.starts[line + 1])
        self.number = int(block.anchors[line])
        self.hard: Rows = block.hard[pairs]
        self.within: Rows = block.within[pairs]
        self._census = census
        self._block = block
        self.line = line
        self._positives = block.positives[pairs]
        self._normalized = normalized
        self._seed = seed

    @functools.cached_property
    def ranking(self) -> Ranking:
        """The negatives in order."""
        return Ranking(self._census, self._block, self.line)

    @property
    def dim(self) -> int:
        """The dimensions of the vectors."""
        return self._census.vectors.dim

    @functools.cached_property
    def d_ap(self) -> Float64:
        """True distances of the positives, shape (positives,)."""
        anchor = np.array([self.number])
        return self._census.vectors.measure(self._census.metric, anchor, self._positives)

    @property
    def d_an(self) -> Float64:
        """True distances of the negatives by rank."""
        return self.ranking.distances

    def score(self, distances: Float64) -> Float64:
        """Return the scores of distances."""
        return score(self._census.metric, self._normalized, distances)

    def closer(self, distance: float) -> int:
        """Count the negatives nearer than a distance."""
        return int(self.ranking.prefix(lambda d, _: d < distance, 1)[0])

    def scoring(self, bound: Bound) -> Rows:
        """Count, per pair, the negatives within reach whose score is not below a bound."""
        return _scoring(
            self._census, self._block, slice(self.line, self.line + 1), bound, self._normalized
        )

    def rng(self, *place: int) -> np.random.Generator:
        """Return the generator of a place at this anchor."""
        return np.random.default_rng(seeds(self._seed, *place, self.number))


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
        """As of `AnchorView`."""
        lines = slice(0, len(self.block.anchors))
        return _scoring(self.census, self.block, lines, bound, self.normalized)


def _scoring(census: Census, block: Block, lines: slice, bound: Bound, normalized: bool) -> Rows:
    """Count from the keys of all rows, or from what is listed."""
    if isinstance(block, BlockCounts):
        return count_scoring(census, block, lines, bound, normalized=normalized)
    return count_listed(census, block, lines, bound, normalized=normalized)
