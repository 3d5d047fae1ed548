"""Uniform samples of an anchor's classes, by drawing triplets and keeping those of the class.

A positive and a negative of the anchor are picked uniformly, the class of the triplet is decided by
the float64 definition, and what is of a class that is asked for, and was not drawn before, is kept
until there are enough: a uniform sample without replacement (von Neumann 1951), for which no other
row of the anchor is looked at.

Trial j of an anchor uses the numbers 2j and 2j + 1 of its own stream, for the positive and for the
negative. All classes take from the same trials, each the first distinct triplets that are of it. So
what is drawn hangs on the seed, the anchor and how many each class takes; not on how many trials
are made at once, nor on other anchors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miner.census.measure import Vectors
from miner.selection.draws import begin_streams, stream_shares
from miner.selection.strategies.base import seeds
from miner.triplets.distance import Metric
from miner.triplets.hardness import KEPT, MINED, Mined, is_hard, is_within
from miner.triplets.relevance import Relevance, among, cut_sizes, ranges
from miner.triplets.types import Float64, Rows

__all__ = ["Asked", "Drawn", "Rejection"]

_PLACE = len(KEPT) + 2
"""Seeds the streams; below it are the places of folders, of draws by rank, and of later caps."""
_TRIALS = 1 << 16
"""Made at once: few enough for a CPU's cache."""
_SPARE = 4
"""Trials that a round makes beyond what it is expected to need."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is drawn of some anchors.

    Attributes
    ----------
    anchors : ndarray of shape (b,), int64
    takes : mapping
        Per class, how many distinct triplets of each anchor: no more than it has.
    rates : mapping
        Per class, how many trials each anchor should need for one, about. A bad guess costs time.
    """

    anchors: Rows
    takes: Mapping[Mined, Rows]
    rates: Mapping[Mined, Float64]

    def part(self, some: Rows | slice) -> Asked:
        """Return what is drawn of some of the anchors."""
        takes = {name: take[some] for name, take in self.takes.items()}
        return Asked(
            self.anchors[some], takes, {name: rate[some] for name, rate in self.rates.items()}
        )


@dataclass(frozen=True, slots=True)
class Drawn:
    """Triplets by anchor, then positive, then distance of the negative, then negative.

    Attributes
    ----------
    line : ndarray of shape (k,), int64
        The anchor's place among those that were asked for.
    positive, negative : ndarray of shape (k,), int64
    d_ap, d_an : ndarray of shape (k,), float64
    """

    line: Rows
    positive: Rows
    negative: Rows
    d_ap: Float64
    d_an: Float64


@dataclass(frozen=True, slots=True)
class _Found:
    """Triplets in the order of trials: line; and line, positive, negative as one."""

    line: Rows
    key: NDArray[np.uint64]

    def of(self, some: Rows) -> _Found:
        return _Found(self.line[some], self.key[some])


