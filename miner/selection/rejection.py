"""Uniform samples of an anchor's hard and semi-hard triplets by rejection sampling.

A trial draws a positive and a negative of the anchor uniformly and classifies the triplet by the
float64 definition. Distinct triplets of a requested class are kept until there are enough, which
gives a uniform sample without replacement (von Neumann 1951). Rows that are not drawn need no
distances.

Trial j of an anchor uses the random numbers 2j and 2j + 1 of the anchor's stream, for the positive
and for the negative. All classes use the same trials, and each class keeps the first distinct
triplets that belong to it. The sample therefore depends on the seed, the anchor and the number of
triplets of each class, but not on the number of trials made at once or on other anchors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miner.census.measure import Vectors
from miner.selection.draws import stream_states, stream_uniforms
from miner.selection.strategies.base import seed_sequence
from miner.triplets.distance import Metric
from miner.triplets.hardness import MINED_CLASSES, OUTPUT_FOLDERS, MinedClass, is_hard, is_within
from miner.triplets.relevance import Relevance, among, cut_sizes, ranges
from miner.triplets.types import Float64, Rows

__all__ = ["DrawRequest", "DrawnTriplets", "RejectionSampler"]

_PLACE = len(OUTPUT_FOLDERS) + 2
"""Seeds the streams; folders, draws by rank and later caps use smaller numbers."""
_TRIALS = 1 << 16
"""Trials made at once; their arrays fit into a CPU's cache."""
_SPARE = 4
"""Trials that a round makes in addition to the expected number."""


@dataclass(frozen=True, slots=True)
class DrawRequest:
    """How many triplets of each class to draw, for each of some anchors.

    Attributes
    ----------
    anchors : ndarray of shape (b,), int64
    takes : mapping
        Per class, the number of distinct triplets of each anchor; no more than the anchor has.
    rates : mapping
        Per class, the estimated number of trials for one triplet of each anchor. A bad estimate
        only costs time.
    """

    anchors: Rows
    takes: Mapping[MinedClass, Rows]
    rates: Mapping[MinedClass, Float64]

    def part(self, some: Rows | slice) -> DrawRequest:
        """Return the request for some of the anchors."""
        takes = {name: take[some] for name, take in self.takes.items()}
        return DrawRequest(
            self.anchors[some], takes, {name: rate[some] for name, rate in self.rates.items()}
        )


@dataclass(frozen=True, slots=True)
class DrawnTriplets:
    """Drawn triplets, sorted by anchor, positive, distance of the negative, and negative.

    Attributes
    ----------
    line : ndarray of shape (k,), int64
        Index of the anchor in the request.
    positive, negative : ndarray of shape (k,), int64
    d_ap, d_an : ndarray of shape (k,), float64
    """

    line: Rows
    positive: Rows
    negative: Rows
    d_ap: Float64
    d_an: Float64


@dataclass(frozen=True, slots=True)
class _Trials:
    """Triplets in the order of their trials.

    `line` is the index of the anchor; `key` packs line, positive and negative into one number.
    """

    line: Rows
    key: NDArray[np.uint64]

    def of(self, some: Rows) -> _Trials:
        return _Trials(self.line[some], self.key[some])


