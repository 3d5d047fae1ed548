"""Queries and a corpus, with links between them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from miner.relevance.base import Buckets, Rows, count_one_by_one

__all__ = ["LinkRelevance"]


def _disjoint(parts: list[Rows], taken: Rows) -> list[Rows]:
    """Drop from each part what stands in `taken` or in an earlier part."""
    result = []
    for part in parts:
        fresh = np.setdiff1d(part, taken)
        taken = np.concatenate([taken, fresh])
        result.append(fresh)
    return result


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
        return count_one_by_one(self)

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
