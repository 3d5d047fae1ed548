"""The distinct passages of an anchor or of a pair, sorted by distance, and what is left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from miner.training.exports.triplets import Block, Codes

__all__ = ["Groups", "Wish"]


@dataclass(slots=True)
class Wish:
    """The options of an export, and counters that are filled while it is made.

    Attributes
    ----------
    negatives : int or None
        Negatives to take for each pair (for each anchor of labelled pairs); None for all.
    ragged : bool
        Whether pairs with fewer negatives are written.
    balance : bool
        Whether an anchor has as many positives as negatives.
    corpus_id : str
        The name of the documents, for formats that have one.
    left_out : Counter
        The numbers of rows, negatives or pairs that were left out, by reason.
    positives : int
        The number of labelled pairs with label 1.
    documents : set of str
        The ids of the documents that were written, for formats with a table of them.
    """

    negatives: int | None = None
    ragged: bool = False
    balance: bool = False
    corpus_id: str = ""
    left_out: Counter[str] = field(default_factory=Counter)
    positives: int = 0
    documents: set[str] = field(default_factory=set)

    def distinct(self, block: Block) -> Groups:
        """Return the distinct negatives of each pair; count the rows that repeat one."""
        pairs = negatives_of_pairs(block)
        self.left_out["repeated_triplets"] += len(block.anchors) - len(pairs.rows)
        return pairs

    def nearest(self, groups: Groups) -> Groups:
        """Keep the nearest negatives of each group; count the others."""
        if self.negatives is None:
            return groups
        kept = groups.first(self.negatives)
        self.left_out["farther_negatives"] += len(groups.rows) - len(kept.rows)
        return kept

    def full(self, pairs: Groups) -> Groups:
        """Keep the pairs that have enough negatives; count the others."""
        assert self.negatives is not None  # formats of fixed length have a default
        enough = pairs.sizes >= self.negatives
        self.left_out["pairs_with_too_few_negatives"] += int((~enough).sum())
        return self.nearest(pairs.chosen(enough))

    def sides(self, block: Block) -> tuple[Groups, Groups]:
        """Return the distinct positives, and the distinct nearest negatives, of each anchor."""
        positives = nearest_distinct(block.anchors, block.positives, block.d_ap)
        every = nearest_distinct(block.anchors, block.negatives, block.d_an)
        return positives, self.nearest(every)

    def new_documents(self, block: Block, rows: Codes) -> Any:
        """Return those documents of some rows of `Block.both` that were not written before.

        Returns
        -------
        tuple of pyarrow.Array
            Their ids and their texts.
        """
        both = block.both
        ids = both.ids.take(pa.array(rows))
        new = []
        for place, one in enumerate(ids.to_pylist()):
            if one not in self.documents:
                self.documents.add(one)
                new.append(place)
        places = np.array(new, dtype=np.int64)
        return ids.take(pa.array(places)), block.passages_shown(both.codes[rows[places]])


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows of a block, sorted by group.

    Attributes
    ----------
    rows : ndarray of int64
        The rows of all groups, one group after the other.
    starts : ndarray of shape (groups + 1,), int64
        Group g has ``rows[starts[g]:starts[g + 1]]``.
    """

    rows: Codes
    starts: Codes

    @property
    def sizes(self) -> Codes:
        """The number of rows in each group."""
        return np.diff(self.starts)

    def lists(self, values: Any) -> Any:
        """Return the values of the groups' rows as an Arrow array with a list for each group."""
        return pa.ListArray.from_arrays(pa.array(self.starts, pa.int32()), pa.array(values))

    def led(self, block: Block) -> Groups:
        """Return each pair's positive, then its negatives, as rows of `Block.both`."""
        heads = self.starts[:-1]
        rows = np.insert(len(block.anchors) + self.rows, heads, self.rows[heads])
        return Groups(rows, self.starts + np.arange(len(self.starts)))

    @property
    def firsts(self) -> Codes:
        """The first row of each group; no group is empty."""
        return self.rows[self.starts[:-1]]

    def first(self, counts: Codes | int) -> Groups:
        """Keep the first `counts` rows of each group; an array has a count for each group."""
        kept = np.minimum(self.sizes, counts)
        places = np.arange(len(self.rows)) - np.repeat(self.starts[:-1], self.sizes)
        return Groups(self.rows[places < np.repeat(kept, self.sizes)], _starts(kept))

    def chosen(self, keep: NDArray[np.bool_]) -> Groups:
        """Keep some of the groups."""
        return Groups(self.rows[np.repeat(keep, self.sizes)], _starts(self.sizes[keep]))


def _starts(sizes: Codes) -> Codes:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def nearest_distinct(groups: Codes, codes: Codes, distances: NDArray[np.float32]) -> Groups:
    """Return the nearest row of each code in each group, sorted by distance.

    Parameters
    ----------
    groups : ndarray of shape (rows,), int64
        The group of each row; groups are numbered from 0 without gaps.
    codes : ndarray of shape (rows,), int64
        The code of each row's passage; equal passages have equal codes.
    distances : ndarray of shape (rows,), float32
        Ties keep the order of the rows.
    """
    order = np.lexsort((distances, groups))
    keys = groups[order] * (codes.max(initial=0) + 1) + codes[order]
    _, first = np.unique(keys, return_index=True)
    rows = order[np.sort(first)]
    count = int(groups.max(initial=-1)) + 1
    return Groups(rows, np.searchsorted(groups[rows], np.arange(count + 1)).astype(np.int64))


def negatives_of_pairs(block: Block) -> Groups:
    """Return the distinct negatives of each pair (anchor, positive) of a block.

    Pairs are in the order of their first rows: by anchor, hard rows first.
    """
    keys = block.anchors * (block.positives.max(initial=0) + 1) + block.positives
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return nearest_distinct(number[inverse], block.negatives, block.d_an)
