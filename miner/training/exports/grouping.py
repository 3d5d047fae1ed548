"""Which passages an anchor, or a pair (anchor, positive), has: each once, the nearest first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miner.training.exports.triplets import Block, Codes

__all__ = ["Groups", "nearest_distinct", "negatives_of_pairs"]


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows of a block, group after group.

    Attributes
    ----------
    rows : ndarray of int64
        The rows that are kept.
    starts : ndarray of shape (groups + 1,), int64
        Group g has ``rows[starts[g]:starts[g + 1]]``.
    """

    rows: Codes
    starts: Codes

    @property
    def sizes(self) -> Codes:
        """How many rows each group has."""
        return np.diff(self.starts)

    @property
    def places(self) -> Codes:
        """The place of each row in its group, from 0."""
        return np.arange(len(self.rows)) - np.repeat(self.starts[:-1], self.sizes)

    def first(self, counts: Codes | int) -> Groups:
        """Keep the first rows of each group, so many or, given an array, as many as each says."""
        limits = np.broadcast_to(counts, len(self.sizes))
        kept = np.minimum(self.sizes, limits)
        rows = self.rows[self.places < np.repeat(limits, self.sizes)]
        return Groups(rows, np.concatenate([[0], np.cumsum(kept)]).astype(np.int64))

    def chosen(self, keep: NDArray[np.bool_]) -> Groups:
        """Keep some of the groups."""
        rows = self.rows[np.repeat(keep, self.sizes)]
        return Groups(rows, np.concatenate([[0], np.cumsum(self.sizes[keep])]).astype(np.int64))


def nearest_distinct(groups: Codes, codes: Codes, distances: NDArray[np.float32]) -> Groups:
    """Keep, of each group, the nearest row of each code, the nearest code first.

    Parameters
    ----------
    groups : ndarray of shape (rows,), int64
        The group of each row; the numbers from 0 up are all taken.
    codes : ndarray of shape (rows,), int64
        Equal within a group for rows that show the same.
    distances : ndarray of shape (rows,), float32
        Equal ones stay in the order of the rows.
    """
    order = np.lexsort((distances, groups))
    keys = groups[order] * (codes.max(initial=0) + 1) + codes[order]
    _, first = np.unique(keys, return_index=True)
    rows = order[np.sort(first)]
    count = int(groups.max(initial=-1)) + 1
    return Groups(rows, np.searchsorted(groups[rows], np.arange(count + 1)).astype(np.int64))


def negatives_of_pairs(block: Block) -> Groups:
    """Group a block by pairs (anchor, positive): the distinct negatives of each.

    Pairs are in the order of their first rows: by anchor, hard rows first.
    """
    keys = block.anchors * (block.positives.max(initial=0) + 1) + block.positives
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return nearest_distinct(number[inverse], block.negatives, block.d_an)
