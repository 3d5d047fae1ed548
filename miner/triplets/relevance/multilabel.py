"""The relevance of labelled items with a set of labels each: tags, topics, attributes."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from miner.triplets.relevance.base import (
    NONE,
    REASONS,
    Buckets,
    Relevance,
    among,
    ranges,
    uniform_position,
)
from miner.triplets.types import Float64, Rows

__all__ = ["MultiLabelRelevance"]

Mask = NDArray[np.bool_]

_WIDE = 32
"""A label is wide if more than one row in this many has it."""


@dataclass(frozen=True)
class MultiLabelRelevance(Relevance):
    """Labelled items with sets of labels: positives share at least one label, negatives none.

    Rows with the same set of labels have the same positives (except themselves) and the same
    duplicates, so both are counted once per set. The positives of one anchor are found with a mask
    of all rows: that takes one byte per row, however many positives there are.

    Parameters
    ----------
    starts : ndarray of shape (n + 1,), int64
    labels : ndarray of shape (starts[-1],), int64
        The labels of row r are ``labels[starts[r]:starts[r + 1]]``: codes >= 0, ascending, without
        repetitions, at least one per row.
    contents : ndarray of shape (n,), int64
        Equal codes for equal content; `NONE` where content is not compared.
    groups : ndarray of shape (n,), int64
        Group codes, `NONE` for rows without a group.
    """

    starts: Rows
    labels: Rows
    contents: Rows
    groups: Rows

    @property
    def anchors(self) -> int:
        """The number of anchors: every row is one."""
        return len(self.starts) - 1

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.starts) - 1

    @property
    def sizes(self) -> Rows:
        """The number of rows of each label, shape (labels,)."""
        return self._entries.sizes

    @cached_property
    def _entries(self) -> Buckets:
        """The positions in `labels` of each label."""
        return Buckets(self.labels)

    @cached_property
    def _owners(self) -> NDArray[np.int32]:
        """The row of each position in `labels`."""
        return np.repeat(np.arange(self.rows, dtype=np.int32), np.diff(self.starts))

    @cached_property
    def _by_group(self) -> Buckets:
        return Buckets(self.groups)

    @cached_property
    def _sets(self) -> Rows:
        """A code for each row, equal for equal sets of labels."""
        known: dict[bytes, int] = {}
        bounds = zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True)
        codes = (
            known.setdefault(self.labels[start:end].tobytes(), len(known)) for start, end in bounds
        )
        return np.fromiter(codes, dtype=np.int64, count=self.rows)

    @cached_property
    def _mixed(self) -> tuple[Rows, Rows]:
        """Rows whose content also occurs with another set of labels, and their content codes."""
        rows = np.flatnonzero(self.contents >= 0)
        contents, sets = self.contents[rows], self._sets[rows]
        low = np.full(contents.max(initial=NONE) + 1, self.rows, dtype=np.int64)
        high = np.full(len(low), NONE, dtype=np.int64)
        np.minimum.at(low, contents, sets)
        np.maximum.at(high, contents, sets)
        mixed = low[contents] != high[contents]
        _, codes = np.unique(contents[mixed], return_inverse=True)
        return rows[mixed], codes.astype(np.int64)

    @cached_property
    def _wide(self) -> dict[int, NDArray[np.uint8]]:
        """The rows of each wide label as a bit mask, which is smaller than their row numbers."""
        wide = {}
        for label in np.flatnonzero(self.sizes * _WIDE > self.rows).tolist():
            mask = np.zeros(self.rows, dtype=np.bool_)
            mask[self._owners[self._entries.rows(label)]] = True
            wide[label] = np.packbits(mask)
        return wide

    def _kin(self, row: int) -> Mask:
        """Whether each row shares a label with this row; True for the row itself."""
        labels = self.labels[self.starts[row] : self.starts[row + 1]].tolist()
        wide = [self._wide[label] for label in labels if label in self._wide]
        if wide:
            bits = functools.reduce(np.bitwise_or, wide)
            kin = np.unpackbits(bits, count=self.rows).view(np.bool_)
        else:
            kin = np.zeros(self.rows, dtype=np.bool_)
        for label in labels:
            if label not in self._wide:
                kin[self._owners[self._entries.rows(label)]] = True
        return kin

    def _duplicates(self, kin: Mask) -> Rows:
        """Return the rows outside `kin` that have the same content as a row in it."""
        rows, codes = self._mixed
        if not len(rows):
            return rows
        near = kin[rows]
        said = np.zeros(len(rows), dtype=np.bool_)
        said[codes[near]] = True
        return rows[said[codes] & ~near]

    def positives(self, anchor: int) -> Rows:
        """Return the other rows that share a label with the anchor."""
        kin = self._kin(anchor)
        kin[anchor] = False
        return np.flatnonzero(kin)

    @cached_property
    def _representatives(self) -> Rows:
        """The first row of each set of labels."""
        _, first = np.unique(self._sets, return_index=True)
        return np.asarray(first, dtype=np.int64)

    @cached_property
    def positive_counts(self) -> Rows:
        """The number of positives of each anchor."""
        single = np.diff(self.starts)[self._representatives] == 1
        kin = np.empty(len(self._representatives), dtype=np.int64)
        kin[single] = self.sizes[self.labels[self.starts[self._representatives[single]]]]
        for code in np.flatnonzero(~single).tolist():
            kin[code] = np.count_nonzero(self._kin(int(self._representatives[code])))
        return np.asarray(kin[self._sets] - 1)

    def exclusions(self, anchor: int) -> tuple[Rows, ...]:
        """Return the anchor, its duplicates, and its group's rows that share no label with it."""
        kin = self._kin(anchor)
        duplicates = self._duplicates(kin)
        group = self._by_group.rows(int(self.groups[anchor]))
        group = group[~kin[group]]
        if len(group) and len(duplicates):
            group = np.setdiff1d(group, duplicates)
        return np.array([anchor], dtype=np.int64), duplicates, group, group[:0]

    def exclusion_counts(self) -> NDArray[np.int64]:
        """Return the number of exclusions of all anchors, by reason."""
        counts = np.zeros((self.anchors, len(REASONS)), dtype=np.int64)
        counts[:, 0] = 1
        grouped = np.flatnonzero(self.groups >= 0)
        grouped = grouped[self._by_group.sizes[self.groups[grouped]] > 1]
        mixed = len(self._mixed[0]) > 0
        if not mixed and not len(grouped):
            return counts
        members = Buckets(self._sets)
        in_company = np.zeros(self.rows, dtype=np.bool_)
        in_company[grouped] = True
        for code, first in enumerate(self._representatives.tolist()):
            same = members.rows(code)
            asked = same[in_company[same]]
            if not mixed and not len(asked):
                continue
            taken = self._kin(first)
            duplicates = self._duplicates(taken)
            counts[same, 1] = len(duplicates)
            taken[duplicates] = True
            for anchor in asked.tolist():
                group = self._by_group.rows(int(self.groups[anchor]))
                counts[anchor, 2] = np.count_nonzero(~taken[group])
        return counts

    def positive_group(self, anchors: Rows) -> Rows:
        """Return the code of each anchor's set of labels."""
        return self._sets[anchors]

    @cached_property
    def _until(self) -> Rows:
        """The cumulative number of rows of the labels in `labels`, shape (len(labels) + 1,)."""
        return np.concatenate([[0], np.cumsum(self.sizes[self.labels])])

    @cached_property
    def _labelled_rows(self) -> Rows:
        """The row and label of each position in `labels`, as one number, ascending."""
        return np.asarray(self._owners * np.int64(len(self.sizes)) + self.labels)

    @cached_property
    def _mixed_by_content(self) -> tuple[Buckets, Rows]:
        """The positions in `_mixed` of each content, and the content of each row, or `NONE`."""
        rows, codes = self._mixed
        of_row = np.full(self.rows, NONE, dtype=np.int64)
        of_row[rows] = codes
        return Buckets(codes), of_row

    def _shared(self, anchors: Rows, rows: Rows) -> Rows:
        """Return the lowest label that each anchor and row share, or `NONE`."""
        counts = np.diff(self.starts)[anchors]
        labels = self.labels[ranges(self.starts[anchors], counts)]
        shared = among(np.repeat(rows, counts) * len(self.sizes) + labels, self._labelled_rows)
        none = len(self.sizes)
        first = np.cumsum(counts) - counts
        lowest = np.minimum.reduceat(np.where(shared, labels, none), first) if len(rows) else rows
        return np.where(lowest == none, NONE, lowest)

    def pick_positives(self, anchors: Rows, shares: Float64) -> Rows:
        """Return a random row of a label of each anchor, or `NONE`.

        A row that shares several labels is accepted for the lowest of them only, so that every
        positive has the same probability.
        """
        before = self._until[self.starts[anchors]]
        picked = before + uniform_position(shares, self._until[self.starts[anchors + 1]] - before)
        at = np.searchsorted(self._until, picked, side="right") - 1
        labels = self.labels[at]
        entries = self._entries.starts[labels] + picked - self._until[at]
        rows = self._owners[self._entries.order[entries]].astype(np.int64)
        fits = (rows != anchors) & (self._shared(anchors, rows) == labels)
        return np.where(fits, rows, NONE)

    def are_negatives(self, anchors: Rows, rows: Rows) -> NDArray[np.bool_]:
        """Return whether each row shares no label with its anchor and is not hidden from it."""
        out = (self._shared(anchors, rows) >= 0) | (
            (self.groups[anchors] >= 0) & (self.groups[anchors] == self.groups[rows])
        )
        of_content, contents = self._mixed_by_content
        asked = np.flatnonzero(~out & (contents[rows] >= 0))
        sizes = of_content.sizes[contents[rows[asked]]]
        twins = of_content.order[ranges(of_content.starts[contents[rows[asked]]], sizes)]
        owners = np.repeat(asked, sizes)
        kin = self._shared(anchors[owners], self._mixed[0][twins]) >= 0
        out[owners[kin]] = True
        return np.asarray(~out)
