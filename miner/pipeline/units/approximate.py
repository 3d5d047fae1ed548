"""Counts and writes units among candidates that an index or other retrievers propose.

Candidates are only the negatives that are considered. Their distances, classes, order and loss
follow the float64 definition. Negatives that an index does not find are missing from the counts;
`miner.pipeline.audit` estimates their share. If the index returns float32 distances of the vectors
themselves, candidates that are certainly easy for all pairs are dropped before they are measured.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.column_sums import ColumnSums
from miner.census.walk.candidate_lists import LIST_HEADER, CandidateLists
from miner.census.walk.census import Census
from miner.indexes.base import Index
from miner.pipeline.candidates.listed import Listed
from miner.pipeline.units.miner import UnitMiner
from miner.selection.anchor_view import Block
from miner.triplets.distance import UNIT_ROUNDOFF_32
from miner.triplets.hardness import is_hard, is_within, semi_hard_border
from miner.triplets.relevance import among, cut_sizes, ranges
from miner.triplets.types import Float64, Rows

__all__ = ["CandidateBlock", "CandidateMiner", "IndexCandidates", "ListedCandidates"]

_AT_ONCE = 1 << 22
"""Comparisons of a pair with a candidate that are in memory at once."""

_DEEPER = 1024
"""Largest number of extra search results that make up for an anchor's positives and hidden rows."""

_TINY = 1e-37
"""Added to thresholds because the relative rounding bound fails for subnormal float32 numbers."""
_BATCH = 256
"""Anchors per search. Batches never change: FAISS may round differently in another batch."""
_PAIRS = 1 << 16
"""Approximate number of pairs of the anchors of a batch."""


@dataclass(frozen=True, slots=True)
class _Pairs:
    """The pairs of anchors, as in `CandidateBlock`, with their distances."""

    starts: Rows
    positives: Rows
    owners: Rows
    d_ap: Float64


@dataclass(frozen=True, slots=True)
class CandidateBlock:
    """Anchors, their pairs, and the candidates of each anchor, sorted by distance, then row.

    Attributes
    ----------
    anchors, starts, positives, hard, non_easy
        As in `miner.census.walk.ranked_block.RankedBlock`; counted among the candidates.
    loss : ndarray of shape (b,), float64
        Sum of the hinge loss over the anchor's hard and semi-hard triplets.
    rows : ndarray of shape (b, k), int64
        The candidates; padded with -1.
    distances : ndarray of shape (b, k), float64
        Their distances to the anchor; padded with infinity.
    """

    anchors: Rows
    starts: Rows
    positives: Rows
    hard: Rows
    non_easy: Rows
    loss: Float64
    rows: Rows
    distances: Float64

    @property
    def deep(self) -> Rows:
        """The number of candidates that are hard or semi-hard for a pair, per anchor."""
        deep: Rows = np.maximum.reduceat(self.non_easy, self.starts[:-1])
        return deep

    def rows_at(self, lines: Rows, ranks: Rows) -> Rows:
        """Return the candidate at each rank of each anchor."""
        return np.asarray(self.rows[lines, ranks])

    def ordered(self, line: int) -> Rows:
        """Return the candidates of an anchor that are hard or semi-hard for one of its pairs."""
        return self.rows[line, : self.deep[line]]

    def lists(self) -> CandidateLists:
        """Return the candidate lists for the write pass, which measures the distances again."""
        deep = self.deep
        head = np.zeros(len(deep), dtype=LIST_HEADER)
        head["held"] = deep
        there = np.arange(self.rows.shape[1]) < deep[:, None]
        return CandidateLists(head, self.rows[there].view(np.float64))


