"""How far negatives lie beyond positives: a histogram of d(a,n) - d(a,p), to choose a margin by.

Counted for a sample of anchors, all triplets of each, by the float64 definition. The edges are
multiples of a power of two of the margin, so that 0 is one of them, and mostly the margin: what
lies below these two is hard, and hard or semi-hard, to the last triplet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census import Vectors
from miner.distance import Float64, Metric
from miner.hardness import count_hard, count_within
from miner.relevance import Relevance, Tally

__all__ = ["Gaps", "gap_facts", "sample_gaps"]

Rows = NDArray[np.int64]

_HALF = 32
"""Bins on either side of 0."""
_STEPS = 8
"""Bins that a margin is wide, times a power of two."""
_LEAST, _VALUES, _BORDERS = 64, 1 << 28, 1 << 22
"""However large the data, so many anchors; else so many that their rows have so many values and
their positives so many borders: some tenths of a second for either."""
_PILOT, _SEED = 64, 0
_MOST_STEPS = 60


@dataclass(frozen=True)
class Gaps:
    """Counts the gaps of sampled anchors.

    Attributes
    ----------
    anchors : ndarray of int64
        The sample, ascending.
    edges : ndarray of shape (bins + 1,), float64
    """

    vectors: Vectors
    relevance: Relevance
    metric: Metric
    anchors: Rows
    edges: Float64

    def count(self, anchors: Rows) -> Rows:
        """Count the triplets of those anchors that are in the sample.

        Returns
        -------
        ndarray of shape (bins + 2,), int64
            Below the first edge, in each bin, beyond the last edge.
        """
        total = np.zeros(len(self.edges) + 1, dtype=np.int64)
        for anchor in np.intersect1d(anchors, self.anchors).tolist():
            d_ap, d_an = self._distances(anchor)
            below = self._below(d_ap, d_an).tolist()
            total += np.diff([0, *below, len(d_ap) * len(d_an)])
        return total

    def _distances(self, anchor: int) -> tuple[Float64, Float64]:
        """Measure the positives, and the negatives in order."""
        positives = self.relevance.positives(anchor)
        negative = np.ones(len(self.vectors.rows), dtype=np.bool_)
        negative[positives] = False
        negative[self.relevance.hidden(anchor)] = False
        own = np.array([anchor])
        d_ap = self.vectors.measure(self.metric, own, positives)
        d_an = self.vectors.measure(self.metric, own, np.flatnonzero(negative))
        return np.sort(d_ap), np.sort(d_an)

    def _below(self, d_ap: Float64, d_an: Float64) -> Rows:
        """Count the triplets below each edge; those on one that is not above 0 are, as a tie is."""
        low, high = self.edges[: _HALF + 1], self.edges[_HALF + 1 :]
        hard = count_hard(d_ap[:, None] + low, d_an).sum(axis=0)
        within = count_within(d_ap[:, None], d_an, high).sum(axis=0)
        return np.concatenate([hard, within])


def sample_gaps(
    vectors: Vectors,
    relevance: Relevance,
    metric: Metric,
    margin: float,
    tally: Tally,
    most: int,
) -> Gaps:
    """Draw the sample, at most `most` anchors, and lay the edges.

    The seed is always the same: the count is kept for jobs with other seeds.
    """
    able = np.flatnonzero((tally.positives > 0) & (tally.negatives > 0))
    borders = (2 * _HALF + 1) * max(1.0, float(tally.positives[able].mean()) if len(able) else 1.0)
    affordable = min(_VALUES // max(1, vectors.rows.size), int(_BORDERS / borders))
    count = min(most, max(_LEAST, affordable))
    if len(able) > count:
        able = np.sort(np.random.default_rng(_SEED).choice(able, count, replace=False))
    width = margin * 2.0 ** (_scale(vectors, relevance, metric, margin, able)) / _STEPS
    steps = np.arange(-_HALF, _HALF + 1, dtype=np.float64)
    return Gaps(vectors, relevance, metric, able, np.asarray(width * steps, dtype=np.float64))


def _scale(
    vectors: Vectors, relevance: Relevance, metric: Metric, margin: float, anchors: Rows
) -> int:
    """Choose the power of two with which the bins reach as far as some gaps do."""
    rows = np.unique(np.linspace(0, len(vectors.rows) - 1, _PILOT).astype(np.int64))
    widest = 0.0
    for anchor in anchors[:_PILOT].tolist():
        own, positive = np.array([anchor]), relevance.positives(anchor)[:1]
        d_ap = vectors.measure(metric, own, positive)
        widest = max(widest, float(np.abs(vectors.measure(metric, own, rows) - d_ap).max()))
    fraction, power = math.frexp(widest / (_HALF / _STEPS) / margin)
    power = power - 1 if fraction == 0.5 else power
    return max(-_MOST_STEPS, min(power, _MOST_STEPS)) if widest else 0


def gap_facts(gaps: Gaps, counts: Rows) -> dict[str, Any]:
    """Return what the manifest says of the gaps."""
    return {
        "sampled_anchors": len(gaps.anchors),
        "edges": gaps.edges.tolist(),
        "below": int(counts[0]),
        "counts": counts[1:-1].tolist(),
        "above": int(counts[-1]),
    }
