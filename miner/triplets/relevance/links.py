"""The relevance of queries and a corpus, given by links between them."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    ranges,
    uniform_position,
)
from miner.triplets.types import Float64, Rows

__all__ = ["LinkRelevance"]

_MOST_LISTED = 1 << 25


def _disjoint(parts: list[Rows], taken: Rows) -> list[Rows]:
    """Remove from each part the rows that are in `taken` or in an earlier part."""
    result = []
    for part in parts:
        fresh = np.setdiff1d(part, taken)
        taken = np.concatenate([taken, fresh])
        result.append(fresh)
    return result


@dataclass(frozen=True)
class LinkRelevance(Relevance):
    """Queries and a corpus; the positives of a query are the rows linked to it.

    Parameters
    ----------
    starts : ndarray of shape (queries + 1,), int64
    linked : ndarray of shape (starts[-1],), int64
        The positives of query q are ``linked[starts[q]:starts[q + 1]]``, ascending, without
        repetitions.
    contents, query_contents : ndarray of int64
        Content codes of the corpus and of the queries, from one numbering.
    groups, query_groups : ndarray of int64
        Group codes, likewise.
    twins : ndarray of shape (queries,), int64
        The row that has the query's id, or `NONE`.
    ignored, preferred : ndarray of int64
        Judged pairs of a query and a row: those that are neither positive nor negative, and
        negatives that are taken first where a strategy chooses. ``query * rows + row``, ascending.
    """

    starts: Rows
    linked: Rows
    contents: Rows
    query_contents: Rows
    groups: Rows
    query_groups: Rows
    twins: Rows
    ignored: Rows = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    preferred: Rows = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @property
    def anchors(self) -> int:
        """The number of queries."""
        return len(self.starts) - 1

    @property
    def rows(self) -> int:
        """The number of rows of the corpus."""
        return len(self.contents)

    @cached_property
    def _by_content(self) -> Buckets:
        return Buckets(self.contents)

    @cached_property
    def _by_group(self) -> Buckets:
        return Buckets(self.groups)

    @property
    def positive_counts(self) -> Rows:
        """The number of positives of each query."""
        return np.diff(self.starts)

    def positives(self, anchor: int) -> Rows:
        """Return the rows linked to the query."""
        return self.linked[self.starts[anchor] : self.starts[anchor + 1]]

    def exclusions(self, anchor: int) -> tuple[Rows, ...]:
        """Return the rows hidden from the query, by reason, without linked rows."""
        positives = self.positives(anchor)
        codes = np.unique(np.append(self.contents[positives], self.query_contents[anchor]))
        duplicates = np.concatenate([self._by_content.rows(int(code)) for code in codes])
        group = self._by_group.rows(int(self.query_groups[anchor]))
        twin = self.twins[anchor : anchor + 1]
        ignored = self._judged(self.ignored, anchor)
        return tuple(_disjoint([twin[twin >= 0], duplicates, group, ignored], positives))

    def _judged(self, pairs: Rows, anchor: int) -> Rows:
        ends = np.searchsorted(pairs, (anchor * self.rows, (anchor + 1) * self.rows))
        return pairs[slice(*ends)] - anchor * self.rows

    def preferred_rows(self, anchor: int) -> Rows:
        """Return the rows that are taken first as negatives of the query, if they are negatives."""
        return self._judged(self.preferred, anchor)

    def exclusion_counts(self) -> NDArray[np.int64]:
        """Return the number of exclusions of all queries, by reason."""
        return super().exclusion_counts() if self._many else self._hidden[2]

    def positive_group(self, anchors: Rows) -> Rows:
        """Return the anchors: every query has its own links."""
        return anchors

    def positive_lists(self, anchors: Rows) -> PositiveLists:
        """Return the links of some queries."""
        none = np.full(len(anchors), NONE, dtype=np.int64)
        return PositiveLists(self.starts[anchors], self.starts[anchors + 1], self.linked, none)

    def hidden_lists(self, anchors: Rows) -> tuple[Rows, Rows]:
        """Return the rows that are hidden from some queries."""
        if self._many:
            return super().hidden_lists(anchors)
        starts, rows = self._hidden[0], self._hidden[1]
        counts = starts[anchors + 1] - starts[anchors]
        return np.concatenate([[0], np.cumsum(counts)]), rows[ranges(starts[anchors], counts)]

    @cached_property
    def _many(self) -> bool:
        """Whether too many rows may be hidden to list them for all queries at once."""
        if (self.query_groups >= 0).any():
            return True
        codes = np.concatenate([self.query_contents, self.contents[self.linked]])
        sizes = self._by_content.sizes
        codes = codes[(codes >= 0) & (codes < len(sizes))]
        return int(sizes[codes].sum()) > _MOST_LISTED

    @cached_property
    def _hidden(self) -> tuple[Rows, Rows, NDArray[np.int64]]:
        """The rows hidden from each query, without groups: starts, rows, counts by reason."""
        queries = np.arange(self.anchors)
        linked = self._linked_pairs
        twinned = np.flatnonzero(self.twins >= 0)
        twins = twinned * self.rows + self.twins[twinned]
        twins = twins[~among(twins, linked)]
        own, codes = self.query_contents >= 0, self.contents[self.linked]
        sizes = self._by_content.sizes
        more = (codes >= 0) & (sizes[np.maximum(codes, 0)] > 1)  # else only the linked row has it
        asking = np.concatenate([queries[own], self._owners[more]])
        codes = np.concatenate([self.query_contents[own], codes[more]])
        known = codes < len(sizes)
        asking, codes = asking[known], codes[known]
        found = ranges(self._by_content.starts[codes], sizes[codes])
        pairs = np.repeat(asking, sizes[codes]) * self.rows + self._by_content.order[found]
        duplicates = np.setdiff1d(pairs, np.concatenate([linked, twins]))
        ignored = np.setdiff1d(self.ignored, np.concatenate([linked, twins, duplicates]))
        hidden = np.sort(np.concatenate([twins, duplicates, ignored]))
        starts = np.searchsorted(hidden, np.arange(self.anchors + 1) * self.rows)
        counts = np.zeros((self.anchors, len(REASONS)), dtype=np.int64)
        for reason, part in ((0, twins), (1, duplicates), (3, ignored)):
            counts[:, reason] = np.bincount(part // self.rows, minlength=self.anchors)
        return starts, hidden % self.rows, counts

    @cached_property
    def _owners(self) -> Rows:
        """The query of each link."""
        return np.repeat(np.arange(self.anchors), np.diff(self.starts))

    @cached_property
    def _linked_pairs(self) -> Rows:
        """The query and row of each link, as one number, ascending."""
        return np.asarray(self._owners * self.rows + self.linked)

    @cached_property
    def _near_contents(self) -> Rows:
        """Each query with its own and its links' contents, as one number, ascending."""
        queries = np.concatenate([np.arange(self.anchors), self._owners])
        contents = np.concatenate([self.query_contents, self.contents[self.linked]])
        known = (contents >= 0) & (contents < self._contents)
        return np.unique(queries[known] * self._contents + contents[known])

    @property
    def _contents(self) -> int:
        return len(self._by_content.sizes)

    def pick_positives(self, anchors: Rows, shares: Float64) -> Rows:
        """Return a random linked row of each query."""
        starts = self.starts[anchors]
        places = starts + uniform_position(shares, self.starts[anchors + 1] - starts)
        return np.asarray(self.linked[places])

    def are_negatives(self, anchors: Rows, rows: Rows) -> NDArray[np.bool_]:
        """Return whether each row is neither linked to its query nor hidden from it."""
        pairs = anchors * self.rows + rows
        out = among(pairs, self._linked_pairs) | among(pairs, self.ignored)
        out |= rows == self.twins[anchors]
        contents, groups = self.contents[rows], self.query_groups[anchors]
        out |= (groups >= 0) & (groups == self.groups[rows])
        out |= (contents >= 0) & among(anchors * self._contents + contents, self._near_contents)
        return np.asarray(~out)
