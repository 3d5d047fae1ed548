"""The interface of a relevance, and helpers that all kinds share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from miner.triplets.types import Float64, Rows

__all__ = [
    "NONE",
    "REASONS",
    "Buckets",
    "PositiveLists",
    "Relevance",
    "Tally",
    "among",
    "cut_sizes",
    "ranges",
    "tally",
    "uniform_position",
]

NONE = -1
"""The code of a missing value: no label, no group, or content that is not compared."""

REASONS = ("itself", "duplicates", "group", "constraints")
"""Why a row is hidden from an anchor: the first reason that holds."""


@dataclass(frozen=True)
class Buckets:
    """Rows grouped by code; ``rows(code)`` is ascending.

    Parameters
    ----------
    codes : ndarray of shape (n,), int64
        The code of each row, `NONE` for none.
    """

    codes: Rows

    @cached_property
    def order(self) -> Rows:
        """All rows that have a code, sorted by code, then by row."""
        order = np.argsort(self.codes, kind="stable")
        return order[np.searchsorted(self.codes[order], 0) :]

    @cached_property
    def starts(self) -> Rows:
        """The position in `order` where each code begins, and the end, shape (codes + 1,)."""
        present = self.codes[self.codes >= 0]
        counts = np.bincount(present, minlength=1)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @cached_property
    def sizes(self) -> Rows:
        """The number of rows of each code, shape (codes,)."""
        return np.diff(self.starts)

    def rows(self, code: int) -> Rows:
        """Return the rows of a code; an empty array for a code that no row has."""
        if code < 0 or code + 1 >= len(self.starts):
            return np.empty(0, dtype=np.int64)
        return self.order[self.starts[code] : self.starts[code + 1]]


@dataclass(frozen=True, slots=True)
class PositiveLists:
    """The positives of some anchors, as slices of one array; slices may overlap.

    Attributes
    ----------
    starts, stops : ndarray of shape (k,), int64
        The positives of anchor i are ``rows[starts[i]:stops[i]]``, ascending, without `skipped[i]`.
    rows : ndarray of int64
    skipped : ndarray of shape (k,), int64
        A row of the slice that is not a positive (the anchor itself), or `NONE`.
    """

    starts: Rows
    stops: Rows
    rows: Rows
    skipped: Rows

    @property
    def counts(self) -> Rows:
        """The number of positives of each anchor."""
        return np.asarray(self.stops - self.starts - (self.skipped >= 0))

    @property
    def columns(self) -> Rows:
        """The positives, anchor after anchor."""
        wide = self.stops - self.starts
        rows = self.rows[ranges(self.starts, wide)]
        return np.asarray(rows[rows != np.repeat(self.skipped, wide)])


class Relevance(Protocol):
    """The interface of a relevance. Each kind is a dataclass of arrays.

    The methods implemented here work anchor by anchor; a kind may override them with a faster one.
    """

    @property
    def anchors(self) -> int:
        """The number of anchors."""

    @property
    def rows(self) -> int:
        """The number of rows (candidates)."""

    def positives(self, anchor: int) -> Rows:
        """Return the anchor's positives, ascending."""

    @property
    def positive_counts(self) -> Rows:
        """The number of positives of each anchor, shape (anchors,)."""

    def exclusions(self, anchor: int) -> tuple[Rows, ...]:
        """Return the hidden rows, one array for each of `REASONS`.

        The arrays are disjoint, and contain no positives.
        """

    def exclusion_counts(self) -> NDArray[np.int64]:
        """Return the sizes of the `exclusions` of all anchors, shape (anchors, reasons)."""
        counts = [list(map(len, self.exclusions(a))) for a in range(self.anchors)]
        return np.array(counts, dtype=np.int64).reshape(-1, len(REASONS))

    def hidden(self, anchor: int) -> Rows:
        """Return all rows that are neither positive nor negative."""
        return np.concatenate(self.exclusions(anchor))

    def positive_group(self, anchors: Rows) -> Rows:
        """Return a number for each anchor, equal for anchors that have the same labels."""

    def positive_lists(self, anchors: Rows) -> PositiveLists:
        """Return the positives of some anchors at once."""
        starts, rows = _joined([self.positives(int(anchor)) for anchor in anchors])
        return PositiveLists(
            starts[:-1], starts[1:], rows, np.full(len(anchors), NONE, dtype=np.int64)
        )

    def hidden_lists(self, anchors: Rows) -> tuple[Rows, Rows]:
        """Return where each anchor's hidden rows begin, and the rows, ascending per anchor."""
        return _joined([np.sort(self.hidden(int(anchor))) for anchor in anchors])

    def pick_positives(self, anchors: Rows, shares: Float64) -> Rows:
        """Return a random positive of each anchor, or `NONE`: then draw again.

        Parameters
        ----------
        anchors : ndarray of shape (k,), int64
            Each must have positives; anchors may repeat.
        shares : ndarray of shape (k,), float64
            Uniform random numbers in [0, 1). All positives of an anchor then have the same
            probability.
        """

    def are_negatives(self, anchors: Rows, rows: Rows) -> NDArray[np.bool_]:
        """Return whether each row is a negative of its anchor; both have the shape (k,)."""

    def pick_negatives(self, anchors: Rows, shares: Float64) -> Rows:
        """Return a random negative of each anchor, or `NONE`; see `pick_positives`."""
        rows = uniform_position(shares, np.full(len(anchors), self.rows))
        return np.where(self.are_negatives(anchors, rows), rows, NONE)

    def arrays(self) -> dict[str, Rows]:
        """Return the arrays from which `load` of `miner.triplets.relevance` rebuilds the object."""
        names: Any = self.__dataclass_fields__  # type: ignore[attr-defined]
        return {name: getattr(self, name) for name in names}


