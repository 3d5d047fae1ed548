"""A counted block of anchors, how anchors are cut into blocks, and memory for their keys."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miner.triplets.types import Float64, Rows

__all__ = ["STEEP", "BlockCounts", "Rooms", "Thresholds", "blocks", "evenly_spaced", "near"]

STEEP = 64.0
"""From this growth of a key's error on, a positive's distance is measured instead."""
_BLOCK = 256


@dataclass(frozen=True)
class Thresholds:
    """The thresholds of a block in key space, and how unsure they are.

    Attributes
    ----------
    hard, within, d_ap : ndarray of shape (pairs,), float64
        Where hard ends, where semi-hard ends; the distance of the pair.
    tolerance : ndarray of shape (b,), float64
        Keys nearer to a threshold have to be measured.
    """

    hard: Float64
    within: Float64
    d_ap: Float64
    tolerance: Float64


@dataclass(frozen=True)
class BlockCounts:
    """What the pass found for a block of anchors.

    The pairs (anchor, positive) of anchor i of the block are ``starts[i]:starts[i + 1]``.

    Attributes
    ----------
    anchors : ndarray of shape (b,), int64
        Each has at least one positive.
    starts : ndarray of shape (b + 1,), int64
    positives, hard, within : ndarray of shape (pairs,), int64
        The positive; how many negatives are hard; how many are hard or semi-hard.
    loss : ndarray of shape (b,), float64
        Sum of the hinge loss over the anchor's hard and semi-hard triplets.
    keys : ndarray of shape (b, rows), float64
        Infinite for rows that are not negatives.
    offset : ndarray of shape (b,), float64
        What turns a key into a distance; see `miner.census.key_space.KeySpace`.
    slack : ndarray of shape (b,), float64
        How far a key can be from the true one.
    reach : ndarray of shape (b,), float64
        No hard or semi-hard negative of the anchor has a key above it.
    edges : Thresholds
    """

    anchors: Rows
    starts: Rows
    positives: Rows
    hard: Rows
    within: Rows
    loss: Float64
    keys: Float64
    offset: Float64
    slack: Float64
    reach: Float64
    edges: Thresholds

    def within_reach(self, line: int) -> tuple[Rows, Float64, float]:
        """Return an anchor's rows, their keys, and how near those may be in a wrong order."""
        rows = np.flatnonzero(self.keys[line] <= self.reach[line])
        return rows, self.keys[line][rows], 2.5 * float(self.slack[line])


def evenly_spaced(count: int, most: int) -> Rows:
    """Return at most `most` of the numbers below `count`, evenly spaced, the ends among them."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, most)).astype(np.int64))


def near(keys: Float64, borders: Float64, tolerance: float) -> NDArray[np.bool_]:
    """Whether each key lies within the tolerance of a (sorted) border."""
    after = borders.searchsorted(keys)
    above = borders[np.minimum(after, len(borders) - 1)] - keys
    under = keys - borders[np.maximum(after - 1, 0)]
    return (np.abs(above) <= tolerance) | (np.abs(under) <= tolerance)


def blocks(anchors: Rows, positives: Rows, rows: int, memory: int) -> Iterator[Rows]:
    """Cut anchors into blocks whose pass stays within a memory budget.

    Parameters
    ----------
    anchors : ndarray of int64
    positives : ndarray of int64
        How many positives each of them has.
    rows : int
        How many rows there are.
    memory : int
        Bytes; a block has one anchor at least.
    """
    cost = np.cumsum(8 * rows + 120 * positives)
    start = 0
    while start < len(anchors):
        spent = cost[start - 1] if start else 0
        end = int(np.searchsorted(cost, spent + memory, side="right"))
        end = min(max(end, start + 1), start + _BLOCK)
        yield anchors[start:end]
        start = end


class Rooms:
    """Room for keys, lent to one unit at a time and used again by the next.

    Fresh arrays of this size, taken and left by one pool of threads after the other, stay with the
    allocator: the process would grow with every pass.
    """

    def __init__(self) -> None:
        self._free: list[Float64] = []

    @contextlib.contextmanager
    def room(self, size: int) -> Iterator[Float64]:
        """Lend an array of at least `size` numbers."""
        array = self._free.pop() if self._free else np.empty(0)
        if len(array) < size:
            array = np.empty(size)
        try:
            yield array
        finally:
            self._free.append(array)
