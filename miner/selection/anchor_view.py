"""An anchor of a counted block as the strategies see it: `strategies.base.Anchor`.

Negatives are counted by score for all pairs of some anchors at once.

A filter keeps the negatives of a pair on one side of a bound, which may hang on the score of the
pair's positive (`miner.selection.strategies.base.Bound`). Scores never grow with the distance, so
the bound is a threshold in key space, and what is counted are keys below it, as in
`miner.census.reference`. Where the threshold lies is known up to the error of keys and of rounding:
it is an interval. Keys outside of it are sure; where there are some inside, the positive and they
are measured by the float64 definition and their scores compared. So the counts are those of the
definition.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from miner.census.block import BlockCounts
from miner.census.reference import Census
from miner.selection.ranking import Block, Ranking
from miner.selection.strategies.base import Bound, seeds
from miner.triplets.distance import UNIT_ROUNDOFF, score
from miner.triplets.types import Float64, Rows

__all__ = ["AnchorView", "BlockView", "count_listed", "count_scoring"]


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


def count_scoring(
    census: Census, block: BlockCounts, lines: slice, bound: Bound, *, normalized: bool
) -> Rows:
    """Count, per pair, the negatives within the anchor's reach whose score is not below a bound.

    Parameters
    ----------
    census : Census
    block : BlockCounts
    lines : slice
        The anchors, of the block.
    bound : Bound
    normalized : bool
        Whether the vectors have unit length: what a score is depends on it.

    Returns
    -------
    ndarray of shape (pairs,), int64
        Of the pairs of the anchors, in their order.
    """
    return _Scoring(census, block, lines, bound, normalized).count()


def count_listed(
    census: Census, block: Block, lines: slice, bound: Bound, *, normalized: bool
) -> Rows:
    """Count the same where only the rows within reach are listed: all of them are measured."""
    parts = []
    for line in range(lines.start, lines.stop):
        anchor = block.anchors[line : line + 1]
        rows, _, _ = block.within_reach(line)
        positives = block.positives[block.starts[line] : block.starts[line + 1]]
        d_an, d_ap = (census.vectors.measure(census.metric, anchor, x) for x in (rows, positives))
        scores = np.sort(score(census.metric, normalized, d_an))
        least = bound.least(score(census.metric, normalized, d_ap))
        parts.append(len(scores) - scores.searchsorted(least, side="left"))
    return np.concatenate(parts)


class _Scoring:
    """One bound, held against some anchors of a block: each has a place for each threshold."""

    def __init__(
        self, census: Census, block: BlockCounts, lines: slice, bound: Bound, normalized: bool
    ) -> None:
        self._census, self._block, self._bound = census, block, bound
        self._lines, self._normalized = lines, normalized
        starts = block.starts[lines.start : lines.stop + 1]
        self._pairs = slice(int(starts[0]), int(starts[-1]))
        self._sizes = np.diff(starts)
        self._starts = starts - starts[0] if bound.by_pair else np.arange(len(starts))

    def count(self) -> Rows:
        """Return the count of each pair."""
        low, high = self._thresholds()
        both = np.column_stack([low, high]).ravel()
        below = self._below(both, 2 * self._starts)
        counts = below[::2].copy()
        unsure = np.flatnonzero(counts != below[1::2])
        lines = np.searchsorted(self._starts, unsure, side="right") - 1
        for line in np.unique(lines).tolist():
            places = unsure[lines == line]
            counts[places] += self._between(line, places, low[places], high[places])
        return counts if self._bound.by_pair else np.repeat(counts, self._sizes)

    def _below(self, thresholds: Float64, starts: Rows) -> Rows:
        """Count the keys below thresholds, as they stand."""
        keys, offset = self._block.keys[self._lines], self._block.offset[self._lines]
        exactly, space = np.zeros(len(keys)), self._census.space
        kernel = self._census.kernel
        found = kernel(keys, thresholds, starts, exactly, offset, space.slope, space.root)
        return found.counts

    def _thresholds(self) -> tuple[Float64, Float64]:
        """Return the keys below which all count, and from which on none does."""
        block, space, lines = self._block, self._census.space, self._lines
        each = np.repeat(np.arange(len(self._sizes)), np.diff(self._starts))
        offset, slack = block.offset[lines][each], block.slack[lines][each]
        scale = np.abs(offset) + (space.metric == "cosine" or self._normalized)
        wide = 1.25 * slack + 32 * UNIT_ROUNDOFF * scale
        if self._bound.by_pair:
            hard = block.edges.hard[self._pairs]
            # A distance is as unsure as its key; scores and bounds only ever rise as it falls.
            wide += 32 * UNIT_ROUNDOFF * space.slope * np.abs(hard)
            near, far = (space.distance(hard + way * wide, offset) for way in (-1.0, 1.0))
            most, least = self._bound.least(self._score(near)), self._bound.least(self._score(far))
        else:
            most = least = self._bound.least(np.zeros(len(each)))
        # Beyond the reach nothing counts; below the nearest key there is nothing to count.
        reach = np.nextafter(block.reach[lines], np.inf)
        nearest, reach = np.minimum(block.keys[lines].min(axis=1), reach)[each], reach[each]
        room = 2 * wide + 64 * UNIT_ROUNDOFF * (np.abs(nearest) + np.abs(reach))
        keys = (space.key_at(scores, self._normalized, offset) for scores in (most, least))
        low, high = (np.clip(key, nearest - room, reach + room) for key in keys)
        wide += 32 * UNIT_ROUNDOFF * np.maximum(np.abs(low), np.abs(high))
        # A key on the threshold is not sure, even where there is no error (a zero vector's keys).
        low, high = np.nextafter(low - wide, -np.inf), np.nextafter(high + wide, np.inf)
        return np.clip(low, nearest, reach), np.clip(high, nearest, reach)

    def _between(self, line: int, places: Rows, low: Float64, high: Float64) -> Rows:
        """Count, for some of a line's thresholds, the keys between low and high that count."""
        keys = self._block.keys[self._lines.start + line]
        columns = np.flatnonzero((keys >= low.min()) & (keys < high.max()))
        begun = np.sort(low).searchsorted(keys[columns], side="right")
        columns = columns[begun > np.sort(high).searchsorted(keys[columns], side="right")]
        scores = np.sort(self._score(self._measure(line, columns)))
        least = self._bound.least(self._score(self._positives(line, places)))
        counted = len(scores) - scores.searchsorted(least, side="left")
        return counted - np.sort(keys[columns]).searchsorted(low, side="left")

    def _positives(self, line: int, places: Rows) -> Float64:
        """Measure the positives of some thresholds; any number where they do not matter."""
        if not self._bound.by_pair:
            return np.zeros(len(places))
        return self._measure(line, self._block.positives[self._pairs][places])

    def _measure(self, line: int, rows: Rows) -> Float64:
        anchor = self._block.anchors[self._lines][line : line + 1]
        return self._census.vectors.measure(self._census.metric, anchor, rows)

    def _score(self, distances: Float64) -> Float64:
        return score(self._census.metric, self._normalized, distances)
