"""The label pairs (anchor label, negative label) with the most hard triplets.

With tens of thousands of labels not all pairs fit in memory, so only the top `confusions` pairs are
kept. A unit counts its anchors label by label, so when a label is finished, the unit knows all of
its pairs and keeps those in the top. Only the labels of the first and the last anchor of a unit may
have anchors in other units. All pairs of these two labels are handed over, and added up in the
order of the units.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from miner.triplets.types import Rows

__all__ = ["CONFUSED", "MostConfused", "UnitConfusions", "add_up_confusions", "pack_columns"]

_Pairs = tuple[Rows, Rows]
"""The labels of negatives, each at most once, and two counts of each."""

CONFUSED = ("anchor_label", "negative_label", "hard", "semi_hard")
_SPARE = 1 << 18
"""Pairs held in addition to the kept ones before the pairs with the fewest triplets are dropped."""
_HELD = 1 << 20
"""Pairs of unfinished labels that are held before equal pairs are added up."""


class MostConfused:
    """Keeps the pairs with the most hard triplets; ties break by the order of the labels.

    Parameters
    ----------
    most : int
        The number of pairs to keep.
    ranks : ndarray of shape (labels,), int64
        The position of each label among all labels.

    Attributes
    ----------
    total : int
        The number of pairs that were added.
    """

    def __init__(self, most: int, ranks: Rows) -> None:
        self.total = 0
        self._most, self._ranks, self._least = most, ranks, 0
        self._parts: list[Rows] = []
        self._held = 0

    def add(self, label: int, others: Rows, counts: Rows) -> None:
        """Add all pairs of one anchor label: negative labels, hard and semi-hard counts."""
        self.total += len(others)
        good = np.flatnonzero(counts[0] >= self._least)
        part = np.vstack([np.full(len(good), label), others[good], counts[:, good]])
        self._hold(part)

    def add_kept(self, total: int, pairs: Rows) -> None:
        """Add the pairs that another `MostConfused` kept, and the number that it was given."""
        self.total += total
        self._hold(pairs[:, pairs[2] >= self._least])

    def pairs(self) -> Rows:
        """Return the kept pairs in order, with the columns `CONFUSED` as rows, shape (4, n)."""
        pairs = self.unordered()
        order = np.lexsort((self._ranks[pairs[1]], self._ranks[pairs[0]], -pairs[2]))
        return np.asarray(pairs[:, order])

    def unordered(self) -> Rows:
        """Return the kept pairs in any order, with the columns `CONFUSED` as rows, shape (4, n)."""
        self._drop()
        return self._parts[0]

    def _hold(self, part: Rows) -> None:
        self._parts.append(part)
        self._held += part.shape[1]
        if self._held > self._most + _SPARE:
            self._drop()

    def _drop(self) -> None:
        """Drop all pairs but the top `most`."""
        pairs = np.concatenate([np.empty((4, 0), dtype=np.int64), *self._parts], axis=1)
        if pairs.shape[1] > self._most:
            self._least = int(-np.partition(-pairs[2], self._most - 1)[self._most - 1])
            kept = pairs[2] > self._least
            equal = np.flatnonzero(pairs[2] == self._least)
            place = self._ranks[pairs[0, equal]] * len(self._ranks) + self._ranks[pairs[1, equal]]
            room = self._most - int(kept.sum())
            kept[equal[np.argpartition(place, room - 1)[:room]]] = True
            pairs = pairs[:, kept]
        self._parts, self._held = [pairs], pairs.shape[1]


class UnitConfusions:
    """Adds up the label pairs of a unit.

    Parameters
    ----------
    ends : set of int
        The labels of the unit's first and last anchor.
    kept : MostConfused
        Receives the pairs of all other labels.
    labels : int
        The number of labels.

    Attributes
    ----------
    held : int
        The number of held pairs of unfinished labels; equal pairs count separately.
    """

    def __init__(self, ends: set[int], kept: MostConfused, labels: int) -> None:
        self.held = 0
        self._ends, self._kept, self._labels = ends, kept, labels
        self._parts: list[Rows] = []
        self._handed: dict[int, _Pairs] = {}
        self._most = _HELD

    def add(self, labels: Rows, others: Rows, counts: Rows) -> None:
        """Add triplets by labels of anchors and of negatives, in any order.

        Parameters
        ----------
        labels, others : ndarray of shape (n,), int64
        counts : ndarray of shape (2, n), int64
            The hard triplets, and the hard or semi-hard ones; negative counts subtract.
        """
        self._parts.append(np.vstack([labels * self._labels + others, counts]))
        self.held += len(labels)
        if self.held > self._most:
            self._add_up()
            self._most = max(_HELD, 2 * self.held)

    def close(self, but: int | None = None) -> None:
        """Finish all labels except `but`, which has more anchors."""
        pairs = self._add_up()
        label = pairs[0] // self._labels
        done = label != but
        self._parts, self.held = [pairs[:, ~done]], int((~done).sum())
        pairs, label = pairs[:, done], label[done]
        starts = np.flatnonzero(np.diff(label, prepend=-1)).tolist()
        for start, stop in itertools.pairwise([*starts, len(label)]):
            mine = int(label[start])
            code, hard, non_easy = pairs[:, start:stop]
            found = code % self._labels, np.vstack([hard, non_easy - hard])
            if mine in self._ends:
                self._handed[mine] = found
            else:
                self._kept.add(mine, *found)

    def arrays(self) -> dict[str, NDArray[np.void]]:
        """Return the arrays that `add_up_confusions` reads.

        ``confusion`` begins with a record whose ``hard`` is the number of pairs that were added.
        """
        head = np.array([[0], [0], [self._kept.total], [0]])
        kept = np.concatenate([head, self._kept.unordered()], axis=1)
        handed = [np.vstack([np.full(len(o), a), o, c]) for a, (o, c) in self._handed.items()]
        handed.append(np.empty((4, 0), dtype=np.int64))
        arrays = {"confusion": kept, "ends": np.concatenate(handed, axis=1)}
        return {
            name: pack_columns(dict(zip(CONFUSED, pairs, strict=True)))
            for name, pairs in arrays.items()
        }

    def _add_up(self) -> Rows:
        """Add up equal pairs; return the code of each pair, ascending, and its two counts."""
        pairs = np.concatenate([np.empty((3, 0), dtype=np.int64), *self._parts], axis=1)
        first = int(pairs[0].min(initial=np.iinfo(np.int64).max))
        span = int(pairs[0].max(initial=first)) - first + 1
        pairs = _tabled(pairs, first, span) if span <= 2 * pairs.shape[1] else _sorted(pairs)
        self._parts, self.held = [pairs], pairs.shape[1]
        return pairs


def _tabled(pairs: Rows, first: int, span: int) -> Rows:
    """Add up pairs in a table of `span` codes from `first` on; quick if most of them occur."""
    codes = pairs[0] - first
    hard, non_easy = (np.bincount(codes, counts, span) for counts in pairs[1:])  # below 2^53: exact
    there = np.flatnonzero(non_easy)
    return np.vstack(
        [there + first, hard[there].astype(np.int64), non_easy[there].astype(np.int64)]
    )


def _sorted(pairs: Rows) -> Rows:
    """Add up pairs of any codes by sorting them."""
    order = np.argsort(pairs[0])  # an unstable sort will do: equal codes are added up
    codes = pairs[0, order]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    sums = np.add.reduceat(pairs[1:, order], starts, axis=1)
    return np.vstack([codes[starts], sums])[:, sums[1] != 0]


def add_up_confusions(
    units: Iterable[tuple[NDArray[np.void], NDArray[np.void]]], kept: MostConfused, labels: int
) -> None:
    """Add the pairs of all units to `kept`, in the order of the units.

    Parameters
    ----------
    units : iterable of pairs of arrays
        ``confusion`` and ``ends`` of `UnitConfusions.arrays`.
    kept : MostConfused
    labels : int
        The number of labels.
    """
    sums, going = np.zeros((2, labels), dtype=np.int64), -1

    def close() -> None:
        others = np.flatnonzero(sums.any(axis=0))
        kept.add(going, others, sums[:, others])
        sums[:] = 0

    for confusion, ends in units:
        kept.add_kept(int(confusion["hard"][0]), _wide(confusion[1:]))
        handed = _wide(ends)
        for label in np.unique(handed[0]).tolist():
            if label != going:
                close()
                going = label
            mine = handed[:, handed[0] == label]
            sums[:, mine[1]] += mine[2:]
    close()


def pack_columns(columns: Mapping[str, Rows]) -> NDArray[np.void]:
    """Return a structured array of non-negative integer columns, each of the smallest dtype."""
    kinds = [(name, np.min_scalar_type(int(v.max(initial=0)))) for name, v in columns.items()]
    table = np.empty(len(next(iter(columns.values()))), dtype=kinds)
    for name, values in columns.items():
        table[name] = values
    return table


def _wide(table: NDArray[np.void]) -> Rows:
    """Return the columns of a structured array as rows of int64: the inverse of `pack_columns`."""
    return np.array([table[name] for name in CONFUSED], dtype=np.int64)
