"""Anchors whose rows are counted as they come: each key is looked up among the thresholds.

What the compiled loops leave open, because a key is near to a threshold, is measured and decided by
the definition.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.column_sums import ColumnSums
from miner.census.measure import Vectors
from miner.census.walk.borders import Borders, Pairs
from miner.census.walk.key_space import KeySpace
from miner.census.walk.settle import ascending
from miner.triplets.hardness import is_hard, is_within
from miner.triplets.relevance import spans
from miner.triplets.types import Float64, Rows

__all__ = ["MUCH", "DirectCount"]

MUCH = 0.1
"""Where a smaller share of the rows is within reach, it is quicker to list them and to sort."""
_DECIDED = 1 << 18
"""Rows and thresholds that are decided at once."""


@dataclass(frozen=True, slots=True)
class DirectCount:
    """Counts the triplets of some anchors.

    Attributes
    ----------
    loops, line_loops : module
        `miner.census.kernels.direct`, and what `miner.census.walk.line_loops` says.
    vectors : Vectors
    space : KeySpace
    margin : float
    pairs : Pairs
    borders : Borders
        Distances that are not measured are measured here where it matters.
    measured : bool
        Whether all are.
    offset, tolerance, unclear : ndarray of shape (b,), float64
        What turns a key into a distance; how far a key may be from a threshold and still be unsure;
        up to which key distances are not clear enough to sum the loss.
    """

    loops: Any
    line_loops: Any
    vectors: Vectors
    space: KeySpace
    margin: float
    pairs: Pairs
    borders: Borders
    measured: bool
    offset: Float64
    tolerance: Float64
    unclear: Float64

    def count(
        self, products: NDArray[Any], bias: NDArray[Any], sums: ColumnSums | None
    ) -> tuple[Rows, Rows, Float64]:
        """Return how many negatives of each pair are hard, and hard or semi-hard, and the losses.

        Parameters
        ----------
        products, bias
            As of `miner.census.walk.line_loops.list_entries`.
        sums : ColumnSums, optional
            Takes the triplets by row and label.
        """
        pairs, lines, kind = self.pairs, len(self.offset), products.dtype.type
        order, thresholds, wide = self._thresholds(kind)
        counts, losses = np.empty(2 * len(order), dtype=np.int64), np.empty(lines)
        none = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint32)
        found, seen = none if sums is None else (sums.found, sums.seen)
        key_space = (self.offset.astype(kind), kind(self.space.slope), self.space.root)
        given = (products, bias, pairs.starts, thresholds, wide, self.unclear.astype(kind))
        for run in [(0, lines)] if sums is None else sums.runs(pairs.anchors):
            own = (*given, run, key_space, found, seen, counts, losses)
            at, listed = self.loops.count_rows(*own)
            for part in _cut(listed[2] - listed[1]):
                open_ = (at[part], *listed[:, part])
                self._decide(open_, order, thresholds, found, seen, counts, losses)
            if sums is not None:
                sums.book(int(pairs.anchors[run[0]]))
        hard, within = np.empty((2, len(order)), dtype=np.int64)
        hard[order], within[order] = counts.reshape(2, -1)
        within = np.maximum(hard, within)
        lost = within * (self.borders.d_ap + self.margin)
        return hard, within, np.add.reduceat(lost, pairs.starts[:-1]) - losses

    def _thresholds(self, kind: Any) -> tuple[Rows, tuple[NDArray[Any], Rows, Rows], Any]:
        """Return the order of the pairs, their thresholds in one order, and how wide these are.

        Edges are rounded up to the type of the keys, and as far down at their other end.
        """
        starts, borders = self.pairs.starts, self.borders
        order = ascending(starts, borders.hard, self.line_loops, many=0)
        facts = (borders.hard[order], borders.within[order], starts, self.tolerance)
        edges, places, above = self.loops.merge_thresholds(*facts)
        lines = np.arange(len(starts) - 1)
        ends = edges[2 * starts[:-1] + lines], edges[2 * starts[1:] + lines - 1]
        wide = 2 * self.tolerance + 8 * np.finfo(kind).eps * np.maximum(*np.abs(ends))
        upper = np.nextafter(edges.astype(kind), kind(np.inf))
        return order, (upper, places, above), np.nextafter(wide.astype(kind), kind(np.inf))

    def _decide(
        self,
        open_: tuple[Rows, Rows, Rows, Rows],
        order: Rows,
        thresholds: tuple[NDArray[Any], Rows, Rows],
        found: Rows,
        seen: Any,
        counts: Rows,
        losses: Float64,
    ) -> None:
        """Decide listed rows by the definition, and add them up.

        Parameters
        ----------
        open_ : (lines, rows, begin, end)
            As of `miner.census.kernels.direct.count_rows`.
        order, thresholds
            As of `_thresholds`.
        found, seen, counts, losses
            Are added to.
        """
        lines, rows, begin, end = open_
        (_, places, above), anchors = thresholds, self.pairs.anchors
        d_an = self.vectors.measure(self.space.metric, anchors[lines], rows)
        item = np.repeat(np.arange(len(rows)), end - begin)
        place = places[spans(begin, end - begin)]
        pair, soft = order[place % len(order)], place >= len(order)
        if not self.measured and len(pair):
            own = np.unique(pair)
            self.borders.d_ap[own] = self.pairs.measured(self.vectors, self.space, own)
        d_ap, distances = self.borders.d_ap[pair], d_an[item]
        holds = is_hard(d_ap, distances)
        holds |= soft & is_within(d_ap, distances, self.margin)
        np.add.at(counts, place[holds], 1)
        hard, within = (
            np.bincount(item[holds & which], minlength=len(rows)) for which in (~soft, soft)
        )
        losses += np.bincount(lines, (within + (above[end] >> 32)) * d_an, len(losses))
        if len(found):
            np.add.at(found, rows, hard + (within << 32))
            np.add.at(seen, rows, ((hard > 0) & (above[end] & 0xFFFFFFFF == 0)).astype(np.uint32))


def _cut(sizes: Rows) -> list[slice]:
    """Cut items of such sizes into ranges that are decided at once."""
    if not len(sizes):
        return []
    ends = np.cumsum(sizes + 1)
    cuts = np.searchsorted(ends, np.arange(_DECIDED, ends[-1], _DECIDED), side="right")
    cuts = np.unique(np.concatenate([[0], cuts, [len(sizes)]]))
    return [slice(*pair) for pair in itertools.pairwise(cuts.tolist())]