class Candidates(ABC):
    """Proposes negatives of anchors, and measures them.

    Parameters
    ----------
    census : Census
        The vectors, relevance, metric and margin.
    """

    def __init__(self, census: Census) -> None:
        self._census = census

    @abstractmethod
    def search(self, anchors: Rows) -> CandidateBlock:
        """Return a block of anchors with the negatives that are proposed for them.

        Parameters
        ----------
        anchors : ndarray of shape (b,), int64
            Each must have a positive.
        """

    def block(self, anchors: Rows, lists: CandidateLists) -> CandidateBlock:
        """Return a block from candidate lists; see `CandidateBlock.lists`."""
        rows = _padded(lists.sizes, lists.entries.view(np.int64))
        return self._measured(anchors, self._pairs(anchors), rows)

    def _pairs(self, anchors: Rows) -> _Pairs:
        """Return the pairs of anchors with their distances."""
        census = self._census
        lists = census.relevance.positive_lists(anchors)
        counts, columns = lists.counts, lists.columns
        owners = np.repeat(np.arange(len(anchors)), counts)
        d_ap = census.vectors.measure(census.metric, anchors[owners], columns)
        return _Pairs(np.concatenate([[0], np.cumsum(counts)]), columns, owners, d_ap)

    def _measured(self, anchors: Rows, pairs: _Pairs, rows: Rows) -> CandidateBlock:
        """Measure and sort the candidates, count them per pair, and return the block."""
        census = self._census
        rows.sort(axis=1)  # the stable sort below then orders equal distances by row
        there = rows >= 0
        lines = np.repeat(np.arange(len(anchors)), there.sum(axis=1))
        distances = np.full(rows.shape, np.inf)
        distances[there] = census.vectors.measure(census.metric, anchors[lines], rows[there])
        order = np.argsort(distances, axis=1, kind="stable")
        rows, distances = (np.take_along_axis(x, order, axis=1) for x in (rows, distances))
        owners, d_ap = pairs.owners, pairs.d_ap
        hard, non_easy = self._count(distances, owners, d_ap)
        finite = np.where(np.isinf(distances), 0.0, distances)
        sums = np.concatenate([np.zeros((len(anchors), 1)), np.cumsum(finite, axis=1)], axis=1)
        lost = non_easy * (d_ap + census.margin) - sums[owners, non_easy]
        loss = np.add.reduceat(lost, pairs.starts[:-1])
        return CandidateBlock(
            anchors, pairs.starts, pairs.positives, hard, non_easy, loss, rows, distances
        )

    def _count(self, distances: Float64, owners: Rows, d_ap: Float64) -> tuple[Rows, Rows]:
        """Return, per pair, the number of hard candidates and of hard or semi-hard candidates."""
        hard, non_easy = np.empty((2, len(owners)), dtype=np.int64)
        width = distances.shape[1]
        for first, last in cut_sizes(np.full(len(owners), width), _AT_ONCE):
            pairs = slice(first, last)
            d_an, own = distances[owners[pairs]], d_ap[pairs, None]
            there = np.isfinite(d_an)
            hard[pairs] = (is_hard(own, d_an) & there).sum(axis=1)
            non_easy[pairs] = (is_within(own, d_an, self._census.margin) & there).sum(axis=1)
        return hard, non_easy


class ListedCandidates(Candidates):
    """The candidates of a list, which must be negatives."""

    def __init__(self, census: Census, listed: Listed) -> None:
        super().__init__(census)
        self._listed = listed

    def search(self, anchors: Rows) -> CandidateBlock:
        """Return a block of anchors with their listed negatives."""
        starts = self._listed.starts(anchors)
        sizes = self._listed.starts(anchors + 1) - starts
        rows = self._listed.keys[ranges(starts, sizes)] % self._listed.rows
        return self._measured(anchors, self._pairs(anchors), _padded(sizes, rows))


