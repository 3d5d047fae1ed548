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

__all__ = ["MIN_DIRECT_SHARE", "Definition", "DirectCount", "Undecided"]

MIN_DIRECT_SHARE = 0.1
"""If the share of rows that are hard or semi-hard is smaller, listing and sorting them is
quicker."""
_DECIDED = 1 << 18
"""The number of rows and thresholds to decide at once."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """Rows whose keys do not decide on which side of some thresholds they are.

    Each row was counted as if it were above all of these thresholds.

    Attributes
    ----------
    lines, rows : ndarray of shape (k,), int64
        The positions of the anchors in the block, and the rows.
    begin, end : ndarray of shape (k,), int64
        The first of the thresholds, and the one after the last, as positions in `of`.
    of : ndarray of int64
        The pair of each threshold; for semi-hard thresholds the number of pairs is added.
    above : ndarray of int64
        How many thresholds are at or after each position: hard ones in the low 32 bits, semi-hard
        ones in the high bits.
    """

    lines: Rows
    rows: Rows
    begin: Rows
    end: Rows
    of: Rows
    above: Rows

    def part(self, which: slice) -> Undecided:
        """Return a range of the rows."""
        own = (self.lines[which], self.rows[which], self.begin[which], self.end[which])
        return Undecided(*own, self.of, self.above)


@dataclass(frozen=True, slots=True)
class Definition:
    """Decides rows of some anchors by their true distances.

    Attributes
    ----------
    vectors : Vectors
    space : KeySpace
    margin : float
    pairs : Pairs
    thresholds : PairThresholds
        Where `measured` is False, `d_ap` comes from keys; it is measured here where a class depends
        on it.
    measured : bool
        Whether all `d_ap` are measured distances.
    """

    vectors: Vectors
    space: KeySpace
    margin: float
    pairs: Pairs
    thresholds: PairThresholds
    measured: bool

    def decide(
        self, undecided: Undecided, sums: ColumnSums | None, counts: Rows, losses: Float64
    ) -> None:
        """Decide rows by the definition, and add them to the counts.

        Parameters
        ----------
        undecided : Undecided
        sums : ColumnSums, optional
            The triplets of each row are added to it.
        counts : ndarray of shape (2, pairs), int64
            Updated: the hard negatives of each pair; the semi-hard ones.
        losses : ndarray of shape (b,), float64
            Updated: the sum of the distances, each once per pair that the row is counted for.
        """
        for cut in cut_sizes(undecided.end - undecided.begin + 1, _DECIDED):
            self._decide(undecided.part(slice(*cut)), sums, counts, losses)

    def _decide(
        self, some: Undecided, sums: ColumnSums | None, counts: Rows, losses: Float64
    ) -> None:
        lines, rows, begin, end = some.lines, some.rows, some.begin, some.end
        anchors, above = self.pairs.anchors, some.above
        d_an = self.vectors.measure(self.space.metric, anchors[lines], rows)
        item = np.repeat(np.arange(len(rows)), end - begin)
        threshold = some.of[ranges(begin, end - begin)]
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

    def finish(self, counts: Rows, losses: Float64) -> tuple[Rows, Rows, Float64]:
        """Return the hard and the non-easy negatives of each pair, and the loss of each anchor."""
        hard, non_easy = counts
        np.maximum(hard, non_easy, out=non_easy)
        lost = non_easy * (self.thresholds.d_ap + self.margin)
        return hard, non_easy, np.add.reduceat(lost, self.pairs.starts[:-1]) - losses


@dataclass(frozen=True, slots=True)
class DirectCount:
    """Counts the triplets of some anchors.

    Attributes
    ----------
    loops, line_loops : module
        `miner.census.kernels.direct`, and the module that `load_line_loops` returns.
    definition : Definition
    offset, tolerance, unclear : ndarray of shape (b,), float64
        The offset of `KeySpace.offset`; how near to a threshold a key is undecided; the key below
        which distances are too inexact to sum the loss.
    """

    loops: Any
    line_loops: Any
    definition: Definition
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
        pairs, lines, kind = self.definition.pairs, len(self.offset), products.dtype.type
        space, (merged, wide) = self.definition.space, self._merged_thresholds(kind)
        counts, losses = np.empty((2, len(pairs.positives)), dtype=np.int64), np.empty(lines)
        none = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint32)
        found, seen = none if sums is None else (sums.found, sums.seen)
        key_space = (self.offset.astype(kind), kind(space.slope), space.root)
        given = (products, bias, pairs.starts, merged, wide, self.unclear.astype(kind))
        near = (nearest[0], (4 * self.tolerance).astype(kind), *nearest[1:])
        open_ = []
        for run in [(0, lines)] if sums is None else sums.runs(pairs.anchors):
            filled = (found, seen, counts.reshape(-1), losses)
            open_.append(self.loops.count_rows(*given, run, key_space, near, *filled))
            if sums is not None:
                sums.flush_run(int(pairs.anchors[run[0]]))
        at, listed = (np.concatenate(parts, axis=-1) for parts in zip(*open_, strict=True))
        undecided = Undecided(at, listed[0], listed[1], listed[2], merged[1], merged[2])
        self.definition.decide(undecided, sums, counts, losses)
        return self.definition.finish(counts, losses)

    def _merged_thresholds(self, kind: Any) -> tuple[tuple[NDArray[Any], Rows, Rows], NDArray[Any]]:
        """Return the merged thresholds of all pairs, and their width for each anchor.

        The upper ends are rounded up to the type of the keys; the width covers that rounding too.
        """
        starts, thresholds = self.definition.pairs.starts, self.definition.thresholds
        order = ascending(starts, thresholds.hard, self.line_loops, many=0)
        facts = (thresholds.hard, thresholds.non_easy, order, starts, self.tolerance)
        edges, pairs, above = self.loops.merge_thresholds(*facts)
        lines = np.arange(len(starts) - 1)
        ends = edges[2 * starts[:-1] + lines], edges[2 * starts[1:] + lines - 1]
        wide = 2 * self.tolerance + 8 * np.finfo(kind).eps * np.maximum(*np.abs(ends))
        if kind is not np.float64:
            edges = np.nextafter(edges.astype(kind), kind(np.inf))
        return (edges, pairs, above), np.nextafter(wide.astype(kind), kind(np.inf))
