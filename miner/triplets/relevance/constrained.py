"""A relevance of which only some pairs of an anchor and a row are allowed.

A row that may be neither positive nor negative of an anchor is hidden from it. The rows that may be
negatives of an anchor, apart from its groups, are one slice of the rows sorted by `within` and
`order`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from miner.triplets.relevance.base import (
    NONE,
    REASONS,
    Buckets,
    PositiveLists,
    Relevance,
    among,
    cut_sizes,
    ranges,
    uniform_position,
)
from miner.triplets.relevance.subset import AnchorSubset
from miner.triplets.types import Float64, Rows

__all__ = ["LATEST", "Constrained", "anchor_rows", "unconstrained", "without_pairs", "without_rows"]

LATEST = 1 << 62
"""The order of a row that comes after every anchor."""
_CONSTRAINTS = REASONS.index("constraints")
_PAIRS = 1 << 22
"""Pairs of an anchor and a row that are examined at once."""
_FEW = 16
"""Hidden rows are listed one by one if they are at most one in this many; else a mask is made."""


def _none() -> Rows:
    return np.empty((0, 0), dtype=np.int64)


@dataclass(frozen=True)
class Constrained(Relevance):
    """A relevance with constraints on its positives and negatives.

    A positive must differ from its anchor in each column of `across`. A negative must have its
    anchor's code in `within`, and differ from it in each column of `apart`. Both must have an
    `order` not above the anchor's. `NONE` is a missing value: in `across` and `within` it is not
    allowed, in `apart` it differs from all. Pairs in `ignored` are neither.

    Parameters
    ----------
    inner : Relevance
    within, order : ndarray of shape (rows,), int64
    anchor_within, anchor_order : ndarray of shape (anchors,), int64
    across, apart : ndarray of shape (columns, rows), int64
    anchor_across, anchor_apart : ndarray of shape (columns, anchors), int64
    ignored : ndarray of int64
        ``anchor * rows + row``, ascending.
    """

    inner: Relevance
    within: Rows
    anchor_within: Rows
    order: Rows
    anchor_order: Rows
    across: Rows = field(default_factory=_none)
    anchor_across: Rows = field(default_factory=_none)
    apart: Rows = field(default_factory=_none)
    anchor_apart: Rows = field(default_factory=_none)
    ignored: Rows = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @property
    def anchors(self) -> int:
        """The number of anchors."""
        return self.inner.anchors

    @property
    def rows(self) -> int:
        """The number of rows, including those that no anchor may have."""
        return self.inner.rows

    def _positives_allowed(self, anchors: Rows, rows: Rows) -> NDArray[np.bool_]:
        """Return whether each row may be a positive of its anchor."""
        allowed = self.order[rows] <= self.anchor_order[anchors]
        for own, codes in zip(self.anchor_across, self.across, strict=True):
            mine, other = own[anchors], codes[rows]
            allowed &= (mine != other) & (mine != NONE) & (other != NONE)
        return np.asarray(allowed & ~self._are_ignored(anchors, rows))

    def _are_ignored(self, anchors: Rows, rows: Rows) -> NDArray[np.bool_]:
        """Return whether each row is ignored for its anchor."""
        return among(anchors * self.rows + rows, self.ignored)

    def _ignored_of(self, anchors: Rows) -> tuple[Rows, Rows]:
        """Return positions in `anchors`, and rows that are ignored for the anchors there."""
        starts = np.searchsorted(self.ignored, anchors * self.rows)
        counts = np.searchsorted(self.ignored, (anchors + 1) * self.rows) - starts
        rows = self.ignored[ranges(starts, counts)] % max(1, self.rows)
        return np.repeat(np.arange(len(anchors)), counts), rows

    def _in_groups(self, anchors: Rows, rows: Rows) -> NDArray[np.bool_]:
        """Return whether each row shares a group of `apart` with its anchor."""
        shared = np.zeros(len(rows), dtype=np.bool_)
        for own, codes in zip(self.anchor_apart, self.apart, strict=True):
            mine = own[anchors]
            shared |= (mine != NONE) & (mine == codes[rows])
        return shared

    def _in_slice(self, anchors: Rows, rows: Rows) -> NDArray[np.bool_]:
        """Return whether `within` and `order` allow each row as a negative of its anchor."""
        own = self.anchor_within[anchors]
        same = (own == self.within[rows]) & (own != NONE)
        return np.asarray(same & (self.order[rows] <= self.anchor_order[anchors]))

    @cached_property
    def _groups(self) -> list[Buckets]:
        """The rows of each group, for each column of `apart`."""
        return [Buckets(codes) for codes in self.apart]

    @cached_property
    def _sorted(self) -> Rows:
        """All rows sorted by `within`, then by `order`."""
        return np.lexsort((self.order, self.within))

    @cached_property
    def _slices(self) -> tuple[Rows, Rows]:
        """The start and end of each anchor's slice of `_sorted`."""
        within, order = self.within[self._sorted], self.order[self._sorted]
        steps = np.unique(order)
        codes = within * (len(steps) + 1) + np.searchsorted(steps, order) + 1
        first = self.anchor_within * (len(steps) + 1)
        last = first + np.searchsorted(steps, self.anchor_order, side="right")
        starts, stops = np.searchsorted(codes, first), np.searchsorted(codes, last, side="right")
        return starts, np.where(self.anchor_within == NONE, starts, stops)

    def positives(self, anchor: int) -> Rows:
        """Return the positives of the anchor that are allowed, ascending."""
        rows = self.inner.positives(anchor)
        return rows[self._positives_allowed(np.full(len(rows), anchor), rows)]

    @cached_property
    def positive_counts(self) -> Rows:
        """The number of positives of each anchor."""
        counts = np.zeros(self.anchors, dtype=np.int64)
        for anchors in self._chunks(self.inner.positive_counts):
            counts[anchors] = self.positive_lists(anchors).counts
        return counts

    def _chunks(self, sizes: Rows) -> list[Rows]:
        """Cut all anchors into parts of at most `_PAIRS` pairs."""
        return [np.arange(*part) for part in cut_sizes(sizes, _PAIRS)]

    def positive_lists(self, anchors: Rows) -> PositiveLists:
        """Return the positives of some anchors at once."""
        lines, rows, allowed = self._inner_positives(anchors)
        stops = np.cumsum(np.bincount(lines[allowed], minlength=len(anchors)))
        starts = np.concatenate([[0], stops[:-1]]).astype(np.int64)
        none = np.full(len(anchors), NONE, dtype=np.int64)
        return PositiveLists(starts, stops, rows[allowed], none)

    def _inner_positives(self, anchors: Rows) -> tuple[Rows, Rows, NDArray[np.bool_]]:
        """Return positions of anchors, their inner positives, and whether each is allowed."""
        lists = self.inner.positive_lists(anchors)
        lines, rows = np.repeat(np.arange(len(anchors)), lists.counts), lists.columns
        return lines, rows, self._positives_allowed(anchors[lines], rows)

    def exclusions(self, anchor: int) -> tuple[Rows, ...]:
        """Return the hidden rows, by reason."""
        itself, duplicates, group, constraints = self.inner.exclusions(anchor)
        every = np.arange(self.rows)
        own = np.full(self.rows, anchor)
        positives = self.inner.positives(anchor)
        free = np.ones(self.rows, dtype=np.bool_)
        free[np.concatenate([positives, itself, duplicates, group])] = False
        more = free & self._in_groups(own, every)
        allowed = self._in_slice(own, every) & ~self._are_ignored(own, every)
        out = free & ~more & ~allowed
        out[constraints] = True
        out[positives[~self._positives_allowed(own[: len(positives)], positives)]] = True
        out[more] = False
        return itself, duplicates, np.union1d(group, np.flatnonzero(more)), np.flatnonzero(out)

    def exclusion_counts(self) -> NDArray[np.int64]:
        """Return the sizes of the `exclusions` of all anchors, shape (anchors, reasons)."""
        if len(self.apart):
            return super().exclusion_counts()
        counts = self.inner.exclusion_counts().copy()
        sizes = self.inner.positive_counts + counts.sum(axis=1)
        starts, stops = self._slices
        counts[:, _CONSTRAINTS] += self.rows - (stops - starts)
        for anchors in self._chunks(sizes):
            lines, rows, allowed = self._inner_positives(anchors)
            outside = ~self._in_slice(anchors[lines], rows)
            change = np.zeros(len(anchors))  # of integers if nothing is counted
            change += np.bincount(lines, (~allowed).astype(float) - outside, len(anchors))
            begin, hidden = self.inner.hidden_lists(anchors)
            lines = np.repeat(np.arange(len(anchors)), np.diff(begin))
            outside = ~self._in_slice(anchors[lines], hidden)
            change -= np.bincount(lines, outside, len(anchors))
            lines, rows = self._ignored_of(anchors)
            own = anchors[lines]
            within = self._in_slice(own, rows) & self.inner.are_negatives(own, rows)
            change += np.bincount(lines, within, len(anchors))
            counts[anchors, _CONSTRAINTS] += change.astype(np.int64)
        return counts

    def hidden_lists(self, anchors: Rows) -> tuple[Rows, Rows]:
        """Return where each anchor's hidden rows begin, and the rows, ascending per anchor."""
        starts, stops = self._slices
        outside = int((self.rows - (stops - starts)[anchors]).sum())
        few = outside * _FEW <= self.rows * len(anchors) and not len(self.apart)
        size = len(anchors) if few else max(1, _PAIRS // max(1, self.rows))
        parts = [
            self._listed(anchors[first : first + size], few=few)
            for first in range(0, len(anchors), size)
        ]
        pairs = [part + first * size * self.rows for first, part in enumerate(parts)]
        keys = np.concatenate([np.empty(0, dtype=np.int64), *pairs])
        begin = np.searchsorted(keys, np.arange(len(anchors) + 1) * self.rows)
        return begin, keys % max(1, self.rows)

    def _listed(self, anchors: Rows, *, few: bool) -> Rows:
        """Return the hidden rows of some anchors as ascending numbers ``position * rows + row``."""
        begin, hidden = self.inner.hidden_lists(anchors)
        lines = np.repeat(np.arange(len(anchors)), np.diff(begin))
        lines_ignored, ignored = self._ignored_of(anchors)
        inner = np.append(lines * self.rows + hidden, lines_ignored * self.rows + ignored)
        lines, rows, allowed = self._inner_positives(anchors)
        positives = lines * self.rows + rows
        if few:
            outside = self._outside(anchors)
            outside = outside[~among(outside, positives)]
            return np.unique(np.concatenate([inner, positives[~allowed], outside]))
        out = np.ones((len(anchors), self.rows), dtype=np.bool_)
        starts, stops = self._slices
        for line, anchor in enumerate(anchors.tolist()):
            out[line, self._sorted[starts[anchor] : stops[anchor]]] = False
            for own, groups in zip(self.anchor_apart, self._groups, strict=True):
                out[line, groups.rows(int(own[anchor]))] = True
        flat = out.reshape(-1)
        flat[positives] = ~allowed
        flat[inner] = True
        return np.flatnonzero(flat)

    def _outside(self, anchors: Rows) -> Rows:
        """Return the rows outside the anchors' slices as numbers ``position * rows + row``."""
        starts, stops = (ends[anchors] for ends in self._slices)
        lines = np.arange(len(anchors))
        before = np.repeat(lines, starts) * self.rows + self._sorted[ranges(starts * 0, starts)]
        after = self.rows - stops
        return np.concatenate(
            [before, np.repeat(lines, after) * self.rows + self._sorted[ranges(stops, after)]]
        )

    def positive_group(self, anchors: Rows) -> Rows:
        """Return the numbers of the inner relevance."""
        return self.inner.positive_group(anchors)

    def pick_positives(self, anchors: Rows, shares: Float64) -> Rows:
        """Return a random positive of each anchor, `NONE` if the drawn row is not allowed."""
        rows = self.inner.pick_positives(anchors, shares)
        return np.where((rows != NONE) & self._positives_allowed(anchors, rows), rows, NONE)

    def are_negatives(self, anchors: Rows, rows: Rows) -> NDArray[np.bool_]:
        """Return whether each row is a negative of its anchor."""
        allowed = self._in_slice(anchors, rows) & ~self._in_groups(anchors, rows)
        allowed &= ~self._are_ignored(anchors, rows)
        return allowed & self.inner.are_negatives(anchors, rows)

    def pick_negatives(self, anchors: Rows, shares: Float64) -> Rows:
        """Return a random row of each anchor's slice, `NONE` if it is no negative."""
        starts, stops = (ends[anchors] for ends in self._slices)
        places = starts + uniform_position(shares, stops - starts)
        rows = self._sorted[np.clip(places, 0, self.rows - 1)]
        return np.where(self.are_negatives(anchors, rows), rows, NONE)

    def arrays(self) -> dict[str, Rows]:
        """Return the arrays of the constraints, and those of the inner relevance by other names."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "inner"}
        return {**own, **{f"inner_{name}": array for name, array in self.inner.arrays().items()}}


def unconstrained(relevance: Relevance) -> Relevance:
    """Return a relevance without its constraints."""
    return unconstrained(relevance.inner) if isinstance(relevance, Constrained) else relevance


def anchor_rows(relevance: Relevance) -> Rows:
    """Return the row of each anchor, for labelled items."""
    relevance = unconstrained(relevance)
    return relevance.chosen if isinstance(relevance, AnchorSubset) else np.arange(relevance.anchors)


def without_rows(relevance: Relevance, rows: Rows) -> Constrained:
    """Return a relevance of labelled items without some of them.

    They are hidden from all anchors, and as anchors they have neither positives nor negatives.

    Parameters
    ----------
    relevance : Relevance
    rows : ndarray of shape (k,), int64
    """
    order = np.zeros(relevance.rows, dtype=np.int64)
    order[rows] = LATEST
    own = np.where(order[anchor_rows(relevance)] == LATEST, NONE, 0)
    return Constrained(relevance, np.zeros_like(order), np.zeros_like(own), order, own)


def without_pairs(relevance: Relevance, pairs: Rows) -> Constrained:
    """Return a relevance in which some pairs of an anchor and a row are hidden.

    Parameters
    ----------
    relevance : Relevance
    pairs : ndarray of int64
        ``anchor * rows + row``, ascending, without repetitions.
    """
    if isinstance(relevance, Constrained):
        return replace(relevance, ignored=pairs)
    of_rows, of_anchors = (np.zeros(n, np.int64) for n in (relevance.rows, relevance.anchors))
    return Constrained(relevance, of_rows, of_anchors, of_rows, of_anchors, ignored=pairs)
