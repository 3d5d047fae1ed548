"""Blocks of anchors whose rows within reach are listed: no matrix product, and no other row.

Their counts and rows are those of a block that `miner.census.reference` counted. Keys tell the
order of most rows and on which side of a border they lie; the others are measured by the
definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.candidate_lists import Reach
from miner.census.fast.thresholds import PairBorders
from miner.census.kernels import load_loops
from miner.census.reference import Census
from miner.selection.rank_grid import Found
from miner.triplets.hardness import is_hard, is_within
from miner.triplets.relevance import spans
from miner.triplets.types import Float32, Float64, Rows

__all__ = ["ListedBlock", "Lister"]


@dataclass(frozen=True, slots=True)
class ListedBlock:
    """Some anchors, their pairs, and the listed rows of each in the order of their keys.

    Attributes
    ----------
    anchors, starts, positives, hard, within
        As those of `miner.census.block.BlockCounts`.
    firsts : ndarray of shape (b + 1,), int64
        The listed rows of anchor i are ``firsts[i]:firsts[i + 1]``.
    keys : ndarray of float32
    rows : ndarray of int32
    error : ndarray of shape (b,), float64
        How far a key can be from the true one.
    """

    anchors: Rows
    starts: Rows
    positives: Rows
    hard: Rows
    within: Rows
    firsts: Rows
    keys: Float32
    rows: NDArray[np.int32]
    error: Float64

    def within_reach(self, line: int) -> tuple[Rows, Float64, float]:
        """Return an anchor's rows, their keys, and how near those may be in a wrong order."""
        mine = slice(self.firsts[line], self.firsts[line + 1])
        rows, keys = self.rows[mine], self.keys[mine]
        return rows.astype(np.int64), keys.astype(np.float64), 2 * float(self.error[line])


class Lister:
    """Makes such blocks, and finds rows by rank in them.

    Parameters
    ----------
    census : Census
    borders : PairBorders
    """

    def __init__(self, census: Census, borders: PairBorders) -> None:
        self._loops: Any = load_loops("rank_window")
        self._census, self._borders = census, borders

    def block(self, anchors: Rows, reach: Reach, hard: Rows, within: Rows) -> ListedBlock:
        """Put the rows of some anchors in order, and count by pair.

        Parameters
        ----------
        anchors : ndarray of shape (b,), int64
        reach : Reach
            Of these anchors.
        hard, within : ndarray of shape (b,), int64
            Their triplets that are hard; that are hard or semi-hard.
        """
        lists = self._census.relevance.positive_lists(anchors)
        starts = np.concatenate([[0], np.cumsum(lists.counts)])
        # Of an anchor with one pair the totals are the pair's counts.
        block = ListedBlock(
            anchors=anchors,
            starts=starts,
            positives=lists.columns,
            hard=np.repeat(hard, lists.counts),
            within=np.repeat(within, lists.counts),
            firsts=reach.starts,
            keys=np.ascontiguousarray(reach.entries["key"]),
            rows=np.ascontiguousarray(reach.entries["row"]),
            error=reach.head["error"].astype(np.float64),
        )
        self._loops.sort_lines(block.firsts, block.keys, block.rows)
        several = np.flatnonzero(lists.counts > 1)
        if len(several):
            self._count(block, several)
        return block

    def _count(self, block: ListedBlock, lines: Rows) -> None:
        """Count the pairs of some lines, of which all rows within reach are listed."""
        space = self._census.space
        anchors = block.anchors[lines]
        queries = space.prepare(self._census.vectors.anchors[anchors])
        data = self._borders.space(queries, space.offset(queries))
        pairs = self._borders.of(anchors, data, space.slack(queries))
        counts = np.diff(pairs.starts)
        places = spans(block.starts[:-1][lines], counts)
        owners = np.repeat(lines, counts)
        error = np.zeros(len(block.anchors))
        error[lines] = block.error[lines] + pairs.tolerance
        at, borders = block.starts, np.empty(len(block.positives))
        low, high = np.empty((2, len(borders)), dtype=np.int64)
        for counted, edges in ((block.hard, pairs.hard), (block.within, pairs.within)):
            borders[:] = 0.0
            borders[places] = edges
            self._loops.between(block.firsts, block.keys, at, borders, error, low, high)
            counted[places] = low[places]
            some = high[places] > low[places]
            self._settle(block, counted, places[some], owners[some], low, high)
        np.maximum(block.within, block.hard, out=block.within)

    def _settle(
        self, block: ListedBlock, counted: Rows, pairs: Rows, lines: Rows, low: Rows, high: Rows
    ) -> None:
        """Add the rows that may lie on either side of a pair's border, by their distances."""
        if not len(pairs):
            return
        sizes = high[pairs] - low[pairs]
        rows = block.rows[spans(block.firsts[:-1][lines] + low[pairs], sizes)].astype(np.int64)
        anchors = block.anchors[lines]
        measure, metric = self._census.vectors.measure, self._census.metric
        d_an = measure(metric, np.repeat(anchors, sizes), rows)
        d_ap = np.repeat(measure(metric, anchors, block.positives[pairs]), sizes)
        if counted is block.hard:
            counts = is_hard(d_ap, d_an)
        else:
            counts = is_within(d_ap, d_an, self._census.margin)
        counted[pairs] += np.add.reduceat(counts.astype(np.int64), np.cumsum(sizes) - sizes)

    def find(self, block: ListedBlock, lines: Rows, starts: Rows, ranks: Rows) -> Found:
        """Find rows by rank; see `miner.selection.rank_grid.Sieve.find`."""
        room = int(np.diff(block.firsts)[lines].sum())
        found, number, run = np.empty((3, room), dtype=np.int64)
        place = np.zeros(len(ranks), dtype=np.int64)
        size = self._loops.find_windows(
            block.firsts, block.keys, block.rows, block.error, lines, starts, ranks,
            found, number, run, place,
        )  # fmt: skip
        sure = np.ones(len(lines), dtype=np.bool_)
        return Found(found[:size], number[:size], run[:size], place, sure)