@dataclass(frozen=True)
class Rejection:
    """Draws triplets of the classes.

    Parameters
    ----------
    vectors : Vectors
    relevance : Relevance
    metric : str
    margin : float
    seed : int
        The job's.
    trials : int
        Made at once, about: of memory, and of no consequence for what is drawn.
    """

    vectors: Vectors
    relevance: Relevance
    metric: Metric
    margin: float
    seed: int
    trials: int = _TRIALS

    @property
    def most(self) -> int:
        """Of so many anchors triplets can be drawn at once: a triplet is one number of 64 bits."""
        return int(max(1, (2**64 - 1) // max(1, self.relevance.rows) ** 2))

    def draw(self, asked: Asked) -> dict[Mined, Drawn]:
        """Draw what is asked for, of at most `most` anchors.

        Memory is in proportion to `trials`, the anchors, and what they take.

        Returns
        -------
        dict
            Per class.
        """
        begin = begin_streams(seeds(self.seed, _PLACE), asked.anchors)
        done = np.zeros(len(begin), dtype=np.int64)
        missing = {name: asked.takes[name].copy() for name in MINED}
        kept: dict[Mined, list[_Found]] = {name: [] for name in MINED}
        while True:
            wanted = _wanted(asked, missing, done)
            lines = np.flatnonzero(wanted)
            if not len(lines):
                return {name: self._sorted(asked.anchors, _joined(kept[name])) for name in MINED}
            counts = np.minimum(wanted[lines], self.trials)
            known = {name: self._open(kept[name], wanted) for name in MINED}
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
        missing: Mapping[Mined, Rows],
    ) -> Iterator[tuple[Mined, _Found]]:
        """Make the next trials of some lines; yield what is of each class that lacks some."""
        line = np.repeat(lines, counts)
        number = 2 * ranges(done[lines], counts)
        own, start = anchors[line], begin[line]
        positive = self.relevance.pick_positives(own, stream_shares(start, number))
        negative = self.relevance.pick_negatives(own, stream_shares(start, number + 1))
        there = (positive >= 0) & (negative >= 0)
        for rows in (positive, negative):
            np.maximum(rows, 0, out=rows)
        for name, mine in self._classes(own, positive, negative).items():
            some = np.flatnonzero(mine & there & (missing[name] > 0)[line])
            yield name, _Found(line[some], self._key(line[some], positive[some], negative[some]))

    def _classes(
        self, anchors: Rows, positives: Rows, negatives: Rows
    ) -> dict[Mined, NDArray[np.bool_]]:
        """Say of triplets whether they are of each class; measured is where bounds do not tell."""
        bound = self.vectors.bound
        d_ap, d_an = (bound(self.metric, anchors, rows) for rows in (positives, negatives))
        least, most = (self._borders(d_ap[i], d_an[1 - i]) for i in (0, 1))
        hard, within = least
        unsure = np.flatnonzero((hard != most[0]) | (within != most[1]))
        if len(unsure):
            triplets = (x[unsure] for x in (anchors, positives, negatives))
            hard[unsure], within[unsure] = self._borders(*self._measure(*triplets))
        return {"hard": hard, "semi_hard": within & ~hard}

    def _borders(self, d_ap: Float64, d_an: Float64) -> tuple[NDArray[np.bool_], ...]:
        return is_hard(d_ap, d_an), is_within(d_ap, d_an, self.margin)

    def _measure(self, anchors: Rows, positives: Rows, negatives: Rows) -> tuple[Float64, Float64]:
        measure = self.vectors.measure
        return measure(self.metric, anchors, positives), measure(self.metric, anchors, negatives)

    def _key(self, line: Rows, positive: Rows, negative: Rows) -> NDArray[np.uint64]:
        """Put line, positive and negative in one number."""
        rows = np.uint64(self.relevance.rows)
        key = line.astype(np.uint64) * rows + positive.astype(np.uint64)
        return np.asarray(key * rows + negative.astype(np.uint64))

    def _open(self, kept: list[_Found], wanted: Rows) -> _Found:
        """Return what was kept of lines that are not done."""
        whole = _joined(kept)
        return whole.of(np.flatnonzero(wanted[whole.line]))

    def _fresh(self, found: _Found, known: _Found, missing: Rows) -> _Found:
        """Return the first of each line that are not known, as many as it is missing."""
        found = found.of(_first(known.key, found.key))
        counts = np.bincount(found.line, minlength=len(missing))
        place = np.arange(len(found.line)) - (np.cumsum(counts) - counts)[found.line]
        return found.of(np.flatnonzero(place < missing[found.line]))

    def _sorted(self, anchors: Rows, found: _Found) -> Drawn:
        """Measure triplets, and put them in the order of a file."""
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
        return Drawn(line, positive, negative[order], d_ap, d_an[order])


def _wanted(asked: Asked, missing: Mapping[Mined, Rows], done: Rows) -> Rows:
    """Return how many trials each line should need for what it is missing."""
    wanted = np.zeros(len(done), dtype=np.int64)
    for name in MINED:
        lack = missing[name]
        # What the trials so far have brought tells where picks fail more often than was guessed.
        rate = np.maximum(asked.rates[name], done / (asked.takes[name] - lack + 1))
        trials = np.where(lack > 0, np.ceil(lack * rate) + _SPARE, 0)
        wanted = np.maximum(wanted, np.minimum(trials, 1 << 40).astype(np.int64))
    return wanted


def _joined(parts: list[_Found]) -> _Found:
    line = np.concatenate([np.empty(0, dtype=np.int64), *(part.line for part in parts)])
    key = np.concatenate([np.empty(0, dtype=np.uint64), *(part.key for part in parts)])
    return _Found(line, key)


def _first(known: NDArray[np.uint64], found: NDArray[np.uint64]) -> Rows:
    """Return where in `found` a number comes that is not known, for the first time."""
    together = np.concatenate([known, found])
    ordered = np.sort(together)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    fresh = np.ones(len(together), dtype=np.bool_)
    if len(twice):  # few are: only they are put in order
        at = np.flatnonzero(among(together, twice))
        at = at[np.argsort(together[at], kind="stable")]
        fresh[at[1:][together[at[1:]] == together[at[:-1]]]] = False
    return np.flatnonzero(fresh[len(known) :])


def _by_distance(counts: Rows, d_an: Float64) -> Rows:
    """Return the order by pair, then distance: of pairs one after the other, so many of each.

    Equal distances stay in order.
    """
    order = np.arange(len(d_an))
    several = np.flatnonzero(np.repeat(counts > 1, counts))
    if not len(several):
        return order
    pair, distance = np.repeat(np.arange(len(counts)), counts)[several], d_an[several]
    near = np.argsort(distance)
    rank = np.empty_like(near)
    rank[near] = np.cumsum(np.append(0, np.diff(distance[near]) > 0))
    # Two numbers in one are far quicker to put in order than one after the other.
    order[several] = several[np.argsort(pair * len(near) + rank, kind="stable")]
    return order
