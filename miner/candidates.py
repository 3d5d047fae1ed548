"""An anchor of a counted block as the strategies see it: `miner.strategies.base.Anchor`."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from miner.census import Census
from miner.distance import Float64, score
from miner.ranking import Block, Ranking
from miner.strategies.base import seeds

__all__ = ["AnchorView"]

Rows = NDArray[np.int64]


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

    def scoring(self, bounds: Float64, *, above: bool) -> Rows:
        """Count those whose score is `above` each bound, or else above it or equal to it."""

        def holds(distances: Float64, which: Rows) -> NDArray[np.bool_]:
            scores = self.score(distances)
            return scores > bounds[which] if above else scores >= bounds[which]

        return self.ranking.prefix(holds, len(bounds))

    def rng(self, *place: int) -> np.random.Generator:
        """Return the generator of a place at this anchor."""
        return np.random.default_rng(seeds(self._seed, *place, self.number))
