"""Anchors with few positives: every key is held against every threshold, and no row is ranked.

What the compiled loops leave out, because a key is near to a threshold, is measured and decided by
the definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.column_sums import ColumnSums
from miner.census.measure import Vectors
from miner.census.walk.borders import Borders, Pairs
from miner.census.walk.key_space import KeySpace
from miner.triplets.hardness import is_hard, is_within
from miner.triplets.relevance import spans
from miner.triplets.types import Float64, Rows

__all__ = ["FEW", "MUCH", "DirectCount"]

FEW = 48
"""With more positives it is quicker to sort the keys;"""
MUCH = 0.1
"""or with a smaller share of the rows within reach."""


@dataclass(frozen=True, slots=True)
class DirectCount:
    """Counts the triplets of some anchors.

    Attributes
    ----------
    loops : module
        `miner.census.kernels.direct`.
    vectors : Vectors
    space : KeySpace
    margin : float
    pairs : Pairs
    borders : Borders
        Of measured distances.
    offset, tolerance, unclear : ndarray of shape (b,), float64
        What turns a key into a distance; how far a key may be from a threshold and still be unsure;
        up to which key distances are not clear enough to sum the loss.
    """

    loops: Any
    vectors: Vectors
    space: KeySpace
    margin: float
    pairs: Pairs
    borders: Borders
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
        pairs, lines = self.pairs, len(self.offset)
        starts, own, edges = self._evened()
        counts, losses = np.zeros((2, starts[-1]), dtype=np.int64), np.zeros(lines)
        none = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint32)
        found, seen = none if sums is None else (sums.found, sums.seen)
        unclear = self.unclear.astype(np.float32)
        key_space = (self.offset.astype(np.float32), np.float32(self.space.slope), self.space.root)
        for run in [(0, lines)] if sums is None else sums.runs(pairs.anchors):
            given = (products, bias, starts, edges, unclear, run, key_space)
            at, rows = self.loops.count_rows(*given, found, seen, counts, losses)
            self._measured(at, rows, own, found, seen, counts, losses)
            if sums is not None:
                sums.book(int(pairs.anchors[run[0]]))
        hard, within = counts[:, own]
        within = np.maximum(hard, within)
        lost = within * (self.borders.d_ap + self.margin)
        return hard, within, np.add.reduceat(lost, pairs.starts[:-1]) - losses

    def _evened(self) -> tuple[Rows, Rows, NDArray[np.float32]]:
        """Return starts of an even number of pairs an anchor, the places of pairs, and their edges.

        Edges are below and above which keys are on their side of a threshold for sure.
        """
        sizes = np.diff(self.pairs.starts)
        starts = np.concatenate([[0], np.cumsum(sizes + sizes % 2)])
        own = spans(starts[:-1], sizes)
        wide, edges = self.tolerance[self.pairs.lines], np.full((4, starts[-1]), -np.inf)
        for which, border in enumerate((self.borders.hard, self.borders.within)):
            edges[2 * which, own], edges[2 * which + 1, own] = border - wide, border + wide
        away = np.array([-np.inf, np.inf, -np.inf, np.inf], dtype=np.float32)
        narrow = edges.astype(np.float32)
        narrow[:, own] = np.nextafter(narrow[:, own], away[:, None])
        return starts, own, narrow

    def _measured(
        self,
        lines: Rows,
        rows: Rows,
        own: Rows,
        found: Rows,
        seen: Any,
        counts: Rows,
        losses: Float64,
    ) -> None:
        """Add up rows by the definition."""
        if not len(lines):
            return
        starts, metric = self.pairs.starts, self.space.metric
        sizes = np.diff(starts)[lines]
        pair = spans(starts[lines], sizes)
        distances = self.vectors.measure(metric, self.pairs.anchors[lines], rows)
        d_ap, d_an = self.borders.d_ap[pair], np.repeat(distances, sizes)
        hard = is_hard(d_ap, d_an)
        within = is_within(d_ap, d_an, self.margin)
        first = np.cumsum(sizes) - sizes
        by_row = []
        for which, held in enumerate((hard, within)):
            counts[which, own] += np.bincount(pair, held, len(own)).astype(np.int64)
            by_row.append(np.add.reduceat(held.astype(np.int64), first))
        losses += np.bincount(lines, by_row[1] * distances, len(losses))
        if len(found):
            np.add.at(found, rows, by_row[0] + (by_row[1] << 32))
            np.add.at(seen, rows, (by_row[0] > 0).astype(np.uint32))
