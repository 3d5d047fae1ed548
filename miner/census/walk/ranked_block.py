"""A counted block of anchors, and the rows of each that can be hard or semi-hard, sorted by key.

**Entries.** A listed row is one float64 number: its key, with the lowest bits replaced by the row
number. Sorting the numbers sorts the rows, and each number still contains its row.

Entries that differ by more than the *gap* of their anchor have the order of their true distances.
When a rank is needed, the rows within the gap of its key are sorted by measured distance, and ties
by row number.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.measure import Vectors
from miner.census.walk.candidate_lists import LIST_HEADER, CandidateLists
from miner.census.walk.key_space import KeySpace
from miner.census.walk.pair_thresholds import Pairs, PairThresholds
from miner.triplets.relevance import cut_sizes, ranges
from miner.triplets.types import Float64, Rows

__all__ = ["RankedBlock", "entry_rows", "merge_intervals", "pack_entries", "row_bits"]


_LISTED = 1 << 22
"""The approximate number of entries that a block lists at once for its candidate lists."""

Lister = Callable[[Rows, Float64], tuple[Float64, Rows]]
"""Takes positions of anchors and the highest key of each; returns their entries, and where the
entries of each anchor begin."""


def row_bits(rows: int) -> int:
    """Return the number of low bits of an entry that hold the row number."""
    return int(max(rows - 1, 1)).bit_length()


def pack_entries(keys: Float64, rows: Rows, bits: int) -> Float64:
    """Return the entries of the given keys and rows."""
    high = keys.view(np.int64) & np.int64(-1 << bits)
    return (high | rows).view(np.float64)


def entry_rows(entries: Float64, bits: int) -> Rows:
    """Return the rows of entries."""
    rows: Rows = entries.view(np.int64) & np.int64((1 << bits) - 1)
    return rows


def merge_intervals(begin: Rows, end: Rows, lines: Rows) -> tuple[Rows, Rows, Rows]:
    """Merge overlapping intervals; return their begins, ends and lines, ascending."""
    order = np.argsort(begin, kind="stable")
    begin, end, lines = begin[order], np.maximum.accumulate(end[order]), lines[order]
    first = np.flatnonzero(np.append(True, begin[1:] >= end[:-1]))
    return begin[first], end[np.append(first[1:], len(begin)) - 1], lines[first]


def _no_rows() -> Rows:
    return np.empty(0, dtype=np.int64)


def _none_measured() -> tuple[Rows, Float64]:
    return _no_rows(), np.empty(0)


@dataclass
class RankedBlock:
    """Some anchors, the counts of their pairs, and their sorted rows.

    Attributes
    ----------
    vectors : Vectors
    space : KeySpace
    pairs : Pairs
    thresholds : PairThresholds
    tolerance : ndarray of shape (b,), float64
        An entry that is this near to a threshold is undecided.
    firsts : ndarray of shape (b + 1,), int64
        The entries of anchor i are ``entries[firsts[i]:firsts[i + 1]]``.
    entries : ndarray of float64
    bits : int
        The number of low bits of an entry that hold the row number.
    loops : module
        See `miner.census.walk.line_loops`.
    offset, gap : ndarray of shape (b,), float64
        See `KeySpace.offset`; entries that differ by at most `gap` may be in the wrong order.
    hard, non_easy : ndarray of shape (pairs,), int64
        The number of hard negatives, and of hard or semi-hard ones.
    loss : ndarray of shape (b,), float64
        The sum of the hinge loss over the anchor's hard and semi-hard triplets, if it was asked
        for.
    measured : tuple of ndarray
        The positions of entries that were sorted by distance, and these distances.
    exact : bool
        Whether distances computed from entries are exact to the last bit.
    lister : callable, optional
        If set, the entries are the nearest rows only, and this lists more of them.
    """

    vectors: Vectors
    space: KeySpace
    pairs: Pairs
    thresholds: PairThresholds
    tolerance: Float64
    firsts: Rows
    entries: Float64
    bits: int
    loops: Any
    offset: Float64
    gap: Float64
    hard: Rows = field(default_factory=_no_rows)
    non_easy: Rows = field(default_factory=_no_rows)
    loss: Float64 = field(default_factory=lambda: np.empty(0))
    measured: tuple[Rows, Float64] = field(default_factory=_none_measured)
    exact: bool = False
    lister: Lister | None = None

    @property
    def anchors(self) -> Rows:
        """The anchors, shape (b,)."""
        return self.pairs.anchors

    @property
    def starts(self) -> Rows:
        """The position of each anchor's first pair, and the end, shape (b + 1,)."""
        return self.pairs.starts

    @property
    def positives(self) -> Rows:
        """The positive of each pair."""
        return self.pairs.positives

    @property
    def sizes(self) -> Rows:
        """The number of entries of each anchor."""
        return np.diff(self.firsts)

    def single(self, line: int) -> RankedBlock:
        """Return a block of one of the anchors, with the same entries."""
        mine = slice(self.starts[line], self.starts[line + 1])
        one, own = slice(line, line + 1), self.entries[self.firsts[line] : self.firsts[line + 1]]
        return dataclasses.replace(
            self,
            pairs=self.pairs.part(one),
            thresholds=self.thresholds.part(self.starts, one),
            tolerance=self.tolerance[one],
            hard=self.hard[mine],
            non_easy=self.non_easy[mine],
            firsts=np.array([0, len(own)]),
            entries=own,
            offset=self.offset[one],
            gap=self.gap[one],
            measured=_none_measured(),
        )

    def between(
        self, starts: Rows, order: Rows, edges: Float64, wide: Float64
    ) -> tuple[Rows, Rows]:
        """Locate thresholds among the entries; see `miner.census.walk.line_loops.between`."""
        own = (self.entries, self.firsts)
        found: tuple[Rows, Rows] = self.loops.between(*own, starts, order, edges, wide)
        return found

    def rows_at(self, lines: Rows, ranks: Rows) -> Rows:
        """Return the rows at some ranks of some anchors, by true distance, ties by row number.

        Parameters
        ----------
        lines, ranks : ndarray of shape (k,), int64
            The positions of the anchors in the block, and the ranks; both may repeat.
        """
        at = self.firsts[lines] + ranks
        rows = entry_rows(self.entries[at], self.bits)
        unsure = np.flatnonzero(self._has_near_entry(at, lines))
        if len(unsure):
            rows[unsure] = self._sorted_rows(at[unsure], lines[unsure])
        return rows

    def ordered(self, line: int) -> Rows:
        """Return the listed rows of one anchor in the order of their true distances."""
        size = int(self.sizes[line])
        return self.rows_at(np.full(size, line), np.arange(size))

    def nearest(self, depths: Rows) -> CandidateLists:
        """Return candidate lists that contain the `depths` nearest rows of each anchor.

        A list also contains the rows that are as near as the last one, within the gap.

        Parameters
        ----------
        depths : ndarray of shape (b,), int64
            0 makes an empty list, -1 makes none.
        """
        if self.lister is not None:
            return self._listed(depths)
        head = np.zeros(len(depths), dtype=LIST_HEADER)
        head["gap"], head["held"] = self.gap, np.minimum(depths, 0)
        for line in np.flatnonzero(depths > 0).tolist():
            own = self.entries[self.firsts[line] : self.firsts[line + 1]]
            last = own[depths[line] - 1] + self.gap[line]
            head["held"][line] = own.searchsorted(last, side="right")
        held = np.maximum(head["held"], 0).astype(np.int64)
        return CandidateLists(head, self.entries[ranges(self.firsts[:-1], held)])

    def _listed(self, depths: Rows) -> CandidateLists:
        """Return the candidate lists of `nearest`; list at most `_LISTED` entries at once."""
        each, none = depths[self.pairs.lines], np.iinfo(np.int64).max
        sizes = [
            np.minimum.reduceat(np.where(counts >= each, counts, none), self.starts[:-1])
            for counts in (self.hard, self.non_easy)
        ]
        wanted = np.where(depths > 0, np.minimum(*sizes), 0)
        parts = []
        for first, stop in cut_sizes(wanted, _LISTED):
            some = np.minimum(depths, 0)
            some[first:stop] = depths[first:stop]
            found = self._deeper(some).nearest(some)
            parts.append(CandidateLists(found.head[first:stop], found.entries))
        heads, entries = [one.head for one in parts], [one.entries for one in parts]
        return CandidateLists(np.concatenate(heads), np.concatenate(entries))

    def _deeper(self, depths: Rows) -> RankedBlock:
        """Return a block with at least `depths` entries per anchor, listed up to a threshold.

        The lowest threshold with that many counted rows is used.
        """
        assert self.lister is not None
        lines, each = np.flatnonzero(depths > 0), depths[self.pairs.lines]
        ends = [
            np.minimum.reduceat(np.where(counts >= each, edges, np.inf), self.starts[:-1])
            for edges, counts in (
                (self.thresholds.hard, self.hard),
                (self.thresholds.non_easy, self.non_easy),
            )
        ]
        max_keys = np.minimum(*ends) + 4 * self.tolerance
        entries, firsts = self.lister(lines, max_keys[lines])
        sizes = np.zeros(len(depths), dtype=np.int64)
        sizes[lines] = np.diff(firsts)
        whole = np.concatenate([[0], np.cumsum(sizes)])
        return dataclasses.replace(self, entries=entries, firsts=whole, lister=None)

    def _has_near_entry(self, at: Rows, lines: Rows) -> NDArray[np.bool_]:
        """Whether an adjacent entry is so near that the order is undecided."""
        gap, entries = self.gap[lines], self.entries
        before, after = np.maximum(at - 1, self.firsts[lines]), at + 1
        after = np.minimum(after, self.firsts[lines + 1] - 1)
        near = (at > before) & (entries[at] - entries[before] <= gap)
        return np.asarray(near | ((after > at) & (entries[after] - entries[at] <= gap)))

    def _sorted_rows(self, at: Rows, lines: Rows) -> Rows:
        """Return the rows at positions where the order is undecided.

        A key is off by at most half the gap, and so is the key at a rank. So the row of that rank
        has a key within the gap of the entry there; all rows before this range come before it, and
        all rows after the range come after it.
        """
        begin, end = np.empty((2, len(at)), dtype=np.int64)
        order = np.argsort(lines, kind="stable")
        cuts = np.flatnonzero(np.diff(lines[order], prepend=-1)).tolist()
        for first, last in itertools.pairwise([*cuts, len(order)]):
            mine = order[first:last]
            line = int(lines[mine[0]])
            start, keys = self.firsts[line], self.entries[at[mine]]
            own = self.entries[start : self.firsts[line + 1]]
            begin[mine] = start + own.searchsorted(keys - self.gap[line], side="left")
            end[mine] = start + own.searchsorted(keys + self.gap[line], side="right")
        begin, end, owners = merge_intervals(begin, end, lines)
        stretch = np.repeat(np.arange(len(begin)), end - begin)
        rows, _, _ = self.in_order(ranges(begin, end - begin), owners[stretch], stretch)
        which = np.searchsorted(begin, at, side="right") - 1
        starts = np.cumsum(end - begin) - (end - begin)
        return np.asarray(rows[starts[which] + at - begin[which]])

    def in_order(self, places: Rows, lines: Rows, stretch: Rows) -> tuple[Rows, Float64, Rows]:
        """Sort rows in ranges of the entries by true distance, ties by row number.

        Parameters
        ----------
        places, lines, stretch : ndarray of shape (k,), int64
            Positions in the entries, their anchors' positions in the block, and the number of the
            range, ascending.

        Returns
        -------
        rows, distances, before : ndarray of shape (k,)
            The sorted rows and distances, and the rows in their previous order.
        """
        entries = self.entries[places]
        before = rows = entry_rows(entries, self.bits)
        if self.exact:
            keys = (entries.view(np.int64) ^ rows).view(np.float64)
            distances = self.space.distance(keys, self.offset[lines])
        else:
            anchors = self.anchors[lines]
            distances = self.vectors.measure(self.space.metric, anchors, rows)
        same = stretch[1:] == stretch[:-1]
        if (same & (distances[1:] < distances[:-1])).any():
            order = np.lexsort((rows, distances, stretch))
            return rows[order], distances[order], before
        # Only ties must be sorted: one packed number a row is far quicker than two keys.
        tie = np.cumsum(np.append(True, ~same | (distances[1:] != distances[:-1])))
        ties = (tie << self.bits) | rows
        ties.sort()
        return ties & ((1 << self.bits) - 1), distances, before