def uniform_position(shares: Float64, sizes: Rows) -> Rows:
    """Return ``floor(shares * sizes)``: uniform positions below `sizes` for uniform shares."""
    picked = (shares * sizes).astype(np.int64)
    return np.minimum(picked, sizes - 1, out=picked)


def among(keys: Rows, known: Rows) -> NDArray[np.bool_]:
    """Whether each key is in `known`, which is ascending."""
    if not len(known):
        return np.zeros(keys.shape, dtype=np.bool_)
    found = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.asarray(known[found] == keys)


def ranges(starts: Rows, counts: Rows) -> Rows:
    """Return the numbers ``starts[i], starts[i] + 1, ...``, `counts[i]` of them for each i."""
    ends = np.cumsum(counts)
    whole: Rows = np.arange(int(counts.sum())) + np.repeat(starts - (ends - counts), counts)
    return whole


def cut_sizes(sizes: Rows, most: int) -> Iterator[tuple[int, int]]:
    """Cut a sequence into parts whose sizes sum to at most `most`, or of one element."""
    ends, first = np.cumsum(sizes), 0
    while first < len(sizes):
        last = int(np.searchsorted(ends, ends[first] - sizes[first] + most, side="right"))
        last = max(last, first + 1)
        yield first, last
        first = last


def _joined(parts: list[Rows]) -> tuple[Rows, Rows]:
    starts = np.cumsum([0, *map(len, parts)])
    return starts, np.concatenate([np.empty(0, dtype=np.int64), *parts])


@dataclass(frozen=True)
class Tally:
    """The number of positives and negatives of each anchor, and of hidden pairs by reason.

    Parameters
    ----------
    positives, negatives : ndarray of shape (anchors,), int64
    hidden : dict of str to int
        Pairs (anchor, row) hidden for each of `REASONS`, over all anchors; each pair counts once.
    """

    positives: Rows
    negatives: Rows
    hidden: dict[str, int]

    @property
    def valid(self) -> int:
        """The number of valid triplets: the sum of positives x negatives."""
        pairs = zip(self.positives.tolist(), self.negatives.tolist(), strict=True)
        return sum(p * n for p, n in pairs)


def tally(relevance: Relevance) -> Tally:
    """Count the positives, negatives and hidden rows of all anchors."""
    positives, hidden = relevance.positive_counts, relevance.exclusion_counts()
    negatives = relevance.rows - positives - hidden.sum(axis=1)
    return Tally(positives, negatives, dict(zip(REASONS, hidden.sum(axis=0).tolist(), strict=True)))
