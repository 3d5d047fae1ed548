"""A block's keys by cells: counts per pair, and rows by rank, without sorting a line.

The same counts as `miner.census.reference_kernel` and the same rows as `miner.selection.ranking`,
which is the reference and does the lines that this leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.block import BlockCounts
from miner.census.kernels import choose_loops, load_loops
from miner.census.reference_kernel import Below
from miner.triplets.types import Float64, Rows

__all__ = ["Found", "Sieve", "open_sieve"]

_LEAST_CELLS, _MOST_CELLS = 64, 16384
_PER_CELL = 4


@dataclass(frozen=True, slots=True)
class Found:
    """Rows at some ranks of some lines of a block.

    Attributes
    ----------
    rows : ndarray of shape (k,), int64
    number : ndarray of shape (k,), int64
        Which of the lines each belongs to.
    run : ndarray of shape (k,), int64
        Rows of one number other than 0 stand together and must be put in order by distance.
    place : ndarray of int64
        Where each rank's row is, once the runs are in order.
    sure : ndarray of bool
        Per line; where it is False there is no answer.
    """

    rows: Rows
    number: Rows
    run: Rows
    place: Rows
    sure: NDArray[np.bool_]


def open_sieve(rows: int, kernel: str = "auto") -> Sieve | None:
    """Return a sieve for blocks of so many keys a line; None where numba is not installed."""
    return None if choose_loops(kernel, "rank_grid") is None else Sieve(rows)


class Sieve:
    """Counts one block after the other, and remembers the cells of the last.

    Parameters
    ----------
    rows : int
        Keys in a line.
    """

    def __init__(self, rows: int) -> None:
        self._grids_of: Any = load_loops("rank_grid")
        self._picking: Any = load_loops("rank_select")
        self.cells = _LEAST_CELLS
        while self.cells < min(rows // _PER_CELL, _MOST_CELLS):
            self.cells *= 2
        self._grids = np.empty((0, 4))
        self._sizes = np.empty(0, dtype=np.int64)
        self._held = np.empty((0, self.cells + 1), dtype=np.int32)

    def count(
        self,
        keys: Float64,
        thresholds: Float64,
        starts: Rows,
        tolerance: Float64,
        offset: Float64,
        slope: float,
        root: bool,
    ) -> Below:
        """Count as `miner.census.reference_kernel.count_below` does, but leave the sums at zero."""
        if len(self._held) < len(keys):
            self._grids = np.empty((len(keys), 4))
            self._sizes = np.empty(len(keys), dtype=np.int64)
            self._held = np.empty((len(keys), self.cells + 1), dtype=np.int32)
        counts = np.empty(len(thresholds), dtype=np.int64)
        near = np.zeros(len(keys), dtype=np.bool_)
        # A tolerance is never less than 2.5 times the slack: it serves for both.
        self._grids_of.count_lines(
            keys, thresholds, starts, tolerance, tolerance, self._grids, self._sizes, self._held,
            counts, near,
        )  # fmt: skip
        return Below(counts, np.zeros(len(thresholds)), near)

    def find(self, block: BlockCounts, lines: Rows, starts: Rows, ranks: Rows) -> Found:
        """Find rows by rank in the block that was counted last.

        Parameters
        ----------
        block : BlockCounts
        lines : ndarray of shape (k,), int64
        starts : ndarray of shape (k + 1,), int64
            The ranks of ``lines[i]`` are ``ranks[starts[i]:starts[i + 1]]``.
        ranks : ndarray of int64
        """
        place = np.zeros(len(ranks), dtype=np.int64)
        sure = np.empty(len(lines), dtype=np.bool_)
        rows, number, run = self._picking.find_rows(
            block.keys, 2.5 * block.slack, self._grids, self._sizes, self._held, lines, starts,
            ranks, place, sure,
        )  # fmt: skip
        wide = np.int64
        return Found(rows.astype(wide), number.astype(wide), run.astype(wide), place, sure)
