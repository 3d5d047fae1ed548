"""A uniform sample of all valid triplets with their distances, which the census does not keep.

Every triplet has the same probability: an anchor is drawn in proportion to its valid triplets, then
one of its positives and one of its negatives, each uniformly. Distances follow the float64
definition on the stored vectors, so the sample is as accurate for an approximate run as for an
exact one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miner.census.measure import Vectors
from miner.triplets.distance import Metric
from miner.triplets.hardness import CLASSES, classify
from miner.triplets.relevance import NONE, Relevance
from miner.triplets.types import Float64, Rows

__all__ = ["SIZE", "TripletSample", "draw_sample"]

SIZE = 10_000
"""With this many triplets every share is known to one percentage point (95 %)."""
_TRIES = 64
"""After this many failed draws the negatives of an anchor are listed: it has very few."""
_VALUES = 1 << 21
"""Vector components that are gathered at once to measure distances."""


@dataclass(frozen=True, slots=True)
class TripletSample:
    """Triplets as row numbers, and their distances; all arrays have one element per triplet.

    Attributes
    ----------
    anchors, positives, negatives : ndarray of shape (size,), int64
    d_ap, d_an : ndarray of shape (size,), float64
    """

    anchors: Rows
    positives: Rows
    negatives: Rows
    d_ap: Float64
    d_an: Float64

    def __len__(self) -> int:
        return len(self.anchors)

    @property
    def error(self) -> float:
        """The greatest half-width of the 95 % interval of a share."""
        return 1.96 * 0.5 / float(np.sqrt(len(self))) if len(self) else 1.0

    def classes(self, margin: float) -> NDArray[np.str_]:
        """Return the name of the class of each triplet at a margin."""
        return classify(self.d_ap, self.d_an, margin)

    def shares(self, margin: float) -> dict[str, float]:
        """Return the share of each class at a margin."""
        classes = self.classes(margin)
        return {name: float((classes == name).mean()) if len(self) else 0.0 for name in CLASSES}


def draw_sample(
    relevance: Relevance,
    vectors: Vectors,
    metric: Metric,
    counts: tuple[Rows, Rows],
    *,
    size: int = SIZE,
    seed: int = 0,
) -> TripletSample:
    """Draw triplets uniformly, with replacement.

    Parameters
    ----------
    relevance : Relevance
    vectors : Vectors
    metric : str
    counts : tuple of ndarray of shape (anchors,), int64
        The number of positives and of negatives of each anchor.
    size, seed : int
        The number of triplets, and the seed of the draw. The sample is empty if no triplet is
        valid.
    """
    positives, negatives = counts
    rng = np.random.default_rng(seed)
    reach = np.cumsum(positives.astype(np.float64) * negatives)
    if not len(reach) or not reach[-1]:
        none = np.empty(0, dtype=np.int64)
        return TripletSample(none, none, none, none.astype(np.float64), none.astype(np.float64))
    anchors = np.sort(np.searchsorted(reach, rng.random(size) * reach[-1], side="right"))
    chosen = _picked(relevance.pick_positives, anchors, rng)
    others = _picked(relevance.pick_negatives, anchors, rng)
    for place in np.flatnonzero(chosen < 0).tolist():
        chosen[place] = rng.choice(relevance.positives(int(anchors[place])))
    left = np.flatnonzero(others < 0)
    first = np.flatnonzero(np.diff(anchors[left], prepend=-1))
    for places in np.split(left, first[1:]) if len(left) else ():
        others[places] = _listed(relevance, int(anchors[places[0]]), len(places), rng)
    return TripletSample(
        anchors,
        chosen,
        others,
        _measured(vectors, metric, anchors, chosen),
        _measured(vectors, metric, anchors, others),
    )


def _picked(pick: Callable[[Rows, Float64], Rows], anchors: Rows, rng: np.random.Generator) -> Rows:
    """Draw a row for each anchor, up to `_TRIES` times; `NONE` where all draws failed."""
    rows = np.full(len(anchors), NONE, dtype=np.int64)
    for _ in range(_TRIES):
        left = np.flatnonzero(rows < 0)
        if not len(left):
            break
        rows[left] = pick(anchors[left], rng.random(len(left)))
    return rows


def _listed(relevance: Relevance, anchor: int, count: int, rng: np.random.Generator) -> Rows:
    """Draw negatives of one anchor from a list of its negatives."""
    negative = np.ones(relevance.rows, dtype=np.bool_)
    negative[relevance.positives(anchor)] = False
    negative[relevance.hidden(anchor)] = False
    return rng.choice(np.flatnonzero(negative), count)


def _measured(vectors: Vectors, metric: Metric, anchors: Rows, rows: Rows) -> Float64:
    step = max(1, _VALUES // vectors.dim)
    parts = [
        vectors.measure(metric, anchors[start : start + step], rows[start : start + step])
        for start in range(0, len(rows), step)
    ]
    return np.concatenate(parts)
