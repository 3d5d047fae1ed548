"""What the miner asks of a relevance, and what all kinds of it share."""

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
    "Buckets",
    "Lists",
    "Relevance",
    "Tally",
    "among",
    "cut_sizes",
    "place",
    "spans",
    "tally",
]

NONE = -1
"""The code of a row without a value (no label, no group, content that cannot be compared)."""


@dataclass(frozen=True)
class Buckets:
    """Rows by code: ``rows(code)`` in ascending order.

    Parameters
    ----------
    codes : ndarray of shape (n,), int64
        A code a row, `NONE` for none.
    """

    codes: Rows

    @cached_property
    def order(self) -> Rows:
        """All rows that have a code, by code, then ascending."""
        order = np.argsort(self.codes, kind="stable")
        return order[np.searchsorted(self.codes[order], 0) :]

    @cached_property
    def starts(self) -> Rows:
        """Where each code begins in `order`, and the end, shape (codes + 1,)."""
        present = self.codes[self.codes >= 0]
        counts = np.bincount(present, minlength=1)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @cached_property
    def sizes(self) -> Rows:
        """Rows per code, shape (codes,)."""
        return np.diff(self.starts)

    def rows(self, code: int) -> Rows:
        """Return the rows of a code; none for a code below zero or never seen."""
        if code < 0 or code + 1 >= len(self.starts):
            return np.empty(0, dtype=np.int64)
        return self.order[self.starts[code] : self.starts[code + 1]]


@dataclass(frozen=True, slots=True)
class Lists:
    """The positives of some anchors, as slices of one array: anchors may share theirs.

    Attributes
    ----------
    starts, stops : ndarray of shape (k,), int64
        The positives of anchor i are ``rows[starts[i]:stops[i]]``, ascending, without `skipped[i]`.
    rows : ndarray of int64
    skipped : ndarray of shape (k,), int64
        A row of the slice that is no positive (the anchor itself), or `NONE`.
    """

    starts: Rows
    stops: Rows
    rows: Rows
    skipped: Rows

    @property
    def counts(self) -> Rows:
        """How many positives each anchor has."""
        return np.asarray(self.stops - self.starts - (self.skipped >= 0))

    @property
    def columns(self) -> Rows:
        """The positives, anchor after anchor."""
        wide = self.stops - self.starts
        rows = self.rows[spans(self.starts, wide)]
        return np.asarray(rows[rows != np.repeat(self.skipped, wide)])


class Relevance(Protocol):
    """What the miner asks about an anchor; a kind of it is a data class of arrays.

    What is answered here is answered anchor by anchor, which a kind may know to do at once.
    """

    @property
    def anchors(self) -> int:
        """How many anchors there are."""

    @property
    def rows(self) -> int:
        """How many rows (candidates) there are."""

    def positives(self, anchor: int) -> Rows:
        """Return the anchor's positives, ascending."""

    @property
    def positive_counts(self) -> Rows:
        """How many positives each anchor has, shape (anchors,)."""

    def exclusions(self, anchor: int) -> tuple[Rows, Rows, Rows]:
        """Return rows hidden as itself, as duplicates, as group; disjoint, no positives."""

    def exclusion_counts(self) -> NDArray[np.int64]:
        """Count what `exclusions` returns, for all anchors, shape (anchors, 3)."""
        counts = [list(map(len, self.exclusions(a))) for a in range(self.anchors)]
        return np.array(counts, dtype=np.int64).reshape(-1, 3)

    def hidden(self, anchor: int) -> Rows:
        """Return all rows that are neither positive nor negative."""
        return np.concatenate(self.exclusions(anchor))

    def alike(self, anchors: Rows) -> Rows:
        """Return a number for each anchor: the same for those that share their positives."""

    def positive_lists(self, anchors: Rows) -> Lists:
        """Return the positives of some anchors at once."""
        starts, rows = _joined([self.positives(int(anchor)) for anchor in anchors])
        return Lists(starts[:-1], starts[1:], rows, np.full(len(anchors), NONE, dtype=np.int64))

    def hidden_lists(self, anchors: Rows) -> tuple[Rows, Rows]:
        """Return starts and rows of what `hidden` returns for some anchors, each's ascending."""
        return _joined([np.sort(self.hidden(int(anchor))) for anchor in anchors])

    def pick_positives(self, anchors: Rows, shares: Float64) -> Rows:
        """Return the positive of each anchor that a share picks, or `NONE`: pick again.

        Parameters
        ----------
        anchors : ndarray of shape (k,), int64
            Each has positives; it may come several times.
        shares : ndarray of shape (k,), float64
            Numbers from 0 to below 1, each as likely: so is then each positive of an anchor.
        """

    def pick_negatives(self, anchors: Rows, shares: Float64) -> Rows:
        """Return the negative of each anchor that a share picks, or `NONE`; as `pick_positives`."""

    def arrays(self) -> dict[str, Rows]:
        """Return what `load` in `miner.triplets.relevance` needs to build the same object again."""
        names: Any = self.__dataclass_fields__  # type: ignore[attr-defined]
        return {name: getattr(self, name) for name in names}


def place(shares: Float64, sizes: Rows) -> Rows:
    """Return the place that each share picks among `sizes` places, each as likely."""
    picked = (shares * sizes).astype(np.int64)
    return np.minimum(picked, sizes - 1, out=picked)


def among(keys: Rows, known: Rows) -> NDArray[np.bool_]:
    """Whether each key stands in `known`, ascending."""
    if not len(known):
        return np.zeros(keys.shape, dtype=np.bool_)
    found = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.asarray(known[found] == keys)


def spans(starts: Rows, counts: Rows) -> Rows:
    """Return ``starts[i], starts[i] + 1, ...``, `counts[i]` numbers for each i."""
    ends = np.cumsum(counts)
    whole: Rows = np.arange(int(counts.sum())) + np.repeat(starts - (ends - counts), counts)
    return whole


def cut_sizes(sizes: Rows, most: int) -> Iterator[tuple[int, int]]:
    """Cut a sequence into parts of no more than `most` in all, or of one element."""
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
    """How many positives and negatives each anchor has, and how many rows are hidden from it.

    Parameters
    ----------
    positives, negatives : ndarray of shape (anchors,), int64
    itself, duplicates, group : int
        Pairs (anchor, row) hidden for each reason, over all anchors; a pair counts once.
    """

    positives: Rows
    negatives: Rows
    itself: int
    duplicates: int
    group: int

    @property
    def valid(self) -> int:
        """The number of valid triplets: the sum of positives x negatives."""
        pairs = zip(self.positives.tolist(), self.negatives.tolist(), strict=True)
        return sum(p * n for p, n in pairs)


def tally(relevance: Relevance) -> Tally:
    """Count positives, negatives and hidden rows of every anchor."""
    positives, hidden = relevance.positive_counts, relevance.exclusion_counts()
    itself, duplicates, group = (int(total) for total in hidden.sum(axis=0))
    negatives = relevance.rows - positives - hidden.sum(axis=1)
    return Tally(positives, negatives, itself, duplicates, group)
