"""Who is a positive of an anchor, and who is neither positive nor negative.

Anchors and rows (the candidates) are numbered from 0. Of labelled items the anchors are the rows;
of pairs the anchors are the queries and the rows the corpus. All rows that are neither positives
nor hidden are the anchor's negatives. Hidden are the anchor itself, rows whose content equals the
anchor's or one of its positives', and rows of the anchor's group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Buckets", "LabelRelevance", "LinkRelevance", "Relevance", "Tally", "tally"]

Rows = NDArray[np.int64]

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
    def _order(self) -> Rows:
        order = np.argsort(self.codes, kind="stable")
        return order[np.searchsorted(self.codes[order], 0) :]

    @cached_property
    def _starts(self) -> Rows:
        present = self.codes[self.codes >= 0]
        counts = np.bincount(present, minlength=1)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @property
    def sizes(self) -> Rows:
        """Rows per code, shape (codes,)."""
        return np.diff(self._starts)

    def rows(self, code: int) -> Rows:
        """Return the rows of a code; none for a code below zero or never seen."""
        if code < 0 or code + 1 >= len(self._starts):
            return np.empty(0, dtype=np.int64)
        return self._order[self._starts[code] : self._starts[code + 1]]


class Relevance(Protocol):
    """What the miner asks about an anchor."""

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

    def hidden(self, anchor: int) -> Rows:
        """Return all rows that are neither positive nor negative."""

    def arrays(self) -> dict[str, NDArray[np.int64]]:
        """Return what `load` in `miner.relevance` needs to build the same object again."""


def _count_one_by_one(relevance: Relevance) -> NDArray[np.int64]:
    counts = [list(map(len, relevance.exclusions(a))) for a in range(relevance.anchors)]
    return np.array(counts, dtype=np.int64).reshape(-1, 3)


def _disjoint(parts: list[Rows], taken: Rows) -> list[Rows]:
    """Drop from each part what stands in `taken` or in an earlier part."""
    result = []
    for part in parts:
        fresh = np.setdiff1d(part, taken)
        taken = np.concatenate([taken, fresh])
        result.append(fresh)
    return result


@dataclass(frozen=True)
class LabelRelevance:
    """Labelled items: positives share the label, negatives have another.

    Parameters
    ----------
    labels : ndarray of shape (n,), int64
        A label code a row, all >= 0.
    contents : ndarray of shape (n,), int64
        Equal codes for equal content; `NONE` where content is not compared.
    groups : ndarray of shape (n,), int64
        Group codes, `NONE` for rows without a group.
    """

    labels: Rows
    contents: Rows
    groups: Rows

    @property
    def anchors(self) -> int:
        """How many anchors there are: every row is one."""
        return len(self.labels)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.labels)

    @cached_property
    def members(self) -> Buckets:
        """The rows of each label."""
        return Buckets(self.labels)

    @cached_property
    def _by_group(self) -> Buckets:
        return Buckets(self.groups)

    @cached_property
    def _conflicts(self) -> Mapping[int, Rows]:
        """Per label, the rows of other labels whose content stands in it too."""
        by_content = Buckets(self.contents)
        found: dict[int, list[Rows]] = {}
        for code in np.flatnonzero(by_content.sizes > 1):
            rows = by_content.rows(int(code))
            labels = np.unique(self.labels[rows])
            for label in labels if len(labels) > 1 else ():
                found.setdefault(int(label), []).append(rows[self.labels[rows] != label])
        return {label: np.unique(np.concatenate(parts)) for label, parts in found.items()}

    @property
    def positive_counts(self) -> Rows:
        """How many positives each anchor has."""
        return np.asarray(self.members.sizes[self.labels] - 1)

    def positives(self, anchor: int) -> Rows:
        """Return the other rows of the anchor's label."""
        members = self.members.rows(int(self.labels[anchor]))
        others: Rows = members[members != anchor]
        return others

    def exclusions(self, anchor: int) -> tuple[Rows, Rows, Rows]:
        """Return the anchor, the duplicates, and the group's rows of other labels."""
        label = int(self.labels[anchor])
        itself = np.array([anchor], dtype=np.int64)
        duplicates = self._conflicts.get(label, itself[:0])
        group = self._by_group.rows(int(self.groups[anchor]))
        group = group[self.labels[group] != label]
        if len(group) and len(duplicates):
            group = np.setdiff1d(group, duplicates)
        return itself, duplicates, group

    def exclusion_counts(self) -> NDArray[np.int64]:
        """Count the exclusions of all anchors; without groups they are those of their labels."""
        if (self.groups >= 0).any():
            return _count_one_by_one(self)
        duplicates = np.zeros(len(self.members.sizes), dtype=np.int64)
        for label, rows in self._conflicts.items():
            duplicates[label] = len(rows)
        counts = np.zeros((self.anchors, 3), dtype=np.int64)
        counts[:, 0], counts[:, 1] = 1, duplicates[self.labels]
        return counts

    def hidden(self, anchor: int) -> Rows:
        """Return all rows that are neither positive nor negative."""
        return np.concatenate(self.exclusions(anchor))

    def arrays(self) -> dict[str, Rows]:
        """Return the codes."""
        return {"labels": self.labels, "contents": self.contents, "groups": self.groups}


