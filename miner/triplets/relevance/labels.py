"""The relevance of labelled items with one label each, and the labels of anchors and rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    uniform_position,
)
from miner.triplets.relevance.constrained import unconstrained
from miner.triplets.relevance.subset import AnchorSubset
from miner.triplets.types import Float64, Rows

__all__ = ["LabelRelevance", "RowLabels", "row_labels"]


@dataclass(frozen=True)
class LabelRelevance(Relevance):
    """Labelled items: positives have the same label, negatives have another one.

    Parameters
    ----------
    labels : ndarray of shape (n,), int64
        The label code of each row, all >= 0.
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
        """The number of anchors: every row is one."""
        return len(self.labels)

    @property
    def rows(self) -> int:
        """The number of rows."""
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
        """For each label, the rows of other labels whose content also occurs with this label."""
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
        """The number of positives of each anchor."""
        return np.asarray(self.members.sizes[self.labels] - 1)

    def positives(self, anchor: int) -> Rows:
        """Return the other rows of the anchor's label."""
        members = self.members.rows(int(self.labels[anchor]))
        others: Rows = members[members != anchor]
        return others

    def exclusions(self, anchor: int) -> tuple[Rows, ...]:
        """Return the anchor, its duplicates, and its group's rows with other labels."""
        label = int(self.labels[anchor])
        itself = np.array([anchor], dtype=np.int64)
        duplicates = self._conflicts.get(label, itself[:0])
        group = self._by_group.rows(int(self.groups[anchor]))
        group = group[self.labels[group] != label]
        if len(group) and len(duplicates):
            group = np.setdiff1d(group, duplicates)
        return itself, duplicates, group, itself[:0]

    def exclusion_counts(self) -> NDArray[np.int64]:
        """Return the number of exclusions of all anchors, by reason.

        Without groups they depend on the label only.
        """
        if self._grouped:
            return super().exclusion_counts()
        duplicates = np.zeros(len(self.members.sizes), dtype=np.int64)
        for label, rows in self._conflicts.items():
            duplicates[label] = len(rows)
        counts = np.zeros((self.anchors, len(REASONS)), dtype=np.int64)
        counts[:, 0], counts[:, 1] = 1, duplicates[self.labels]
        return counts

    def positive_group(self, anchors: Rows) -> Rows:
        """Return the labels."""
        return self.labels[anchors]

    def positive_lists(self, anchors: Rows) -> PositiveLists:
        """Return the positives of some anchors, as slices of the rows sorted by label."""
        members, codes = self.members, self.labels[anchors]
        return PositiveLists(
            members.starts[codes], members.starts[codes + 1], members.order, anchors
        )

    def hidden_lists(self, anchors: Rows) -> tuple[Rows, Rows]:
        """Return the rows that are hidden from some anchors."""
        if self._conflicts or self._grouped:
            return super().hidden_lists(anchors)
        return np.arange(len(anchors) + 1), anchors

    @cached_property
    def _hidden_pairs(self) -> Rows:
        """The label and row of each conflict, as one number, ascending."""
        pairs = [label * self.rows + rows for label, rows in sorted(self._conflicts.items())]
        return np.concatenate([np.empty(0, dtype=np.int64), *pairs])

    def pick_positives(self, anchors: Rows, shares: Float64) -> Rows:
        """Return a random row of each anchor's label, `NONE` if it is the anchor."""
        labels = self.labels[anchors]
        places = uniform_position(shares, self.members.sizes[labels])
        places += self.members.starts[labels]
        rows = self.members.order[places]
        rows[rows == anchors] = NONE
        return rows

    def pick_negatives(self, anchors: Rows, shares: Float64) -> Rows:
        """Return a random row of another label for each anchor, `NONE` if it is hidden."""
        labels = self.labels[anchors]
        sizes = self.members.sizes[labels]
        places = uniform_position(shares, self.rows - sizes)
        places += sizes * (places >= self.members.starts[labels])
        rows = self.members.order[np.minimum(places, self.rows - 1, out=places)]
        return np.where(self.are_negatives(anchors, rows), rows, NONE)

    def are_negatives(self, anchors: Rows, rows: Rows) -> NDArray[np.bool_]:
        """Return whether each row has another label than its anchor and is not hidden from it."""
        labels = self.labels[anchors]
        negative = labels != self.labels[rows]
        if len(self._hidden_pairs):
            negative &= ~among(labels * self.rows + rows, self._hidden_pairs)
        if self._grouped:
            groups = self.groups[anchors]
            negative &= (groups < 0) | (groups != self.groups[rows])
        return np.asarray(negative)

    @cached_property
    def _grouped(self) -> bool:
        """Whether any row has a group."""
        return bool((self.groups >= 0).any())


@dataclass(frozen=True, slots=True)
class RowLabels:
    """The label of each anchor and of each row, if every row has exactly one.

    Attributes
    ----------
    anchors, rows : ndarray of int64
    """

    anchors: Rows
    rows: Rows

    @property
    def count(self) -> int:
        """The number of labels."""
        return int(self.rows.max(initial=-1)) + 1


def row_labels(relevance: Relevance) -> RowLabels | None:
    """Return the labels of anchors and rows; None for pairs, and for sets of labels."""
    relevance = unconstrained(relevance)
    inner = relevance.inner if isinstance(relevance, AnchorSubset) else relevance
    if not isinstance(inner, LabelRelevance):
        return None
    chosen = relevance.chosen if isinstance(relevance, AnchorSubset) else slice(None)
    return RowLabels(inner.labels[chosen], inner.labels)
