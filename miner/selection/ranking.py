"""The negatives of one anchor in order of true distance, and rows picked by rank."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from miner.census.reference import Census
from miner.triplets.types import Float64, Rows

__all__ = ["Block", "Ranking"]

_FEW = 16
"""Ranks are few when there are so many times as many keys."""
_PER_BIN = 4


class Block(Protocol):
    """Some anchors whose pairs are counted: see `miner.census.block.BlockCounts`."""

    @property
    def anchors(self) -> Rows:
        """The anchors, shape (b,)."""

    @property
    def starts(self) -> Rows:
        """Where the pairs of each begin, and the end, shape (b + 1,)."""

    @property
    def positives(self) -> Rows:
        """The positive of each pair."""

    @property
    def hard(self) -> Rows:
        """How many negatives of each pair are hard."""

    @property
    def within(self) -> Rows:
        """How many are hard or semi-hard."""

    def within_reach(self, line: int) -> tuple[Rows, Float64, float]:
        """Return an anchor's rows, their keys, and how near those may be in a wrong order."""


class Ranking:
    """The negatives of one anchor in order of true distance, ties by row number.

    Keys that are further apart than twice their slack are in the order of the true distances. A run
    of neighbours that are not is put in order by the measured distance; such runs are rare, and
    short unless there are ties. When few ranks are asked for, only the keys around them are sorted.
    """

    def __init__(self, census: Census, block: Block, line: int) -> None:
        self._census = census
        self._anchor = int(block.anchors[line])
        self._rows, self._keys, self._slack = block.within_reach(line)

    def rows_at(self, ranks: Rows) -> Rows:
        """Return the rows at some ranks, ascending and each once."""
        if _FEW * len(ranks) < len(self._keys):
            found = self._some(ranks)
            if found is not None:
                return found
        return self._order[ranks]

    @functools.cached_property
    def distances(self) -> Float64:
        """The true distances of all ranks, at least of those of hard and semi-hard negatives."""
        return self._distances(self._order)

    def prefix(self, holds: Callable[[Float64, Rows], NDArray[np.bool_]], conditions: int) -> Rows:
        """Count the ranks at which each condition holds; each holds up to some rank.

        Parameters
        ----------
        holds : callable
            Says of true distances, and the number of the condition for each, whether it holds.
        conditions : int
            How many conditions there are.

        Returns
        -------
        ndarray of shape (conditions,), int64
            Found by bisection; the negatives that it meets are measured.
        """
        size = len(self._rows)
        low = np.zeros(conditions, dtype=np.int64)
        high = np.full(conditions, size, dtype=np.int64)
        if conditions * size.bit_length() > size:
            _ = self.distances  # to measure all once is less
        while True:
            open_ = np.flatnonzero(low < high)
            if not len(open_):
                return low
            middle = (low[open_] + high[open_]) // 2
            ranks, inverse = np.unique(middle, return_inverse=True)
            true = holds(self._distances_at(ranks)[inverse], open_)
            low[open_[true]] = middle[true] + 1
            high[open_[~true]] = middle[~true]

    def _distances_at(self, ranks: Rows) -> Float64:
        if "distances" in vars(self):
            return self.distances[ranks]
        return self._distances(self._order[ranks])

    @functools.cached_property
    def _order(self) -> Rows:
        order = np.argsort(self._keys)
        return self._settled(self._rows[order], self._keys[order])

    def _settled(self, rows: Rows, keys: Float64) -> Rows:
        """Put runs of near keys in order by the measured distance; `keys` ascend."""
        joined = np.diff(keys) <= self._slack
        if not joined.any():
            return rows
        run = np.concatenate([[0], np.cumsum(~joined)])
        shared = np.flatnonzero(np.append(joined, False) | np.append(False, joined))
        members = rows[shared]
        order = np.lexsort((members, self._distances(members), run[shared]))
        rows = rows.copy()
        rows[shared] = members[order]
        return rows

    @functools.cached_property
    def _grid(self) -> tuple[Rows, Rows] | None:
        """Return each key's bin and the keys per bin; None when bins would be too narrow."""
        low, high = self._keys.min(), self._keys.max()
        bins = len(self._keys) // _PER_BIN
        if bins < 2 or (high - low) / bins <= 4 * self._slack:
            return None
        cells = ((self._keys - low) * ((bins - 1) / (high - low))).astype(np.int64)
        return cells, np.bincount(cells, minlength=bins)

    def _some(self, ranks: Rows) -> Rows | None:
        """Find the rows at a few ranks by sorting their bins and the bins beside them.

        A bin is wider than the slack, so a run of near keys that leaves these bins must hold a key
        at their edge. Where such a run holds a wanted rank the answer is None.
        """
        if self._grid is None:
            return None
        cells, held = self._grid
        ends = np.cumsum(held)
        wanted = np.searchsorted(ends, ranks, side="right")
        looked = np.zeros(len(held) + 2, dtype=np.bool_)
        for beside in (0, 1, 2):
            looked[wanted + beside] = True
        places = np.flatnonzero(looked[cells + 1])
        places = places[np.argsort(self._keys[places])]
        keys, cells = self._keys[places], cells[places]
        rank = ends[cells] - held[cells] + np.arange(len(cells)) - cells.searchsorted(cells)
        at = rank.searchsorted(ranks)
        joined = np.diff(keys) <= self._slack
        if joined.any():
            run = np.concatenate([[0], np.cumsum(~joined)])
            gap = np.diff(rank) > 1
            edge = np.append(True, gap) | np.append(gap, True)
            long = np.bincount(run) > 1
            if np.isin(run[at], run[edge & long[run]]).any():
                return None
        return self._settled(self._rows[places], keys)[at]

    def _distances(self, rows: Rows) -> Float64:
        census = self._census
        return census.vectors.measure(census.metric, np.array([self._anchor]), rows)