class IndexCandidates(Candidates):
    """Searches an index for candidate negatives.

    Parameters
    ----------
    census : Census
    index : Index
        An index of the same rows.
    most : int
        Largest number of candidates per anchor.
    """

    def __init__(self, census: Census, index: Index, most: int) -> None:
        super().__init__(census)
        self._index, self.most = index, most

    def search(self, anchors: Rows) -> CandidateBlock:
        """Return a block of anchors with the nearest negatives that the index finds."""
        relevance = self._census.relevance
        pairs = self._pairs(anchors)
        starts, columns = relevance.hidden_lists(anchors)
        hidden = np.diff(starts)
        deeper = min(int((np.diff(pairs.starts) + hidden).max()), _DEEPER)
        depth = min(self.most + deeper, relevance.rows)
        scores, found = self._index.scored(self._census.vectors.anchors[anchors], depth)
        lines = np.arange(len(anchors))
        struck = np.concatenate(
            [
                pairs.owners * relevance.rows + pairs.positives,
                np.repeat(lines, hidden) * relevance.rows + columns,
            ]
        )
        struck.sort()
        wanted = lines[:, None] * relevance.rows + found
        free = (found >= 0) & ~among(wanted, struck)
        free &= np.cumsum(free, axis=1) <= self.most
        if scores is not None:
            far = scores > self._farthest(anchors, pairs)[:, None]
            free &= ~(far & np.isfinite(scores))
        return self._measured(anchors, pairs, _padded(free.sum(axis=1), found[free]))

    def _farthest(self, anchors: Rows, pairs: _Pairs) -> Float64:
        """Return, per anchor, the index score above which a row is easy for all pairs.

        The float32 error of a sum of d products is below ``2 (d + 8) u`` times the sum of their
        absolute values, for any order of summation (Higham, Accuracy and Stability of Numerical
        Algorithms, 2nd ed., section 3.1); unit vectors are rounded once more. Twice that bound is
        allowed.
        """
        census = self._census
        border = semi_hard_border(pairs.d_ap, census.margin)
        reach: Float64 = np.maximum.reduceat(border, pairs.starts[:-1])
        rounding = 4 * (census.vectors.dim + 8) * UNIT_ROUNDOFF_32
        if census.space.euclidean:
            squared = reach * reach if census.space.root else reach
            return squared * (1 + rounding) + _TINY
        if census.metric == "cosine":
            return reach - 1 + rounding
        sizes = np.sqrt((census.vectors.anchors[anchors].astype(np.float64) ** 2).sum(-1))
        inner: Float64 = reach + rounding * sizes * census.space.max_norm + _TINY
        return inner


def _padded(sizes: Rows, rows: Rows) -> Rows:
    """Return the rows of each anchor as a matrix, padded with -1."""
    padded = np.full((len(sizes), max(int(sizes.max(initial=0)), 1)), -1, dtype=np.int64)
    padded[np.arange(padded.shape[1]) < sizes[:, None]] = rows
    return padded


@dataclass(frozen=True)
class CandidateMiner(UnitMiner):
    """Counts and writes units among candidates.

    Parameters
    ----------
    candidates : Candidates
        What proposes them; required. For the other parameters see `UnitMiner`.
    """

    candidates: Candidates | None = None

    def _batches(self, anchors: Rows) -> Iterator[Rows]:
        """Yield positions in `anchors`, in batches with similar numbers of positives."""
        positives = self.tally.positives[anchors]
        order = np.lexsort((anchors, positives))
        sizes = np.maximum(positives[order], _PAIRS // _BATCH)
        for first, last in cut_sizes(sizes, _PAIRS):
            yield order[first:last]

    def count(
        self,
        unit: tuple[int, int],
        sums: ColumnSums | None = None,
        lists: list[CandidateLists] | None = None,
    ) -> NDArray[np.void]:
        """Return the records of a unit, an array of `ANCHOR_COUNTS`; see `UnitMiner.count`.

        ``hard`` and ``semi_hard`` are the triplets found; all others count as ``easy``.
        """
        assert self.candidates is not None
        anchors = np.arange(*unit)
        result, wanted = self._uncounted(anchors)
        places = np.flatnonzero(wanted)
        parts = []
        for batch in self._batches(anchors[places]):
            at = places[batch]
            block = self.candidates.search(anchors[at])
            result["hard"][at] = np.add.reduceat(block.hard, block.starts[:-1])
            result["semi_hard"][at] = np.add.reduceat(
                block.non_easy - block.hard, block.starts[:-1]
            )
            result["loss"][at] = block.loss
            self._select_block(block, at, result)
            parts.append((at, block.lists()))
        if lists is not None:
            lists.append(CandidateLists.assemble(len(anchors), parts))
        return self._completed(anchors, result)

    def _sampled(self, *_: Any) -> None:
        """Return None: triplets that were not proposed cannot be drawn."""

    def whole_blocks(self, anchors: Rows) -> Iterator[tuple[Rows, Block]]:
        """Raise: the count pass among candidates writes a list for every anchor.

        Raises
        ------
        AssertionError
            Always.
        """
        raise AssertionError(f"{len(anchors)} anchors have no candidate list")

    def listed_block(self, anchors: Rows, lists: CandidateLists) -> Block:
        """Return a block of anchors from their candidate lists."""
        assert self.candidates is not None
        return self.candidates.block(anchors, lists)