@dataclass(frozen=True)
class LinkRelevance:
    """Queries and a corpus: links name the positives.

    Parameters
    ----------
    starts : ndarray of shape (queries + 1,), int64
    linked : ndarray of shape (starts[-1],), int64
        The positives of query q are ``linked[starts[q]:starts[q + 1]]``, ascending, each once.
    contents, query_contents : ndarray of int64
        Content codes of the corpus and of the queries, from one numbering.
    groups, query_groups : ndarray of int64
        Group codes, likewise.
    twins : ndarray of shape (queries,), int64
        The row that has the query's id, or `NONE`.
    """

    starts: Rows
    linked: Rows
    contents: Rows
    query_contents: Rows
    groups: Rows
    query_groups: Rows
    twins: Rows

    @property
    def anchors(self) -> int:
        """How many queries there are."""
        return len(self.starts) - 1

    @property
    def rows(self) -> int:
        """How many rows the corpus has."""
        return len(self.contents)

    @cached_property
    def _by_content(self) -> Buckets:
        return Buckets(self.contents)

    @cached_property
    def _by_group(self) -> Buckets:
        return Buckets(self.groups)

    @property
    def positive_counts(self) -> Rows:
        """How many positives each query has."""
        return np.diff(self.starts)

    def positives(self, anchor: int) -> Rows:
        """Return the rows linked to the query."""
        return self.linked[self.starts[anchor] : self.starts[anchor + 1]]

    def exclusions(self, anchor: int) -> tuple[Rows, Rows, Rows]:
        """Return the query's twin, the duplicates, and the group's rows; never a linked row."""
        positives = self.positives(anchor)
        codes = np.unique(np.append(self.contents[positives], self.query_contents[anchor]))
        duplicates = np.concatenate([self._by_content.rows(int(code)) for code in codes])
        group = self._by_group.rows(int(self.query_groups[anchor]))
        twin = self.twins[anchor : anchor + 1]
        itself, duplicates, group = _disjoint([twin[twin >= 0], duplicates, group], positives)
        return itself, duplicates, group

    def exclusion_counts(self) -> NDArray[np.int64]:
        """Count the exclusions of all queries."""
        return _count_one_by_one(self)

    def hidden(self, anchor: int) -> Rows:
        """Return all rows that are neither positive nor negative."""
        return np.concatenate(self.exclusions(anchor))

    def arrays(self) -> dict[str, Rows]:
        """Return the links and codes."""
        return {
            "starts": self.starts,
            "linked": self.linked,
            "contents": self.contents,
            "query_contents": self.query_contents,
            "groups": self.groups,
            "query_groups": self.query_groups,
            "twins": self.twins,
        }


def load(arrays: Mapping[str, Rows]) -> Relevance:
    """Build the relevance that ``arrays()`` described."""
    kind = LabelRelevance if "labels" in arrays else LinkRelevance
    return kind(**arrays)


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
