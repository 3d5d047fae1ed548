"""Counts of anchors without sorting their rows: each key is looked up among the thresholds.

The compiled loops leave keys near a threshold undecided. Here their distances are measured and the
definition decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.column_sums import ColumnSums
from miner.census.measure import Vectors
from miner.census.walk.count_below import ascending
from miner.census.walk.key_space import KeySpace
from miner.census.walk.pair_thresholds import Pairs, PairThresholds
from miner.triplets.hardness import is_hard, is_within
from miner.triplets.relevance import cut_sizes, ranges
from miner.triplets.types import Float64, Rows

__all__ = ["MIN_DIRECT_SHARE", "DirectCount"]

MIN_DIRECT_SHARE = 0.1
"""If the share of rows that are hard or semi-hard is smaller, listing and sorting them is
quicker."""
_DECIDED = 1 << 18
"""The number of rows and thresholds to decide at once."""


@dataclass(frozen=True, slots=True)
class DirectCount:
    """Counts the triplets of some anchors.

    Attributes
    ----------
    loops, line_loops : module
        `miner.census.kernels.direct`, and the module that `load_line_loops` returns.
    vectors : Vectors
    space : KeySpace
    margin : float
    pairs : Pairs
    thresholds : PairThresholds
        Where `measured` is False, `d_ap` comes from keys; it is measured here where a class depends
        on it.
    measured : bool
        Whether all `d_ap` are measured distances.
    offset, tolerance, unclear : ndarray of shape (b,), float64
        The offset of `KeySpace.offset`; how near to a threshold a key is undecided; the key below
        which distances are too inexact to sum the loss.
    """

    loops: Any
    line_loops: Any
    vectors: Vectors
    space: KeySpace
    margin: float
    pairs: Pairs
    thresholds: PairThresholds
    measured: bool
    offset: Float64
    tolerance: Float64
    unclear: Float64

    def count(
        self,
        products: NDArray[Any],
        bias: NDArray[Any],
        sums: ColumnSums | None,
        nearest: tuple[int, int, Float64, Rows],
    ) -> tuple[Rows, Rows, Float64]:
        """Return the hard and the non-easy negatives of each pair, and the loss of each anchor.

        Parameters
        ----------
        products, bias
            As in `miner.census.walk.line_loops.list_entries`.
        sums : ColumnSums, optional
            The triplets of each row are added to it.
        nearest : (wanted, bits, entries, firsts)
            At least `wanted` of the nearest rows of each anchor are listed; for the rest see
            `miner.census.kernels.direct.count_rows`.
        """
        pairs, lines, kind = self.pairs, len(self.offset), products.dtype.type
        merged, wide = self._merged_thresholds(kind)
        counts, losses = np.empty((2, len(pairs.positives)), dtype=np.int64), np.empty(lines)
        none = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint32)
        found, seen = none if sums is None else (sums.found, sums.seen)
        key_space = (self.offset.astype(kind), kind(self.space.slope), self.space.root)
        given = (products, bias, pairs.starts, merged, wide, self.unclear.astype(kind))
        near = (nearest[0], (4 * self.tolerance).astype(kind), *nearest[1:])
        open_ = []
        for run in [(0, lines)] if sums is None else sums.runs(pairs.anchors):
            filled = (found, seen, counts.reshape(-1), losses)
            open_.append(self.loops.count_rows(*given, run, key_space, near, *filled))
            if sums is not None:
                sums.flush_run(int(pairs.anchors[run[0]]))
        at, listed = (np.concatenate(parts, axis=-1) for parts in zip(*open_, strict=True))
        for cut in cut_sizes(listed[2] - listed[1] + 1, _DECIDED):
            part = slice(*cut)
            self._decide(at[part], listed[:, part], merged, sums, counts, losses)
        hard, non_easy = counts
        np.maximum(hard, non_easy, out=non_easy)
        lost = non_easy * (self.thresholds.d_ap + self.margin)
        return hard, non_easy, np.add.reduceat(lost, pairs.starts[:-1]) - losses

    def _merged_thresholds(self, kind: Any) -> tuple[tuple[NDArray[Any], Rows, Rows], NDArray[Any]]:
        """Return the merged thresholds of all pairs, and their width for each anchor.

        The upper ends are rounded up to the type of the keys; the width covers that rounding too.
        """
        starts, thresholds = self.pairs.starts, self.thresholds
        order = ascending(starts, thresholds.hard, self.line_loops, many=0)
        facts = (thresholds.hard, thresholds.non_easy, order, starts, self.tolerance)
        edges, pairs, above = self.loops.merge_thresholds(*facts)
        lines = np.arange(len(starts) - 1)
        ends = edges[2 * starts[:-1] + lines], edges[2 * starts[1:] + lines - 1]
        wide = 2 * self.tolerance + 8 * np.finfo(kind).eps * np.maximum(*np.abs(ends))
        if kind is not np.float64:
            edges = np.nextafter(edges.astype(kind), kind(np.inf))
        return (edges, pairs, above), np.nextafter(wide.astype(kind), kind(np.inf))

    def _decide(
        self,
        lines: Rows,
        listed: Rows,
        merged: tuple[NDArray[Any], Rows, Rows],
        sums: ColumnSums | None,
        counts: Rows,
        losses: Float64,
    ) -> None:
        """Decide the listed rows by the definition, and add them to the counts.

        Parameters
        ----------
        lines, listed
            As `miner.census.kernels.direct.count_rows` returns them.
        merged
            As `_merged_thresholds` returns them.
        sums, counts, losses
            Updated in place.
        """
        (rows, begin, end), (_, of, above), anchors = listed, merged, self.pairs.anchors
        d_an = self.vectors.measure(self.space.metric, anchors[lines], rows)
        item = np.repeat(np.arange(len(rows)), end - begin)
        threshold = of[ranges(begin, end - begin)]
        soft, pair = np.divmod(threshold, counts.shape[1])
        if not self.measured and len(pair):
            own = np.unique(pair)
            self.thresholds.d_ap[own] = self.pairs.measured(self.vectors, self.space, own)
        d_ap, distances = self.thresholds.d_ap[pair], d_an[item]
        holds = is_hard(d_ap, distances)
        holds |= (soft > 0) & is_within(d_ap, distances, self.margin)
        np.add.at(counts.reshape(-1), threshold[holds], 1)
        which = 2 * item[holds] + soft[holds]
        hard, non_easy = np.bincount(which, minlength=2 * len(rows)).reshape(-1, 2).T
        losses += np.bincount(lines, (non_easy + (above[end] >> 32)) * d_an, len(losses))
        if sums is not None:
            met = (hard > 0) & (above[end] & 0xFFFFFFFF == 0)
            sums.add(anchors[lines], rows, np.stack([hard, non_easy]), met)
