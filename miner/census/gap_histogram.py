"""How far negatives lie beyond positives: a histogram of d(a,n) - d(a,p), to choose a margin by.

Counted over all anchors where a job is not too large for that, else over a sample of them; of each
anchor all triplets, by the float64 definition. The edges are multiples of a power of two of the
margin, so that 0 is one of them, and mostly the margin: what lies below these two is hard, and hard
or semi-hard, to the last triplet.

Where numba is installed most triplets are placed by their keys
(`miner.census.kernels.gap_histogram`), as in `miner.census.reference`; the reference here measures
all rows of an anchor, and does what that leaves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.block import BlockCounts, blocks, evenly_spaced
from miner.census.kernels import choose_loops
from miner.census.reference import Census
from miner.census.reference_kernel import Below
from miner.triplets.hardness import classify, count_hard, count_within
from miner.triplets.relevance import Tally
from miner.triplets.types import Float64, Rows

__all__ = ["Gaps", "counts_all", "gap_facts", "plan_gaps"]

_HALF = 32
"""Bins on either side of 0."""
_STEPS = 8
"""Bins that a margin is wide, times a power of two."""
_VALUES, _PAIRS, _TRIPLETS = 10**11, 2 * 10**7, 2 * 10**11
"""Up to so many values (anchors x rows x dimensions), pairs and triplets all anchors are counted:
some seconds of a core for each. It hangs on the data only, so that machines do not differ."""
_LEAST, _SAMPLED, _BORDERS = 64, 1 << 28, 1 << 22
"""A sample has so many anchors, however large the data; else so many that their rows have so many
values and their positives so many borders: some tenths of a second for either."""
_PILOT, _SEED = 64, 0
_MOST_STEPS = 60
_MEMORY = 16 << 20


def _uncounted(keys: Float64, thresholds: Float64, *_: Any) -> Below:
    """Stand for a kernel where only the keys of a block are wanted."""
    zeros = np.zeros(len(thresholds))
    return Below(zeros.astype(np.int64), zeros, np.zeros(len(keys), dtype=np.bool_))


@dataclass(frozen=True)
class Gaps:
    """Counts the gaps of anchors.

    Attributes
    ----------
    census : Census
    anchors : ndarray of int64
        Those that are counted, ascending.
    of : int
        How many anchors have triplets: all are counted when these are as many.
    width : float
        Of a bin.
    loops : module or None
        `miner.census.kernels.gap_histogram`, where numba is installed.
    """

    census: Census
    anchors: Rows
    of: int
    width: float
    loops: Any = field(default=None, compare=False)

    @property
    def edges(self) -> Float64:
        """The edges of the bins, ascending, shape (bins + 1,)."""
        steps = np.arange(-_HALF, _HALF + 1, dtype=np.float64)
        return np.asarray(self.width * steps, dtype=np.float64)

    def count(self, anchors: Rows) -> Rows:
        """Count the triplets of those of some anchors that are counted.

        Returns
        -------
        ndarray of shape (bins + 2,), int64
            Below the first edge, in each bin, beyond the last edge.
        """
        chosen, relevance = np.intersect1d(anchors, self.anchors), self.census.relevance
        below = np.zeros(2 * _HALF + 1, dtype=np.int64)
        if self.loops is None:
            for anchor in chosen.tolist():
                below += self._by_definition(anchor)
        else:
            rows, positives = len(self.census.vectors.rows), relevance.positive_counts[chosen]
            for block in blocks(chosen, positives, rows, _MEMORY):
                below += self._by_keys(self.census.block(block, kernel=_uncounted))
        return np.diff(below, prepend=0, append=self._triplets(chosen))

    def _triplets(self, anchors: Rows) -> int:
        """Count the triplets of some anchors."""
        relevance, rows = self.census.relevance, len(self.census.vectors.rows)
        positives = relevance.positive_counts[anchors]
        hidden = np.diff(relevance.hidden_lists(anchors)[0])
        return int((positives * (rows - positives - hidden)).sum())

    def _by_keys(self, block: BlockCounts) -> Rows:
        """Count the triplets of a block of anchors below each edge."""
        space, lines = self.census.space, len(block.anchors)
        below = np.empty((lines, 2 * _HALF + 1), dtype=np.int64)
        unsure = np.empty((lines, self.loops.UNSURE, 3), dtype=np.int64)
        found = np.empty(lines, dtype=np.int64)
        self.loops.count_gaps(
            block.keys, block.edges.hard, block.starts, block.offset, space.slope, space.root,
            1.25 * block.slack, self.width, _HALF, below, unsure, found,
        )  # fmt: skip
        for line in np.flatnonzero(found).tolist():
            if found[line] < 0:
                below[line] = self._by_definition(int(block.anchors[line]))
            else:
                pairs, rows, edges = unsure[line, : found[line]].T
                positives = block.positives[block.starts[line] + pairs]
                sure = self._placed(block.anchors[line : line + 1], positives, rows, edges)
                np.add.at(below[line], edges[sure] + _HALF, 1)
        return np.asarray(below.sum(axis=0), dtype=np.int64)

    def _placed(self, anchor: Rows, positives: Rows, rows: Rows, edges: Rows) -> NDArray[np.bool_]:
        """Measure triplets and say which lie below an edge each."""
        measure, metric = self.census.vectors.measure, self.census.metric
        d_ap, d_an = (measure(metric, anchor, these) for these in (positives, rows))
        border = self.width * edges
        classes = classify(d_ap + np.minimum(border, 0), d_an, np.maximum(border, 0))
        placed: NDArray[np.bool_] = np.where(edges <= 0, classes == "hard", classes != "easy")
        return placed

    def _by_definition(self, anchor: int) -> Rows:
        """Count the triplets of an anchor below each edge: one not above 0 takes ties, as hard."""
        d_ap, d_an = self._distances(anchor)
        low, high = self.edges[: _HALF + 1], self.edges[_HALF + 1 :]
        hard = count_hard(d_ap[:, None] + low, d_an).sum(axis=0)
        within = count_within(d_ap[:, None], d_an, high).sum(axis=0)
        return np.concatenate([hard, within])

    def _distances(self, anchor: int) -> tuple[Float64, Float64]:
        """Measure the positives, and the negatives in order."""
        vectors, metric = self.census.vectors, self.census.metric
        positives = self.census.relevance.positives(anchor)
        negative = np.ones(len(vectors.rows), dtype=np.bool_)
        negative[positives] = False
        negative[self.census.relevance.hidden(anchor)] = False
        own = np.array([anchor])
        d_ap = vectors.measure(metric, own, positives)
        d_an = vectors.measure(metric, own, np.flatnonzero(negative))
        return np.sort(d_ap), np.sort(d_an)


def plan_gaps(census: Census, tally: Tally, most: int) -> Gaps:
    """Choose the anchors, a sample of at most `most` where all are too many, and lay the edges.

    The seed is always the same: the count is kept for jobs with other seeds.
    """
    able = np.flatnonzero((tally.positives > 0) & (tally.negatives > 0))
    anchors = able
    if not counts_all(len(able) * census.vectors.rows.size, tally):
        pairs = float(tally.positives[able].mean())
        borders = (2 * _HALF + 1) * max(1.0, pairs)
        count = min(_SAMPLED // max(1, census.vectors.rows.size), int(_BORDERS / borders))
        count = min(most, max(_LEAST, count), len(able))
        anchors = np.sort(np.random.default_rng(_SEED).choice(able, count, replace=False))
    width = census.margin * 2.0 ** _scale(census, anchors) / _STEPS
    loops = choose_loops(census.kernel_name, "gap_histogram")
    return Gaps(census, anchors, len(able), width, loops)


def counts_all(values: int, tally: Tally) -> bool:
    """Whether all anchors are counted of a job with so many anchors x rows x dimensions."""
    pairs = int(tally.positives.sum())
    return values <= _VALUES and pairs <= _PAIRS and tally.valid <= _TRIPLETS


def _scale(census: Census, anchors: Rows) -> int:
    """Choose the power of two with which the bins reach as far as some gaps do."""
    vectors, metric = census.vectors, census.metric
    rows = evenly_spaced(len(vectors.rows), _PILOT)
    widest = 0.0
    for anchor in anchors[:_PILOT].tolist():
        own, positive = np.array([anchor]), census.relevance.positives(anchor)[:1]
        d_ap = vectors.measure(metric, own, positive)
        widest = max(widest, float(np.abs(vectors.measure(metric, own, rows) - d_ap).max()))
    fraction, power = math.frexp(widest / (_HALF / _STEPS) / census.margin)
    power = power - 1 if fraction == 0.5 else power
    return max(-_MOST_STEPS, min(power, _MOST_STEPS)) if widest else 0


def gap_facts(gaps: Gaps, counts: Rows) -> dict[str, Any]:
    """Return what the manifest says of the gaps."""
    return {
        "anchors": len(gaps.anchors),
        "of": gaps.of,
        "exact": len(gaps.anchors) == gaps.of,
        "edges": gaps.edges.tolist(),
        "below": int(counts[0]),
        "counts": counts[1:-1].tolist(),
        "above": int(counts[-1]),
    }
