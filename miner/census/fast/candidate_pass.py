"""What the fast pass keeps of the rows within reach; see `miner.census.candidate_lists`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.candidate_lists import ENTRY, HEAD, VAIN, Reach
from miner.census.kernels import load_loops
from miner.triplets.types import Float64, Rows

__all__ = ["ReachPass", "shorten"]


class ReachPass:
    """Keeps the rows within reach of a block's anchors as their keys go by.

    Parameters
    ----------
    lines : int
    most : int
        See `miner.census.candidate_lists.ReachRoom`.
    """

    def __init__(self, lines: int, most: int) -> None:
        self._most = most
        self._rows = np.empty((lines, 2 * most), dtype=np.int32)
        self._keys = np.empty((lines, 2 * most), dtype=np.float32)
        self._held = np.zeros(lines, dtype=np.int64)
        self._tops = np.full(lines, np.inf, dtype=np.float32)

    def into(self, sign: int) -> tuple[Any, ...]:
        """Return what the loops keep rows in; nothing is kept of what is taken off."""
        whether = self._most > 0 and sign > 0
        return whether, self._rows, self._keys, self._held, self._tops

    def found(self, seen: NDArray[np.bool_], error: Float64) -> Reach:
        """Return what was kept.

        Parameters
        ----------
        seen : ndarray of shape (b,), bool
            False for anchors whose keys were not looked at.
        error : ndarray of shape (b,), float64
            How far a key can be from the true one.
        """
        held = np.where(seen, self._held, VAIN)
        head = np.zeros(len(held), dtype=HEAD)
        head["held"], head["top"] = held, self._tops
        head["error"] = np.nextafter(error.astype(np.float32), np.float32(np.inf))
        there = np.arange(2 * self._most) < held[:, None]
        entries = np.empty(int(there.sum()), dtype=ENTRY)
        entries["row"], entries["key"] = self._rows[there], self._keys[there]
        return Reach(head, entries)


def shorten(reach: Reach, needs: Rows) -> Reach:
    """Return what a job needs, and nothing of the anchors for which that is not there.

    Parameters
    ----------
    reach : Reach
    needs : ndarray of shape (anchors,), int64
        So many of the nearest rows of each anchor are needed for sure; -1: all within reach.
    """
    keys, rows = reach.entries["key"].copy(), reach.entries["row"].copy()
    held, tops = reach.head["held"].astype(np.int64), reach.head["top"].copy()
    loops: Any = load_loops("candidates")
    starts, errors = reach.starts, reach.head["error"].copy()
    loops.shorten(starts, needs, keys, rows, held, tops, errors, VAIN)
    head = reach.head.copy()
    head["held"], head["top"] = held, tops
    there = np.arange(len(keys)) - np.repeat(starts[:-1], reach.sizes) < np.repeat(
        held, reach.sizes
    )
    entries = np.empty(int(there.sum()), dtype=ENTRY)
    entries["row"], entries["key"] = rows[there], keys[there]
    return Reach(head, entries)
