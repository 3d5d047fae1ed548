"""The two thresholds of each pair, as keys, and their uncertainty.

Negatives up to the first threshold of a pair are hard, and those up to the second are hard or
semi-hard. A key within the tolerance of a threshold is undecided: `miner.census.walk.count_below`
measures the distance of its row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from miner.census.measure import Vectors
from miner.census.walk.key_space import KeySpace
from miner.triplets.distance import UNIT_ROUNDOFF
from miner.triplets.hardness import semi_hard_border
from miner.triplets.types import Float64, Rows

__all__ = [
    "PAIR_BYTES",
    "PairThresholds",
    "Pairs",
    "thresholds_from_distances",
    "thresholds_from_keys",
]

PAIR_BYTES = 160
"""Approximate bytes per pair of a block."""
_STEEP = 64.0
"""If the error of a key grows by more than this factor, the distance of the positive is
measured."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """The (anchor, positive) pairs of some anchors: anchor i has ``starts[i]:starts[i + 1]``.

    Attributes
    ----------
    anchors : ndarray of shape (b,), int64
    starts : ndarray of shape (b + 1,), int64
    positives : ndarray of shape (pairs,), int64
    lines : ndarray of shape (pairs,), int64
        The position of each pair's anchor in `anchors`.
    """

    anchors: Rows
    starts: Rows
    positives: Rows
    lines: Rows

    @classmethod
    def from_counts(cls, anchors: Rows, counts: Rows, positives: Rows) -> Pairs:
        """Return the pairs of anchors that have ``counts[i]`` positives each."""
        starts = np.concatenate([[0], np.cumsum(counts)])
        return cls(anchors, starts, positives, np.repeat(np.arange(len(anchors)), counts))

    def part(self, lines: slice) -> Pairs:
        """Return the pairs of a range of the anchors."""
        first, own = lines.start, slice(self.starts[lines.start], self.starts[lines.stop])
        starts = self.starts[first : lines.stop + 1] - own.start
        return Pairs(self.anchors[lines], starts, self.positives[own], self.lines[own] - first)

    def measured(self, vectors: Vectors, space: KeySpace, some: Rows | slice) -> Float64:
        """Return the true distances of the selected pairs."""
        return vectors.measure(space.metric, self.anchors[self.lines[some]], self.positives[some])


@dataclass(frozen=True, slots=True)
class PairThresholds:
    """Both thresholds of each pair.

    Attributes
    ----------
    hard, non_easy, d_ap : ndarray of shape (pairs,), float64
        The keys up to which negatives are hard, and hard or semi-hard; the distance of the pair.
    tolerance : ndarray of shape (b,), float64
        A float64 key that is this near to a threshold is undecided.
    """

    hard: Float64
    non_easy: Float64
    d_ap: Float64
    tolerance: Float64

    def part(self, starts: Rows, lines: slice) -> PairThresholds:
        """Return the thresholds of a range of the anchors, whose pairs begin at `starts`."""
        own = slice(starts[lines.start], starts[lines.stop])
        return PairThresholds(
            self.hard[own], self.non_easy[own], self.d_ap[own], self.tolerance[lines]
        )


def thresholds_from_keys(
    pairs: Pairs,
    keys: Float64,
    vectors: Vectors,
    space: KeySpace,
    margin: float,
    offset: Float64,
    key_error: Float64,
    loops: Any,
) -> PairThresholds:
    """Return the thresholds of pairs whose float64 keys are known.

    Parameters
    ----------
    pairs, space, margin, offset, key_error
        As in `thresholds_from_distances`.
    keys : ndarray of shape (pairs,), float64
    vectors : Vectors
        Used to measure the distances if the keys are not exact enough.
    loops : module
        See `miner.census.walk.line_loops`.
    """
    facts = (keys, pairs.starts, offset, key_error, float(space.slope), space.root, margin)
    d_ap, non_easy, tolerance, clear = loops.place_thresholds(*facts, _STEEP, UNIT_ROUNDOFF)
    if clear:
        return PairThresholds(keys, non_easy, d_ap, tolerance)
    measured = pairs.measured(vectors, space, slice(None))
    return thresholds_from_distances(pairs, measured, space, margin, offset, key_error)


def thresholds_from_distances(
    pairs: Pairs, d_ap: Float64, space: KeySpace, margin: float, offset: Float64, key_error: Float64
) -> PairThresholds:
    """Return the thresholds of pairs whose distances were measured.

    Parameters
    ----------
    pairs : Pairs
    d_ap : ndarray of shape (pairs,), float64
    space : KeySpace
    margin : float
    offset, key_error : ndarray of shape (b,), float64
        See `KeySpace.offset` and `KeySpace.key_error`.
    """
    shift = offset[pairs.lines]
    border = semi_hard_border(d_ap, margin)
    scale = border * border if space.root else np.abs(d_ap) + margin
    unsure = 2.5 * key_error[pairs.lines] + 16 * UNIT_ROUNDOFF * (scale + np.abs(shift))
    tolerance = np.maximum.reduceat(unsure, pairs.starts[:-1])
    return PairThresholds(space.key(d_ap, shift), space.key(border, shift), d_ap, tolerance)
