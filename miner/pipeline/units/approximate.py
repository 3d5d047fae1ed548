"""Units of an approximate job: counted among the negatives that an index nominates.

An approximate index decides which negatives are looked at, and nothing else: their distances are
measured by the float64 definition, and so are classes, order and loss. What it does not find is
missing; how much that is says `miner.pipeline.audit`. Where the index tells the distances of the
vectors themselves, in float32, those that are surely easy for all pairs need not be measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.column_sums import ColumnSums
from miner.census.walk.candidate_lists import LIST_HEADER, CandidateLists
from miner.census.walk.census import Census
from miner.indexes.base import Index
from miner.pipeline.units.miner import Miner
from miner.selection.anchor_view import Block
from miner.triplets.distance import UNIT_ROUNDOFF_32
from miner.triplets.hardness import is_hard, is_within, semi_hard_border
from miner.triplets.relevance import among, cut_sizes
from miner.triplets.types import Float64, Rows

__all__ = ["ApproximateMiner", "NominatedBlock", "Nominees"]

_AT_ONCE = 1 << 22
"""Comparisons of a pair with nominees that are held at once."""

_DEEPER = 1024
"""So many positives and hidden rows of an anchor are searched past, at most."""

_TINY = 1e-37
"""Of float32: its rounding, and what is added for numbers that are too small for it."""
_BATCH = 256
"""Anchors that are searched at once: always the same ones, for FAISS may round otherwise."""
_PAIRS = 1 << 16
"""Pairs of the anchors of a batch, about."""


@dataclass(frozen=True, slots=True)
class _Pairs:
    """The pairs of some anchors, as in `NominatedBlock`, with their distances."""

    starts: Rows
    positives: Rows
    owners: Rows
    d_ap: Float64


@dataclass(frozen=True, slots=True)
class NominatedBlock:
    """Some anchors, their pairs, and the nominees of each in the order of distance, then row.

    Attributes
    ----------
    anchors, starts, positives, hard, within
        As those of `miner.census.walk.ranked_block.RankedBlock`; counted among the nominees.
    loss : ndarray of shape (b,), float64
        Sum of the hinge loss over the anchor's hard and semi-hard triplets.
    rows : ndarray of shape (b, k), int64
        The nominees; -1 at the end where there are fewer.
    distances : ndarray of shape (b, k), float64
        Infinite there.
    """

    anchors: Rows
    starts: Rows
    positives: Rows
    hard: Rows
    within: Rows
    loss: Float64
    rows: Rows
    distances: Float64

    @property
    def deep(self) -> Rows:
        """How many nominees of each anchor are hard or semi-hard for one of its pairs."""
        deep: Rows = np.maximum.reduceat(self.within, self.starts[:-1])
        return deep

    def rows_at(self, lines: Rows, ranks: Rows) -> Rows:
        """Return the nominees at some ranks of some anchors."""
        return np.asarray(self.rows[lines, ranks])

    def ordered(self, line: int) -> Rows:
        """Return the nominees of an anchor that are hard or semi-hard for one of its pairs."""
        return self.rows[line, : self.deep[line]]

    def lists(self) -> CandidateLists:
        """Return the rows that writing needs; their distances are measured again."""
        deep = self.deep
        head = np.zeros(len(deep), dtype=LIST_HEADER)
        head["held"] = deep
        there = np.arange(self.rows.shape[1]) < deep[:, None]
        return CandidateLists(head, self.rows[there].view(np.float64))


class Nominees:
    """Asks an index for nominees.

    Parameters
    ----------
    census : Census
        Whose vectors, relevance, metric and margin decide.
    index : Index
        Over the same rows.
    most : int
        Nominees an anchor, at most.
    """

    def __init__(self, census: Census, index: Index, most: int) -> None:
        self._census, self._index, self.most = census, index, most

    def nominate(self, anchors: Rows) -> NominatedBlock:
        """Return a block of anchors that have positives, with the nearest negatives found.

        Parameters
        ----------
        anchors : ndarray of shape (b,), int64
        """
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
        width = max(int(free.sum(axis=1).max()), 1)
        rows = np.full((len(anchors), width), -1, dtype=np.int64)
        rows[np.arange(width) < free.sum(axis=1)[:, None]] = found[free]
        return self._measured(anchors, pairs, rows)

    def _pairs(self, anchors: Rows) -> _Pairs:
        """Return the pairs of anchors, measured."""
        census = self._census
        lists = census.relevance.positive_lists(anchors)
        counts, columns = lists.counts, lists.columns
        owners = np.repeat(np.arange(len(anchors)), counts)
        d_ap = census.vectors.measure(census.metric, anchors[owners], columns)
        return _Pairs(np.concatenate([[0], np.cumsum(counts)]), columns, owners, d_ap)

    def _farthest(self, anchors: Rows, pairs: _Pairs) -> Float64:
        """Return beyond which score of the index a row is easy for all pairs of an anchor.

        A sum of d products in float32 is off by less than ``2 (d + 8) u`` of the sum of their
        sizes, in any order (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed.,
        section 3.1); unit vectors are rounded once more. Twice that bound is allowed.
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

    def block(self, anchors: Rows, lists: CandidateLists) -> NominatedBlock:
        """Return a block whose nominees were kept; see `NominatedBlock.lists`."""
        sizes = lists.sizes
        rows = np.full((len(anchors), max(int(sizes.max(initial=0)), 1)), -1, dtype=np.int64)
        rows[np.arange(rows.shape[1]) < sizes[:, None]] = lists.entries.view(np.int64)
        return self._measured(anchors, self._pairs(anchors), rows)

    def _measured(self, anchors: Rows, pairs: _Pairs, rows: Rows) -> NominatedBlock:
        """Put nominees in order, and count the pairs."""
        census = self._census
        rows.sort(axis=1)  # ties in distance go by row
        there = rows >= 0
        lines = np.repeat(np.arange(len(anchors)), there.sum(axis=1))
        distances = np.full(rows.shape, np.inf)
        distances[there] = census.vectors.measure(census.metric, anchors[lines], rows[there])
        order = np.argsort(distances, axis=1, kind="stable")
        rows, distances = (np.take_along_axis(x, order, axis=1) for x in (rows, distances))
        owners, d_ap = pairs.owners, pairs.d_ap
        hard, within = self._count(distances, owners, d_ap)
        finite = np.where(np.isinf(distances), 0.0, distances)
        sums = np.concatenate([np.zeros((len(anchors), 1)), np.cumsum(finite, axis=1)], axis=1)
        lost = within * (d_ap + census.margin) - sums[owners, within]
        loss = np.add.reduceat(lost, pairs.starts[:-1])
        return NominatedBlock(
            anchors, pairs.starts, pairs.positives, hard, within, loss, rows, distances
        )

    def _count(self, distances: Float64, owners: Rows, d_ap: Float64) -> tuple[Rows, Rows]:
        """Count, per pair, the nominees that are hard, and those hard or semi-hard."""
        hard, within = np.empty((2, len(owners)), dtype=np.int64)
        width = distances.shape[1]
        for first, last in cut_sizes(np.full(len(owners), width), _AT_ONCE):
            pairs = slice(first, last)
            d_an, own = distances[owners[pairs]], d_ap[pairs, None]
            there = np.isfinite(d_an)
            hard[pairs] = (is_hard(own, d_an) & there).sum(axis=1)
            within[pairs] = (is_within(own, d_an, self._census.margin) & there).sum(axis=1)
        return hard, within