@dataclass(frozen=True)
class RejectionSampler:
    """Draws uniform samples of hard and semi-hard triplets.

    Parameters
    ----------
    vectors : Vectors
    relevance : Relevance
    metric : str
    margin : float
    seed : int
        The seed of the job.
    trials : int
        About how many trials are made at once; it affects the memory, not the sample.
    """

    vectors: Vectors
    relevance: Relevance
    metric: Metric
    margin: float
    seed: int
    trials: int = _TRIALS

    @property
    def max_anchors(self) -> int:
        """The most anchors of one request, so that a triplet fits into a 64-bit number."""
        return int(max(1, (2**64 - 1) // max(1, self.relevance.rows) ** 2))

    def draw(self, asked: DrawRequest) -> dict[MinedClass, DrawnTriplets]:
        """Draw the requested triplets of at most `max_anchors` anchors.

        Memory is proportional to `trials`, to the anchors and to the drawn triplets.

        Returns
        -------
        dict
            Per class, the drawn triplets.
        """
        begin = stream_states(seed_sequence(self.seed, _PLACE), asked.anchors)
        done = np.zeros(len(begin), dtype=np.int64)
        missing = {name: asked.takes[name].copy() for name in MINED_CLASSES}
        kept: dict[MinedClass, list[_Trials]] = {name: [] for name in MINED_CLASSES}
        while True:
            wanted = _wanted(asked, missing, done)
            lines = np.flatnonzero(wanted)
            if not len(lines):
                return {
                    name: self._sorted(asked.anchors, _joined(kept[name])) for name in MINED_CLASSES
                }
            counts = np.minimum(wanted[lines], self.trials)
            known = {name: self._open(kept[name], wanted) for name in MINED_CLASSES}
            for first, last in cut_sizes(counts, self.trials):
                some, made = lines[first:last], counts[first:last]
                found = self._try(asked.anchors, begin, some, made, done, missing)
                for name, triplets in found:
                    fresh = self._fresh(triplets, known[name], missing[name])
                    kept[name].append(fresh)
                    missing[name] -= np.bincount(fresh.line, minlength=len(begin))
            done[lines] += counts

    def _try(
        self,
        anchors: Rows,
        begin: NDArray[np.uint64],
        lines: Rows,
        counts: Rows,
        done: Rows,
        missing: Mapping[MinedClass, Rows],
    ) -> Iterator[tuple[MinedClass, _Trials]]:
        """Make the next trials of some lines; yield, per class, triplets of incomplete lines."""
        line = np.repeat(lines, counts)
        number = 2 * ranges(done[lines], counts)
        own, start = anchors[line], begin[line]
        positive = self.relevance.pick_positives(own, stream_uniforms(start, number))
        negative = self.relevance.pick_negatives(own, stream_uniforms(start, number + 1))
        there = (positive >= 0) & (negative >= 0)
        for rows in (positive, negative):
            np.maximum(rows, 0, out=rows)
        for name, mine in self._classes(own, positive, negative).items():
            some = np.flatnonzero(mine & there & (missing[name] > 0)[line])
            yield name, _Trials(line[some], self._key(line[some], positive[some], negative[some]))

    def _classes(
        self, anchors: Rows, positives: Rows, negatives: Rows
    ) -> dict[MinedClass, NDArray[np.bool_]]:
        """Return, per class, whether each triplet belongs to it.

        Distances are measured only where bounds on them do not decide the class.
        """
        bound = self.vectors.bound
        d_ap, d_an = (bound(self.metric, anchors, rows) for rows in (positives, negatives))
        least, most = (self._borders(d_ap[i], d_an[1 - i]) for i in (0, 1))
        hard, non_easy = least
        unsure = np.flatnonzero((hard != most[0]) | (non_easy != most[1]))
        if len(unsure):
            triplets = (x[unsure] for x in (anchors, positives, negatives))
            hard[unsure], non_easy[unsure] = self._borders(*self._measure(*triplets))
        return {"hard": hard, "semi_hard": non_easy & ~hard}

    def _borders(self, d_ap: Float64, d_an: Float64) -> tuple[NDArray[np.bool_], ...]:
        return is_hard(d_ap, d_an), is_within(d_ap, d_an, self.margin)

    def _measure(self, anchors: Rows, positives: Rows, negatives: Rows) -> tuple[Float64, Float64]:
        measure = self.vectors.measure
        return measure(self.metric, anchors, positives), measure(self.metric, anchors, negatives)

    def _key(self, line: Rows, positive: Rows, negative: Rows) -> NDArray[np.uint64]:
        """Pack line, positive and negative into one number."""
        rows = np.uint64(self.relevance.rows)
        key = line.astype(np.uint64) * rows + positive.astype(np.uint64)
        return np.asarray(key * rows + negative.astype(np.uint64))

    def _open(self, kept: list[_Trials], wanted: Rows) -> _Trials:
        """Return the kept triplets of lines that need more trials."""
        whole = _joined(kept)
        return whole.of(np.flatnonzero(wanted[whole.line]))

    def _fresh(self, found: _Trials, known: _Trials, missing: Rows) -> _Trials:
        """Return the first new triplets of each line, at most as many as are missing."""
        found = found.of(_first(known.key, found.key))
        counts = np.bincount(found.line, minlength=len(missing))
        place = np.arange(len(found.line)) - (np.cumsum(counts) - counts)[found.line]
        return found.of(np.flatnonzero(place < missing[found.line]))

    def _sorted(self, anchors: Rows, found: _Trials) -> DrawnTriplets:
        """Measure the distances of triplets and sort the triplets in the order of a file."""
        key, rows = np.sort(found.key), np.uint64(self.relevance.rows)
        pair = key // rows
        negative = (key - pair * rows).astype(np.int64)
        first = np.flatnonzero(np.append(True, pair[1:] != pair[:-1])[: len(pair)])
        counts = np.diff(first, append=len(pair))
        line = (pair[first] // rows).astype(np.int64)
        positive = (pair[first] % rows).astype(np.int64)
        d_ap = np.repeat(self.vectors.measure(self.metric, anchors[line], positive), counts)
        line, positive = np.repeat(line, counts), np.repeat(positive, counts)
        d_an = self.vectors.measure(self.metric, anchors[line], negative)
        order = _by_distance(counts, d_an)
        return DrawnTriplets(line, positive, negative[order], d_ap, d_an[order])


def _wanted(asked: DrawRequest, missing: Mapping[MinedClass, Rows], done: Rows) -> Rows:
    """Return the number of trials that each line is expected to need for its missing triplets."""
    wanted = np.zeros(len(done), dtype=np.int64)
    for name in MINED_CLASSES:
        lack = missing[name]
        # The trials so far correct the estimate where picks fail more often than expected.
        rate = np.maximum(asked.rates[name], done / (asked.takes[name] - lack + 1))
        trials = np.where(lack > 0, np.ceil(lack * rate) + _SPARE, 0)
        wanted = np.maximum(wanted, np.minimum(trials, 1 << 40).astype(np.int64))
    return wanted


def _joined(parts: list[_Trials]) -> _Trials:
    line = np.concatenate([np.empty(0, dtype=np.int64), *(part.line for part in parts)])
    key = np.concatenate([np.empty(0, dtype=np.uint64), *(part.key for part in parts)])
    return _Trials(line, key)


def _first(known: NDArray[np.uint64], found: NDArray[np.uint64]) -> Rows:
    """Return the indices of the first occurrences in `found` of numbers that are not in `known`."""
    together = np.concatenate([known, found])
    ordered = np.sort(together)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    fresh = np.ones(len(together), dtype=np.bool_)
    if len(twice):  # few numbers repeat, and only these are sorted
        at = np.flatnonzero(among(together, twice))
        at = at[np.argsort(together[at], kind="stable")]
        fresh[at[1:][together[at[1:]] == together[at[:-1]]]] = False
    return np.flatnonzero(fresh[len(known) :])


def _by_distance(counts: Rows, d_an: Float64) -> Rows:
    """Return indices that sort rows by distance within each pair; equal distances keep their order.

    `counts` are the numbers of rows of the pairs, whose rows follow each other in `d_an`.
    """
    order = np.arange(len(d_an))
    several = np.flatnonzero(np.repeat(counts > 1, counts))
    if not len(several):
        return order
    pair, distance = np.repeat(np.arange(len(counts)), counts)[several], d_an[several]
    near = np.argsort(distance)
    rank = np.empty_like(near)
    rank[near] = np.cumsum(np.append(0, np.diff(distance[near]) > 0))
    # Sorting one combined number is much faster than sorting by two keys.
    order[several] = several[np.argsort(pair * len(near) + rank, kind="stable")]
    return order