@dataclass(frozen=True)
class ApproximateMiner(Miner):
    """Counts and writes units among nominees.

    Parameters
    ----------
    nominees : Nominees
        In a job that has an approximate index; the other parameters are those of `Miner`.
    """

    nominees: Nominees | None = None

    def _batches(self, anchors: Rows) -> Iterator[Rows]:
        """Cut places in `anchors` into batches, those with about as many positives together."""
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
        """Return what is found of a unit's anchors, an array of `COUNTED`; see `Miner.count`.

        ``easy`` is what was not found to be anything else.
        """
        assert self.nominees is not None
        anchors = np.arange(*unit)
        result, wanted = self._uncounted(anchors)
        places = np.flatnonzero(wanted)
        parts = []
        for batch in self._batches(anchors[places]):
            at = places[batch]
            block = self.nominees.nominate(anchors[at])
            result["hard"][at] = np.add.reduceat(block.hard, block.starts[:-1])
            result["semi_hard"][at] = np.add.reduceat(block.within - block.hard, block.starts[:-1])
            result["loss"][at] = block.loss
            self._select_block(block, at, result)
            parts.append((at, block.lists()))
        if lists is not None:
            lists.append(CandidateLists.assemble(len(anchors), parts))
        return self._completed(anchors, result)

    def _sampled(self, *_: Any) -> None:
        """Return nothing: what an index did not find is not drawn."""

    def whole_blocks(self, anchors: Rows) -> Iterator[tuple[Rows, Block]]:
        """Yield nothing: what was kept as anchors were counted is part of their records.

        Raises
        ------
        AssertionError
            When nothing was kept.
        """
        raise AssertionError(f"nothing was kept of {len(anchors)} anchors")

    def listed_block(self, anchors: Rows, lists: CandidateLists) -> Block:
        """Return a block of anchors from what was kept."""
        assert self.nominees is not None
        return self.nominees.block(anchors, lists)
